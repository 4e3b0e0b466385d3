//! What watches hold is paid for, by whom it should be, and given back.

use std::time::Duration;

use super::fake::{FakeHub, FakeMap, FakeSources, all_of, hub_of};
use super::fold::Fold;
use super::said::{Said, said};
use crate::ledger::CallerKey;
use crate::watch::{LossSource, WatchError, WatchLimits, Watcher};

const SECOND: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;

fn many(sources: &FakeSources, keys: u32) -> std::sync::Arc<FakeMap> {
    let map = sources.add(FakeMap::hash("m"));
    (0..keys).for_each(|key| map.set(key, &[1]));
    map
}

fn used(hub: &FakeHub) -> u64 {
    hub.ledger.usage().used
}

/// Watches of their own terms that nobody reads behind the first page.
async fn unread(hub: &FakeHub, count: usize) -> Vec<Watcher> {
    let mut watches = Vec::new();
    for n in 0..count {
        let mut request = all_of("m");
        request.max_series = 50_000 + n;
        let Ok(mut watch) = hub.watch(request) else { continue };
        let soon = tokio::time::timeout(SECOND / 2, watch.next());
        assert!(soon.await.expect("a header").unwrap().is_ok());
        let soon = tokio::time::timeout(SECOND / 2, watch.next());
        if matches!(soon.await, Ok(Some(Ok(_)))) {
            watches.push(watch);
        }
    }
    watches
}

