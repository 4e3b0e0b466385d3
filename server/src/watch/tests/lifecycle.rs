//! When sweepers begin, run and end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fake::{FakeMap, all_of, hub};
use super::fold::Fold;
use crate::watch::{CpuMode, WatchError, WatchLimits};

const SECOND: Duration = Duration::from_secs(1);

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(start_paused = true)]
async fn one_sweeper_serves_all_watchers_of_an_interval() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 8));
    let mut watches = Vec::new();
    for _ in 0..200 {
        let mut watch = hub.watch(all_of("m")).unwrap();
        let fold = Fold::until_sync(&mut watch).await;
        watches.push((watch, fold));
    }
    assert_eq!((hub.watches(), hub.sweepers(), map.sweeps()), (200, 1, 1));
    map.set(3, &[9]);
    tokio::time::sleep(2 * SECOND).await;
    for (watch, fold) in &mut watches {
        fold.drain(watch).await;
        assert_eq!(fold.numbers()[3], 9);
    }
    assert!((2..=4).contains(&map.sweeps()), "{} sweeps", map.sweeps());

    let mut request = all_of("m");
    request.interval = Some(SECOND / 4);
    request.cpu = CpuMode::Each;
    let other = hub.watch(request).unwrap();
    assert_eq!(hub.sweepers(), 1, "whatever the interval and the CPU mode");
    drop(other);
    assert_eq!(hub.sweepers(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_watcher_ends_the_sweeper() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 8));
    let held = Arc::strong_count(&map);
    let before = tasks();
    let mut first = hub.watch(all_of("m")).unwrap();
    let second = hub.watch(all_of("m")).unwrap();
    Fold::until_sync(&mut first).await;
    assert_eq!(tasks(), before + 1);
    drop(first);
    tokio::time::sleep(SECOND).await;
    assert_eq!((hub.watches(), hub.sweepers(), tasks()), (1, 1, before + 1));
    drop(second);
    tokio::time::sleep(SECOND).await;
    assert_eq!((hub.watches(), hub.sweepers(), tasks()), (0, 0, before));
    assert_eq!(Arc::strong_count(&map), held, "nobody watches, nothing is held");
    let sweeps = map.sweeps();
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(map.sweeps(), sweeps);
}

#[tokio::test(start_paused = true)]
async fn a_map_that_goes_is_let_go_although_a_watcher_does_not_read() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = Arc::downgrade(&sources.add(FakeMap::array("m", 8)));
    let before = tasks();
    let mut watch = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    sources.remove("m");
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!((hub.sweepers(), tasks()), (0, before));
    assert!(map.upgrade().is_none());
    fold.drain(&mut watch).await;
    assert!(fold.series.is_empty());
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_every_watch_with_its_reason() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 8));
    let before = tasks();
    let mut waiting = hub.watch(all_of("m")).unwrap();
    let mut unread = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut waiting).await;
    let waiting = tokio::spawn(async move { fold.until_end(&mut waiting).await });
    tokio::time::sleep(SECOND / 4).await;
    hub.shutdown();
    assert_eq!(waiting.await.unwrap(), Some(WatchError::Stopping));
    assert_eq!(unread.next().await.unwrap().err(), Some(WatchError::Stopping));
    assert!(unread.next().await.is_none());
    assert_eq!(hub.watch(all_of("m")).err(), Some(WatchError::Stopping));
    drop(unread);
    tokio::time::sleep(SECOND).await;
    assert_eq!((hub.watches(), hub.sweepers(), tasks()), (0, 0, before));
    assert_eq!(Arc::strong_count(&map), 2, "the test's and the source's");
}

#[tokio::test(start_paused = true)]
async fn a_second_watcher_takes_the_snapshot_that_is_there() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 2));
    let mut first = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut first).await;
    fold.until_batch(&mut first).await;
    let sweeps = map.sweeps();
    let asked = tokio::time::Instant::now();
    let second = Fold::until_sync(&mut hub.watch(all_of("m")).unwrap()).await;
    assert_eq!((asked.elapsed(), map.sweeps()), (Duration::ZERO, sweeps));
    assert_eq!((second.last().sweep, second.last().coalesced), (2, 0));
}

#[tokio::test]
async fn a_slow_sweep_is_not_piled_up() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 2));
    // The map itself fails the test if two sweeps overlap.
    map.takes(Duration::from_millis(130));
    let mut request = all_of("m");
    request.interval = Some(Duration::from_millis(50));
    let mut watch = hub.watch(request).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    let begun = Instant::now();
    for _ in 0..4 {
        let batch = fold.until_batch(&mut watch).await;
        assert!(batch.complete, "it did not overlap");
        assert_eq!(batch.coalesced, 0, "ticks that were run over are no sweeps");
    }
    assert!(begun.elapsed() >= Duration::from_millis(4 * 130));
}

#[tokio::test]
async fn only_so_many_maps_are_read_at_a_time() {
    let (hub, sources) = hub(WatchLimits { sweeps: 2, ..WatchLimits::default() });
    for name in ["a", "b", "c", "d", "e", "f"] {
        sources.add(FakeMap::array(name, 2)).takes(Duration::from_millis(30));
    }
    let begun = Instant::now();
    let fold = Fold::until_sync(&mut hub.watch(all_of("*")).unwrap()).await;
    assert_eq!(fold.series.len(), 12, "all had their turn");
    assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn views_are_right_on_many_threads() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::hash("m"));
    let watching: Vec<_> = (0..16)
        .map(|n| {
            let mut request = all_of("m");
            request.interval = Some(Duration::from_millis(50 + 10 * (n % 2)));
            let mut watch = hub.watch(request).unwrap();
            tokio::spawn(async move {
                let mut fold = Fold::default();
                for _ in 0..20 {
                    fold.until_batch(&mut watch).await;
                    tokio::time::sleep(Duration::from_millis(n * 5)).await;
                }
                // What was written last is in the second batch from now at the latest.
                while fold.numbers() != [1, 2, 3] {
                    fold.until_batch(&mut watch).await;
                }
            })
        })
        .collect();
    for round in 0..3000 {
        map.set(round % 50, &[u64::from(round)]);
        map.delete((round * 7) % 50);
        if round % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    (0..50).for_each(|key| map.delete(key));
    (1..=3).for_each(|key| map.set(key, &[u64::from(key)]));
    for watching in watching {
        tokio::time::timeout(20 * SECOND, watching).await.expect("it gets there").unwrap();
    }
    assert_eq!((hub.watches(), hub.sweepers()), (0, 0));
}
