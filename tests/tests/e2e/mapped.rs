//! Arrays that the agent reads through memory shared with the kernel: nobody can tell, except that
//! it says so.

use bpfgate_client::v1::MapType;
use bpfgate_client::{Code, CpuMode, EntryBatch, IterateOptions, UpdateMode, v1};
use bpfgate_tests::{Agent, NewMap, bpftool, refused};

const BPF_F_MMAPABLE: u32 = 1 << 10;

fn mappable(name: &str, value_size: u32, entries: u32) -> NewMap {
    NewMap::array(name).sizes(4, value_size).entries(entries).flags(BPF_F_MMAPABLE)
}

fn says_mmap(map: &v1::Map) -> bool {
    map.capabilities.unwrap().mmap
}

/// How many mappings of maps the agent has.
fn mappings(agent: &Agent) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", agent.pid())).unwrap();
    let ours = |line: &&str| line.contains("bpf-map") || line.contains("bpf_map");
    let lines: Vec<_> = maps.lines().filter(ours).collect();
    // One that could be written would forbid the freeze.
    assert!(lines.iter().all(|line| line.contains(" r--s ")), "{lines:?}");
    lines.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_through_shared_memory_is_what_bpftool_reads() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    // Sizes that the kernel pads, and values of more than a page.
    for value_size in [1_u32, 5, 8, 12, 4100] {
        let (name, count) = (format!("v{value_size}"), 5000_u32.min(100_000 / value_size));
        let map = mappable(&name, value_size, count).make(&client).await;
        assert!(says_mmap(&map), "{name}");
        let value = |index: u32| -> Vec<u8> {
            (0..value_size).map(|at| (index * 7 + at * 3).to_le_bytes()[0]).collect()
        };
        let all: EntryBatch = (0..count).map(|n| (n.to_ne_bytes(), value(n))).collect();
        let wrote = maps.update_batch(&name, all, UpdateMode::Any).await.unwrap();
        assert_eq!(wrote, u64::from(count));

        let theirs = bpftool::dump(map.id);
        let options = IterateOptions { batch_entries: 777, ..IterateOptions::default() };
        let mut stream = maps.iterate(&name, options).await.unwrap();
        let mut ours = Vec::new();
        while let Some(chunk) = stream.next_chunk().await.unwrap() {
            let entry = |(key, value): (&[u8], &[u8])| (key.to_vec(), vec![value.to_vec()]);
            ours.extend(chunk.iter().map(entry));
        }
        ours.sort();
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let same = ours
            .iter()
            .zip(&theirs)
            .all(|(our, their)| (&our.0, &our.1) == (&their.key, &their.values));
        assert!(same, "{name}: the reads differ");

        for index in [0, 1, count - 1] {
            let key = index.to_ne_bytes();
            let one = maps.lookup(&name, key, CpuMode::Each).await.unwrap();
            assert_eq!(one, value(index), "{name}[{index}]");
        }
        let ask = [count - 1, count, 3].map(u32::to_ne_bytes).concat();
        let found = maps.lookup_batch(&name, ask, CpuMode::Sum).await.unwrap();
        assert_eq!(found.get(0).unwrap(), value(count - 1));
        assert_eq!((found.get(1), found.get(2)), (None, Some(&value(3)[..])));
        let past = maps.lookup(&name, count.to_ne_bytes(), CpuMode::Each).await;
        refused(past, Code::OutOfRange, &[&name]);
    }
    assert_eq!(mappings(&agent), 5);
    for value_size in [1, 5, 8, 12, 4100] {
        maps.delete(&format!("v{value_size}")).await.unwrap();
    }
    agent.assert_only_baseline();
    assert_eq!(mappings(&agent), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_writes_are_seen_at_once() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = mappable("m", 8, 4).make(&client).await;
    for number in 1..4_u64 {
        bpftool::update(map.id, &[2, 0, 0, 0], &number.to_ne_bytes(), "any");
        let read = client.maps().lookup("m", [2, 0, 0, 0], CpuMode::Each).await.unwrap();
        assert_eq!(read, number.to_ne_bytes()[..]);
    }
    assert_eq!(mappings(&agent), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_is_read_so_can_be_frozen() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    mappable("m", 8, 4).make(&client).await;
    maps.update("m", [1, 0, 0, 0], 7_u64.to_ne_bytes(), UpdateMode::Any).await.unwrap();
    maps.lookup("m", [1, 0, 0, 0], CpuMode::Each).await.unwrap();
    assert_eq!(mappings(&agent), 1);
    maps.freeze("m").await.unwrap();
    assert!(maps.get("m").await.unwrap().frozen);
    let late = maps.update("m", [1, 0, 0, 0], [0; 8], UpdateMode::Any).await;
    refused(late, Code::FailedPrecondition, &["m", "frozen"]);
    let read = maps.lookup("m", [1, 0, 0, 0], CpuMode::Each).await.unwrap();
    assert_eq!(read, 7_u64.to_ne_bytes()[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_never_half_old_and_half_new() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    mappable("m", 16, 512).make(&client).await;
    let writer = tokio::spawn({
        let maps = client.maps();
        async move {
            let all = |byte: u8| -> EntryBatch {
                (0..512_u32).map(|n| (n.to_ne_bytes(), [byte; 16])).collect()
            };
            for byte in [0xff, 0].into_iter().cycle() {
                maps.update_batch("m", all(byte), UpdateMode::Any).await.unwrap();
            }
        }
    });
    for _ in 0..200 {
        let mut stream = client.maps().iterate("m", IterateOptions::default()).await.unwrap();
        while let Some(chunk) = stream.next_chunk().await.unwrap() {
            for word in chunk.packed_values().chunks(8) {
                let word = u64::from_ne_bytes(word.try_into().unwrap());
                assert!(word == 0 || word == u64::MAX, "{word:x}");
            }
        }
    }
    writer.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_arrays_made_for_it_and_within_the_limit_are_read_so() {
    let agent = Agent::builder().config("[limits]\nmax_mapped_bytes = 65536\n").spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let plain = NewMap::array("plain").make(&client).await;
    let hash = NewMap::new("hash", MapType::Hash).make(&client).await;
    let large = mappable("large", 8, 8193).make(&client).await;
    let small = mappable("small", 8, 8192).make(&client).await;
    assert_eq!([&plain, &hash, &large, &small].map(says_mmap), [false, false, false, true]);
    for map in [&plain, &hash, &large, &small] {
        let name = map.name.as_str();
        let value = u64::from(map.id).to_ne_bytes();
        maps.update(name, [3, 0, 0, 0], value, UpdateMode::Any).await.unwrap();
        assert_eq!(maps.lookup(name, [3, 0, 0, 0], CpuMode::Each).await.unwrap(), value[..]);
        let found = maps.lookup_batch(name, vec![3, 0, 0, 0], CpuMode::Each).await.unwrap();
        assert_eq!(found.get(0).unwrap(), value);
    }
    assert_eq!(mappings(&agent), 1);
    // A resume token means the same however the map is read.
    let first = IterateOptions { limit: Some(5000), ..IterateOptions::default() };
    let mut stream = maps.iterate("small", first).await.unwrap();
    while stream.next_chunk().await.unwrap().is_some() {}
    let resume_token = stream.end().unwrap().resume_token.clone();
    let rest = IterateOptions { resume_token, ..IterateOptions::default() };
    let mut stream = maps.iterate("small", rest).await.unwrap();
    let chunk = stream.next_chunk().await.unwrap().unwrap();
    assert_eq!(chunk.iter().next().unwrap().0, 5000_u32.to_ne_bytes());
    while stream.next_chunk().await.unwrap().is_some() {}
    assert_eq!(stream.end().unwrap().entries, 8192 - 5000);
}
