//! One rule a test. The random histories are in `super::model`.

mod announced;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bpfgate_proto::v1::series_removed::Reason;
use bpfgate_proto::v1::watch_loss::Source;
use bpfgate_proto::v1::{
    CounterBatch, CounterKind, HistogramValue, Label, Series, SeriesRemoved, SeriesReset,
    WatchHeader, WatchLoss, WatchSync,
};

use super::*;
use crate::watch::Interruption;

pub(super) fn header(incarnation: &str) -> WatchHeader {
    WatchHeader { incarnation: incarnation.to_owned(), ..WatchHeader::default() }
}

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(super) fn series(reference: u64, key: &str, kind: CounterKind, start: u64) -> WatchEvent {
    WatchEvent::Series(Series {
        r#ref: reference,
        map: "m".into(),
        labels: vec![Label { name: "key".into(), value: key.into() }],
        kind: kind.into(),
        start_time: Some(at(start).into()),
        ..Series::default()
    })
}

/// Sweep `number` of map "m", read at second `2 * number`.
pub(super) fn sweep(number: u64, values: &[(u64, u64)]) -> CounterBatch {
    CounterBatch {
        map: "m".into(),
        sweep: number,
        read_end: Some(at(2 * number).into()),
        complete: true,
        refs: values.iter().map(|(reference, _)| *reference).collect(),
        values: values.iter().map(|(_, value)| *value).collect(),
        ..CounterBatch::default()
    }
}

pub(super) fn interrupted() -> WatchEvent {
    let why = "gone".to_owned();
    WatchEvent::Interrupted(Interruption { why, odd: false, attempts: 0, retry_in: Duration::ZERO })
}

const SYNC: WatchEvent = WatchEvent::Sync(WatchSync { series: 0 });

struct Test(CounterView);

impl Test {
    /// Series 1 with key "a", series 2 with key "b", since second 1.
    fn new(kind: CounterKind) -> Self {
        let mut test = Self(CounterView::new(&header("one")));
        test.take(&series(1, "a", kind, 1));
        test.take(&series(2, "b", kind, 1));
        test
    }

    fn take(&mut self, event: &WatchEvent) -> Change {
        self.0.apply(event).unwrap()
    }

    fn sweep(&mut self, number: u64, values: &[(u64, u64)]) -> Change {
        self.take(&WatchEvent::Batch(sweep(number, values)))
    }

    fn of(&self, key: &str) -> Counter<'_> {
        self.0.counters().find(|it| it.key().label("key") == Some(key)).expect("a counter")
    }

    fn rates(&self) -> [Option<f64>; 2] {
        ["a", "b"].map(|key| self.of(key).rate())
    }
}

#[test]
fn rates_are_by_the_times_of_reading_and_silence_is_zero() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 100), (2, 0)]);
    assert_eq!(test.rates(), [None, None]);
    test.sweep(2, &[(1, 130)]);
    assert_eq!(test.rates(), [Some(15.0), Some(0.0)]);
    assert_eq!((test.of("a").changed_at(), test.of("a").moved()), (Some(at(4)), true));
    test.sweep(3, &[]);
    assert_eq!(test.rates(), [Some(0.0), Some(0.0)]);
    assert_eq!((test.of("a").changed_at(), test.of("a").moved()), (Some(at(4)), false));
    assert_eq!((test.of("a").as_of(), test.of("b").changed_at()), (Some(at(6)), None));
    // 40 more in the 8 seconds since anything was told.
    test.sweep(7, &[(1, 170)]);
    assert_eq!(test.rates(), [Some(5.0), Some(0.0)]);
}

#[test]
fn absence_from_an_incomplete_sweep_means_nothing() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 0), (2, 0)]);
    test.sweep(2, &[(1, 20), (2, 20)]);
    let part = CounterBatch { complete: false, ..sweep(3, &[(1, 30)]) };
    test.take(&WatchEvent::Batch(part));
    // What was known of b is as it was.
    assert_eq!(test.rates(), [Some(5.0), Some(10.0)]);
    assert_eq!((test.of("b").as_of(), test.0.losses().incomplete), (Some(at(4)), 1));
    // Of a four seconds were not known, of b six.
    test.sweep(5, &[(1, 50), (2, 50)]);
    assert_eq!(test.rates(), [Some(5.0), Some(5.0)]);
}

