//! What a watch says when.

use std::time::{Duration, SystemTime};

use super::fake::{FakeMap, Fault, all_of, hub, matcher};
use super::fold::Fold;
use crate::watch::{
    CounterKind, CounterSpec, CpuMode, KeyLife, LossSource, RemovedReason, WatchError, WatchLimits,
    WatchMode,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_snapshot_comes_first_and_then_what_changed() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("o/m", 256));
    map.set(17, &[5]);
    let mut watch = hub.watch(all_of("o/*")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!(fold.header.as_ref().unwrap().interval, SECOND);
    assert_eq!(fold.header.as_ref().unwrap().maps, std::slice::from_ref(&map.name));
    assert_eq!(fold.sync.unwrap().series, 256);
    assert_eq!((fold.last().sweep, fold.last().refs.len()), (1, 256));
    assert_eq!(fold.totals()[&("o/m".into(), "key=17".into(), String::new())], 5);

    map.set(17, &[9]);
    let batch = fold.until_batch(&mut watch).await;
    assert_eq!((batch.sweep, batch.complete, batch.coalesced), (2, true, 0));
    assert_eq!(batch.values, [9]);
    let batch = fold.until_batch(&mut watch).await;
    assert_eq!((batch.sweep, batch.complete, batch.refs.len()), (3, true, 0), "quiet, not silent");
}

#[tokio::test(start_paused = true)]
async fn everything_is_resent_when_asked_for() {
    let (hub, sources) = hub(WatchLimits::default());
    sources.add(FakeMap::array("m", 3));
    let mut request = all_of("m");
    request.suppress_unchanged = false;
    let mut watch = hub.watch(request).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    for _ in 0..3 {
        assert_eq!(fold.until_batch(&mut watch).await.refs.len(), 3);
    }

    let mut request = all_of("m");
    request.heartbeat = Some(3 * SECOND);
    let mut watch = hub.watch(request).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    let mut sizes = Vec::new();
    for _ in 0..7 {
        sizes.push(fold.until_batch(&mut watch).await.refs.len());
    }
    let full: Vec<usize> = (0..7).filter(|at| sizes[*at] == 3).collect();
    assert!(full.len() >= 2 && full[1] - full[0] == 3, "every third is full: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn per_cpu_values_are_added_or_told_apart() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap { cpus: Some(3), value_size: 16, ..FakeMap::hash("m") });
    map.set(7, &[1, 10, u64::MAX, 20, 3, 30]);
    let mut watch = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!(fold.numbers(), [3, 60], "the sum wraps");

    let mut request = all_of("m");
    request.cpu = CpuMode::Each;
    let mut each = hub.watch(request.clone()).unwrap();
    let mut fold_each = Fold::until_sync(&mut each).await;
    assert_eq!(fold_each.numbers(), [1, 10, u64::MAX, 20, 3, 30]);
    let labels: Vec<String> = fold_each.totals().into_keys().map(|(_, labels, _)| labels).collect();
    assert_eq!(labels[2], "key=hex:07000000,cpu=1");

    map.set(7, &[1, 10, 5, 20, 3, 30]);
    while fold.numbers() != [9, 60] {
        // The other's first sweep was this one's too.
        fold.until_batch(&mut watch).await;
    }
    assert_eq!(fold_each.until_batch(&mut each).await.values, [5]);

    request.selectors[0].labels.push(matcher("cpu", true, vec!["1".to_owned()]));
    let mut one = hub.watch(request).unwrap();
    assert_eq!(Fold::until_sync(&mut one).await.numbers(), [5, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_returns_is_another_series() {
    for (key_life, reason) in
        [(KeyLife::Deletable, RemovedReason::Deleted), (KeyLife::Evictable, RemovedReason::Evicted)]
    {
        let (hub, sources) = hub(WatchLimits::default());
        let map = sources.add(FakeMap { key_life, ..FakeMap::hash("m") });
        map.set(1, &[100]);
        map.set(2, &[200]);
        let mut watch = hub.watch(all_of("m")).unwrap();
        let mut fold = Fold::until_sync(&mut watch).await;
        let old = fold.series.values().find(|it| &*it.labels[0].value == "hex:01000000").unwrap();
        let old = old.clone();
        assert_eq!(old.start_time, SystemTime::UNIX_EPOCH, "the map's");

        map.delete(1);
        fold.until_batch(&mut watch).await;
        assert_eq!(fold.removed.len(), 1);
        assert_eq!((&fold.removed[0].refs, fold.removed[0].reason), (&vec![old.reference], reason));

        map.set(1, &[3]);
        let batch = fold.until_batch(&mut watch).await;
        assert_eq!(batch.values, [3]);
        let new = &fold.series[&batch.refs[0]];
        assert_eq!(new.labels, old.labels);
        assert_ne!(new.reference, old.reference);
        assert_eq!(new.start_time, batch.read_begin, "its own");
    }
}

#[tokio::test(start_paused = true)]
async fn maps_come_and_go() {
    let (hub, sources) = hub(WatchLimits::default());
    let mut watch = hub.watch(all_of("o/*")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!(fold.header.as_ref().unwrap().maps, []);

    sources.add(FakeMap::array("o/a", 2));
    sources.add(FakeMap::array("p/a", 2));
    fold.until_batch(&mut watch).await;
    assert_eq!(fold.series.len(), 2, "what appears joins if it matches");

    // The same name, another map: what was counted before does not count for it.
    sources.remove("o/a");
    let map = sources.add(FakeMap::array("o/a", 3));
    map.set(0, &[7]);
    while fold.numbers() != [7, 0, 0] {
        fold.until_batch(&mut watch).await;
    }
    let gone: Vec<_> = fold.removed.iter().map(|it| (it.reason, it.refs.len())).collect();
    assert_eq!(gone, [(RemovedReason::MapGone, 2)]);

    sources.remove("o/a");
    while !fold.series.is_empty() {
        fold.take(&watch.next().await.unwrap().unwrap());
    }
    assert_eq!(hub.sweepers(), 0);
}

#[tokio::test(start_paused = true)]
async fn selectors_choose_by_label_and_field() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap { value_size: 24, ..FakeMap::hash("m") });
    (0..4).for_each(|key| map.set(key, &[u64::from(key), 10, 20]));
    let matcher = |is, values: &[&str]| {
        matcher("key", is, values.iter().map(|it| (*it).to_owned()).collect())
    };
    let mut request = all_of("m");
    request.selectors[0].labels = vec![
        matcher(false, &["hex:00000000"]),
        matcher(true, &["hex:00000000", "hex:01000000", "hex:03000000"]),
    ];
    request.selectors[0].fields = vec!["0".into(), "2".into()];
    let mut watch = hub.watch(request.clone()).unwrap();
    assert_eq!(Fold::until_sync(&mut watch).await.numbers(), [1, 20, 3, 20]);

    // A second selector that takes some of the same series: each still comes once.
    let mut wider = all_of("?").selectors.remove(0);
    wider.labels = vec![matcher(true, &["hex:03000000"])];
    request.selectors.push(wider);
    let mut watch = hub.watch(request).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!(fold.numbers(), [1, 20, 3, 10, 20]);
    map.set(2, &[99, 99, 99]);
    map.set(3, &[4, 11, 20]);
    assert_eq!(fold.until_batch(&mut watch).await.values, [4, 11]);
}

#[tokio::test(start_paused = true)]
async fn kinds_are_declared_and_never_guessed() {
    let spec = |field: &str, kind, unit: &str| CounterSpec {
        field: field.into(),
        kind,
        unit: unit.into(),
    };
    let counters = vec![spec("0", CounterKind::Monotonic, "packets")];
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap { value_size: 16, counters, ..FakeMap::hash("m") });
    map.set(1, &[1, 2]);
    let fold = Fold::until_sync(&mut hub.watch(all_of("m")).unwrap()).await;
    let by_field = |field: &str| fold.series.values().find(|it| &*it.field == field).unwrap();
    let declared = by_field("0");
    assert_eq!((declared.kind, declared.kind_undeclared), (CounterKind::Monotonic, false));
    assert_eq!(&*declared.unit, "packets");
    let other = by_field("1");
    assert_eq!((other.kind, other.kind_undeclared), (CounterKind::Gauge, true));
}

#[tokio::test(start_paused = true)]
async fn once_ends_behind_sync() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 2));
    sources.add(FakeMap::array("o/m", 3));
    for expected in [0, 5] {
        map.set(0, &[expected]);
        let mut request = all_of("m");
        request.mode = WatchMode::Once;
        request.selectors.extend(all_of("*/*").selectors);
        let mut watch = hub.watch(request).unwrap();
        let mut fold = Fold::default();
        assert_eq!(fold.until_end(&mut watch).await, None);
        assert_eq!(fold.sync.unwrap().series, 5);
        assert_eq!(fold.numbers(), [expected, 0, 0, 0, 0]);
        assert!(watch.next().await.is_none(), "over is over");
        assert_eq!(hub.sweepers(), 0);
    }
    let mut request = all_of("nothing");
    request.mode = WatchMode::Once;
    let mut fold = Fold::default();
    assert_eq!(fold.until_end(&mut hub.watch(request).unwrap()).await, None);
    assert_eq!(fold.sync.unwrap().series, 0);
}

