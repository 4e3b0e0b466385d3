//! One number for all CPUs is the same wherever it is read: in a lookup, in a dump, in a watch, and
//! by hand from what bpftool says of each CPU.

use std::collections::BTreeMap;

use bpfgate_client::v1::MapType;
use bpfgate_client::value::{Display, Encoding, Field, Kind, Type};
use bpfgate_client::{Client, Code, CpuMode, IterateOptions, Layout, UpdateMode};
use bpfgate_tests::fixture::{record, signed, unsigned};
use bpfgate_tests::{Agent, NewMap, bpftool, refused};
use serde_json::{Value, json};

/// The counters that most programs have: of 32 bits and less.
fn narrow() -> Type {
    record(
        "struct st",
        &[
            ("packets", unsigned(4)),
            ("drops", unsigned(2)),
            ("errs", unsigned(1)),
            ("spare", unsigned(1)),
            ("diff", signed(4)),
        ],
    )
}

/// A value on each CPU, each of its fields at the end of what it holds.
async fn fill(client: &Client, name: &str, stride: u32) {
    let cpus = stride / 16;
    let each: Vec<u8> = (0..cpus)
        .flat_map(|cpu| {
            let mut value = [0; 16];
            value[..4].copy_from_slice(&(u32::MAX - cpu).to_ne_bytes());
            value[4..6].copy_from_slice(&u16::MAX.to_ne_bytes());
            value[6] = u8::MAX;
            value[7] = 1;
            value[8..12].copy_from_slice(&i32::MIN.to_ne_bytes());
            value
        })
        .collect();
    client.maps().update(name, 1_u32.to_ne_bytes(), each, UpdateMode::Any).await.unwrap();
}

/// Field by field what bpftool shows of each CPU, added.
fn by_hand(id: u32) -> BTreeMap<String, i128> {
    let found = bpftool::lookup(id, &1_u32.to_ne_bytes()).unwrap();
    let mut sums = BTreeMap::new();
    for value in found.values {
        let word = |from: usize| value[from..from + 4].try_into().unwrap();
        let half = u16::from_ne_bytes(value[4..6].try_into().unwrap());
        for (field, number) in [
            ("packets", i128::from(u32::from_ne_bytes(word(0)))),
            ("drops", half.into()),
            ("errs", value[6].into()),
            ("spare", value[7].into()),
            ("diff", i32::from_ne_bytes(word(8)).into()),
        ] {
            *sums.entry(field.to_owned()).or_default() += number;
        }
    }
    sums
}

fn as_numbers(json: &Value) -> BTreeMap<String, i128> {
    let number = |value: &Value| value.as_str().unwrap().parse().unwrap();
    json.as_object().unwrap().iter().map(|(name, value)| (name.clone(), number(value))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_read_a_sum_gives_the_same() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for kind in [MapType::PercpuArray, MapType::PercpuHash, MapType::LruPercpuHash] {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_").to_lowercase();
        let new = NewMap::new(&name, kind).key(unsigned(4)).value(narrow()).entries(2);
        let map = new.make(&client).await;
        fill(&client, &name, map.value_stride).await;
        let expected = by_hand(map.id);
        assert!(expected["packets"] > u32::MAX.into() || map.value_stride == 16);

        let maps = client.maps();
        let typed = maps.lookup_typed(&name, json!(1), CpuMode::Sum).await.unwrap();
        assert_eq!(as_numbers(&typed), expected, "{name}");
        let layout = Layout::of(&maps.get(&name).await.unwrap()).unwrap();
        let wide = maps.wide_sums();
        let raw = wide.lookup(&name, json!(1), CpuMode::Sum).await.unwrap();
        assert_eq!(as_numbers(&layout.sum.decode(&raw).unwrap()), expected, "{name}");
        let key = 1_u32.to_ne_bytes().to_vec();
        let batch = wide.lookup_batch(&name, key.clone(), CpuMode::Sum).await.unwrap();
        assert_eq!(batch.get(0).unwrap(), raw);

        for typed in [false, true] {
            let options =
                IterateOptions { cpu: CpuMode::Sum, wide_sums: true, typed, ..Default::default() };
            let mut stream = maps.iterate(&name, options).await.unwrap();
            let mut found = 0;
            while let Some(chunk) = stream.next_chunk().await.unwrap() {
                for (key, value) in chunk.typed().filter(|(key, _)| *key == json!(1)) {
                    assert_eq!((as_numbers(&value), key), (expected.clone(), json!(1)), "{name}");
                    found += 1;
                }
                for (key, value) in chunk.iter().filter(|(key, _)| *key == [1, 0, 0, 0]) {
                    assert_eq!((value, key), (&raw[..], &[1, 0, 0, 0][..]), "{name}");
                    found += 1;
                }
            }
            assert_eq!(found, 1, "{name} {typed}");
        }

        // Nobody takes the bytes for those of one CPU.
        let refusal = maps.lookup(&name, key.clone(), CpuMode::Sum).await;
        let error = refused(refusal, Code::FailedPrecondition, &["packets", "wide_sums"]);
        assert_eq!(error.reason.as_deref(), Some("WIDE_SUM"));
        let options = IterateOptions { cpu: CpuMode::Sum, ..IterateOptions::default() };
        let refusal = maps.iterate(&name, options).await;
        refused(refusal, Code::FailedPrecondition, &["packets", "wide_sums"]);
        let refusal = maps.lookup_batch(&name, key, CpuMode::Sum).await;
        refused(refusal, Code::FailedPrecondition, &["packets", "wide_sums"]);

        let cli =
            |arguments: &[&str]| agent.cli(&[&["-o", "json"], arguments].concat()).ok().json();
        assert_eq!(as_numbers(&cli(&["map", "lookup", &name, "1"])["value"]), expected);
        let dump = cli(&["map", "dump", &name]);
        let mut found = dump.as_array().unwrap().iter().filter(|entry| entry["key"] == json!(1));
        assert_eq!(as_numbers(&found.next().unwrap()["value"]), expected, "{name}");
        let table = agent.cli(&["map", "lookup", &name, "1"]).ok().stdout;
        assert!(table.contains(&expected["packets"].to_string()), "{table}");

        let watch = agent.cli(&["-o", "jsonl", "watch", "counters", "--once", &name]).ok();
        let mut watched = 0;
        for line in watch.stdout.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if line["labels"]["key"] == json!("1") {
                let field = line["field"].as_str().unwrap();
                let value: i128 = line["value"].as_str().unwrap().parse().unwrap();
                assert_eq!(value, expected[field], "{name} {field}");
                watched += 1;
            }
        }
        assert_eq!(watched, expected.len(), "{}", watch.stdout);
    }
}

