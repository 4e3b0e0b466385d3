//! Answers: what they take is known before they are built, and nobody has to read them.

use bpfgate_client::{Code, CpuMode, IterateOptions, v1};
use bpfgate_tests::hostile::{Hostile, MALLORY};
use bpfgate_tests::refused;

use super::{
    MIB, Trial, filled_hash, filled_queue, large, list_of, long_name, lookup, typed_array,
};

const LOOKUP: &str = "/bpfgate.v1.MapService/Lookup";
const ITERATE: &str = "/bpfgate.v1.MapService/Iterate";

const RESOURCE_EXHAUSTED: i32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_sent_is_not_built() {
    let trial = Trial::begin().await;
    // Ten gigabytes of names.
    typed_array(&trial.client, "names", list_of(long_name(), MIB - 1)).await;
    large(&trial.client, "huge", 64 * MIB).await;
    let key = 0_u32.to_ne_bytes();
    for _ in 0..20 {
        let answer = trial.client.maps().lookup_typed("names", key, CpuMode::default()).await;
        refused(answer, Code::ResourceExhausted, &["bytes"]);
        let answer = trial.client.maps().lookup("huge", key, CpuMode::default()).await;
        refused(answer, Code::ResourceExhausted, &["the answer", "16777216"]);
        let entries = trial.client.maps().iterate("huge", IterateOptions::default()).await;
        refused(entries, Code::ResourceExhausted, &["an entry of map huge", "16777216"]);
    }
    trial.check_memory();
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_not_taken_out() {
    let trial = Trial::begin().await;
    filled_hash(&trial.client, "hash", list_of(long_name(), 4096)).await;
    filled_queue(&trial.client, "queue", list_of(long_name(), 4096)).await;
    let key = 0_u32.to_ne_bytes();
    let maps = trial.client.maps();
    let taken = maps.lookup_and_delete_typed("hash", key, CpuMode::default()).await;
    refused(taken, Code::ResourceExhausted, &["taken out of map hash"]);
    let popped = maps.pop_typed("queue").await;
    refused(popped, Code::ResourceExhausted, &["taken out of map queue"]);
    assert_eq!(maps.lookup("hash", key, CpuMode::default()).await.unwrap().len(), 4096);
    assert_eq!(maps.peek("queue").await.unwrap().len(), 4096);
    assert_eq!(maps.lookup_and_delete("hash", key, CpuMode::default()).await.unwrap().len(), 4096);
    assert_eq!(maps.pop("queue").await.unwrap().len(), 4096);
    drop(maps);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_are_charged_and_end() {
    let trial = Trial::begin().await;
    large(&trial.client, "big", 15 * MIB).await;
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 0).await;
    let mut sent = Vec::new();
    for _ in 0..300 {
        sent.push(hostile.call(LOOKUP, &lookup("big", false)).await);
        trial.check_memory();
    }
    let (mut refused, mut unread) = (0, Vec::new());
    for sent in sent {
        let (headers, body, request) = sent.head().await.unwrap();
        match headers.get("grpc-status") {
            Some(status) => {
                assert_eq!(status, "8", "{headers:?}");
                refused += 1;
            }
            None => unread.push((body, request)),
        }
    }
    assert!(refused >= 290 && !unread.is_empty(), "{refused} of 300 refused");
    // An answer that nobody takes ends, and with it goes all that was held for it.
    let waited = std::time::Duration::from_secs(4);
    for (mut body, _) in unread {
        let end = tokio::time::timeout(waited, body.data()).await.expect("an end");
        assert!(end.is_some_and(|data| data.is_err()), "a reset");
    }
    let sent = hostile.call(LOOKUP, &lookup("big", false)).await;
    assert!(!sent.head().await.unwrap().0.contains_key("grpc-status"), "there is room again");
    drop(hostile);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iterates_that_nobody_reads_are_charged_and_end() {
    let trial = Trial::begin().await;
    large(&trial.client, "big", 15 * MIB).await;
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 0).await;
    let request = v1::IterateRequest { map: "big".to_owned(), ..Default::default() };
    let mut sent = Vec::new();
    for _ in 0..80 {
        sent.push(hostile.call(ITERATE, &request).await);
        trial.check_memory();
    }
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    trial.check_memory();
    // All but a few have no memory for their chunk, and say so to whoever reads.
    drop(hostile);
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 20).await;
    let (status, message) = hostile.call(ITERATE, &request).await.status().await.unwrap();
    assert_eq!(status, 0, "{message}");
    drop((sent, hostile));
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_unread_dumps_take_no_threads() {
    let trial = Trial::begin().await;
    let threads = trial.agent.checkpoint().threads;
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 0).await;
    let request = v1::IterateRequest { map: "good".to_owned(), ..Default::default() };
    let mut sent = Vec::new();
    for _ in 0..1000 {
        sent.push(hostile.call(ITERATE, &request).await);
    }
    let now = trial.agent.checkpoint().threads;
    assert!(now <= threads + 40, "{threads} threads before, {now} now");
    trial.check_memory();
    let mut one = Hostile::connect(&trial.agent, MALLORY, 1 << 20).await;
    let (status, message) = one.call(ITERATE, &request).await.status().await.unwrap();
    assert!(status == 0 || status == RESOURCE_EXHAUSTED, "{status} {message}");
    drop((sent, hostile, one));
    trial.end().await;
}
