//! Counters over time: the order of messages, exact totals, and what happens to those who are
//! slow, late or gone.

use std::collections::BTreeMap;
use std::time::Duration;

use bpfgate_client::v1::series_removed::Reason;
use bpfgate_client::v1::watch_loss::Source;
use bpfgate_client::v1::{CounterKind, MapType, Series};
use bpfgate_client::{
    Client, Code, CpuMode, Error, UpdateMode, WatchEvent, WatchOptions, parse_selector,
};
use bpfgate_tests::fixture::{ipv4, record, unsigned};
use bpfgate_tests::{Agent, Follower, NewMap, refused};

pub(crate) const FAST: Duration = Duration::from_millis(50);

pub(crate) fn fast() -> WatchOptions {
    WatchOptions { interval: Some(FAST), ..WatchOptions::default() }
}

pub(crate) async fn watch(
    client: &Client,
    selectors: &[&str],
    options: WatchOptions,
) -> Result<Follower, Error> {
    let selectors = selectors.iter().map(|text| parse_selector(text).unwrap()).collect();
    client.maps().watch_counters(selectors, options).await.map(Follower::new)
}

pub(crate) async fn set(client: &Client, map: &str, key: u32, value: u64) {
    let (key, value) = (key.to_ne_bytes(), value.to_ne_bytes());
    client.maps().update(map, key, value, UpdateMode::Any).await.unwrap();
}

pub(crate) fn totals(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
    entries.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
}

