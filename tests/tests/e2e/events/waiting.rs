//! Records that waited in a ring because nobody read it: old, and told to be.

use std::process::Command;
use std::time::{Duration, SystemTime};

use bpfgate_client::{EventBatch, EventNews, EventOptions};
use bpfgate_tests::Agent;
use bpfgate_tests::calls::load_builtin;

use super::{EVENT, Followed, RING, Script, Stage};

/// Each batch of so many records.
async fn batches(seen: &mut Followed, records: u64) -> Vec<EventBatch> {
    let mut batches = Vec::new();
    while seen.told() < records {
        if let Some(EventNews::Batch(batch)) = seen.next().await.unwrap() {
            batches.push(batch);
        }
    }
    batches
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_says_so_and_has_no_time() {
    let stage = Stage::new(Script::default()).await;
    stage.attach("to_ring").await;
    let before = SystemTime::now();
    stage.call(50);
    let mut seen = stage.watch(RING).await;
    let waited = batches(&mut seen, 50).await;
    stage.call(5);
    let fresh = batches(&mut seen, 55).await;
    for batch in &waited {
        let since = SystemTime::try_from(*batch.waiting_since().unwrap()).unwrap();
        assert!(since <= before, "the map was made before");
        assert!(batch.iter().all(|record| seen.events.written_at(batch, &record).is_none()));
    }
    for batch in &fresh {
        assert_eq!(batch.waiting_since(), None);
        assert!(batch.iter().all(|record| seen.events.written_at(batch, &record).is_some()));
    }
    seen.assert_all(0, 55);

    // Who reads on after a while is told since when nobody had.
    drop(seen);
    stage.assert_nothing_is_read();
    let left = SystemTime::now();
    stage.call(1);
    let mut seen = stage.watch(RING).await;
    let waited = batches(&mut seen, 1).await;
    let since = SystemTime::try_from(*waited[0].waiting_since().unwrap()).unwrap();
    assert!(before < since && since <= left);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_now_leaves_out_what_waited() {
    let stage = Stage::new(Script::default()).await;
    stage.attach("to_ring").await;
    stage.call(50);
    let options = EventOptions { from_now: true, ..EventOptions::default() };
    let mut seen = stage.watch_with(RING, options).await.unwrap();
    seen.quiet().await;
    stage.call(5);
    seen.until(5).await;
    seen.assert_all(50, 55);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_was_full_says_so_behind_what_waited() {
    const FIT: u64 = (256 * 1024) / (EVENT as u64 + 8);
    let stage = Stage::new(Script { burst: 100, ..Script::default() }).await;
    stage.attach("to_ring").await;
    stage.call(FIT / 100 + 5);
    assert!(stage.refused().await > 0);
    let mut seen = stage.watch(RING).await;
    let told = loop {
        match seen.next().await.unwrap() {
            Some(EventNews::Loss(loss)) => break loss,
            Some(EventNews::Batch(batch)) => assert!(batch.waiting_since().is_some()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(seen.numbers.len() as u64, stage.written().await);
    assert_eq!((told.count, told.since.is_some()), (0, true));
    // Once.
    stage.call(1);
    seen.until(stage.written().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_with_a_clock_have_their_own_time() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load_builtin(&client, "exec-events").await;
    client.links().attach("exec-events/record_exec", None).await.unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    let (pid, started) = (child.id(), SystemTime::now());
    child.wait().unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let maps = client.maps();
    let watch = maps.watch_events("exec-events/events", EventOptions::default());
    let mut events = watch.await.unwrap();
    assert_eq!(events.header().clock.as_ref().unwrap().field, "ts_ns");
    loop {
        let Some(EventNews::Batch(batch)) = events.next_news().await.unwrap() else { continue };
        for record in batch.iter() {
            let (value, _) = events.decode(record.bytes);
            if value.unwrap()["pid"] == pid {
                let written = events.written_at(&batch, &record).unwrap();
                let apart = written.duration_since(started).unwrap_or_else(|e| e.duration());
                assert!(apart < Duration::from_millis(750), "{apart:?} apart");
                return;
            }
        }
    }
}
