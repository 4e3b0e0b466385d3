//! What happens at each limit.

use super::fake::{FakeMap, all_of, hub};
use super::fold::Fold;
use crate::watch::page::Size;
use crate::watch::{LossSource, WatchError, WatchLimits};

#[tokio::test(start_paused = true)]
async fn a_full_watch_keeps_what_it_has() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::hash("m"));
    (0..3).for_each(|key| map.set(key, &[u64::from(key)]));
    let mut request = all_of("m");
    request.max_series = 4;
    let mut watch = hub.watch(request).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!(fold.losses.len(), 0);

    (3..8).for_each(|key| map.set(key, &[u64::from(key)]));
    fold.until_batch(&mut watch).await;
    fold.until_batch(&mut watch).await;
    assert_eq!(fold.series.len(), 4);
    assert_eq!(fold.numbers()[..3], [0, 1, 2], "the old ones stay");
    let losses: Vec<_> = fold.losses.iter().map(|it| (it.source, it.count)).collect();
    assert_eq!(losses, [(LossSource::Limit, 4)], "said once");

    // Room again: one that was left out moves up, though nothing about it changed.
    map.delete(0);
    map.delete(1);
    fold.until_batch(&mut watch).await;
    assert_eq!((fold.series.len(), fold.losses.len(), fold.losses[1].count), (4, 2, 2));
    (2..6).for_each(|key| map.delete(key));
    fold.until_batch(&mut watch).await;
    assert_eq!(fold.numbers(), [6, 7]);
    map.set(6, &[60]);
    map.set(100, &[100]);
    let mut changed = fold.until_batch(&mut watch).await.values;
    changed.sort_unstable();
    assert_eq!(changed, [60, 100], "back to differences");
    assert_eq!(fold.losses.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_followed_with_all_its_fields_or_not_at_all() {
    let (hub, sources) = hub(WatchLimits { series_per_watch: 5, ..WatchLimits::default() });
    let map = sources.add(FakeMap { value_size: 16, ..FakeMap::hash("m") });
    (0..4).for_each(|key| map.set(key, &[1, 2]));
    let mut request = all_of("m");
    request.max_series = 1000;
    let fold = Fold::until_sync(&mut hub.watch(request).unwrap()).await;
    assert_eq!((fold.numbers(), fold.losses[0].count), (vec![1, 2, 1, 2], 4));
}

#[tokio::test(start_paused = true)]
async fn all_sweepers_share_the_agents_room() {
    let (hub, sources) = hub(WatchLimits { series: 10, ..WatchLimits::default() });
    sources.add(FakeMap::array("a", 6));
    sources.add(FakeMap::array("b", 6));
    let mut first = hub.watch(all_of("a")).unwrap();
    let fold = Fold::until_sync(&mut first).await;
    assert_eq!((fold.series.len(), fold.losses.len()), (6, 0));
    let mut second = hub.watch(all_of("b")).unwrap();
    let mut fold = Fold::until_sync(&mut second).await;
    assert_eq!((fold.series.len(), fold.losses[0].count), (4, 2));
    drop(first);
    fold.until_batch(&mut second).await;
    fold.until_batch(&mut second).await;
    assert_eq!((fold.series.len(), fold.losses.len()), (6, 1), "what the other left is free");
}

#[tokio::test(start_paused = true)]
async fn there_are_so_many_watches_and_no_more() {
    let (hub, _sources) = hub(WatchLimits { watches: 2, ..WatchLimits::default() });
    let first = hub.watch(all_of("m")).unwrap();
    let _second = hub.watch(all_of("m")).unwrap();
    let refused = hub.watch(all_of("m")).err();
    assert_eq!(refused, Some(WatchError::TooManyWatches { limit: 2 }));
    drop(first);
    assert!(hub.watch(all_of("m")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_map_that_is_named_must_have_what_is_asked_for() {
    let (hub, sources) = hub(WatchLimits::default());
    sources.add(FakeMap { value_size: 12, ..FakeMap::hash("o/odd") });
    sources.add(FakeMap { value_size: 8 * 4097, ..FakeMap::hash("o/huge") });
    sources.add(FakeMap { value_size: 16, ..FakeMap::hash("o/pair") });
    let said = |glob: &str, fields: &[&str]| {
        let mut request = all_of(glob);
        request.selectors[0].fields = fields.iter().map(|it| (*it).to_owned()).collect();
        hub.watch(request).map(drop).map_err(|error| error.to_string())
    };
    let error = said("o/odd", &[]).unwrap_err();
    assert!(error.starts_with("map o/odd has no counters: its value of 12 bytes"), "{error}");
    assert!(said("o/huge", &[]).unwrap_err().contains("more than 4096 numbers"));
    let error = said("o/pair", &["0", "bytes"]).unwrap_err();
    assert_eq!(error, "map o/pair has no number \"bytes\"; it has 0, 1");
    // A pattern takes what it can get, and a map may yet appear.
    for glob in ["o/*", "nothing"] {
        assert_eq!(said(glob, &["bytes"]), Ok(()));
    }
    let mut watch = hub.watch(all_of("o/*")).unwrap();
    let header = Fold::until_sync(&mut watch).await.header.unwrap();
    assert_eq!(header.maps, ["o/pair".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_too_large_for_a_message_comes_in_parts() {
    let limits = WatchLimits::default();
    let most = Size::of(limits.message_bytes).numbers;
    let slots = u32::try_from(most).unwrap() + 10;
    let (hub, sources) = hub(limits);
    let map = sources.add(FakeMap::array("m", slots));
    let mut watch = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    let (last, parts) = fold.batches.split_last().unwrap();
    assert!(parts.len() > 1 && parts.iter().all(|it| !it.complete && it.more && it.sweep == 1));
    assert_eq!((last.complete, last.more, fold.series.len()), (true, false, slots as usize));

    (0..slots).for_each(|slot| map.set(slot, &[7]));
    let before = fold.batches.len();
    while fold.batches.len() == before || fold.last().more {
        fold.until_batch(&mut watch).await;
    }
    let parts = fold.batches[before..].iter();
    let parts: Vec<_> = parts.map(|it| (it.sweep, it.complete, it.more, it.refs.len())).collect();
    assert_eq!(parts, [(2, false, true, most), (2, true, false, 10)]);
}

#[tokio::test(start_paused = true)]
async fn keys_that_went_make_room_for_others() {
    let (hub, sources) = hub(WatchLimits { series: 10, ..WatchLimits::default() });
    let map = sources.add(FakeMap::hash("m"));
    let mut watch = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    for round in 0..5 {
        (0..10).for_each(|key| map.delete(10 * round + key));
        fold.until_batch(&mut watch).await;
        (10..20).for_each(|key| map.set(10 * round + key, &[u64::from(round)]));
        fold.until_batch(&mut watch).await;
        assert_eq!(fold.numbers(), [u64::from(round); 10]);
    }
    assert_eq!(fold.losses, []);
}