#[tokio::test(start_paused = true)]
async fn nothing_is_charged_when_all_watches_are_gone() {
    let limits = WatchLimits { remembered: 0, ..WatchLimits::default() };
    let (hub, sources) = hub_of(limits, 64 * MIB);
    let map = many(&sources, 5000);
    let mut watch = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    let (whole, own) = (used(&hub), hub.account.usage().used);
    assert!((5000 * 40..5000 * 150).contains(&whole), "{whole} bytes");
    assert!(own < 20_000, "{own} bytes are the watch's");
    let mut alike = hub.watch(all_of("m")).unwrap();
    Fold::until_sync(&mut alike).await;
    let another = used(&hub) - whole;
    assert!(another < 10_000, "{another} bytes for another of the same terms");

    // Resets, removals and new keys come and go too.
    (0..1000).for_each(|key| map.set(key, &[0]));
    (1000..3000).for_each(|key| map.delete(key));
    (9000..9500).for_each(|key| map.set(key, &[5]));
    fold.until_batch(&mut watch).await;
    drop((watch, alike));
    tokio::time::sleep(SECOND).await;
    assert_eq!(used(&hub), 0);
    assert_eq!(hub.ledger.callers_usage().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_takes_less_than_40_bytes_and_is_the_agents() {
    let (hub, sources) = hub_of(WatchLimits::default(), 64 * MIB);
    many(&sources, 5000);
    let watch = async || {
        let mut watch = hub.watch(all_of("m")).unwrap();
        let fold = Fold::until_sync(&mut watch).await;
        assert_eq!((fold.series.len(), fold.losses.len()), (5000, 0));
        drop(watch);
        tokio::time::sleep(SECOND).await;
    };
    watch().await;
    let remembered = used(&hub);
    assert!((5000 * 16..5000 * 40).contains(&remembered), "{remembered} bytes");
    assert_eq!(hub.account.caller().usage().used, 0);
    watch().await;
    assert_eq!(used(&hub), remembered, "once more is not twice");
}

#[tokio::test(start_paused = true)]
async fn what_is_shared_passes_to_the_caller_who_stays() {
    let (hub, sources) = hub_of(WatchLimits::default(), 64 * MIB);
    many(&sources, 5000);
    let other = hub.ledger.caller(CallerKey::Uid(1001)).connection();
    let mut first = hub.watch(all_of("m")).unwrap();
    Fold::until_sync(&mut first).await;
    let mut second = hub.watch_as(&other, all_of("m")).unwrap();
    Fold::until_sync(&mut second).await;
    let callers = || [&hub.account, &other].map(|account| account.caller().usage().used);
    let [before, beside] = callers();
    assert!(before > 5000 * 40 && beside < 10_000, "{before} and {beside}");
    drop(first);
    let [left, taken] = callers();
    assert!(left == 0 && taken > 5000 * 40, "{left} and {taken}");
}

#[tokio::test(start_paused = true)]
async fn a_full_ledger_refuses_a_watch_and_leaves_out_what_finds_no_memory() {
    let (hub, sources) = hub_of(WatchLimits::default(), 32 * MIB);
    let map = many(&sources, 5000);
    let caller = hub.account.caller();
    let free = caller.usage().limit * 7 / 8 - MIB / 4;
    let full = caller.charge(free).unwrap();
    let mut watch = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    let followed = fold.series.len();
    assert!((1..5000).contains(&followed), "{followed} series");
    let said: Vec<_> = fold.losses.iter().map(|it| (it.source, it.count)).collect();
    assert_eq!(said, [(LossSource::Limit, 5000 - followed as u64)]);

    let mut rest = caller.empty();
    while rest.grow(1000).is_ok() {}
    let refused = hub.watch(all_of("m")).err();
    assert!(matches!(refused, Some(WatchError::Memory(_))), "{refused:?}");
    // One that is there goes on as soon as it can, with the newest totals.
    (0..5000).for_each(|key| map.set(key, &[2]));
    let nothing = tokio::time::timeout(3 * SECOND, watch.next()).await;
    assert!(nothing.is_err(), "nothing can be told");
    drop((rest, full));
    while fold.series.len() < 5000 || fold.numbers().iter().any(|it| *it != 2) {
        fold.until_batch(&mut watch).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unread_watches_of_their_own_terms_stay_within_their_account() {
    let (hub, sources) = hub_of(WatchLimits::default(), 256 * MIB);
    many(&sources, 20_000);
    let mut watches = unread(&hub, 400).await;
    assert_eq!(watches.len(), 400);
    let (peak, each) = (hub.ledger.usage().peak, hub.account.usage().used / 400);
    assert!(peak < 64 * MIB, "{peak} bytes at most");
    assert!(each < 24 * 20_000, "{each} bytes for each");
    // All of it is still to be had.
    let mut last = watches.pop().unwrap();
    let mut synced = false;
    while !synced {
        for said in said(&last.next().await.unwrap().unwrap()) {
            if let Said::Sync(sync) = &*said {
                synced = true;
                assert_eq!(sync.series, 20_000);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn more_watches_than_there_is_memory_for_are_refused() {
    let (hub, sources) = hub_of(WatchLimits::default(), 32 * MIB);
    let map = many(&sources, 20_000);
    let mut watches = unread(&hub, 20).await;
    for round in 2..60 {
        // Each of these holds another sweep, in which everything is other than before.
        (0..20_000).for_each(|key| map.set(key, &[round]));
        tokio::time::sleep(SECOND).await;
        watches.extend(unread(&hub, 1).await);
    }
    let usage = hub.account.usage();
    assert!(usage.peak <= usage.limit && usage.refused > 0, "{usage:?}");
    assert!((10..70).contains(&watches.len()), "{} watches", watches.len());
    drop(watches);
    tokio::time::sleep(SECOND).await;
    assert_eq!(hub.account.usage().used, 0);
}

#[tokio::test(start_paused = true)]
async fn labels_too_long_for_a_message_are_left_out() {
    let limits = WatchLimits { message_bytes: 4096, ..WatchLimits::default() };
    let (hub, sources) = hub_of(limits, 64 * MIB);
    let map = sources.add(FakeMap { key_size: 1024, ..FakeMap::hash("m") });
    map.set_key(&[1; 1024], &[1]);
    let short = sources.add(FakeMap { key_size: 400, ..FakeMap::hash("n") });
    short.set_key(&[1; 400], &[2]);
    let mut watch = hub.watch(all_of("?")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!((fold.numbers(), fold.losses[0].count), (vec![2], 1));
    map.set_key(&[1; 1024], &[5]);
    for _ in 0..4 {
        fold.until_batch(&mut watch).await;
    }
    assert_eq!((fold.numbers(), fold.losses.len()), (vec![2], 1), "said once");
}
