//! Watches of the keys that come first.

use std::time::Duration;

use super::fake::{FakeMap, all_of, hub};
use super::fold::Fold;
use crate::watch::{
    CounterKind, CounterSpec, CpuMode, Order, RemovedReason, WatchLimits, WatchMode, WatchRequest,
};

fn first(glob: &str, top: usize, order: Order) -> WatchRequest {
    WatchRequest { top, order, ..all_of(glob) }
}

/// Keys and totals, by key.
fn told(fold: &Fold) -> Vec<(u32, u64)> {
    let number = |labels: &str| {
        let key = labels.split(',').next().unwrap().strip_prefix("key=").unwrap();
        key.strip_prefix("hex:").map_or_else(
            || key.parse().unwrap(),
            |hex| u32::from_str_radix(hex, 16).unwrap().swap_bytes(),
        )
    };
    let of = fold.totals().into_iter().map(|((_, labels, _), total)| (number(&labels), total));
    let mut all: Vec<_> = of.collect();
    all.sort_unstable();
    all
}

fn limits() -> WatchLimits {
    // So that nothing fits one page.
    WatchLimits { series_per_watch: 100, message_bytes: 512, ..WatchLimits::default() }
}

#[tokio::test(start_paused = true)]
async fn the_largest_are_told_of_all_there_are() {
    let (hub, sources) = hub(limits());
    let map = sources.add(FakeMap::hash("m"));
    for key in 0..30_000 {
        map.set(key, &[u64::from(key) * 7 % 30_011]);
    }
    let mut largest: Vec<(u32, u64)> =
        (0..30_000).map(|key| (key, u64::from(key) * 7 % 30_011)).collect();
    largest.sort_unstable_by_key(|(_, value)| std::cmp::Reverse(*value));
    let (mut three, mut fifty) = (largest[..3].to_vec(), largest[..50].to_vec());
    three.sort_unstable();
    fifty.sort_unstable();
    let mut watch = hub.watch(first("m", 3, Order::Value)).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!(told(&fold), three);
    assert!(fold.losses.is_empty(), "{:?}", fold.losses);
    let all = Fold::until_sync(&mut hub.watch(first("m", 50, Order::Value)).unwrap()).await;
    assert_eq!(told(&all), fifty);
    let mut back = first("m", 1, Order::Value);
    back.reverse = true;
    assert_eq!(told(&Fold::until_sync(&mut hub.watch(back).unwrap()).await), [(0, 0)]);

    // One comes among them, and pushes the third out; then one is deleted.
    let (_, third) = largest[2];
    map.set(5, &[1 << 40]);
    fold.until_batch(&mut watch).await;
    assert_eq!(told(&fold).iter().filter(|it| **it == (5, 1 << 40)).count(), 1);
    assert!(!told(&fold).iter().any(|(_, value)| *value == third));
    let said: Vec<_> = fold.removed.iter().map(|it| (it.reason, it.refs.len())).collect();
    assert_eq!(said, [(RemovedReason::NotTop, 1)]);
    map.delete(5);
    fold.until_batch(&mut watch).await;
    assert_eq!(told(&fold), three);
    assert_eq!(fold.removed.last().unwrap().reason, RemovedReason::Deleted);

    sources.remove("m");
    while !fold.series.is_empty() {
        fold.take(&watch.next().await.unwrap().unwrap());
    }
    assert_eq!(fold.removed.last().unwrap().reason, RemovedReason::MapGone);
}

