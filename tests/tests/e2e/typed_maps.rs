//! Maps of Rust types: checked when they are opened, and then as easy as a `HashMap`.

use std::collections::BTreeMap;

use bpfgate_client::v1::MapType;
use bpfgate_client::{Code, TypedMapError, UpdateMode, plain};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, refused};

plain! {
    #[derive(PartialEq, Eq)]
    struct Traffic {
        packets: u64,
        bytes: u64,
    }
}

fn traffic(packets: u64) -> Traffic {
    Traffic { packets, bytes: packets * 100 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_rust_types_reads_back_what_it_was_given() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let value = record("struct traffic", &[("packets", unsigned(8)), ("bytes", unsigned(8))]);
    NewMap::hash("m").key(unsigned(4)).value(value).entries(100).make(&client).await;
    let map = client.maps().typed::<u32, Traffic>("m").await.unwrap().check_value().unwrap();

    assert_eq!(map.get(&1).await.unwrap(), None);
    assert!(!map.remove(&1).await.unwrap());
    map.insert(&1, &traffic(1)).await.unwrap();
    assert_eq!(map.get(&1).await.unwrap(), Some(traffic(1)));
    assert_eq!(map.get_per_cpu(&1).await.unwrap(), Some(vec![traffic(1)]));
    let clash = map.update(&1, &traffic(2), UpdateMode::Noexist).await;
    refused(clash, Code::AlreadyExists, &["m"]);

    let all: BTreeMap<u32, Traffic> = (1..=100).map(|n| (n, traffic(n.into()))).collect();
    assert_eq!(map.insert_all(all.clone(), UpdateMode::Any).await.unwrap(), 100);
    let mut found = BTreeMap::new();
    let mut entries = map.iter().await.unwrap();
    while let Some((key, value)) = entries.next_entry().await.unwrap() {
        assert_eq!(found.insert(key, value), None);
    }
    assert_eq!(found, all);
    assert_eq!(entries.next_entry().await.unwrap(), None);
    let full = map.insert_all([(101, traffic(0))], UpdateMode::Any).await;
    refused(full, Code::ResourceExhausted, &["m"]);

    assert!(map.remove(&100).await.unwrap());
    assert_eq!(map.get(&100).await.unwrap(), None);
    client.maps().delete("m").await.unwrap();
    refused(map.get(&1).await, Code::NotFound, &["m"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_per_cpu_map_has_a_value_for_each_cpu_and_their_sum() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let cpus = client.agent().get().await.unwrap().possible_cpus;
    // Of a size that the kernel rounds up.
    NewMap::new("m", MapType::PercpuHash).value(unsigned(4)).make(&client).await;
    let map = client.maps().typed::<[u8; 4], u32>("m").await.unwrap();
    map.insert(b"abcd", &7).await.unwrap();
    assert_eq!(map.get_per_cpu(b"abcd").await.unwrap(), Some(vec![7; cpus as usize]));
    assert_eq!(map.get_sum::<u64>(b"abcd").await.unwrap(), Some(7 * u64::from(cpus)));
    // It could be more than a u32 holds.
    refused(map.get(b"abcd").await, Code::FailedPrecondition, &["64 bits"]);
    assert!(map.get_sum::<u32>(b"abcd").await.is_err());
    let each: Vec<u32> = (1..=cpus).collect();
    map.insert_per_cpu(b"abcd", &each).await.unwrap();
    assert_eq!(map.get_per_cpu(b"abcd").await.unwrap().as_ref(), Some(&each));
    let sum = map.iter_sums::<u64>().await.unwrap().next_entry().await.unwrap();
    assert_eq!(sum, Some((*b"abcd", each.iter().map(|&number| u64::from(number)).sum())));
    assert_eq!(map.get_per_cpu(b"none").await.unwrap(), None);
    refused(map.insert_per_cpu(b"abcd", &[]).await, Code::InvalidArgument, &["m"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_do_not_fit_the_map_are_refused_when_it_is_opened() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let value = record("struct other", &[("packets", unsigned(8)), ("errors", unsigned(8))]);
    NewMap::hash("m").value(value).make(&client).await;
    let maps = client.maps();

    let said = maps.typed::<u64, Traffic>("m").await.unwrap_err().to_string();
    assert_eq!(said, "the key of map m has 4 bytes, u64 has 8");
    let said = maps.typed::<u32, u64>("m").await.unwrap_err().to_string();
    assert_eq!(said, "the value of map m has 16 bytes, u64 has 8");

    let map = maps.typed::<u32, Traffic>("m").await.unwrap();
    assert_eq!(map.about().name, "m");
    let error = map.check_value().unwrap_err();
    let TypedMapError::Fields { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "it has no field errors, which is 8 bytes at 8");
    assert!(error.to_string().ends_with("Traffic does not fit the value of map m"), "{error}");

    let missing = maps.typed::<u32, u64>("missing").await.unwrap_err();
    assert!(matches!(missing, TypedMapError::Client(_)), "{missing:?}");
}
