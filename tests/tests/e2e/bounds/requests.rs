//! Requests that never end, claim what they do not send, or are no messages.

use std::time::Duration;

use bpfgate_client::v1;
use bpfgate_tests::hostile::{Hostile, MALLORY, claimed, framed};
use bytes::{Bytes, BytesMut};

use super::{Trial, lookup};

const LOOKUP: &str = "/bpfgate.v1.MapService/Lookup";
const UPDATE_BATCH: &str = "/bpfgate.v1.MapService/UpdateBatch";

const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const RESOURCE_EXHAUSTED: i32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn requests_whose_body_never_comes_have_a_deadline() {
    let trial = Trial::begin().await;
    let (mut all, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
        for _ in 0..1000 {
            all.push(hostile.begin(LOOKUP, Bytes::new(), false).await.unwrap());
        }
        trial.check_memory();
        connections.push(hostile);
    }
    let mut codes = std::collections::BTreeMap::new();
    for sent in all {
        let answered = tokio::time::timeout(Duration::from_secs(5), sent.status()).await;
        let (code, message) = answered.expect("an answer").unwrap();
        codes.entry(code).or_insert((0, message)).0 += 1;
    }
    let (late, message) = &codes[&DEADLINE_EXCEEDED];
    assert!(*late > 100 && message.contains("request_seconds"), "{codes:?}");
    let (refused, message) = &codes[&RESOURCE_EXHAUSTED];
    assert!(*refused > 100 && codes.len() == 2, "{codes:?} {message}");
    drop(connections);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_a_large_body_is_charged_as_it_comes() {
    let trial = Trial::begin().await;
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
    let mut all = Vec::new();
    for _ in 0..120 {
        let sent = hostile.begin(UPDATE_BATCH, claimed(16 << 20).freeze(), false).await;
        let Ok(mut sent) = sent else { break };
        if sent.body.send_data(Bytes::from(vec![0; 8 << 20]), false).is_err() {
            break;
        }
        all.push(sent);
        trial.check_memory();
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    trial.check_memory();
    drop((all, hostile));
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_length_takes_nothing() {
    let trial = Trial::begin().await;
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
    let mut all = Vec::new();
    for _ in 0..200 {
        all.push(hostile.begin(UPDATE_BATCH, claimed(16 << 20).freeze(), false).await.unwrap());
    }
    trial.check_memory();
    let beyond = hostile.begin(UPDATE_BATCH, claimed((16 << 20) + 1).freeze(), false).await;
    let (code, message) = beyond.unwrap().status().await.unwrap();
    assert_eq!(code, RESOURCE_EXHAUSTED, "{message}");
    assert!(message.contains("max_message_bytes"), "{message}");
    let largest = hostile.begin(UPDATE_BATCH, claimed(u32::MAX as usize).freeze(), false).await;
    assert_eq!(largest.unwrap().status().await.unwrap().0, RESOURCE_EXHAUSTED);
    drop((all, hostile));
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_its_senders_mistake() {
    let trial = Trial::begin().await;
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
    let mut garbage = claimed(4);
    garbage.extend_from_slice(&[0xff; 4]);
    let sent = hostile.begin(LOOKUP, garbage.freeze(), true).await.unwrap();
    let (code, message) = sent.status().await.unwrap();
    assert_eq!(code, INVALID_ARGUMENT, "{message}");

    let mut cut = BytesMut::from(&framed(&lookup("good", false))[..]);
    cut.truncate(cut.len() - 1);
    let sent = hostile.begin(LOOKUP, cut.freeze(), true).await.unwrap();
    let (code, message) = sent.status().await.unwrap();
    assert_eq!(code, INVALID_ARGUMENT, "{message}");
    assert!(message.contains("middle"), "{message}");

    // A message in pieces of one byte is a message.
    let whole = framed(&lookup("good", false));
    let mut sent = hostile.begin(LOOKUP, whole.slice(..1), false).await.unwrap();
    for at in 1..whole.len() {
        sent.body.send_data(whole.slice(at..=at), at + 1 == whole.len()).unwrap();
    }
    assert_eq!(sent.status().await.unwrap().0, 0);
    drop(hostile);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_many_small_things_is_charged_as_what_it_becomes() {
    let trial = Trial::begin().await;
    // Four bytes each on the wire.
    let nothing = bpfgate_client::value::json_to_value(serde_json::Value::Null);
    let request = v1::LookupBatchRequest {
        map: "good".to_owned(),
        typed_keys: vec![nothing; 4 << 20],
        ..Default::default()
    };
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
    for _ in 0..3 {
        let sent = hostile.call("/bpfgate.v1.MapService/LookupBatch", &request).await;
        let (code, message) = sent.status().await.unwrap();
        assert_eq!(code, RESOURCE_EXHAUSTED, "{message}");
        trial.check_memory();
    }
    drop(hostile);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_own_deadline_is_told_as_one() {
    let trial = Trial::begin().await;
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
    let sent = hostile.begin_within(LOOKUP, "200m").await.unwrap();
    let (code, message) = sent.status().await.unwrap();
    assert_eq!(code, DEADLINE_EXCEEDED, "{message}");
    assert!(message.contains("the client gave"), "{message}");
    drop(hostile);
    trial.end().await;
}
