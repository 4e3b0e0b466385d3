//! What is made once for many, and what outlives its watchers.

use std::time::{Duration, SystemTime};

use super::fake::{FakeMap, all_of, hub};
use super::fold::Fold;
use super::said::{Said, said};
use crate::host_names::HostName;
use crate::watch::{CounterKind, CounterSpec, CpuMode, RemovedReason, Told, WatchLimits, Watcher};

const SECOND: Duration = Duration::from_secs(1);

fn declared(kind: CounterKind) -> Vec<CounterSpec> {
    vec![CounterSpec { field: String::new(), kind, unit: String::new() }]
}

/// The next page that has a batch.
async fn batch(watch: &mut Watcher) -> Told {
    loop {
        let told = watch.next().await.unwrap().unwrap();
        if said(&told).iter().any(|said| matches!(**said, Said::Batch(_))) {
            return told;
        }
    }
}

/// They are the same bytes, not others that say the same.
fn is_shared(one: &Told, other: &Told) -> bool {
    std::ptr::eq(one.bytes().as_ptr(), other.bytes().as_ptr())
}

#[tokio::test(start_paused = true)]
async fn watches_that_are_told_the_same_share_the_message() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 8));
    let mut alike = [hub.watch(all_of("m")).unwrap(), hub.watch(all_of("m")).unwrap()];
    let mut narrow = all_of("m");
    narrow.max_series = 8;
    let mut other = hub.watch(narrow).unwrap();
    for round in 0..3 {
        map.set(0, &[round]);
        let [first, second] = &mut alike;
        let (first, second) = (batch(first).await, batch(second).await);
        assert!(is_shared(&first, &second), "round {round}");
        let told = batch(&mut other).await;
        assert!(!is_shared(&first, &told), "other terms");
        assert_eq!(said(&first), said(&told), "the same said");
    }
}

