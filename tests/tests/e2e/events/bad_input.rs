//! Requests that cannot be granted say why.

use bpfgate_client::v1::{Capabilities, MapType};
use bpfgate_client::{Client, Code, EventFilter, EventOptions};
use bpfgate_tests::{Agent, NewMap, refused};

async fn refuses(client: &Client, map: &str, options: EventOptions, code: Code, words: &[&str]) {
    refused(client.maps().watch_events(map, options).await, code, words);
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_without_records_say_what_they_have() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("hash").make(&client).await;
    NewMap::new("user", MapType::UserRingbuf).sizes(0, 0).entries(4096).make(&client).await;
    let none = EventOptions::default;
    refuses(&client, "hash", none(), Code::Unimplemented, &["hash", "events", "lookup"]).await;
    refuses(&client, "user", none(), Code::Unimplemented, &["user_ringbuf", "events"]).await;
    refuses(&client, "absent", none(), Code::NotFound, &["absent"]).await;
    refuses(&client, "a b", none(), Code::InvalidArgument, &["a b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_others_is_left_alone() {
    let (theirs, ours) = (Agent::spawn(), Agent::spawn());
    let (their_client, client) = (theirs.client().await, ours.client().await);
    let ring = NewMap::new("ring", MapType::Ringbuf).sizes(0, 0).entries(4096);
    let id = ring.make(&their_client).await.id;
    let reference = format!("id:{id}");
    let words = [reference.as_str(), "not owned"];
    let code = Code::FailedPrecondition;
    refuses(&client, &reference, EventOptions::default(), code, &words).await;
    let map = client.maps().get(&reference).await.unwrap();
    let Capabilities { watch_events, .. } = map.capabilities.unwrap();
    assert!(!watch_events);
    // Its owner may name it so.
    let own = their_client.maps().watch_events(&reference, EventOptions::default()).await.unwrap();
    assert_eq!(own.header().map, "ring");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_named() {
    let config = "[limits]\nmax_event_watchers = 2\nmax_event_queue_bytes = 1000\n";
    let agent = Agent::builder().config(config).spawn();
    let client = agent.client().await;
    NewMap::new("ring", MapType::Ringbuf).sizes(0, 0).entries(4096).make(&client).await;
    let queue = |queue_bytes| EventOptions { queue_bytes, ..EventOptions::default() };
    let invalid = Code::InvalidArgument;
    refuses(&client, "ring", queue(1001), invalid, &["queue_bytes", "1001", "1000"]).await;
    refuses(&client, "ring", queue(u64::MAX), invalid, &["queue_bytes", "1000"]).await;
    let first = client.maps().watch_events("ring", queue(1)).await.unwrap();
    assert_eq!(first.header().queue_bytes, 1);
    // Nothing asked is as much as there is, where that is less than is usual.
    let second = client.maps().watch_events("ring", queue(0)).await.unwrap();
    assert_eq!(second.header().queue_bytes, 1000);
    refuses(&client, "ring", queue(1), Code::ResourceExhausted, &["2 watchers"]).await;
    drop(first);
    let again = async || client.maps().watch_events("ring", queue(1)).await.is_ok();
    let mut granted = again().await;
    for _ in 0..100 {
        if granted {
            break;
        }
        // The agent learns of the first one's end in a moment.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        granted = again().await;
    }
    assert!(granted);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_type_have_no_fields() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::new("ring", MapType::Ringbuf).sizes(0, 0).entries(4096).make(&client).await;
    let code = Code::FailedPrecondition;
    let typed = EventOptions { typed: true, ..EventOptions::default() };
    refuses(&client, "ring", typed, code, &["ring", "records"]).await;
    let filter = |_| EventFilter::is("pid", "1");
    let filters = |count| (0..count).map(filter).collect();
    let one = EventOptions { filters: filters(1), ..EventOptions::default() };
    refuses(&client, "ring", one, code, &["ring", "records"]).await;
    let many = EventOptions { filters: filters(17), ..EventOptions::default() };
    refuses(&client, "ring", many, Code::InvalidArgument, &["filters", "17", "16"]).await;
}

#[test]
fn a_configuration_with_a_bad_pattern_is_refused() {
    let refused = Agent::builder().config("[events]\nkeep_draining = [\"a b\"]\n").refuse();
    assert!(!refused.success() && refused.stderr.contains("a b"), "{refused:#?}");
}
