//! Whole maps: every entry once, in parts, up to a limit, and on from where a read stopped.

use std::collections::BTreeMap;

use bpfgate_client::v1::MapType;
use bpfgate_client::v1::iterate_end::Reason;
use bpfgate_client::{Client, CpuMode, Entries, EntryParts, IterateOptions, UpdateMode, v1};
use bpfgate_tests::fixture::{BPF_F_NO_PREALLOC, unsigned};
use bpfgate_tests::{Agent, NewMap};

/// What came out of a map: key and value of each entry, in the order in which they came.
struct Read {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    chunks: Vec<usize>,
    end: v1::IterateEnd,
}

async fn read_all(mut stream: Entries) -> Read {
    let (mut entries, mut chunks) = (Vec::new(), Vec::new());
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        chunks.push(chunk.len());
        entries.extend(chunk.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
    }
    Read { entries, chunks, end: stream.end().unwrap().clone() }
}

async fn iterate(client: &Client, map: &str, options: IterateOptions) -> Read {
    read_all(client.maps().iterate(map, options).await.unwrap()).await
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_ne_bytes(bytes.try_into().unwrap())
}

/// The keys 0, 1, … with ten times themselves as their values.
async fn fill(client: &Client, map: &str, count: u32) {
    let maps = client.maps();
    for key in 0..count {
        let value = (u64::from(key) * 10).to_ne_bytes();
        maps.update(map, key.to_ne_bytes(), value, UpdateMode::Any).await.unwrap();
    }
}