#[test]
fn newest_totals_have_the_mean_rate_of_the_sweeps_that_they_stand_for() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 100), (2, 0)]);
    // Sweeps 2 to 4 were missed: 80 in the 8 seconds since sweep 1.
    let late = CounterBatch { coalesced_sweeps: 3, ..sweep(5, &[(1, 180)]) };
    let Change::Swept(swept) = test.take(&WatchEvent::Batch(late)) else { panic!() };
    assert_eq!((swept.coalesced, test.rates()), (3, [Some(10.0), Some(0.0)]));
    test.sweep(6, &[(1, 190), (2, 2)]);
    assert_eq!(test.rates(), [Some(5.0), Some(1.0)]);
}

#[test]
fn a_heartbeat_tells_of_standing_still() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 100), (2, 5)]);
    test.sweep(2, &[(1, 110), (2, 5)]);
    test.sweep(3, &[(1, 110), (2, 5)]);
    assert_eq!(test.rates(), [Some(0.0), Some(0.0)]);
    assert_eq!((test.of("a").changed_at(), test.of("b").changed_at()), (Some(at(4)), None));
}

#[test]
fn a_clock_that_is_set_leaves_no_rate_behind() {
    // By the clock; it passed two seconds each time.
    for set_to in [3, 4, 5, 9000] {
        let mut test = Test::new(CounterKind::Monotonic);
        let mut read = |number: u64, clock: u64, values: &[(u64, u64)]| {
            let achieved = (number > 1).then(|| Duration::from_secs(2).try_into().unwrap());
            let time = Some(at(clock).into());
            let batch = CounterBatch { read_begin: time, read_end: time, ..sweep(number, values) };
            test.take(&WatchEvent::Batch(CounterBatch { achieved_interval: achieved, ..batch }));
            test.rates()
        };
        assert_eq!(read(1, 2, &[(1, 0), (2, 0)]), [None, None]);
        assert_eq!(read(2, 4, &[(1, 20), (2, 0)]), [Some(10.0), Some(0.0)]);
        assert_eq!(read(3, set_to, &[(1, 40)]), [None, Some(0.0)], "{set_to}");
        assert_eq!(read(4, set_to + 2, &[(1, 60), (2, 8)]), [Some(10.0), Some(4.0)]);
        assert_eq!(test.of("a").resets(), 0);
    }
}

#[test]
fn a_watch_that_joins_others_has_a_rate_from_its_second_sweep_on() {
    let mut test = Test::new(CounterKind::Monotonic);
    // Read a second after the sweep that the next one's interval is measured from.
    for (number, clock, value, rate) in [(7, 11, 0, None), (8, 12, 5, Some(5.0))] {
        let achieved_interval = Some(Duration::from_secs(2).try_into().unwrap());
        let time = Some(at(clock).into());
        let batch =
            CounterBatch { read_begin: time, read_end: time, ..sweep(number, &[(1, value)]) };
        test.take(&WatchEvent::Batch(CounterBatch { achieved_interval, ..batch }));
        assert_eq!(test.of("a").rate(), rate);
    }
}

#[test]
fn all_of_a_map_may_be_told_anew_by_the_same_refs() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 100), (2, 5)]);
    let reason = Reason::Limit.into();
    let all = SeriesRemoved { refs: vec![], reason, map: "m".into() };
    let Change::Gone(gone) = test.take(&WatchEvent::Removed(all)) else { panic!() };
    assert_eq!((gone.len(), test.0.len()), (2, 0));
    test.take(&series(1, "a", CounterKind::Monotonic, 1));
    test.sweep(2, &[(1, 120)]);
    assert_eq!((test.0.len(), test.of("a").rate(), test.of("a").resets()), (1, None, 0));
    test.sweep(3, &[(1, 140)]);
    assert_eq!(test.of("a").rate(), Some(10.0));
}

