//! Perf buffers: one for each CPU, which tell of what they lost.

use bpfgate_client::v1::Capabilities;
use bpfgate_client::{EventNews, EventOptions};

use super::{EVENT, PERF, Script, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn records_come_with_their_cpu_and_their_time() {
    let stage = Stage::new(Script { burst: 20, ..Script::default() }).await;
    stage.attach("to_perf").await;
    let map = stage.client.maps().get(PERF).await.unwrap();
    let Capabilities { watch_events, .. } = map.capabilities.unwrap();
    assert!(watch_events);
    let options = EventOptions { record_type: "struct event".into(), ..EventOptions::default() };
    let mut seen = stage.watch_with(PERF, options).await.unwrap();
    let mut records = Vec::new();
    for _ in 0..10 {
        stage.call(5);
    }
    while records.len() < 1000 {
        let Some(EventNews::Batch(batch)) = seen.next().await.unwrap() else { panic!("a loss") };
        let cpu = batch.cpu().expect("a CPU");
        for record in batch.iter() {
            // The kernel fills a record up to where the next one starts.
            assert!((EVENT..EVENT + 8).contains(&record.bytes.len()), "{}", record.bytes.len());
            let (value, rest) = seen.events.decode(record.bytes);
            let number: u64 = value.unwrap()["number"].as_str().unwrap().parse().unwrap();
            assert!(rest.len() < 8);
            records.push((number, cpu, record.time.expect("a time")));
        }
    }
    records.sort_unstable();
    assert!(records.iter().map(|record| record.0).eq(0..1000));
    // One thread wrote them all, so their times are in their order.
    assert!(records.is_sorted_by_key(|record| record.2));
    let online = std::thread::available_parallelism().unwrap().get();
    assert!(records.iter().all(|record| (record.1 as usize) < online.max(64)));
    seen.quiet().await;
    drop(seen);
    stage.assert_nothing_is_read();
    // Nobody has room for it now: that is the kernel's answer, and nothing is kept.
    let refused = stage.refused().await;
    stage.call(1);
    assert_eq!(stage.refused().await, refused + 20);
}