#[tokio::test(start_paused = true)]
async fn the_fastest_have_a_rate_from_the_first_moment() {
    let (hub, sources) = hub(limits());
    let kind = CounterKind::Monotonic;
    let counters = vec![CounterSpec { field: String::new(), kind, unit: String::new() }];
    let map = sources.add(FakeMap { counters, ..FakeMap::hash("m") });
    for key in 0..1000 {
        map.set(key, &[u64::from(1000 - key)]);
    }
    let mut request = first("m", 2, Order::Rate);
    request.mode = WatchMode::Once;
    let mut watch = hub.watch(request).unwrap();
    let header = watch.next().await.unwrap().unwrap();
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        map.set(700, &[300 + 5000]);
        map.set(800, &[200 + 4000]);
        map.set(900, &[100 + 3000]);
    };
    let mut fold = Fold::default();
    fold.take(&header);
    let all = async {
        while let Some(told) = watch.next().await {
            fold.take(&told.unwrap());
        }
    };
    tokio::join!(later, all);
    assert_eq!(told(&fold), [(700, 5300), (800, 4200)]);
    let mut before: Vec<_> = fold.series.values().map(|it| it.before.unwrap().0).collect();
    before.sort_unstable();
    assert_eq!(before, [200, 300]);

    // A stream has values at once, and rates with the second sweep.
    let mut watch = hub.watch(first("m", 1, Order::Rate)).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    assert_eq!(told(&fold), [(700, 5300)]);
    map.set(3, &[997 + 50]);
    fold.until_batch(&mut watch).await;
    assert_eq!(
        (told(&fold), fold.series.values().next().unwrap().before.map(|it| it.0)),
        (vec![(3, 1047)], Some(997))
    );
    // What began anew counts since then.
    map.set(3, &[3]);
    map.set(4, &[996 + 2]);
    fold.until_batch(&mut watch).await;
    assert_eq!(told(&fold), [(3, 3)]);
}

#[tokio::test(start_paused = true)]
async fn texts_choose_and_names_order() {
    let (hub, sources) = hub(limits());
    let map = sources.add(FakeMap { key_life: crate::watch::KeyLife::Fixed, ..FakeMap::hash("m") });
    for key in 0..2000 {
        map.set(key, &[1]);
    }
    let mut request = all_of("m");
    request.contains = "199".to_owned();
    let keys = |fold: &Fold| told(fold).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let fold = Fold::until_sync(&mut hub.watch(request.clone()).unwrap()).await;
    let expected: Vec<u32> = [199, 1199].into_iter().chain(1990..2000).collect();
    assert_eq!(keys(&fold), expected);
    request.contains = "M 11".to_owned();
    (request.top, request.order) = (3, Order::Name);
    let fold = Fold::until_sync(&mut hub.watch(request.clone()).unwrap()).await;
    assert_eq!(keys(&fold), [11, 110, 111]);
    request.reverse = true;
    let fold = Fold::until_sync(&mut hub.watch(request).unwrap()).await;
    assert_eq!(keys(&fold), [1197, 1198, 1199]);
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_they_are_the_first() {
    for seed in 0..20_u64 {
        let (hub, sources) = hub(limits());
        let map = sources.add(FakeMap { cpus: Some(3), ..FakeMap::hash("m") });
        let mut state = seed + 1;
        let mut dice = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut request = first("m", 1 + usize::try_from(dice(8)).unwrap(), Order::Value);
        let top = request.top;
        request.cpu = if seed % 2 == 0 { CpuMode::Sum } else { CpuMode::Each };
        request.suppress_unchanged = dice(2) == 0;
        let mut watch = hub.watch(request).unwrap();
        let mut fold = Fold::until_sync(&mut watch).await;
        let mut truth = std::collections::BTreeMap::new();
        for _ in 0..60 {
            for _ in 0..dice(6) {
                let key = u32::try_from(dice(40)).unwrap();
                if dice(3) == 0 {
                    truth.remove(&key);
                    map.delete(key);
                } else {
                    // No two are alike.
                    let value = dice(1000) * 64 + u64::from(key);
                    truth.insert(key, value);
                    map.set(key, &[value, 0, 0]);
                }
            }
            while !fold.until_batch(&mut watch).await.complete {}
            let mut expected: Vec<(u32, u64)> = truth.iter().map(|(k, v)| (*k, *v)).collect();
            expected.sort_unstable_by_key(|(_, value)| std::cmp::Reverse(*value));
            expected.truncate(top);
            expected.sort_unstable();
            let mut seen: Vec<(u32, u64)> = told(&fold);
            // One CPU's are all of it.
            seen.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                kept.1 += if same { next.1 } else { 0 };
                same
            });
            assert_eq!(seen, expected, "seed {seed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_without_room_are_told_as_loss() {
    let (hub, sources) = hub(limits());
    let map = sources.add(FakeMap::hash("m"));
    for key in 0..500 {
        map.set(key, &[u64::from(key)]);
    }
    let mut request = first("m", 20, Order::Value);
    request.max_series = 5;
    let fold = Fold::until_sync(&mut hub.watch(request).unwrap()).await;
    assert_eq!((told(&fold).len(), fold.losses.last().unwrap().count), (5, 15));
}