#[test]
fn a_counter_that_goes_backwards_starts_anew_and_a_gauge_may_fall() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, u64::MAX), (2, 1_000_000)]);
    test.sweep(2, &[(1, 6), (2, 999_999)]);
    assert_eq!(test.rates(), [None, None]);
    assert_eq!((test.of("a").resets(), test.of("b").resets()), (1, 1));
    test.sweep(3, &[(1, 16)]);
    assert_eq!(test.rates(), [Some(5.0), Some(0.0)]);

    let mut test = Test::new(CounterKind::Gauge);
    test.sweep(1, &[(1, 100), (2, u64::MAX)]);
    test.sweep(2, &[(1, 94), (2, 0)]);
    assert_eq!(test.rates()[0], Some(-3.0));
    assert!(test.rates()[1].unwrap() < -9e18, "a fall, and not a step of one");
    assert_eq!(test.of("a").resets(), 0);
}

#[test]
fn signed_values_are_exact_and_may_cross_zero() {
    let mut view = CounterView::new(&header("one"));
    let WatchEvent::Series(series) = series(1, "a", CounterKind::Gauge, 1) else { unreachable!() };
    view.apply(&WatchEvent::Series(Series { signed: true, ..series })).unwrap();
    for (number, value) in [(1, -5_i64), (2, 15)] {
        view.apply(&WatchEvent::Batch(sweep(number, &[(1, value.cast_unsigned())]))).unwrap();
    }
    let counter = view.counters().next().unwrap();
    assert_eq!((counter.value(), counter.rate()), (&CounterValue::Signed(15), Some(10.0)));
}

#[test]
fn a_histogram_has_a_total_and_a_rate_for_each_slot() {
    let mut view = CounterView::new(&header("one"));
    let WatchEvent::Series(it) = series(1, "a", CounterKind::Histogram, 1) else { unreachable!() };
    view.apply(&WatchEvent::Series(Series { bounds: vec![0, 2, 4], ..it })).unwrap();
    let told = |number, counts: &[u64]| {
        let histogram = HistogramValue { r#ref: 1, counts: counts.to_vec() };
        WatchEvent::Batch(CounterBatch { histograms: vec![histogram], ..sweep(number, &[]) })
    };
    let short = view.apply(&told(1, &[1, 2]));
    assert!(matches!(short, Err(ViewError::Slots { slots: 3, counts: 2, .. })), "{short:?}");
    view.apply(&told(1, &[10, 0, 1])).unwrap();
    view.apply(&told(2, &[10, 4, 2])).unwrap();
    let counter = view.counters().next().unwrap();
    assert_eq!((counter.value().total(), counter.rate()), (16, Some(2.5)));
    let slots: Vec<_> = counter.buckets().map(|b| (b.at_least, b.below, b.count, b.rate)).collect();
    let want = [(0, Some(2), 10, Some(0.0)), (2, Some(4), 4, Some(2.0)), (4, None, 2, Some(0.5))];
    assert_eq!(slots, want);
    view.apply(&WatchEvent::Batch(sweep(3, &[]))).unwrap();
    assert!(view.counters().next().unwrap().buckets().all(|bucket| bucket.rate == Some(0.0)));
    // One slot went back, though there are more in all.
    view.apply(&told(4, &[50, 3, 2])).unwrap();
    let counter = view.counters().next().unwrap();
    assert_eq!((counter.rate(), counter.resets()), (None, 1));
    assert!(counter.buckets().all(|bucket| bucket.rate.is_none()));
}

#[test]
fn a_reset_that_the_agent_tells_of_starts_anew_from_its_time() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 5), (2, 5)]);
    let reset = SeriesReset { map: "m".into(), refs: vec![1], start_time: Some(at(3).into()) };
    test.take(&WatchEvent::Reset(reset.clone()));
    // It was set back and counted beyond where it was between two sweeps.
    test.sweep(2, &[(1, 500), (2, 15)]);
    assert_eq!(test.rates(), [None, Some(5.0)]);
    assert_eq!((test.of("a").resets(), test.of("b").resets()), (1, 0));
    assert_eq!(test.of("a").series().start_time, Some(at(3).into()));
    let unknown = SeriesReset { refs: vec![1, 9], ..reset };
    assert!(test.0.apply(&WatchEvent::Reset(unknown)).is_err());
}