fn want(count: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let entry = |key: u32| (key.to_ne_bytes().into(), (u64::from(key) * 10).to_ne_bytes().into());
    (0..count).map(entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_comes_once() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let kinds = [("hash", MapType::Hash), ("array", MapType::Array), ("lru", MapType::LruHash)];
    for (name, kind) in kinds {
        let room = if kind == MapType::LruHash { 4096 } else { 300 };
        let map = NewMap::new(name, kind).entries(room).make(&client).await;
        fill(&client, name, 300).await;
        let stream = client.maps().iterate(name, IterateOptions::default()).await.unwrap();
        assert_eq!(stream.map_id(), map.id);
        assert_eq!((stream.key_stride(), stream.value_stride()), (4, 8));
        let Read { entries, end, .. } = read_all(stream).await;
        assert_eq!(entries.len(), 300, "{name}");
        assert_eq!(entries.into_iter().collect::<BTreeMap<_, _>>(), want(300), "{name}");
        assert_eq!((end.reason(), end.entries), (Reason::Complete, 300));
        assert!(end.resume_token.is_empty());
    }
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_map_has_an_end() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for (name, kind) in [("hash", MapType::Hash), ("trie", MapType::LpmTrie)] {
        NewMap::new(name, kind).make(&client).await;
        let Read { entries, end, .. } = iterate(&client, name, IterateOptions::default()).await;
        assert!(entries.is_empty());
        assert_eq!((end.reason(), end.entries), (Reason::Complete, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trie_gives_its_prefixes() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::new("trie", MapType::LpmTrie).entries(1000).make(&client).await;
    let mut want = BTreeMap::new();
    for number in 0..200_u8 {
        let key = [24_u32.to_ne_bytes(), [10, 0, number, 0]].concat();
        let value = u64::from(number).to_ne_bytes();
        client.maps().update("trie", key.clone(), value, UpdateMode::Any).await.unwrap();
        want.insert(key, value.to_vec());
    }
    let options = IterateOptions { batch_entries: 7, ..IterateOptions::default() };
    let Read { entries, .. } = iterate(&client, "trie", options).await;
    assert_eq!(entries.len(), 200);
    assert_eq!(entries.into_iter().collect::<BTreeMap<_, _>>(), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_or_values_come_alone() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("m").entries(64).make(&client).await;
    fill(&client, "m", 50).await;
    let with = |parts| IterateOptions { parts, ..IterateOptions::default() };

    let keys = client.maps().iterate("m", with(EntryParts::Keys)).await.unwrap();
    assert_eq!((keys.key_stride(), keys.value_stride()), (4, 0));
    let mut keys = read_all(keys).await.entries;
    keys.sort();
    assert!(keys.iter().all(|(_, value)| value.is_empty()));
    assert_eq!(keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), {
        want(50).into_keys().collect::<Vec<_>>()
    });

    let values = client.maps().iterate("m", with(EntryParts::Values)).await.unwrap();
    assert_eq!((values.key_stride(), values.value_stride()), (0, 8));
    let values = read_all(values).await.entries;
    assert!(values.iter().all(|(key, _)| key.is_empty()));
    let mut values: Vec<u64> = values.iter().map(|(_, value)| word(value)).collect();
    values.sort_unstable();
    assert_eq!(values, (0..50).map(|key| key * 10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn per_cpu_values_come_each_or_summed() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let possible = client.agent().get().await.unwrap().possible_cpus;
    let cpus = possible as usize;
    let kinds = [
        ("array", MapType::PercpuArray),
        ("hash", MapType::PercpuHash),
        ("lru", MapType::LruPercpuHash),
    ];
    for (name, kind) in kinds {
        NewMap::new(name, kind).entries(64).value(unsigned(4)).make(&client).await;
        let count = 16_u32;
        for key in 0..count {
            let each: Vec<u8> = (0..cpus)
                .flat_map(|cpu| (u64::from(key) * 100 + cpu as u64).to_ne_bytes())
                .collect();
            let key = key.to_ne_bytes();
            client.maps().update(name, key, each, UpdateMode::Any).await.unwrap();
        }
        let with = |cpu| IterateOptions { cpu, wide_sums: true, ..IterateOptions::default() };
        let stream = client.maps().iterate(name, with(CpuMode::Each)).await.unwrap();
        assert_eq!(stream.value_stride(), 8 * cpus);
        for (key, value) in read_all(stream).await.entries {
            let key = u64::from(u32::from_ne_bytes(key.try_into().unwrap()));
            let first = if key < u64::from(count) { key * 100 } else { continue };
            let each: Vec<u64> = value.chunks(8).map(word).collect();
            let want: Vec<u64> = (0..cpus as u64).map(|cpu| first + cpu).collect();
            assert_eq!(each, want, "{name}");
        }
        let stream = client.maps().iterate(name, with(CpuMode::Sum)).await.unwrap();
        // Wider than the value itself, which has 4.
        assert_eq!(stream.value_stride(), 8);
        let extra: u32 = (0..possible).sum();
        let mut seen = 0;
        for (key, value) in read_all(stream).await.entries {
            let key = u32::from_ne_bytes(key.try_into().unwrap());
            let sum = u64::from_ne_bytes(value.try_into().unwrap());
            if key < count {
                assert_eq!(sum, u64::from(key * 100 * possible + extra), "{name} key {key}");
                seen += 1;
            }
        }
        assert_eq!(seen, count, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_exact_and_its_token_goes_on_behind_it() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for (name, kind) in [("hash", MapType::Hash), ("array", MapType::Array)] {
        NewMap::new(name, kind).entries(500).make(&client).await;
        fill(&client, name, 500).await;
        for step in [1, 7, 64, 499] {
            let mut all = Vec::new();
            let mut resume_token = bytes::Bytes::new();
            loop {
                let options =
                    IterateOptions { limit: Some(step), resume_token, ..Default::default() };
                let Read { entries, end, .. } = iterate(&client, name, options).await;
                let count = entries.len() as u64;
                all.extend(entries);
                assert_eq!(end.entries, count);
                if end.reason() == Reason::Complete {
                    assert!(end.resume_token.is_empty() && count <= step);
                    break;
                }
                assert_eq!((end.reason(), count), (Reason::Limit, step), "{name}");
                assert!(!end.resume_token.is_empty());
                resume_token = end.resume_token;
            }
            assert_eq!(all.len(), 500, "{name} by {step}");
            assert_eq!(all.into_iter().collect::<BTreeMap<_, _>>(), want(500), "{name} by {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_chunks_token_goes_on_behind_that_chunk() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("m").entries(1000).make(&client).await;
    fill(&client, "m", 1000).await;
    let options = IterateOptions { batch_entries: 100, ..IterateOptions::default() };
    let mut stream = client.maps().iterate("m", options).await.unwrap();
    let (mut first, mut token) = (BTreeMap::new(), bytes::Bytes::new());
    for _ in 0..3 {
        let chunk = stream.next_chunk().await.unwrap().unwrap();
        first.extend(chunk.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
        token = chunk.resume_token().clone();
    }
    drop(stream);
    let sent = first.len();
    let rest = IterateOptions { resume_token: token, ..IterateOptions::default() };
    let Read { entries, end, .. } = iterate(&client, "m", rest).await;
    assert_eq!(end.reason(), Reason::Complete);
    assert_eq!(entries.len() + sent, 1000);
    first.extend(entries);
    assert_eq!(first, want(1000));
    client.maps().delete("m").await.unwrap();
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_as_large_as_asked() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::array("m").entries(1000).make(&client).await;
    for (batch_entries, most, chunks) in [(1, 1, 1000), (300, 300, 4), (0, 4096, 1)] {
        let options = IterateOptions { batch_entries, ..IterateOptions::default() };
        let read = iterate(&client, "m", options).await;
        assert_eq!(read.entries.len(), 1000);
        assert!(read.chunks.iter().all(|&len| len <= most), "{:?}", read.chunks);
        assert_eq!(read.chunks.len(), chunks, "{:?}", read.chunks);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_larger_than_a_chunk_come_whole() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let size: usize = 3 << 20;
    NewMap::hash("m").sizes(4, 3 << 20).entries(32).flags(BPF_F_NO_PREALLOC).make(&client).await;
    // Some share a bucket, and all together are more than one message may carry.
    for key in 1..=12_u8 {
        let value = vec![key; size];
        client.maps().update("m", [key, 0, 0, 0], value, UpdateMode::Any).await.unwrap();
    }
    let Read { mut entries, .. } = iterate(&client, "m", IterateOptions::default()).await;
    entries.sort();
    assert_eq!(entries.len(), 12);
    for (key, value) in entries {
        assert!(value.len() == size && value.iter().all(|&byte| byte == key[0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_stay_put_come_once_while_others_come_and_go() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("m").entries(4000).make(&client).await;
    fill(&client, "m", 2000).await;
    let churn = tokio::spawn({
        let maps = client.maps();
        async move {
            for key in (2000..4000_u32).cycle() {
                let key = key.to_ne_bytes();
                maps.update("m", key, 0_u64.to_ne_bytes(), UpdateMode::Any).await.unwrap();
                maps.delete_entry("m", key).await.unwrap();
            }
        }
    });
    for _ in 0..20 {
        let options = IterateOptions { batch_entries: 128, ..IterateOptions::default() };
        let Read { entries, .. } = iterate(&client, "m", options).await;
        let mut still: Vec<u32> = entries
            .into_iter()
            .map(|(key, _)| u32::from_ne_bytes(key.try_into().unwrap()))
            .collect();
        still.retain(|&key| key < 2000);
        still.sort_unstable();
        assert_eq!(still, (0..2000).collect::<Vec<_>>());
    }
    churn.abort();
}