/// A struct with a union, a text and a pointer beside its counters.
fn mixed() -> Type {
    let kind =
        Kind::Integer { encoding: Encoding::Char, big_endian: false, display: Display::Plain };
    let letter = Type { name: "char".to_owned(), size: 1, kind };
    let text = Type {
        name: String::new(),
        size: 8,
        kind: Kind::Array { element: Box::new(letter), length: 8, display: Display::Plain },
    };
    let member = |name: &str, ty| Field { name: name.to_owned(), ty, bit_offset: 0, bit_size: 0 };
    let fields = vec![member("word", unsigned(4)), member("byte", unsigned(1))];
    let kind = Kind::Record { is_union: true, fields };
    let union = Type { name: "union u".to_owned(), size: 4, kind };
    let pointer = Type { name: String::new(), size: 8, kind: Kind::Pointer };
    record(
        "struct mixed",
        &[("hits", unsigned(4)), ("u", union), ("comm", text), ("task", pointer)],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_sum_is_shown_for_each_cpu() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let new = NewMap::new("mixed", MapType::PercpuHash).key(unsigned(4)).value(mixed());
    let cpus = new.make(&client).await.value_stride as usize / 24;
    let each: Vec<Value> = (0..cpus)
        .map(|cpu| {
            let comm = format!("cpu{cpu}");
            json!({"hits": u32::MAX, "u": {"word": cpu, "byte": cpu}, "comm": comm, "task": "0x1"})
        })
        .collect();
    client.maps().update("mixed", json!(7), json!(each), UpdateMode::Any).await.unwrap();
    let names: Vec<_> = (0..cpus).map(|cpu| format!("cpu{cpu}")).collect();
    let unions: Vec<_> = (0..cpus).map(|cpu| json!({"word": cpu, "byte": cpu})).collect();
    let expected = json!({
        "hits": (u64::from(u32::MAX) * cpus as u64).to_string(),
        "u": unions, "comm": names, "task": vec!["0x1"; cpus],
    });
    let found = client.maps().lookup_typed("mixed", json!(7), CpuMode::Sum).await.unwrap();
    assert_eq!(found, expected);
    let cli = |arguments: &[&str]| agent.cli(arguments).ok();
    let found = cli(&["-o", "json", "map", "lookup", "mixed", "7"]).json();
    assert_eq!(found, json!({"key": 7, "value": expected}));
    for format in ["table", "csv", "json", "jsonl", "bpftool"] {
        for command in [&["map", "dump", "mixed"][..], &["map", "lookup", "mixed", "7"]] {
            let printed = cli(&[&["-o", format], command].concat()).stdout;
            assert!(printed.contains("cpu0") || format == "bpftool", "{format}: {printed}");
        }
    }

    // With nothing to add, each CPU has a row of its own, which can be restored.
    let text = NewMap::new("plain", MapType::PercpuHash).sizes(4, 3);
    text.make(&client).await;
    client.maps().update("plain", [1, 0, 0, 0], [1, 2, 3], UpdateMode::Any).await.unwrap();
    let dump = cli(&["-o", "jsonl", "map", "dump", "plain"]).stdout;
    assert_eq!(dump.lines().count(), cpus, "{dump}");
    assert!(dump.contains(r#""cpu":0,"value":"hex:010203""#), "{dump}");
}
