//! What an announcement says beyond the name of a counter: what it was before, and that another
//! has the same labels.

use super::*;

#[test]
fn a_counter_that_says_what_it_was_has_a_rate_at_once() {
    let mut test = Test::new(CounterKind::Monotonic);
    let before = |value, seconds| {
        let read_end = Some(at(seconds).into());
        bpfgate_proto::v1::SeriesBefore { value, read_end }
    };
    for (reference, key, value) in [(3, "c", 70), (4, "d", 100)] {
        let WatchEvent::Series(series) = series(reference, key, CounterKind::Monotonic, 1) else {
            panic!()
        };
        test.take(&WatchEvent::Series(Series { before: Some(before(value, 2)), ..series }));
    }
    test.sweep(2, &[(1, 5), (3, 100), (4, 100)]);
    let rates = ["a", "c", "d"].map(|key| test.of(key).rate());
    assert_eq!(rates, [None, Some(15.0), Some(0.0)]);
    assert!(test.of("c").moved() && test.of("d").changed_at().is_none());
    test.sweep(3, &[(3, 102)]);
    assert_eq!(test.of("c").rate(), Some(1.0));
}

#[test]
fn counters_with_the_same_labels_are_counted_apart_all_the_same() {
    let mut test = Test::new(CounterKind::Monotonic);
    let twin = test.take(&series(3, "a", CounterKind::Monotonic, 1));
    assert!(matches!(twin, Change::Twin(id) if id.0 == 3), "{twin:?}");
    assert_eq!(test.take(&series(3, "a", CounterKind::Monotonic, 1)), Change::None, "once more");
    test.sweep(1, &[(1, 10), (2, 20), (3, 30)]);
    let values = |test: &Test| -> Vec<i128> {
        test.0.counters().map(|counter| counter.value().total()).collect()
    };
    assert_eq!((values(&test), test.of("a").value().total()), (vec![10, 20, 30], 10));
    let gone = SeriesRemoved { refs: vec![3], map: "m".into(), ..SeriesRemoved::default() };
    test.take(&WatchEvent::Removed(gone));
    assert_eq!(values(&test), [10, 20]);
    assert!(test.0.find(test.of("a").key()).is_some(), "the first is still found");

    // One whose key went and came back is the same counter behind a gap, and the other is not.
    test.take(&series(4, "a", CounterKind::Monotonic, 1));
    test.take(&interrupted());
    test.take(&WatchEvent::Resumed(header("one")));
    test.take(&series(1, "a", CounterKind::Monotonic, 1));
    test.take(&series(2, "a", CounterKind::Monotonic, 1));
    test.sweep(1, &[(1, 11), (2, 31)]);
    test.take(&SYNC);
    assert_eq!(values(&test), [11, 31]);
}
