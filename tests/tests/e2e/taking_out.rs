//! Entries read and removed in one step, and maps that nobody may write any more.

use std::collections::BTreeSet;

use bpfgate_client::v1::MapType;
use bpfgate_client::{Code, CpuMode, UpdateMode};
use bpfgate_tests::fixture::unsigned;
use bpfgate_tests::{Agent, NewMap, bpftool, refused};
use serde_json::json;

const KINDS: [(MapType, &str); 4] = [
    (MapType::Hash, "hash"),
    (MapType::LruHash, "lru"),
    (MapType::PercpuHash, "percpu"),
    (MapType::LruPercpuHash, "lru_percpu"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_out_is_gone() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let cpus = client.agent().get().await.unwrap().possible_cpus as usize;
    for (kind, name) in KINDS {
        let new = NewMap::new(name, kind).key(unsigned(4)).value(unsigned(8));
        let id = new.make(&client).await.id;
        let key = 3_u32.to_ne_bytes();
        let values = if name.contains("percpu") { cpus } else { 1 };
        let put = || maps.update(name, key, 5_u64.to_ne_bytes(), UpdateMode::Noexist);

        put().await.unwrap();
        let taken = maps.lookup_and_delete(name, key, CpuMode::Each).await.unwrap();
        assert_eq!(taken[..], 5_u64.to_ne_bytes().repeat(values), "{name}");
        assert_eq!(bpftool::lookup(id, &key), None);
        let again = maps.lookup_and_delete(name, key, CpuMode::Each).await;
        refused(again, Code::NotFound, &[name, "no entry with that key"]);

        put().await.unwrap();
        let sum = maps.lookup_and_delete_typed(name, json!(3), CpuMode::Sum).await.unwrap();
        assert_eq!(sum, json!((5 * values).to_string()));
        assert_eq!(bpftool::dump(id), []);
    }
    NewMap::array("array").make(&client).await;
    let error = maps.lookup_and_delete("array", [0; 4], CpuMode::Each).await;
    let error = refused(error, Code::Unimplemented, &["array", "lookup-and-delete"]);
    assert!(error.metadata["has"].starts_with("lookup, update, iterate"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_given_takes_nothing_out() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let id = NewMap::hash("raw").make(&client).await.id;
    maps.update("raw", [1; 4], [2; 8], UpdateMode::Any).await.unwrap();
    let typed = maps.lookup_and_delete_typed("raw", [1; 4], CpuMode::Each).await;
    refused(typed, Code::FailedPrecondition, &["raw", "schema"]);
    for length in [0, 3, 5, 64] {
        let short = maps.lookup_and_delete("raw", vec![1; length], CpuMode::Each).await;
        refused(short, Code::InvalidArgument, &["raw", "must have 4"]);
    }
    assert_eq!(bpftool::dump(id).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_is_taken_by_one_caller() {
    const ENTRIES: u32 = 400;
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::hash("jobs").entries(ENTRIES).make(&client).await;
    for key in 0..ENTRIES {
        maps.update("jobs", key.to_ne_bytes(), [1; 8], UpdateMode::Any).await.unwrap();
    }
    let take_all = || {
        let maps = client.maps();
        tokio::spawn(async move {
            let mut taken = Vec::new();
            for key in 0..ENTRIES {
                match maps.lookup_and_delete("jobs", key.to_ne_bytes(), CpuMode::Each).await {
                    Ok(_) => taken.push(key),
                    missing => drop(refused(missing, Code::NotFound, &["jobs"])),
                }
            }
            taken
        })
    };
    let (one, other) = tokio::join!(take_all(), take_all());
    let taken = [one.unwrap(), other.unwrap()].concat();
    assert_eq!(taken.len(), ENTRIES as usize);
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>().len(), ENTRIES as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_map_is_read_and_no_longer_written() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let id = NewMap::hash("settled").make(&client).await.id;
    maps.update("settled", [1; 4], [2; 8], UpdateMode::Any).await.unwrap();
    assert!(!maps.get("settled").await.unwrap().frozen);
    maps.freeze("settled").await.unwrap();
    assert!(maps.get("settled").await.unwrap().frozen);
    assert_eq!(bpftool::map(id)["frozen"], 1);

    let writes = [
        refused(
            maps.update("settled", [1; 4], [3; 8], UpdateMode::Any).await,
            Code::FailedPrecondition,
            &["settled is frozen"],
        ),
        refused(maps.delete_entry("settled", [1; 4]).await, Code::FailedPrecondition, &["frozen"]),
        refused(
            maps.lookup_and_delete("settled", [1; 4], CpuMode::Each).await,
            Code::FailedPrecondition,
            &["frozen"],
        ),
        refused(maps.freeze("settled").await, Code::FailedPrecondition, &["frozen"]),
    ];
    for error in writes {
        assert_eq!(error.reason.as_deref(), Some("FROZEN"));
    }
    assert_eq!(maps.lookup("settled", [1; 4], CpuMode::Each).await.unwrap()[..], [2; 8]);
    NewMap::new("queue", MapType::Queue).sizes(0, 8).make(&client).await;
    maps.freeze("queue").await.unwrap();
    refused(maps.push("queue", [0; 8]).await, Code::FailedPrecondition, &["frozen"]);
}
