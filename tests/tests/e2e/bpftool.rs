//! bpftool reads what we wrote, and we read what bpftool wrote.

use bpfgate_client::v1::{Map, MapType};
use bpfgate_client::{Client, CpuMode, IterateOptions, UpdateMode};
use bpfgate_tests::bpftool::{self, Entry, PinnedMap};
use bpfgate_tests::{Agent, NewMap};

const TYPES: [MapType; 6] = [
    MapType::Array,
    MapType::Hash,
    MapType::PercpuArray,
    MapType::PercpuHash,
    MapType::LruHash,
    MapType::LruPercpuHash,
];

fn value(number: u32) -> Vec<u8> {
    (u64::from(number) << 32 | 0x00ff_10a0).to_ne_bytes().to_vec()
}

/// Every entry as we read it, in order of key.
async fn ours(client: &Client, map: &str) -> Vec<Entry> {
    let map = client.maps().get(map).await.unwrap();
    let cpus = if map.per_cpu { map.value_stride as usize / 8 } else { 1 };
    let reference = format!("id:{}", map.id);
    let mut stream = client.maps().iterate(&reference, IterateOptions::default()).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        all.extend(chunk.iter().map(|(key, value)| Entry {
            key: key.to_vec(),
            values: value.chunks(value.len() / cpus).map(Into::into).collect(),
        }));
    }
    all.sort();
    all
}

async fn each_type(client: &Client) -> Vec<Map> {
    let mut maps = Vec::new();
    for kind in TYPES {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_").to_lowercase();
        maps.push(NewMap::new(&name, kind).entries(8).make(client).await);
    }
    maps
}

#[tokio::test(flavor = "multi_thread")]
async fn bpftool_reads_what_we_wrote() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for map in each_type(&client).await {
        for number in 0..4_u32 {
            let key = number.to_ne_bytes();
            client.maps().update(&map.name, key, value(number), UpdateMode::Any).await.unwrap();
            let found = bpftool::lookup(map.id, &key).unwrap();
            assert_eq!(found.key, key, "{}", map.name);
            assert!(found.values.iter().all(|read| *read == value(number)), "{}", map.name);
            let cpus = map.value_stride as usize / 8;
            assert_eq!(found.values.len(), cpus, "{}", map.name);
        }
        assert_eq!(bpftool::dump(map.id), ours(&client, &map.name).await, "{}", map.name);
        if map.capabilities.unwrap().delete {
            client.maps().delete_entry(&map.name, 2_u32.to_ne_bytes()).await.unwrap();
            assert_eq!(bpftool::lookup(map.id, &2_u32.to_ne_bytes()), None, "{}", map.name);
            assert_eq!(bpftool::dump(map.id).len(), 3, "{}", map.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_bpftool_wrote() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for map in each_type(&client).await {
        for number in 0..4_u32 {
            let key = number.to_ne_bytes();
            bpftool::update(map.id, &key, &value(number), "any");
            let read = client.maps().lookup(&map.name, key, CpuMode::Each).await.unwrap();
            assert_eq!(read.len(), map.value_stride as usize);
            assert!(read.chunks(8).all(|one| one == value(number)), "{}", map.name);
        }
        assert_eq!(ours(&client, &map.name).await, bpftool::dump(map.id), "{}", map.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cpus_own_value_is_the_same_to_both() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for kind in [MapType::PercpuArray, MapType::PercpuHash, MapType::LruPercpuHash] {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_");
        // A value that the kernel pads to 8 bytes.
        let map = NewMap::new(name, kind).sizes(4, 5).make(&client).await;
        let cpus = map.value_stride as usize / 8;
        let each: Vec<Vec<u8>> = (1..=u8::MAX).take(cpus).map(|byte| vec![byte; 5]).collect();
        let padded: Vec<u8> = each.iter().flat_map(|one| [&one[..], &[0; 3]].concat()).collect();
        client.maps().update(name, [1, 0, 0, 0], padded, UpdateMode::Any).await.unwrap();
        assert_eq!(bpftool::lookup(map.id, &[1, 0, 0, 0]).unwrap().values, each, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_bpftool_made_is_read_by_id_and_pin() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let hash = ["type", "hash", "key", "4", "value", "8", "entries", "8", "name", "theirs"];
    let theirs = PinnedMap::create(agent.bpffs(), &hash);
    for number in 0..3_u32 {
        bpftool::update(theirs.id, &number.to_ne_bytes(), &value(number), "noexist");
    }
    for reference in [format!("id:{}", theirs.id), format!("pin:{}", theirs.file_name())] {
        let maps = client.maps();
        let read = maps.lookup(&reference, 2_u32.to_ne_bytes(), CpuMode::Each).await.unwrap();
        assert_eq!(read, value(2));
        assert_eq!(ours(&client, &reference).await, bpftool::dump(theirs.id));
    }
    agent.assert_only_baseline();
}
