//! Entries one at a time: looked up, written and removed, raw and typed, on one CPU and on all.

use bpfgate_client::v1::MapType;
use bpfgate_client::{Client, Code, CpuMode, Layout, UpdateMode};
use bpfgate_tests::fixture::{ipv4, record, signed, unsigned};
use bpfgate_tests::{Agent, NewMap, refused};
use serde_json::json;

const SINGLE: [MapType; 4] = [MapType::Hash, MapType::LruHash, MapType::LpmTrie, MapType::Array];
const PER_CPU: [MapType; 3] = [MapType::PercpuArray, MapType::PercpuHash, MapType::LruPercpuHash];

/// Key 3 of a map of that type.
fn key(kind: MapType) -> Vec<u8> {
    // An LPM key is the prefix's length in bits, then the data.
    let prefix: &[u32] = if kind == MapType::LpmTrie { &[32] } else { &[] };
    prefix.iter().chain(&[3]).flat_map(|word| word.to_ne_bytes()).collect()
}

async fn cpus(client: &Client) -> usize {
    client.agent().get().await.unwrap().possible_cpus as usize
}

fn words(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_read_until_it_is_deleted() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for kind in SINGLE {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_");
        NewMap::new(name, kind).make(&client).await;
        let key = key(kind);
        if kind == MapType::Array {
            let zero = maps.lookup(name, key.clone(), CpuMode::Each).await.unwrap();
            assert_eq!(words(&zero), [0]);
        } else {
            let missing = maps.lookup(name, key.clone(), CpuMode::Each).await;
            let error = refused(missing, Code::NotFound, &[name, "no entry with that key"]);
            assert_eq!(error.reason.as_deref(), Some("NO_SUCH_KEY"));
        }
        for number in [7_u64, u64::MAX] {
            let value = number.to_ne_bytes();
            maps.update(name, key.clone(), value, UpdateMode::Any).await.unwrap();
            // A map that is not per-CPU has only itself to sum.
            for cpu in [CpuMode::Each, CpuMode::Sum, CpuMode::Unspecified] {
                let read = maps.lookup(name, key.clone(), cpu).await.unwrap();
                assert_eq!(words(&read), [number], "{name}");
            }
        }
        if kind == MapType::Array {
            continue;
        }
        maps.delete_entry(name, key.clone()).await.unwrap();
        refused(maps.lookup(name, key.clone(), CpuMode::Each).await, Code::NotFound, &[name]);
        refused(maps.delete_entry(name, key).await, Code::NotFound, &[name]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_minds_whether_the_entry_is_there() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let one = 1_u64.to_ne_bytes();
    for kind in [MapType::Hash, MapType::LruHash, MapType::PercpuHash] {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_");
        NewMap::new(name, kind).make(&client).await;
        let absent = maps.update(name, [9; 4], one, UpdateMode::Exist).await;
        refused(absent, Code::NotFound, &[name, "no entry with that key"]);
        maps.update(name, [9; 4], one, UpdateMode::Noexist).await.unwrap();
        let there = maps.update(name, [9; 4], one, UpdateMode::Noexist).await;
        let error = refused(there, Code::AlreadyExists, &[name, "already"]);
        assert_eq!(error.reason.as_deref(), Some("KEY_EXISTS"));
        maps.update(name, [9; 4], one, UpdateMode::Exist).await.unwrap();
    }
    // Every index of an array is always there.
    NewMap::array("array").make(&client).await;
    let there = maps.update("array", [0; 4], one, UpdateMode::Noexist).await;
    refused(there, Code::AlreadyExists, &["array"]);
    maps.update("array", [0; 4], one, UpdateMode::Exist).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_past_the_end_is_out_of_range() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for (name, kind) in [("array", MapType::Array), ("percpu", MapType::PercpuArray)] {
        NewMap::new(name, kind).entries(4).make(&client).await;
        maps.lookup(name, 3_u32.to_ne_bytes(), CpuMode::Each).await.unwrap();
        for index in [4_u32, u32::MAX] {
            let key = index.to_ne_bytes();
            let parts = [name, &index.to_string(), "4 entries"];
            let read = maps.lookup(name, key, CpuMode::Each).await;
            refused(read, Code::OutOfRange, &parts);
            let written = maps.update(name, key, [0; 8], UpdateMode::Any).await;
            let error = refused(written, Code::OutOfRange, &parts);
            assert_eq!(error.metadata["max_entries"], "4");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_map_says_so_and_an_lru_makes_room() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for kind in [MapType::Hash, MapType::LpmTrie] {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_");
        let map = NewMap::new(name, kind).entries(2).make(&client).await;
        let size = map.spec.unwrap().key_size as usize;
        let key = |number: u8| {
            let mut key = vec![number; size];
            if size == 8 {
                key[..4].copy_from_slice(&32_u32.to_ne_bytes());
            }
            key
        };
        for number in 0..2 {
            maps.update(name, key(number), [0; 8], UpdateMode::Any).await.unwrap();
        }
        let more = maps.update(name, key(2), [0; 8], UpdateMode::Any).await;
        let error = refused(more, Code::ResourceExhausted, &[name, "full", "2 entries"]);
        assert_eq!(error.reason.as_deref(), Some("MAP_FULL"));
        // What is there can still be replaced.
        maps.update(name, key(1), [1; 8], UpdateMode::Any).await.unwrap();
    }
    NewMap::new("lru", MapType::LruHash).make(&client).await;
    for number in 0_u32..1000 {
        maps.update("lru", number.to_ne_bytes(), [0; 8], UpdateMode::Any).await.unwrap();
    }
    maps.lookup("lru", 999_u32.to_ne_bytes(), CpuMode::Each).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_value_goes_to_every_cpu_and_a_list_to_each() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let (maps, cpus) = (client.maps(), cpus(&client).await);
    for kind in PER_CPU {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_");
        NewMap::new(name, kind).make(&client).await;
        let key = key(kind);
        maps.update(name, key.clone(), 5_u64.to_ne_bytes(), UpdateMode::Any).await.unwrap();
        let each = maps.lookup(name, key.clone(), CpuMode::Each).await.unwrap();
        assert_eq!(words(&each), vec![5; cpus], "{name}");
        let sum = maps.lookup(name, key.clone(), CpuMode::Sum).await.unwrap();
        assert_eq!(words(&sum), [5 * cpus as u64], "{name}");

        let numbers: Vec<u64> = (0..cpus as u64).map(|cpu| 1000 + cpu).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        maps.update(name, key.clone(), bytes, UpdateMode::Any).await.unwrap();
        let each = maps.lookup(name, key.clone(), CpuMode::Each).await.unwrap();
        assert_eq!(words(&each), numbers, "{name}");
        let sum = maps.lookup(name, key, CpuMode::Sum).await.unwrap();
        assert_eq!(words(&sum), [numbers.iter().sum::<u64>()], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_has_64_bits_and_says_so() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let (maps, cpus) = (client.maps(), cpus(&client).await);
    let value = record("struct v", &[("small", unsigned(1)), ("wide", unsigned(4))]);
    let unaligned = NewMap::new("v", MapType::PercpuArray).value(value).make(&client).await;
    assert_eq!(unaligned.value_stride as usize, 8 * cpus);
    let one = json!({"small": 255, "wide": 7});
    maps.update("v", [0; 4], one, UpdateMode::Any).await.unwrap();
    let sum = maps.lookup_typed("v", [0; 4], CpuMode::Sum).await.unwrap();
    let text = |number: usize| number.to_string();
    assert_eq!(sum, json!({"small": text(255 * cpus), "wide": text(7 * cpus)}));
    let raw = maps.lookup("v", [0; 4], CpuMode::Sum).await;
    let error = refused(raw, Code::FailedPrecondition, &["small", "wide_sums"]);
    assert_eq!(error.reason.as_deref(), Some("WIDE_SUM"));
    let raw = maps.wide_sums().lookup("v", [0; 4], CpuMode::Sum).await.unwrap();
    let layout = Layout::of(&maps.get("v").await.unwrap()).unwrap();
    assert_eq!(layout.sum.decode(&raw).unwrap(), sum);

    NewMap::new("text", MapType::PercpuArray).value(ipv4()).make(&client).await;
    let listed = maps.lookup_typed("text", [0; 4], CpuMode::Sum).await.unwrap();
    assert_eq!(listed, json!(vec!["0.0.0.0"; cpus]));
    assert!(!Layout::of(&maps.get("text").await.unwrap()).unwrap().adds);
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_keys_and_values_follow_the_layout() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let flow = record("struct flow", &[("saddr", ipv4()), ("dport", unsigned(4))]);
    let count = record("struct count", &[("bytes", unsigned(8)), ("balance", signed(8))]);
    NewMap::hash("flows").key(flow).value(count).make(&client).await;

    let key = json!({"saddr": "10.0.0.1", "dport": 443});
    let value = json!({"bytes": "18446744073709551615", "balance": "-5"});
    maps.update("flows", key.clone(), value.clone(), UpdateMode::Any).await.unwrap();
    assert_eq!(maps.lookup_typed("flows", key.clone(), CpuMode::Each).await.unwrap(), value);

    let raw_key = [&[10, 0, 0, 1][..], &443_u32.to_ne_bytes()].concat();
    let raw = maps.lookup("flows", raw_key.clone(), CpuMode::Each).await.unwrap();
    assert_eq!(words(&raw), [u64::MAX, (-5_i64).cast_unsigned()]);
    // Raw and typed mix.
    assert_eq!(maps.lookup_typed("flows", raw_key, CpuMode::Each).await.unwrap(), value);
    maps.delete_entry("flows", key.clone()).await.unwrap();
    refused(maps.lookup_typed("flows", key, CpuMode::Each).await, Code::NotFound, &["flows"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_values_of_a_per_cpu_map_are_a_list() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let (maps, cpus) = (client.maps(), cpus(&client).await);
    let map = NewMap::new("p", MapType::PercpuHash).key(unsigned(4)).value(unsigned(2));
    map.make(&client).await;
    let each: Vec<usize> = (1..=cpus).collect();
    maps.update("p", json!(7), json!(each), UpdateMode::Any).await.unwrap();
    assert_eq!(maps.lookup_typed("p", json!(7), CpuMode::Each).await.unwrap(), json!(each));
    let sum: usize = each.iter().sum();
    assert_eq!(
        maps.lookup_typed("p", json!(7), CpuMode::Sum).await.unwrap(),
        json!(sum.to_string())
    );
    maps.update("p", json!(7), json!(9), UpdateMode::Any).await.unwrap();
    let all = maps.lookup_typed("p", json!(7), CpuMode::Each).await.unwrap();
    assert_eq!(all, json!(vec![9; cpus]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_prefix_answers() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::new("routes", MapType::LpmTrie).make(&client).await;
    let route = |bits: u32, address: [u8; 4]| [bits.to_ne_bytes(), address].concat();
    for (bits, address, value) in [(8, [10, 0, 0, 0], 8_u64), (24, [10, 1, 2, 0], 24)] {
        let value = value.to_ne_bytes();
        maps.update("routes", route(bits, address), value, UpdateMode::Any).await.unwrap();
    }
    for (address, want) in [([10, 1, 2, 3], 24), ([10, 9, 9, 9], 8)] {
        let got = maps.lookup("routes", route(32, address), CpuMode::Each).await.unwrap();
        assert_eq!(words(&got), [want]);
    }
    let nowhere = maps.lookup("routes", route(32, [11, 0, 0, 1]), CpuMode::Each).await;
    refused(nowhere, Code::NotFound, &["routes"]);
}
