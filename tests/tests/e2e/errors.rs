//! The error table, for operations on maps: rows that no other test has, and that one answer is
//! given by every operation that can meet its cause.

use bpfgate_client::v1::{MapSpec, MapType};
use bpfgate_client::{Client, Code, CpuMode, Error, IterateOptions, UpdateMode};
use bpfgate_tests::calls::load;
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, elf, refused};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_the_kernel_does_not_have_is_exhausted() {
    let limits = "max_map_bytes = 1125899906842624\nmax_kernel_bytes = 1125899906842624\n";
    let agent = Agent::builder().config(format!("[limits]\n{limits}")).spawn();
    let client = agent.client().await;
    // A tebibyte: more than there is, and refused without an attempt to find it.
    let huge = NewMap::array("huge").sizes(4, 1 << 30).entries(1024);
    let error = client.maps().create(huge.request()).await;
    let error = refused(error, Code::ResourceExhausted, &["map huge", "memory"]);
    assert_eq!(error.reason.as_deref(), Some("KERNEL_RESOURCES"));
    assert_eq!(error.metadata["errno"], "12");
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_beyond_the_limit_are_refused() {
    let agent = Agent::builder().config("[limits]\nmax_streams = 1\n").spawn();
    let client = agent.client().await;
    let maps = client.maps();
    // More than the connection takes in while nobody reads.
    NewMap::array("large").sizes(4, 1024).entries(65_536).make(&client).await;
    let first = maps.iterate("large", IterateOptions::default()).await.unwrap();
    // On a connection of its own: the first one's is full of what nobody reads.
    let other = agent.client().await;
    let maps = other.maps();
    let second = maps.iterate("large", IterateOptions::default()).await;
    let error = refused(second, Code::ResourceExhausted, &["limit of 1 streams"]);
    assert_eq!(error.reason.as_deref(), Some("LIMIT_REACHED"));
    drop(first);
    let mut again = maps.iterate("large", IterateOptions::default()).await;
    for _ in 0..500 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        again = maps.iterate("large", IterateOptions::default()).await;
    }
    again.unwrap();
}

/// Values of these types are the numbers of descriptors to the kernel.
async fn references(client: &Client) -> Vec<String> {
    let array = MapSpec {
        r#type: MapType::Array.into(),
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        ..MapSpec::default()
    };
    let kinds = [
        MapType::ProgArray,
        MapType::CgroupArray,
        MapType::ArrayOfMaps,
        MapType::HashOfMaps,
        MapType::Devmap,
        MapType::DevmapHash,
        MapType::Sockmap,
        MapType::Sockhash,
        MapType::Cpumap,
        MapType::Xskmap,
        MapType::ReuseportSockarray,
    ];
    let mut names = Vec::new();
    for (number, kind) in kinds.into_iter().enumerate() {
        let new = NewMap::new(&format!("r{number}"), kind).sizes(4, 4).entries(2);
        let of_maps = matches!(kind, MapType::ArrayOfMaps | MapType::HashOfMaps);
        let new = if of_maps { new.inner(array.clone()) } else { new };
        names.push(new.make(client).await.name);
    }
    names
}

fn is_refused<T: std::fmt::Debug>(answer: Result<T, Error>, map: &str, what: &str) {
    let error = refused(answer, Code::FailedPrecondition, &[map, what]);
    assert_eq!(error.reason.as_deref(), Some("NEEDS_REFERENCE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_never_name_the_agents_own_descriptors() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for name in references(&client).await {
        // Low numbers are descriptors that the agent is sure to have.
        for number in 0..16_u32 {
            let value = number.to_ne_bytes();
            is_refused(maps.update(&name, [0; 4], value, UpdateMode::Any).await, &name, "value");
        }
    }
    load(&client, "special", elf::SPECIAL).await;
    for name in ["sk_storage", "inode_storage", "task_storage", "cgrp_storage"] {
        let name = format!("special/{name}");
        for number in 0..16_u32 {
            let key = number.to_ne_bytes();
            is_refused(maps.lookup(&name, key, CpuMode::Each).await, &name, "key");
            is_refused(maps.update(&name, key, [0; 8], UpdateMode::Any).await, &name, "key");
            is_refused(maps.delete_entry(&name, key).await, &name, "key");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_data_that_does_not_fit_is_named_by_every_operation() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let key = record("struct k", &[("port", unsigned(2)), ("zone", unsigned(2))]);
    NewMap::hash("typed").key(key).value(unsigned(1)).make(&client).await;
    for (key, problem) in [
        (json!({"port": 65_536, "zone": 0}), "port"),
        (json!({"port": 1}), "zone"),
        (json!({"port": 1, "zone": 2, "vlan": 3}), "vlan"),
        (json!({"port": -1, "zone": 2}), "port"),
        (json!({"port": 1, "zone": 1.5}), "zone"),
        (json!([1, 2, 3]), "key"),
        (Value::Null, "key"),
    ] {
        let parts = ["key does not fit map typed", problem];
        let answers = [
            maps.lookup("typed", key.clone(), CpuMode::Each).await.err(),
            maps.lookup_and_delete("typed", key.clone(), CpuMode::Each).await.err(),
            maps.update("typed", key.clone(), json!(1), UpdateMode::Any).await.err(),
            maps.delete_entry("typed", key.clone()).await.err(),
        ];
        for error in answers {
            let error = refused(error.map_or(Ok(()), Err), Code::InvalidArgument, &parts);
            assert_eq!(error.reason.as_deref(), Some("BAD_TYPED_VALUE"));
            assert_eq!(error.field_violations[0].field, "key");
        }
    }
    for (name, kind) in [("queue", MapType::Queue), ("bloom", MapType::BloomFilter)] {
        NewMap::new(name, kind).sizes(0, 1).value(unsigned(1)).make(&client).await;
        for value in [json!(256), json!("x"), json!([1, 2]), json!({"a": 1})] {
            let pushed = maps.push(name, value.clone()).await;
            refused(pushed, Code::InvalidArgument, &["value does not fit map", name]);
        }
    }
    let asked = maps.may_contain("bloom", json!(-1)).await;
    refused(asked, Code::InvalidArgument, &["value does not fit map bloom"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_is_not_there_is_not_found_by_any_operation() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let (each, any) = (CpuMode::Each, UpdateMode::Any);
    for (name, code) in [("absent", Code::NotFound), ("a b", Code::InvalidArgument)] {
        let answers = [
            maps.get(name).await.err(),
            maps.lookup(name, [0; 4], each).await.err(),
            maps.update(name, [0; 4], [0; 8], any).await.err(),
            maps.delete_entry(name, [0; 4]).await.err(),
            maps.lookup_and_delete(name, [0; 4], each).await.err(),
            maps.push(name, [0; 8]).await.err(),
            maps.pop(name).await.err(),
            maps.peek(name).await.err(),
            maps.freeze(name).await.err(),
            maps.pin(name, "pin").await.err(),
            maps.iterate(name, IterateOptions::default()).await.err(),
            maps.delete(name).await.err(),
        ];
        for error in answers {
            refused(
                error.map_or(Ok(()), Err),
                code,
                &[if name == "absent" { name } else { "' '" }],
            );
        }
    }
}