#[tokio::test(start_paused = true)]
async fn trouble_is_reported_once_and_removes_nothing() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::hash("m"));
    (0..10).for_each(|key| map.set(key, &[1]));
    let mut watch = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    map.delete(9);
    map.set(0, &[2]);
    for (fault, losses) in [
        (Fault::Stops(3), 0),
        (Fault::Fails(3), 1),
        (Fault::Panics, 1),
        (Fault::None, 1),
        (Fault::Fails(0), 2),
    ] {
        let before = fold.series.len();
        map.fault(fault);
        for _ in 0..2 {
            let batch = fold.until_batch(&mut watch).await;
            assert_eq!(batch.complete, fault == Fault::None);
        }
        assert_eq!(fold.losses.len(), losses, "{fault:?}");
        assert_eq!(fold.series.len(), if fault == Fault::None { 9 } else { before });
        assert_eq!(fold.numbers()[0], 2, "what could be read counts");
    }
    assert_eq!(fold.losses[0].source, LossSource::ReadError);
    assert!(fold.losses[0].detail.contains("could not read map m: Operation not permitted"));

    // A ONCE watch of a map that cannot be read ends too, and says that what it has is old.
    let mut request = all_of("m");
    request.mode = WatchMode::Once;
    request.interval = Some(SECOND / 2);
    let mut fold = Fold::default();
    assert_eq!(fold.until_end(&mut hub.watch(request).unwrap()).await, None::<WatchError>);
    assert_eq!((fold.series.len(), fold.losses.len(), fold.last().complete), (9, 1, false));
}