pub(crate) fn counter(name: &str, kind: MapType) -> NewMap {
    NewMap::new(name, kind).key(unsigned(4)).value(unsigned(8)).counter("", "packets")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_first_and_then_exact_counts() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = counter("hits", MapType::Hash).make(&client).await;
    set(&client, "hits", 6, 10).await;
    let mut seen = watch(&client, &["hits"], fast()).await.unwrap();
    let header = seen.watch().header().clone();
    let about = client.agent().get().await.unwrap();
    assert_eq!(header.maps, ["hits"]);
    assert_eq!(header.interval.unwrap().nanos, 50_000_000);
    assert_eq!((&header.agent_id, &header.boot_id), (&about.agent_id, &about.boot_id));
    assert_eq!((&header.incarnation, header.byte_order), (&about.incarnation, about.byte_order));

    assert!(matches!(seen.next().await.unwrap(), Some(WatchEvent::Series(_))));
    let Some(WatchEvent::Batch(first)) = seen.next().await.unwrap() else { panic!("{seen:#?}") };
    assert_eq!((first.sweep, first.complete, first.values.as_slice()), (1, true, &[10][..]));
    let (begin, end) = (first.read_begin.unwrap(), first.read_end.unwrap());
    assert!((begin.seconds, begin.nanos) <= (end.seconds, end.nanos));
    assert!(matches!(seen.next().await.unwrap(), Some(WatchEvent::Sync(_))));
    let series = seen.series.values().next().unwrap().clone();
    assert_eq!((series.kind(), series.unit.as_str()), (CounterKind::Monotonic, "packets"));
    assert!(!series.signed && !series.kind_undeclared && series.field.is_empty());
    assert_eq!(series.start_time, map.created_at);

    for value in [11, 250, u64::MAX] {
        set(&client, "hits", 6, value).await;
        set(&client, "hits", 17, value / 2).await;
        let want = totals(&[("hits{key=6}", value), ("hits{key=17}", value / 2)]);
        seen.until(|seen| seen.totals() == want).await;
    }
    // Silence would mean that the agent is dead.
    assert!(seen.quiet(Duration::from_millis(400)).await >= 3);
    assert!(seen.losses.is_empty() && seen.removed.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_struct_is_labels_and_fields() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let key = record("struct flow", &[("saddr", ipv4()), ("dport", unsigned(4))]);
    let value = record("struct count", &[("packets", unsigned(8)), ("bytes", unsigned(8))]);
    let map = NewMap::hash("flows").key(key).value(value).counter("bytes", "By");
    map.make(&client).await;
    for (host, port) in [(1, 443), (1, 80), (2, 443)] {
        let key = serde_json::json!({"saddr": format!("10.0.0.{host}"), "dport": port});
        let value = serde_json::json!({"packets": host, "bytes": port});
        client.maps().update("flows", key, value, UpdateMode::Any).await.unwrap();
    }
    let of = async |selector: &str| {
        let mut seen = watch(&client, &[selector], fast()).await.unwrap();
        seen.until_sync().await;
        seen
    };
    let all = of("flows").await;
    assert_eq!(all.totals().len(), 6);
    assert_eq!(all.totals()["flows{saddr=10.0.0.2,dport=443}packets"], 2);
    for series in all.series.values() {
        let declared = series.field == "bytes";
        assert_eq!((series.kind() == CounterKind::Monotonic, series.kind_undeclared), {
            (declared, !declared)
        });
    }
    let one = of("flows{dport=443}:bytes").await;
    assert_eq!(
        one.totals(),
        totals(&[
            ("flows{saddr=10.0.0.1,dport=443}bytes", 443),
            ("flows{saddr=10.0.0.2,dport=443}bytes", 443),
        ])
    );
    let not = of("flows{saddr!=10.0.0.1,dport=443|80}:packets").await;
    assert_eq!(not.totals(), totals(&[("flows{saddr=10.0.0.2,dport=443}packets", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn per_cpu_counters_are_summed_or_told_apart() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for (name, kind) in [("hash", MapType::PercpuHash), ("array", MapType::PercpuArray)] {
        let map = counter(name, kind).entries(1).make(&client).await;
        let cpus = u64::from(map.value_stride / 8);
        let each: Vec<u8> = (1..=cpus).flat_map(|n| (n * 10).to_ne_bytes()).collect();
        client.maps().update(name, [0; 4], each, UpdateMode::Any).await.unwrap();
        let mut sum = watch(&client, &[name], fast()).await.unwrap();
        sum.until_sync().await;
        let total = (1..=cpus).sum::<u64>() * 10;
        assert_eq!(sum.totals(), totals(&[(&format!("{name}{{key=0}}"), total)]));
        let options = WatchOptions { cpu: CpuMode::Each, ..fast() };
        let mut each = watch(&client, &[name], options).await.unwrap();
        each.until_sync().await;
        let want = (0..cpus).map(|cpu| (format!("{name}{{key=0,cpu={cpu}}}"), (cpu + 1) * 10));
        assert_eq!(each.totals(), want.collect());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_of_what_there_is_now_ends_behind_it() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for (name, kind) in [("array", MapType::Array), ("hash", MapType::LruHash)] {
        counter(name, kind).make(&client).await;
        set(&client, name, 3, 7).await;
    }
    let once = WatchOptions { once: true, ..WatchOptions::default() };
    let mut seen = watch(&client, &["*"], once.clone()).await.unwrap();
    while seen.next().await.unwrap().is_some() {}
    assert_eq!(seen.sync.unwrap().series, 17);
    assert_eq!((seen.totals()["array{key=3}"], seen.totals()["array{key=4}"]), (7, 0));
    assert_eq!(seen.totals()["hash{key=3}"], 7);
    let mut none = watch(&client, &["absent*"], once).await.unwrap();
    while none.next().await.unwrap().is_some() {}
    assert_eq!(none.sync.unwrap().series, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_goes_is_removed_and_comes_back_as_another() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("m", MapType::Hash).make(&client).await;
    set(&client, "m", 1, 100).await;
    set(&client, "m", 2, 200).await;
    let mut seen = watch(&client, &["m"], fast()).await.unwrap();
    seen.until_sync().await;
    let old = seen.series.values().find(|series| series.labels[0].value == "1").unwrap().clone();
    client.maps().delete_entry("m", [1, 0, 0, 0]).await.unwrap();
    seen.until(|seen| seen.series.len() == 1).await;
    assert_eq!(
        (seen.removed[0].reason(), &seen.removed[0].refs),
        (Reason::Deleted, &vec![old.r#ref])
    );
    assert_eq!(seen.totals(), totals(&[("m{key=2}", 200)]));

    set(&client, "m", 1, 3).await;
    seen.until(|seen| seen.totals() == totals(&[("m{key=1}", 3), ("m{key=2}", 200)])).await;
    let new = seen.series.values().last().unwrap();
    assert_eq!(new.labels, old.labels);
    let (then, now) = (old.start_time.unwrap(), new.start_time.unwrap());
    assert!((now.seconds, now.nanos) > (then.seconds, then.nanos), "a new start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_appears_later_joins_and_one_that_goes_says_so() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let mut seen = watch(&client, &["net.*"], fast()).await.unwrap();
    seen.until_sync().await;
    assert!(seen.watch().header().maps.is_empty() && seen.series.is_empty());
    counter("net.rx", MapType::Hash).make(&client).await;
    counter("disk.rx", MapType::Hash).make(&client).await;
    set(&client, "net.rx", 1, 5).await;
    set(&client, "disk.rx", 1, 5).await;
    seen.until(|seen| seen.totals() == totals(&[("net.rx{key=1}", 5)])).await;

    client.maps().delete("net.rx").await.unwrap();
    while seen.removed.is_empty() {
        seen.next().await.unwrap();
    }
    assert_eq!((seen.removed[0].reason(), seen.removed[0].map.as_str()), {
        (Reason::MapGone, "net.rx")
    });
    client.maps().delete("disk.rx").await.unwrap();
    // The watch goes on, but holds no map.
    agent.assert_only_baseline();
    counter("net.rx", MapType::Hash).make(&client).await;
    set(&client, "net.rx", 1, 1).await;
    let again = tokio::time::timeout(bpfgate_tests::SOON, async {
        while seen.totals() != totals(&[("net.rx{key=1}", 1)]) {
            seen.next().await.unwrap();
        }
    });
    again.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_the_newest_totals() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    // 150 KiB with every sweep: soon more than the transport buffers.
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let value = record("struct wide", &names.map(|name| (name, unsigned(8))));
    NewMap::array("m").key(unsigned(4)).value(value).entries(1500).make(&client).await;
    let large = [&[0; 8][..], &[0xff; 56]].concat();
    for key in 0..1500_u32 {
        let key = key.to_ne_bytes();
        client.maps().update("m", key, large.clone(), UpdateMode::Any).await.unwrap();
    }
    let options = WatchOptions { suppress_unchanged: false, ..fast() };
    let mut seen = watch(&client, &["m"], options).await.unwrap();
    seen.until_sync().await;
    let is_it = |series: &&Series| series.field == "a" && series.labels[0].value == "7";
    let reference = seen.series.values().find(is_it).unwrap().r#ref;
    let mut last = 0;
    for count in 1..=60_u64 {
        let value = [&count.to_ne_bytes()[..], &large[8..]].concat();
        client.maps().update("m", [7, 0, 0, 0], value, UpdateMode::Any).await.unwrap();
        last = count;
        tokio::time::sleep(FAST).await;
    }
    let mut coalesced = 0;
    let caught_up = tokio::time::timeout(Duration::from_secs(30), async {
        while seen.values[&reference] != last {
            coalesced += seen.batch().await.coalesced_sweeps;
        }
    });
    caught_up.await.expect("the newest total");
    assert!(coalesced > 0, "nothing was conflated");
    assert!(seen.losses.is_empty(), "{:?}", seen.losses);
    assert_eq!(seen.series.len(), 12_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn series_beyond_the_limit_are_a_loss() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("m", MapType::Array).make(&client).await;
    let options = WatchOptions { max_series: 5, ..fast() };
    let mut seen = watch(&client, &["m"], options).await.unwrap();
    seen.until_sync().await;
    assert_eq!(seen.series.len(), 5);
    let lost: u64 = seen.losses.iter().map(|loss| loss.count).sum();
    assert_eq!((seen.losses[0].source(), lost), (Source::Limit, 11));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_granted_say_why() {
    let agent = Agent::builder().config("[limits]\nmax_watchers = 1\n").spawn();
    let client = agent.client().await;
    counter("m", MapType::Hash).make(&client).await;
    NewMap::new("ring", MapType::Ringbuf).sizes(0, 0).entries(4096).make(&client).await;
    let invalid = Code::InvalidArgument;
    for millis in [0, 1, 49, 3_600_001, u64::MAX / 2] {
        let interval = Some(Duration::from_millis(millis));
        let options = WatchOptions { interval, ..WatchOptions::default() };
        let parts = ["interval", "50ms", "3600s"];
        refused(watch(&client, &["m"], options).await, invalid, &parts);
    }
    let none = client.maps().watch_counters(Vec::new(), fast()).await;
    refused(none, invalid, &["at least one selector"]);
    refused(watch(&client, &["m:packets"], fast()).await, invalid, &["m", "packets"]);
    refused(watch(&client, &["ring"], fast()).await, Code::Unimplemented, &["ring"]);
    let heartbeat = WatchOptions { heartbeat: Some(Duration::ZERO), ..fast() };
    refused(watch(&client, &["m"], heartbeat).await, invalid, &["heartbeat"]);

    let first = watch(&client, &["m"], fast()).await.unwrap();
    let second = watch(&client, &["m"], fast()).await;
    refused(second, Code::ResourceExhausted, &["1 watches"]);
    drop(first);
    let mut third = watch(&client, &["m"], fast()).await;
    for _ in 0..50 {
        if third.is_ok() {
            break;
        }
        // The agent learns of the first one's end in a moment.
        tokio::time::sleep(FAST).await;
        third = watch(&client, &["m"], fast()).await;
    }
    third.unwrap().until_sync().await;
}