#[tokio::test(start_paused = true)]
async fn intervals_share_sweeps_and_each_gets_its_own() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 2));
    let watch = |interval: Duration| {
        let mut request = all_of("m");
        request.interval = Some(interval);
        hub.watch(request).unwrap()
    };
    let mut watches = [watch(SECOND), watch(2 * SECOND), watch(10 * SECOND)];
    let mut folds = [Fold::default(), Fold::default(), Fold::default()];
    let begun = map.sweeps();
    for second in 1..=60 {
        map.set(0, &[second]);
        tokio::time::sleep(SECOND).await;
        for (watch, fold) in watches.iter_mut().zip(&mut folds) {
            fold.drain(watch).await;
        }
    }
    let sweeps = map.sweeps() - begun;
    assert!((60..=62).contains(&sweeps), "{sweeps} sweeps: those of the fastest");
    for (fold, expected) in folds.iter().zip([60, 30, 6]) {
        let batches = fold.batches.len();
        assert!((expected..=expected + 2).contains(&batches), "{batches}, not {expected}");
        assert!(fold.batches.iter().all(|batch| batch.coalesced == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_counter_that_goes_back_is_a_reset_and_a_gauge_is_not() {
    for (kind, resets) in [(CounterKind::Monotonic, 1), (CounterKind::Gauge, 0)] {
        let (hub, sources) = hub(WatchLimits::default());
        let map = sources.add(FakeMap { counters: declared(kind), ..FakeMap::hash("m") });
        map.set(1, &[10]);
        let mut watch = hub.watch(all_of("m")).unwrap();
        let mut late = hub.watch(all_of("m")).unwrap();
        let mut fold = Fold::until_sync(&mut watch).await;
        let mut late_fold = Fold::until_sync(&mut late).await;
        map.set(1, &[3]);
        let found = fold.until_batch(&mut watch).await;
        assert_eq!((found.values.as_slice(), fold.resets.len()), (&[3][..], resets));
        assert!(fold.resets.iter().all(|reset| reset.start_time == found.read_begin));
        // Told too to one that looks when the number is larger than ever.
        map.set(1, &[99]);
        fold.until_batch(&mut watch).await;
        late_fold.until_batch(&mut late).await;
        assert_eq!((late_fold.numbers(), late_fold.resets.len()), (vec![99], resets));
    }
}

#[tokio::test(start_paused = true)]
async fn starts_outlive_the_watchers_until_their_room_is_needed() {
    for (remembered, remembers) in [(10, true), (1, false)] {
        let limits = WatchLimits { remembered, ..WatchLimits::default() };
        let (hub, sources) = hub(limits);
        let map = sources
            .add(FakeMap { counters: declared(CounterKind::Monotonic), ..FakeMap::hash("m") });
        map.set(1, &[10]);
        map.set(2, &[20]);
        let mut watch = hub.watch(all_of("m")).unwrap();
        let mut fold = Fold::until_sync(&mut watch).await;
        map.set(3, &[30]);
        let born = fold.until_batch(&mut watch).await.read_begin;
        drop(watch);
        assert_eq!(hub.sweepers(), 0);

        map.set(1, &[4]);
        map.delete(2);
        tokio::time::sleep(5 * SECOND).await;
        let mut request = all_of("m");
        request.interval = Some(SECOND / 2);
        let again = Fold::until_sync(&mut hub.watch(request).unwrap()).await;
        assert_eq!(again.numbers(), [4, 30], "as it is now");
        let mut starts: Vec<_> = again.series.values().map(|it| it.start_time).collect();
        starts.sort_unstable();
        let epoch = SystemTime::UNIX_EPOCH;
        if remembers {
            assert_eq!((starts[0], starts[1]), (born, again.last().read_begin));
        } else {
            assert_eq!(starts, [epoch, epoch]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slots_are_one_series_whether_in_the_value_or_the_map() {
    let (hub, sources) = hub(WatchLimits::default());
    let inside = sources.add(FakeMap {
        value_size: 24,
        cpus: Some(2),
        counters: declared(CounterKind::Histogram),
        ..FakeMap::hash("inside")
    });
    inside.set(1, &[1, 2, 3, 10, 20, 30]);
    let whole =
        FakeMap { counters: declared(CounterKind::Histogram), ..FakeMap::array("whole", 4) };
    let whole = sources.add(whole);
    whole.set(2, &[7]);
    let mut request = all_of("*");
    let mut watch = hub.watch(request.clone()).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!(fold.series.len(), 2);
    assert_eq!(fold.numbers(), [11, 22, 33, 0, 0, 7, 0]);
    let whole_series = fold.series.values().find(|it| it.map.as_str() == "whole").unwrap();
    assert_eq!(whole_series.bounds, [0, 2, 4, 8]);
    assert!(whole_series.labels.is_empty());

    request.cpu = CpuMode::Each;
    let each = Fold::until_sync(&mut hub.watch(request).unwrap()).await;
    assert_eq!(each.numbers(), [1, 2, 3, 10, 20, 30, 0, 0, 7, 0]);

    whole.set(3, &[1]);
    while fold.numbers()[6] != 1 {
        fold.until_batch(&mut watch).await;
    }
    whole.set(2, &[6]);
    while fold.resets.is_empty() {
        fold.until_batch(&mut watch).await;
    }
    assert_eq!(fold.numbers(), [11, 22, 33, 0, 0, 6, 1]);
}

#[tokio::test(start_paused = true)]
async fn labels_go_by_name_for_those_who_want_it() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap {
        key_life: crate::watch::KeyLife::Fixed,
        host_names: vec![("key".into(), HostName::Protocol)],
        ..FakeMap::hash("m")
    });
    map.set(6, &[1]);
    map.set(253, &[2]);
    let keys = |fold: &Fold| fold.totals().into_keys().map(|(_, labels, _)| labels).collect();
    let mut plain = hub.watch(all_of("m")).unwrap();
    let mut plain_fold = Fold::until_sync(&mut plain).await;
    assert_eq!(keys(&plain_fold), ["key=253", "key=6"].map(String::from).to_vec());
    let mut request = all_of("m");
    request.resolve_declared = true;
    let mut named = hub.watch(request.clone()).unwrap();
    let mut named_fold = Fold::until_sync(&mut named).await;
    assert_eq!(keys(&named_fold), ["key=253", "key=TCP"].map(String::from).to_vec());
    map.set(17, &[3]);
    named_fold.until_batch(&mut named).await;
    plain_fold.drain(&mut plain).await;
    let both = [keys(&named_fold), keys(&plain_fold)].map(|keys: Vec<String>| keys[1].clone());
    assert_eq!((both[0].as_str(), both[1].as_str()), ("key=TCP", "key=253"));

    request.resolve = vec![("key".into(), Some(HostName::User)), ("absent".into(), None)];
    map.set(0, &[4]);
    let users = Fold::until_sync(&mut hub.watch(request).unwrap()).await;
    assert!(keys(&users).contains(&"key=root".to_owned()), "what is asked for goes first");
}

#[tokio::test(start_paused = true)]
async fn a_map_that_goes_with_its_object_says_so() {
    let (hub, sources) = hub(WatchLimits::default());
    sources.add(FakeMap { is_part: true, ..FakeMap::array("o/m", 2) });
    let mut watch = hub.watch(all_of("o/*")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    sources.remove("o/m");
    while !fold.series.is_empty() {
        fold.take(&watch.next().await.unwrap().unwrap());
    }
    let said: Vec<_> = fold.removed.iter().map(|it| (it.reason, it.refs.len())).collect();
    assert_eq!(said, [(RemovedReason::Unloaded, 2)]);
}

#[tokio::test]
async fn a_sweep_that_takes_too_long_says_how_long() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 2));
    map.takes(Duration::from_millis(120));
    let mut request = all_of("m");
    request.interval = Some(Duration::from_millis(50));
    let mut watch = hub.watch(request).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!(fold.last().achieved, None, "nothing before the first");
    for _ in 0..3 {
        let batch = fold.until_batch(&mut watch).await;
        assert!(batch.achieved.unwrap() >= Duration::from_millis(120));
    }
}