#[test]
fn a_key_that_returns_is_another_counter() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 100), (2, 5)]);
    let old = test.of("a").id();
    let reason = Reason::Deleted.into();
    let removed = SeriesRemoved { refs: vec![1], reason, map: "m".into() };
    let Change::Gone(gone) = test.take(&WatchEvent::Removed(removed)) else { panic!() };
    assert_eq!((gone[0].id, gone[0].key.label("key")), (old, Some("a")));
    assert_eq!(test.0.len(), 1);
    test.take(&series(3, "a", CounterKind::Monotonic, 4));
    test.sweep(2, &[(3, 1_000_000)]);
    assert_eq!((test.of("a").rate(), test.of("a").id() == old), (None, false));
}

#[test]
fn a_sweep_in_parts_is_shown_whole_or_not_at_all() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 1), (2, 1)]);
    let part = CounterBatch { complete: false, more: true, ..sweep(2, &[(1, 3)]) };
    assert_eq!(test.take(&WatchEvent::Batch(part)), Change::None);
    assert_eq!(test.of("a").value(), &CounterValue::Unsigned(1));
    let other = test.0.apply(&WatchEvent::Batch(sweep(3, &[])));
    assert!(matches!(other, Err(ViewError::OutOfOrder { sweep: 3, last: 2, .. })), "{other:?}");
    let Change::Swept(whole) = test.sweep(2, &[(2, 5)]) else { panic!() };
    assert_eq!((whole.number, whole.listed.len(), whole.complete), (2, 2, true));
    assert_eq!(test.rates(), [Some(1.0), Some(2.0)]);
}

#[test]
fn a_message_that_does_not_fit_changes_nothing() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 1), (2, 2)]);
    let before = format!("{:?}", test.0);
    let map = || "m".to_owned();
    let uneven = CounterBatch { values: vec![7], ..sweep(2, &[(1, 9), (2, 9)]) };
    for (batch, error) in [
        (uneven, ViewError::Uneven { map: map(), refs: 2, values: 1 }),
        (sweep(2, &[(1, 9), (3, 9)]), ViewError::Unannounced { map: map(), reference: 3 }),
        (sweep(1, &[(1, 9)]), ViewError::OutOfOrder { map: map(), sweep: 1, last: 1 }),
    ] {
        assert_eq!(test.0.apply(&WatchEvent::Batch(batch)), Err(error));
    }
    let removed = SeriesRemoved { refs: vec![1, 9], map: map(), ..SeriesRemoved::default() };
    let error = ViewError::Unannounced { map: map(), reference: 9 };
    assert_eq!(test.0.apply(&WatchEvent::Removed(removed)), Err(error));
    let again = test.0.apply(&series(1, "z", CounterKind::Gauge, 1));
    assert_eq!(again, Err(ViewError::Reused { map: map(), reference: 1 }));
    assert_eq!(format!("{:?}", test.0), before);
}

#[test]
fn a_gap_is_survived_and_the_same_agent_goes_on() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 100), (2, 100)]);
    test.take(&SYNC);
    test.sweep(2, &[(1, 110)]);
    assert_eq!(test.take(&interrupted()), Change::Interrupted);
    test.take(&interrupted());
    assert_eq!((test.0.standing(), test.0.gaps()), (Standing::Interrupted, 1));
    assert!(test.0.counters().all(|counter| counter.is_stale() && counter.rate().is_none()));
    assert_eq!(test.of("a").value(), &CounterValue::Unsigned(110));
    let ids = [test.of("a").id(), test.of("b").id()];

    assert_eq!(
        test.take(&WatchEvent::Resumed(header("one"))),
        Change::Resumed { restarted: false }
    );
    // Other refs, sweeps from 1 and no rate from one to the other.
    test.take(&series(8, "b", CounterKind::Monotonic, 1));
    test.take(&series(9, "a", CounterKind::Monotonic, 1));
    assert!(test.of("a").is_stale());
    let batch = CounterBatch { read_end: Some(at(14).into()), ..sweep(1, &[(8, 100), (9, 310)]) };
    test.take(&WatchEvent::Batch(batch));
    // 200 in the ten seconds of the gap.
    assert_eq!(test.rates(), [Some(20.0), Some(0.0)]);
    assert_eq!([test.of("a").id(), test.of("b").id()], ids);
    assert_eq!((test.of("a").resets(), test.of("a").is_stale()), (0, false));
    assert_eq!(test.take(&SYNC), Change::Synced(vec![]));
}

