//! The table of docs/maps.md against the kernel: what an agent says that a map of each type can do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bpfgate_client::v1::{Capabilities, MapSpec, MapType};
use bpfgate_client::{Client, Code, CpuMode, IterateOptions, UpdateMode};
use bpfgate_tests::bpftool::{self, PinnedMap};
use bpfgate_tests::calls::load;
use bpfgate_tests::{Agent, NewMap, elf, refused};

/// The columns of the table behind the type, in order.
const COLUMNS: [&str; 15] = [
    "Lookup",
    "Update",
    "Delete",
    "LookupAndDelete",
    "Push",
    "Pop",
    "Peek",
    "Iterate",
    "batch read",
    "batch write",
    "batch delete",
    "Freeze",
    "Pin",
    "WatchCounters",
    "WatchEvents",
];

fn row(can: &Capabilities) -> [bool; COLUMNS.len()] {
    // No `..`: an operation that is new has to be in the table.
    let Capabilities {
        lookup,
        update,
        delete,
        iterate,
        batch_lookup,
        watch_counters,
        lookup_and_delete,
        push,
        pop,
        peek,
        freeze,
        pin,
        batch_update,
        batch_delete,
        watch_events,
        // Not the type's, but the single map's.
        lock: _,
        mmap: _,
    } = *can;
    [
        lookup,
        update,
        delete,
        lookup_and_delete,
        push,
        pop,
        peek,
        iterate,
        batch_lookup,
        batch_update,
        batch_delete,
        freeze,
        pin,
        watch_counters,
        watch_events,
    ]
}

fn line(kind: MapType, row: &[bool]) -> String {
    let cells = row.iter().map(|has| if *has { " ✓ |" } else { "   |" });
    format!("| `{}` |{}", type_name(kind), cells.collect::<String>())
}

fn type_name(kind: MapType) -> String {
    kind.as_str_name().trim_start_matches("MAP_TYPE_").to_lowercase()
}

/// The rows of the table, by the type's name.
fn documented() -> BTreeMap<String, Vec<bool>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/maps.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = text.lines().skip_while(|line| !line.starts_with("| type |"));
    assert_eq!(cells(lines.next().unwrap())[1..], COLUMNS, "the table's head");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells = cells(line);
        let has = cells[1..].iter().map(|cell| match cell.as_str() {
            "✓" => true,
            "" => false,
            other => panic!("{other:?} in the row of {}", cells[0]),
        });
        (cells[0].trim_matches('`').to_owned(), has.collect())
    })
    .collect()
}

/// A map of that type as a caller would make it.
fn new_map(kind: MapType) -> NewMap {
    let new = NewMap::new(&format!("type{}", kind as i32), kind);
    match kind {
        MapType::Queue | MapType::Stack | MapType::BloomFilter => new.sizes(0, 8),
        MapType::Ringbuf | MapType::UserRingbuf => new.sizes(0, 0).entries(4096),
        MapType::Arena => new.sizes(0, 0).entries(1).flags(1 << 10),
        MapType::CgroupStorage | MapType::PercpuCgroupStorage => new.sizes(8, 8).entries(0),
        MapType::ProgArray
        | MapType::PerfEventArray
        | MapType::CgroupArray
        | MapType::Devmap
        | MapType::DevmapHash
        | MapType::Cpumap
        | MapType::Xskmap => new.sizes(4, 4).entries(2),
        MapType::ArrayOfMaps | MapType::HashOfMaps => {
            let inner = MapSpec {
                r#type: MapType::Array.into(),
                key_size: 4,
                value_size: 8,
                max_entries: 1,
                ..MapSpec::default()
            };
            new.sizes(4, 4).inner(inner)
        }
        _ => new,
    }
}

/// A map of type `struct_ops`, which only bpftool can make; gone when dropped.
struct StructOps(PathBuf);

impl StructOps {
    fn make(agent: &Agent) -> Self {
        let file = agent.directory().join("congestion.o");
        std::fs::write(&file, elf::CONGESTION).unwrap();
        let directory = agent.bpffs().join("congestion");
        std::fs::create_dir(&directory).unwrap();
        let this = Self(directory);
        let [programs, maps] = ["programs", "maps"].map(|name| this.0.join(name));
        let [file, programs, maps] = [&file, &programs, &maps].map(|path| path.to_str().unwrap());
        bpftool::json(&["prog", "loadall", file, programs, "pinmaps", maps]);
        this
    }
}

