//! Watchers that read late, or too late.

use std::time::Duration;

use super::fake::{FakeMap, all_of, hub};
use super::fold::Fold;
use crate::watch::{RemovedReason, WatchLimits};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_late_watcher_gets_exact_totals_and_the_number_it_missed() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 4));
    let mut fast = hub.watch(all_of("m")).unwrap();
    let mut slow = hub.watch(all_of("m")).unwrap();
    let mut fast_fold = Fold::until_sync(&mut fast).await;
    let mut slow_fold = Fold::until_sync(&mut slow).await;
    for round in 1..=50 {
        map.set(1, &[round]);
        map.set(2, &[round / 10]);
        assert_eq!(fast_fold.until_batch(&mut fast).await.sweep, round + 1);
    }
    let batch = slow_fold.until_batch(&mut slow).await;
    assert_eq!((batch.sweep, batch.coalesced), (51, 49));
    assert_eq!((batch.refs.len(), slow_fold.numbers()), (2, vec![0, 50, 5, 0]));
    assert_eq!(slow_fold.totals(), fast_fold.totals());
    assert!(fast_fold.batches.iter().all(|batch| batch.coalesced == 0));
    slow_fold.drain(&mut slow).await;
    assert_eq!(slow_fold.last().sweep, 51, "one batch stands for all");
}

#[tokio::test(start_paused = true)]
async fn removals_wait_for_the_slowest() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::hash("m"));
    (0..100).for_each(|key| map.set(key, &[1]));
    let mut fast = hub.watch(all_of("m")).unwrap();
    let mut slow = hub.watch(all_of("m")).unwrap();
    let mut fast_fold = Fold::until_sync(&mut fast).await;
    let mut slow_fold = Fold::until_sync(&mut slow).await;
    for key in 0..100 {
        map.delete(key);
        // There and gone before the slow one looks.
        map.set(1000 + key, &[u64::from(key)]);
        fast_fold.until_batch(&mut fast).await;
        if key % 2 == 0 {
            map.delete(1000 + key);
        }
    }
    fast_fold.until_batch(&mut fast).await;
    slow_fold.drain(&mut slow).await;
    assert_eq!(slow_fold.totals(), fast_fold.totals());
    assert_eq!(slow_fold.series.len(), 50);
    let removed = |fold: &Fold| fold.removed.iter().map(|it| it.refs.len()).sum::<usize>();
    assert_eq!((removed(&fast_fold), removed(&slow_fold)), (150, 100));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_cannot_be_told_of_removals_begins_anew() {
    let (hub, sources) = hub(WatchLimits { removals: 10, ..WatchLimits::default() });
    let map = sources.add(FakeMap::hash("m"));
    (0..20).for_each(|key| map.set(key, &[1]));
    let mut slow = hub.watch(all_of("m")).unwrap();
    let mut slow_fold = Fold::until_sync(&mut slow).await;
    let mut fast = hub.watch(all_of("m")).unwrap();
    let mut fast_fold = Fold::until_sync(&mut fast).await;
    for key in 0..9 {
        map.delete(key);
    }
    fast_fold.until_batch(&mut fast).await;
    for key in 9..15 {
        map.delete(key);
    }
    map.set(15, &[7]);
    fast_fold.until_batch(&mut fast).await;
    assert_eq!(fast_fold.series.len(), 5);
    let batch = slow_fold.until_batch(&mut slow).await;
    assert_eq!((slow_fold.removed.len(), slow_fold.removed[0].reason), (1, RemovedReason::Limit));
    assert_eq!((batch.refs.len(), batch.coalesced), (5, 1), "whole again");
    assert_eq!(slow_fold.totals(), fast_fold.totals());
    map.delete(19);
    assert_eq!(slow_fold.until_batch(&mut slow).await.refs.len(), 0);
    assert_eq!((slow_fold.series.len(), slow_fold.removed.len()), (4, 2), "and goes on as before");
}

#[tokio::test(start_paused = true)]
async fn slow_watchers_do_not_hold_up_fast_ones() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::array("m", 4));
    let mut fast = hub.watch(all_of("m")).unwrap();
    let slow: Vec<_> = (0..20).map(|_| hub.watch(all_of("m")).unwrap()).collect();
    let mut fold = Fold::until_sync(&mut fast).await;
    fold.until_batch(&mut fast).await;
    let begun = tokio::time::Instant::now();
    for round in 1..=10 {
        map.set(0, &[round]);
        assert_eq!(fold.until_batch(&mut fast).await.values, [round]);
    }
    assert_eq!(begun.elapsed().as_secs(), 10 * SECOND.as_secs());
    drop(slow);
}