#[test]
fn another_life_of_the_agent_has_other_maps_unless_they_started_before() {
    for (start, boot, resets) in [(7, "", 1), (1, "", 0), (1, "another", 1)] {
        let mut test = Test::new(CounterKind::Monotonic);
        test.sweep(1, &[(1, 100), (2, 100)]);
        test.take(&interrupted());
        let resumed = WatchHeader { boot_id: boot.to_owned(), ..header("two") };
        let change = test.take(&WatchEvent::Resumed(resumed));
        assert_eq!(change, Change::Resumed { restarted: true });
        test.take(&series(1, "a", CounterKind::Monotonic, start));
        test.sweep(1, &[(1, 5000)]);
        assert_eq!((test.of("a").rate(), test.of("a").resets()), (None, resets), "{start} {boot}");
        let Change::Synced(gone) = test.take(&SYNC) else { panic!() };
        assert_eq!(gone.len(), 1);
        assert_eq!((gone[0].key.label("key"), gone[0].reason), (Some("b"), Reason::Unspecified));
        test.sweep(2, &[(1, 5010)]);
        assert_eq!((test.of("a").rate(), test.of("a").resets()), (Some(5.0), resets));
    }
    // It cannot be the same one if it went back.
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 100), (2, 100)]);
    test.take(&WatchEvent::Resumed(header("two")));
    test.take(&series(1, "a", CounterKind::Monotonic, 1));
    test.sweep(1, &[(1, 99)]);
    assert_eq!((test.of("a").rate(), test.of("a").resets()), (None, 1));
}

#[test]
fn a_later_start_is_a_reset_and_an_earlier_one_is_not() {
    for (start, rate, resets) in [(7, None, 1), (0, Some(10.0), 0)] {
        let mut test = Test::new(CounterKind::Monotonic);
        test.sweep(1, &[(1, 100), (2, 100)]);
        test.take(&interrupted());
        test.take(&WatchEvent::Resumed(header("one")));
        test.take(&series(1, "a", CounterKind::Monotonic, start));
        let batch = CounterBatch { read_end: Some(at(12).into()), ..sweep(1, &[(1, 200)]) };
        test.take(&WatchEvent::Batch(batch));
        assert_eq!((test.of("a").rate(), test.of("a").resets()), (rate, resets), "{start}");
    }
}

#[test]
fn losses_and_coalesced_sweeps_are_counted() {
    let mut test = Test::new(CounterKind::Monotonic);
    test.sweep(1, &[(1, 1), (2, 1)]);
    let late = CounterBatch { coalesced_sweeps: 3, ..sweep(5, &[]) };
    test.take(&WatchEvent::Batch(late));
    for (source, count) in [(Source::Limit, 7), (Source::Limit, 9), (Source::ReadError, 2)] {
        let loss = WatchLoss { source: source.into(), count, ..WatchLoss::default() };
        assert_eq!(test.take(&WatchEvent::Loss(loss)), Change::Lost);
    }
    let gone = SeriesRemoved { reason: Reason::MapGone.into(), map: "m".into(), refs: vec![1, 2] };
    test.take(&WatchEvent::Removed(gone));
    let losses = test.0.losses();
    assert_eq!((losses.coalesced, losses.left_out, losses.read_errors), (3, 9, 2));
    // Another map of that name counts its sweeps from 1.
    test.sweep(1, &[]);
    assert!(test.0.is_empty());
}