impl Drop for StructOps {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every type with a map of it: its reference.
async fn one_of_each(agent: &Agent, client: &Client) -> (Vec<(MapType, String)>, StructOps) {
    load(client, "special", elf::SPECIAL).await;
    let struct_ops = StructOps::make(agent);
    let mut all = Vec::new();
    for number in 1..=33 {
        let kind = MapType::try_from(number).unwrap();
        let reference = match kind {
            MapType::SkStorage
            | MapType::InodeStorage
            | MapType::TaskStorage
            | MapType::CgrpStorage => format!("special/{}", type_name(kind)),
            MapType::StructOps => "pin:congestion/maps/congestion".to_owned(),
            _ => new_map(kind).make(client).await.name,
        };
        all.push((kind, reference));
    }
    (all, struct_ops)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_table_is_what_the_kernel_says() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let documented = documented();
    let (all, _struct_ops) = one_of_each(&agent, &client).await;
    assert_eq!(documented.len(), all.len(), "a row for each type");
    let mut wrong = Vec::new();
    for (kind, reference) in &all {
        let map = client.maps().get(reference).await.unwrap();
        assert_eq!(map.spec.unwrap().r#type(), *kind);
        let row = row(&map.capabilities.unwrap());
        if documented[&type_name(*kind)] != row {
            wrong.push(line(*kind, &row));
        }
    }
    assert!(wrong.is_empty(), "docs/maps.md should have\n{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_type_lacks_is_refused_and_what_it_has_is_not() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let (all, _struct_ops) = one_of_each(&agent, &client).await;
    for (kind, name) in &all {
        let map = maps.get(name).await.unwrap();
        let (can, spec) = (map.capabilities.unwrap(), map.spec.unwrap());
        let owned = !map.name.is_empty();
        let key = vec![0; spec.key_size as usize];
        let value = vec![0; spec.value_size as usize];
        let each = CpuMode::Each;
        let iterate = maps.iterate(name, IterateOptions::default()).await;
        let mut answers = vec![
            ("lookup", can.lookup, maps.lookup(name, key.clone(), each).await.err()),
            ("peek", can.peek, maps.peek(name).await.err()),
            ("iterate", can.iterate, iterate.err()),
        ];
        if owned {
            let update = maps.update(name, key.clone(), value.clone(), UpdateMode::Any).await;
            let take = maps.lookup_and_delete(name, key.clone(), each).await;
            answers.extend([
                ("update", can.update, update.err()),
                ("lookup-and-delete", can.lookup_and_delete, take.err()),
                ("delete", can.delete, maps.delete_entry(name, key).await.err()),
                ("push", can.push, maps.push(name, value).await.err()),
                ("pop", can.pop, maps.pop(name).await.err()),
                ("freeze", can.freeze, maps.freeze(name).await.err()),
            ]);
        }
        for (operation, has, error) in answers {
            if has {
                let code = error.as_ref().and_then(bpfgate_client::Error::code);
                assert_ne!(code, Some(Code::Unimplemented), "{kind:?} {operation}: {error:?}");
                continue;
            }
            let error = error.map_or(Ok(()), Err);
            let error = refused(error, Code::Unimplemented, &[name, operation]);
            assert_eq!(error.metadata["type"], type_name(*kind));
            assert_eq!(error.metadata["operation"], operation);
            assert_ne!(error.metadata["has"], "");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_what_a_map_can_do_changes_nothing_in_it() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    // Entry zero, which a careless question would touch.
    for kind in ["hash", "lru_hash", "percpu_hash", "array", "lpm_trie", "queue", "stack"] {
        let flags = if kind == "lpm_trie" { "1" } else { "0" };
        let key = match kind {
            "lpm_trie" => "8",
            "queue" | "stack" => "0",
            _ => "4",
        };
        let arguments = ["type", kind, "key", key, "value", "8", "entries", "4"];
        let arguments = [&arguments[..], &["name", "theirs", "flags", flags]].concat();
        let theirs = PinnedMap::create(agent.bpffs(), &arguments);
        let id = theirs.id.to_string();
        if key == "0" {
            let fill = ["map", "push", "id", &id, "value", "1", "2", "3", "4", "5", "6", "7", "8"];
            bpftool::json(&fill);
        } else {
            bpftool::update(theirs.id, &vec![0; key.parse().unwrap()], &[7; 8], "any");
        }
        let before = bpftool::try_json(&["map", "dump", "id", &id]);
        let peeked = bpftool::try_json(&["map", "peek", "id", &id]);
        for _ in 0..3 {
            client.maps().get(&format!("id:{id}")).await.unwrap();
        }
        assert_eq!(bpftool::try_json(&["map", "dump", "id", &id]), before, "{kind}");
        assert_eq!(bpftool::try_json(&["map", "peek", "id", &id]), peeked, "{kind}");
        assert_eq!(bpftool::map(theirs.id)["frozen"], 0, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_opened_one_way_has_what_that_way_allows() {
    const BPF_F_RDONLY: u32 = 1 << 3;
    const BPF_F_WRONLY: u32 = 1 << 4;
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let can = NewMap::hash("read").flags(BPF_F_RDONLY).make(&client).await.capabilities.unwrap();
    assert!(can.lookup && can.iterate && !can.update && !can.delete && !can.freeze, "{can:?}");
    let error = maps.update("read", [0; 4], [0; 8], UpdateMode::Any).await;
    refused(error, Code::Unimplemented, &["no update", "lookup, iterate"]);
    let can = NewMap::hash("write").flags(BPF_F_WRONLY).make(&client).await.capabilities.unwrap();
    assert!(!can.lookup && !can.iterate && can.update && can.delete && can.freeze, "{can:?}");
    assert!(!can.lookup_and_delete && !can.watch_counters && !can.batch_lookup, "{can:?}");
    maps.update("write", [0; 4], [0; 8], UpdateMode::Any).await.unwrap();
    refused(
        maps.lookup("write", [0; 4], CpuMode::Each).await,
        Code::Unimplemented,
        &["no lookup", "update, delete"],
    );
}
