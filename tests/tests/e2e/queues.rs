//! Maps without keys: queues, stacks and bloom filters.

use bpfgate_client::v1::{self, MapType};
use bpfgate_client::{Client, Code, CpuMode, UpdateMode};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, bpftool, refused};
use serde_json::json;

fn number(value: u64) -> [u8; 8] {
    value.to_ne_bytes()
}

async fn make(client: &Client, name: &str, kind: MapType, entries: u32) -> v1::Map {
    NewMap::new(name, kind).sizes(0, 8).entries(entries).make(client).await
}

/// What `bpftool map VERB id ID …` says of a value.
fn tool(id: u32, verb: &str) -> Option<u64> {
    // All that it says of an empty one, with an exit code that differs by the verb.
    let found = bpftool::try_json(&["map", verb, "id", &id.to_string()]).ok()?;
    let bytes = found.get("value")?.as_array()?.iter().map(|byte| {
        let digits = byte.as_str().unwrap().trim_start_matches("0x");
        u8::from_str_radix(digits, 16).unwrap()
    });
    Some(u64::from_ne_bytes(bytes.collect::<Vec<_>>().try_into().unwrap()))
}

fn tool_push(id: u32, verb: &str, value: u64) {
    let id = id.to_string();
    let bytes: Vec<String> = number(value).iter().map(ToString::to_string).collect();
    let mut arguments = vec!["map", verb, "id", &id, "value"];
    arguments.extend(bytes.iter().map(String::as_str));
    bpftool::json(&arguments);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_gives_the_oldest_value_and_a_stack_the_newest() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let rows = [
        (MapType::Queue, "queue", [1, 2, 3], "enqueue", "dequeue"),
        (MapType::Stack, "stack", [3, 2, 1], "push", "pop"),
    ];
    for (kind, name, order, put, take) in rows {
        let id = make(&client, name, kind, 4).await.id;
        let error = refused(maps.pop(name).await, Code::NotFound, &[name, "empty"]);
        assert_eq!(error.reason.as_deref(), Some("EMPTY"));
        refused(maps.peek(name).await, Code::NotFound, &[name, "empty"]);

        for value in [1, 2, 3] {
            maps.push(name, number(value)).await.unwrap();
        }
        for value in order {
            assert_eq!(tool(id, "peek"), Some(value));
            for _ in 0..2 {
                assert_eq!(maps.peek(name).await.unwrap()[..], number(value));
            }
            assert_eq!(maps.pop(name).await.unwrap()[..], number(value));
        }
        assert_eq!(tool(id, "peek"), None);

        tool_push(id, put, 7);
        assert_eq!(maps.peek(name).await.unwrap()[..], number(7));
        assert_eq!(tool(id, take), Some(7));
        refused(maps.pop(name).await, Code::NotFound, &["empty"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_or_drops_the_oldest() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let rows = [(MapType::Queue, "queue", [2, 3]), (MapType::Stack, "stack", [3, 2])];
    for (kind, name, order) in rows {
        make(&client, name, kind, 2).await;
        for value in [1, 2] {
            maps.push(name, number(value)).await.unwrap();
        }
        let full = maps.push(name, number(3)).await;
        let error = refused(full, Code::ResourceExhausted, &[name, "full", "2 entries"]);
        assert_eq!(error.reason.as_deref(), Some("MAP_FULL"));
        maps.push_replacing(name, number(3)).await.unwrap();
        for value in order {
            assert_eq!(maps.pop(name).await.unwrap()[..], number(value), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bloom_filter_holds_what_was_pushed() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    make(&client, "seen", MapType::BloomFilter, 1000).await;
    for value in (0..1000).step_by(2) {
        maps.push("seen", number(value)).await.unwrap();
    }
    let mut false_positives = 0;
    for value in 0..1000 {
        let answer = maps.may_contain("seen", number(value)).await.unwrap();
        assert!(answer || value % 2 == 1, "{value} was pushed");
        false_positives += u32::from(answer && value % 2 == 1);
    }
    assert!(false_positives < 100, "{false_positives} of 500");

    let parts = ["seen", "bloom filter"];
    refused(maps.push_replacing("seen", number(1)).await, Code::InvalidArgument, &parts[1..]);
    let error = refused(maps.peek("seen").await, Code::InvalidArgument, &parts[1..]);
    assert_eq!(error.field_violations[0].field, "value");
    refused(maps.pop("seen").await, Code::Unimplemented, &["bloom_filter", "pop", "push, peek"]);
    make(&client, "queue", MapType::Queue, 1).await;
    refused(maps.may_contain("queue", number(1)).await, Code::InvalidArgument, &["value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_values_go_through_a_queue() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let job = record("struct job", &[("id", unsigned(8)), ("cpu", unsigned(4))]);
    for (name, kind) in [("jobs", MapType::Queue), ("seen", MapType::BloomFilter)] {
        let new = NewMap::new(name, kind).sizes(0, 12).entries(4).value(job.clone());
        new.make(&client).await;
        maps.push(name, json!({"id": "18446744073709551615", "cpu": 3})).await.unwrap();
        let odd = maps.push(name, json!({"id": 1, "cpu": 1_u64 << 32})).await;
        refused(odd, Code::InvalidArgument, &[name, "cpu"]);
    }
    let want = json!({"id": "18446744073709551615", "cpu": 3});
    assert_eq!(maps.peek_typed("jobs").await.unwrap(), want);
    assert_eq!(maps.pop_typed("jobs").await.unwrap(), want);
    assert!(maps.may_contain("seen", want).await.unwrap());
    assert!(!maps.may_contain("seen", json!({"id": 1, "cpu": 3})).await.unwrap());

    make(&client, "raw", MapType::Queue, 1).await;
    maps.push("raw", number(5)).await.unwrap();
    refused(maps.pop_typed("raw").await, Code::FailedPrecondition, &["raw", "schema"]);
    // What could not be answered was not taken.
    assert_eq!(maps.pop("raw").await.unwrap()[..], number(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_another_length_does_not_get_in() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for (name, kind) in [("queue", MapType::Queue), ("bloom", MapType::BloomFilter)] {
        make(&client, name, kind, 2).await;
        for length in [0, 7, 9, 4096] {
            let error = maps.push(name, vec![0; length]).await;
            let error = refused(error, Code::InvalidArgument, &[name, "must have 8"]);
            assert_eq!(error.reason.as_deref(), Some("VALUE_LENGTH"));
        }
    }
    let error = maps.may_contain("bloom", [0; 3]).await;
    refused(error, Code::InvalidArgument, &["bloom", "must have 8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_without_keys_has_no_entries_to_look_up() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    make(&client, "queue", MapType::Queue, 2).await;
    let lookup = maps.lookup("queue", [], CpuMode::Each).await;
    let error = refused(lookup, Code::Unimplemented, &["queue", "no lookup", "push, pop, peek"]);
    assert_eq!(error.metadata["type"], "queue");
    let update = maps.update("queue", [], [0; 8], UpdateMode::Any).await;
    refused(update, Code::Unimplemented, &["no update"]);
    refused(maps.delete_entry("queue", []).await, Code::Unimplemented, &["no delete"]);
    let take = maps.lookup_and_delete("queue", [], CpuMode::Each).await;
    refused(take, Code::Unimplemented, &["no lookup-and-delete"]);
    NewMap::hash("hash").make(&client).await;
    for error in [
        refused(maps.push("hash", [0; 8]).await, Code::Unimplemented, &["no push"]),
        refused(maps.pop("hash").await, Code::Unimplemented, &["no pop"]),
        refused(maps.peek("hash").await, Code::Unimplemented, &["no peek"]),
    ] {
        assert!(error.metadata["has"].starts_with("lookup, update, delete"), "{error:?}");
    }
}
