//! What becomes of series: resets, histograms, keys and maps that go, and who still knows of it.

use std::collections::{BTreeMap, BTreeSet};

use bpfgate_client::v1::series_removed::Reason;
use bpfgate_client::v1::{CounterKind, CounterSpec, MapType};
use bpfgate_client::{Client, EntryBatch, UpdateMode};
use bpfgate_tests::calls::{entries, load, try_load};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, SOON, elf};
use prost_types::Timestamp;

use crate::watch::{FAST, counter, fast, set, totals, watch};

fn instant(time: Option<Timestamp>) -> (i64, i32) {
    let time = time.expect("a time");
    (time.seconds, time.nanos)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_goes_back_has_a_new_start_that_outlives_its_watchers() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("m", MapType::Hash).make(&client).await;
    NewMap::hash("gauge").make(&client).await;
    set(&client, "m", 1, 100).await;
    set(&client, "gauge", 1, 100).await;
    let mut seen = watch(&client, &["*"], fast()).await.unwrap();
    seen.until_sync().await;
    let first = instant(seen.series.values().next().unwrap().start_time);
    set(&client, "m", 1, 7).await;
    set(&client, "gauge", 1, 7).await;
    let want = totals(&[("m{key=1}", 7), ("gauge{key=hex:01000000}", 7)]);
    seen.until(|seen| seen.totals() == want).await;
    assert_eq!(seen.resets.len(), 1, "a gauge may go back: {:?}", seen.resets);
    let reset = instant(seen.resets[0].start_time);
    assert!(reset > first);
    // Growing again is no reset, and a key that comes later has a start of its own.
    set(&client, "m", 1, 8).await;
    set(&client, "m", 2, 1).await;
    seen.until(|seen| seen.totals().get("m{key=2}") == Some(&1)).await;
    assert_eq!(seen.resets.len(), 1);
    let start = |seen: &bpfgate_tests::Follower, key: &str| {
        let is_it = |it: &&bpfgate_client::v1::Series| it.map == "m" && it.labels[0].value == key;
        instant(seen.series.values().find(is_it).unwrap().start_time)
    };
    let second = start(&seen, "2");
    assert!(second > reset);
    drop(seen);

    // Nobody watches for a while; at another interval everything is as it was.
    tokio::time::sleep(3 * FAST).await;
    set(&client, "m", 2, 0).await;
    let options = bpfgate_client::WatchOptions { interval: Some(4 * FAST), ..fast() };
    let mut again = watch(&client, &["m"], options).await.unwrap();
    again.until_sync().await;
    assert_eq!(start(&again, "1"), reset);
    assert!(start(&again, "2") > second, "it went back while nobody looked");
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_are_remembered_for_as_many_series_as_the_configuration_says() {
    for (config, remembers) in [("", true), ("[limits]\nmax_remembered_series = 1\n", false)] {
        let agent = Agent::builder().config(config).spawn();
        let client = agent.client().await;
        counter("m", MapType::Hash).make(&client).await;
        set(&client, "m", 1, 1).await;
        let mut seen = watch(&client, &["m"], fast()).await.unwrap();
        seen.until_sync().await;
        set(&client, "m", 2, 1).await;
        seen.until(|seen| seen.series.len() == 2).await;
        drop(seen);
        // The agent may not know yet that nobody watches; then it will behind one of these.
        let mut remembered = true;
        for _ in 0..if remembers { 2 } else { 50 } {
            tokio::time::sleep(2 * FAST).await;
            let mut again = watch(&client, &["m"], fast()).await.unwrap();
            again.until_sync().await;
            let starts: BTreeSet<_> =
                again.series.values().map(|one| instant(one.start_time)).collect();
            remembered = starts.len() == 2;
            if !remembered {
                break;
            }
        }
        assert_eq!(remembered, remembers, "{config}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_of_a_histogram_are_one_series() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let histogram = |field: &str| CounterSpec {
        field: field.into(),
        kind: CounterKind::Histogram.into(),
        unit: "ns".into(),
    };
    // In the value, added over CPUs.
    let slots: Vec<String> = (0..4).map(|slot| format!("s{slot}")).collect();
    let slots: Vec<(&str, _)> = slots.iter().map(|name| (name.as_str(), unsigned(8))).collect();
    let value = record("struct latency", &[("calls", unsigned(8)), ("slots", record("", &slots))]);
    let mut request =
        NewMap::new("latency", MapType::PercpuHash).key(unsigned(4)).value(value).request();
    request.counters = vec![histogram("slots")];
    let map = client.maps().create(request).await.unwrap();
    let cpus = u64::from(map.value_stride / 40);
    let each: Vec<u64> = (0..cpus).flat_map(|_| [9, 1, 2, 3, 4]).collect();
    let bytes: Vec<u8> = each.iter().flat_map(|word| word.to_ne_bytes()).collect();
    client.maps().update("latency", [6, 0, 0, 0], bytes, UpdateMode::Any).await.unwrap();
    // The map's own slots, as BPF_HISTOGRAM makes them.
    let mut request = NewMap::array("dist").entries(16).request();
    request.counters = vec![histogram("")];
    client.maps().create(request).await.unwrap();
    set(&client, "dist", 3, 5).await;

    let mut seen = watch(&client, &["*"], fast()).await.unwrap();
    seen.until_sync().await;
    assert_eq!(seen.series.len(), 3);
    let counts = |seen: &bpfgate_tests::Follower, map: &str| {
        let series = seen.series.values().find(|it| it.map == map && it.field != "calls").unwrap();
        assert_eq!((series.kind(), series.unit.as_str()), (CounterKind::Histogram, "ns"));
        let bounds: Vec<u64> =
            (0..series.bounds.len()).map(|n| if n == 0 { 0 } else { 1 << n }).collect();
        assert_eq!(series.bounds, bounds);
        seen.histograms[&series.r#ref].clone()
    };
    assert_eq!(counts(&seen, "latency"), [cpus, 2 * cpus, 3 * cpus, 4 * cpus]);
    let mut dist = vec![0; 16];
    dist[3] = 5;
    assert_eq!(counts(&seen, "dist"), dist);
    set(&client, "dist", 15, 1).await;
    dist[15] = 1;
    seen.until(|seen| counts(seen, "dist") == dist).await;
    assert!(seen.resets.is_empty());
    set(&client, "dist", 3, 4).await;
    dist[3] = 4;
    seen.until(|seen| counts(seen, "dist") == dist).await;
    assert_eq!(seen.resets.len(), 1, "a slot that goes back resets the histogram");
}

#[tokio::test(flavor = "multi_thread")]
async fn evicted_keys_are_removed_and_the_view_is_what_is_left() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("lru", MapType::LruHash).entries(128).make(&client).await;
    let mut seen = watch(&client, &["lru"], fast()).await.unwrap();
    seen.until_sync().await;
    // Twice, so that most come back.
    let mut left = BTreeMap::new();
    for round in 0..2 {
        for first in (0..2000_u32).step_by(100) {
            let value = |key: u32| u64::from(key) + round;
            let some =
                (first..first + 100).map(|key| (key.to_ne_bytes(), value(key).to_ne_bytes()));
            let some: EntryBatch = some.collect();
            client.maps().update_batch("lru", some, UpdateMode::Any).await.unwrap();
            tokio::time::sleep(FAST / 4).await;
        }
        left = left_in(&client, "lru").await;
        seen.until(|seen| seen.totals() == left).await;
    }
    assert!(left.len() <= 128 && !seen.removed.is_empty());
    assert!(seen.removed.iter().all(|removed| removed.reason() == Reason::Evicted));
}

async fn left_in(client: &Client, map: &str) -> BTreeMap<String, u64> {
    let all = entries(client, map).await.into_iter();
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
        let key = u32::from_ne_bytes(key.try_into().unwrap());
        (format!("{map}{{key={key}}}"), u64::from_ne_bytes(value.try_into().unwrap()))
    };
    all.map(entry).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_come_and_go_under_a_watch_leave_it_right() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("m", MapType::Hash).entries(512).make(&client).await;
    let mut fine = watch(&client, &["m"], fast()).await.unwrap();
    let options = bpfgate_client::WatchOptions { interval: Some(3 * FAST), ..fast() };
    let mut coarse = watch(&client, &["m"], options).await.unwrap();
    fine.until_sync().await;
    for round in 1..=1500_u32 {
        set(&client, "m", round * 7 % 400, u64::from(round)).await;
        let gone = (round * 13 % 400).to_ne_bytes();
        let _ = client.maps().delete_entry("m", gone).await;
    }
    let left = left_in(&client, "m").await;
    fine.until(|seen| seen.totals() == left).await;
    coarse.until(|seen| seen.totals() == left).await;
    assert!(fine.removed.iter().all(|removed| removed.reason() == Reason::Deleted));
    assert!(fine.removed.len() >= coarse.removed.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_maps_of_an_object_go_with_it_and_say_so() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "o", elf::TYPED).await;
    let mut seen = watch(&client, &["o/per_cpu"], fast()).await.unwrap();
    seen.until_sync().await;
    assert_eq!(seen.series.len(), 8);
    client.objects().unload("o").await.unwrap();
    while !seen.series.is_empty() {
        seen.next().await.unwrap();
    }
    assert_eq!((seen.removed.len(), seen.removed[0].reason()), (1, Reason::Unloaded));

    // Again under the same name: another map, whose sweeps count from 1.
    try_load(&client, bpfgate_tests::calls::header("o"), elf::TYPED).await.unwrap();
    let again = tokio::time::timeout(SOON, async {
        while seen.series.len() < 8 {
            seen.next().await.unwrap();
        }
        assert_eq!(seen.batch().await.sweep, 1);
    });
    again.await.expect("it joins");
}
