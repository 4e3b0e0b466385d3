//! Whole maps by their schema, for callers that know no layout.

use std::collections::BTreeMap;

use bpfgate_client::v1::MapType;
use bpfgate_client::{Client, Code, CpuMode, EntryBatch, EntryParts, IterateOptions, UpdateMode};
use bpfgate_tests::fixture::{ipv4, record, unsigned};
use bpfgate_tests::{Agent, NewMap, refused};
use serde_json::{Value, json};

fn typed() -> IterateOptions {
    IterateOptions { typed: true, ..IterateOptions::default() }
}

async fn read(client: &Client, map: &str, options: IterateOptions) -> Vec<(Value, Value)> {
    let mut stream = client.maps().iterate(map, options).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        assert!(chunk.packed_keys().is_empty() && chunk.packed_values().is_empty());
        assert_eq!(chunk.typed().count(), chunk.len());
        all.extend(chunk.typed());
    }
    assert_eq!(stream.end().unwrap().entries, all.len() as u64);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_comes_typed_and_goes_back_so() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let make = |name: &str| {
        let value = record("struct v", &[("hits", unsigned(8)), ("port", unsigned(4))]);
        NewMap::hash(name).key(ipv4()).value(value).entries(20_000)
    };
    make("from").make(&client).await;
    make("to").make(&client).await;
    let packed = |n: u32| {
        let value = [&u64::from(n).to_ne_bytes()[..], &n.to_ne_bytes()].concat();
        (n.to_be_bytes(), value)
    };
    let entries: EntryBatch = (0..20_000).map(packed).collect();
    client.maps().update_batch("from", entries, UpdateMode::Any).await.unwrap();

    let got: BTreeMap<String, Value> = read(&client, "from", typed())
        .await
        .into_iter()
        .map(|(key, value)| (key.as_str().unwrap().to_owned(), value))
        .collect();
    assert_eq!(got.len(), 20_000);
    assert_eq!(got["0.0.1.2"], json!({"hits": "258", "port": 258}));

    let mut stream = client.maps().iterate("from", typed()).await.unwrap();
    let mut restore = client.maps().restore("to", UpdateMode::Noexist);
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        restore.send(chunk).await.unwrap();
    }
    assert_eq!(restore.finish().await.unwrap(), 20_000);
    let again: BTreeMap<String, Value> = read(&client, "to", typed())
        .await
        .into_iter()
        .map(|(key, value)| (key.as_str().unwrap().to_owned(), value))
        .collect();
    assert!(got == again, "what was restored differs");
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_limits_and_tokens_are_as_with_bytes() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = NewMap::new("p", MapType::PercpuHash).key(unsigned(4)).value(unsigned(2));
    let cpus = map.entries(64).make(&client).await.value_stride as usize / 8;
    let entries = EntryBatch::typed((0..50).map(|n| (json!(n), json!(n))));
    client.maps().update_batch("p", entries, UpdateMode::Any).await.unwrap();

    let keys = IterateOptions { parts: EntryParts::Keys, ..typed() };
    assert!(
        read(&client, "p", keys)
            .await
            .iter()
            .all(|(key, value)| { key.is_number() && value.is_null() })
    );
    let sums = IterateOptions { cpu: CpuMode::Sum, ..typed() };
    for (key, sum) in read(&client, "p", sums).await {
        assert_eq!(sum, json!((key.as_u64().unwrap() * cpus as u64).to_string()));
    }
    for (key, each) in read(&client, "p", typed()).await {
        assert_eq!(each, json!(vec![key; cpus]));
    }
    let mut stream =
        client.maps().iterate("p", IterateOptions { limit: Some(20), ..typed() }).await.unwrap();
    let mut first = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        first.extend(chunk.typed().map(|(key, _)| key.as_u64().unwrap()));
    }
    let resume_token = stream.end().unwrap().resume_token.clone();
    let rest = read(&client, "p", IterateOptions { resume_token, ..typed() }).await;
    first.extend(rest.iter().map(|(key, _)| key.as_u64().unwrap()));
    first.sort_unstable();
    assert_eq!(first, (0..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_without_types_has_no_typed_entries() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("plain").make(&client).await;
    let error = client.maps().iterate("plain", typed()).await;
    let error = refused(error, Code::FailedPrecondition, &["plain", "no schema"]);
    assert_eq!(error.reason.as_deref(), Some("NO_SCHEMA"));
    // The half that has a type is there.
    NewMap::hash("half").key(unsigned(4)).make(&client).await;
    client.maps().update("half", [1, 0, 0, 0], [0; 8], UpdateMode::Any).await.unwrap();
    let keys = IterateOptions { parts: EntryParts::Keys, ..typed() };
    assert_eq!(read(&client, "half", keys).await, [(json!(1), Value::Null)]);
    let both = client.maps().iterate("half", typed()).await;
    refused(both, Code::FailedPrecondition, &["half", "value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_entries_come_few_to_a_message() {
    let agent = Agent::builder().config("[limits]\nmax_message_bytes = 1048576\n").spawn();
    let client = agent.client().await;
    // 300 entries of these are half of a message as bytes, and several as named numbers.
    let names: Vec<String> = (0..200).map(|n| format!("a_counter_of_long_name_{n}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), unsigned(8))).collect();
    let value = record("struct wide", &fields);
    NewMap::array("wide").key(unsigned(4)).value(value).entries(300).make(&client).await;
    let all = read(&client, "wide", IterateOptions { limit: Some(250), ..typed() }).await;
    assert_eq!(all.len(), 250);
    assert_eq!(all[7].1["a_counter_of_long_name_199"], json!("0"));
    // More than an answer may carry.
    let keys: Vec<Value> = (0..250).map(Value::from).collect();
    let answer = client.maps().lookup_batch_typed("wide", keys, CpuMode::Each).await;
    let error = refused(answer, Code::ResourceExhausted, &["typed entries of map wide"]);
    assert_eq!(error.reason.as_deref(), Some("TOO_LARGE"));
}
