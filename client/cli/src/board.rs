//! The counters of a watch as they stand: values, rates and what came before. Knows nothing of
//! terminals.

use std::collections::{HashMap, VecDeque};

use bpfgate_client::WatchEvent;
use bpfgate_client::v1::{CounterBatch, CounterKind, Label, Series};
use prost_types::Timestamp;

/// Sweeps that a sparkline can look back on.
const HISTORY: usize = 60;
/// How much the newest sweep counts in the rate that rows are sorted by: a burst must not throw
/// the table about.
const SMOOTHING: f64 = 0.3;

/// One series.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) series: Series,
    pub(crate) value: u64,
    /// Of the last sweep, per second. `None` before there were two.
    pub(crate) rate: Option<f64>,
    /// Rates, the oldest first.
    pub(crate) history: VecDeque<f64>,
    smooth: f64,
    /// Whether the last sweep changed it.
    pub(crate) moved: bool,
    /// Whether any sweep did.
    ever_moved: bool,
}

impl Counter {
    /// For sorting.
    pub(crate) fn weight(&self) -> f64 {
        self.smooth
    }

    /// Zero and never anything else.
    pub(crate) fn is_idle(&self) -> bool {
        self.value == 0 && !self.ever_moved
    }

    pub(crate) fn key(&self) -> String {
        key_text(&self.series)
    }
}

/// A key that is one value is that value; the fields of others are told apart by their names.
pub(crate) fn key_text(series: &Series) -> String {
    let text = |label: &Label| match label.name.as_str() {
        "key" => label.value.clone(),
        name => format!("{name}={}", label.value),
    };
    series.labels.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Default)]
struct MapState {
    refs: Vec<u64>,
    sweep: u64,
    read_end: Option<Timestamp>,
}

/// All series of a watch.
#[derive(Debug, Default)]
pub(crate) struct Board {
    counters: HashMap<u64, Counter>,
    maps: HashMap<String, MapState>,
    /// The initial snapshot is whole.
    pub(crate) synced: bool,
}

impl Board {
    /// Takes one event in. Returns the series that a batch lists, in its order.
    pub(crate) fn apply(&mut self, event: WatchEvent) -> Vec<u64> {
        match event {
            WatchEvent::Series(series) => self.add(series),
            WatchEvent::Batch(batch) => return self.sweep(batch),
            WatchEvent::Removed(removed) => {
                for series in &removed.refs {
                    self.counters.remove(series);
                }
                let gone = |series: &u64| !removed.refs.contains(series);
                self.maps.values_mut().for_each(|map| map.refs.retain(gone));
            }
            WatchEvent::Sync(_) => self.synced = true,
            WatchEvent::Reset(_) | WatchEvent::Loss(_) => {}
        }
        Vec::new()
    }

    pub(crate) fn counter(&self, series: u64) -> Option<&Counter> {
        self.counters.get(&series)
    }

    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.counters.values()
    }

    fn add(&mut self, series: Series) {
        self.maps.entry(series.map.clone()).or_default().refs.push(series.r#ref);
        let counter = Counter {
            value: 0,
            rate: None,
            history: VecDeque::new(),
            smooth: 0.0,
            moved: false,
            ever_moved: false,
            series,
        };
        self.counters.insert(counter.series.r#ref, counter);
    }

    fn sweep(&mut self, batch: CounterBatch) -> Vec<u64> {
        let map = self.maps.entry(batch.map).or_default();
        let seconds = seconds_between(map.read_end.as_ref(), batch.read_end.as_ref());
        let first = map.sweep == 0 || map.sweep == batch.sweep;
        let mut deltas: HashMap<u64, f64> = HashMap::with_capacity(batch.refs.len());
        for (series, &value) in batch.refs.iter().zip(&batch.values) {
            if let Some(counter) = self.counters.get_mut(series) {
                deltas.insert(*series, counter.delta(value));
                counter.moved = !first && counter.value != value;
                counter.ever_moved |= counter.moved;
                counter.value = value;
            }
        }
        if let (false, Some(seconds)) = (first, seconds) {
            for series in &map.refs {
                if let Some(counter) = self.counters.get_mut(series) {
                    let delta = deltas.get(series).copied();
                    counter.moved &= delta.is_some();
                    counter.advance(delta.unwrap_or(0.0) / seconds);
                }
            }
        }
        map.sweep = batch.sweep;
        map.read_end = batch.read_end;
        batch.refs
    }
}

impl Counter {
    #[allow(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    fn delta(&self, value: u64) -> f64 {
        if self.series.kind() == CounterKind::Monotonic && value < self.value {
            // It was reset; what it has now came since.
            return value as f64;
        }
        value.wrapping_sub(self.value).cast_signed() as f64
    }

    fn advance(&mut self, rate: f64) {
        self.rate = Some(rate);
        self.smooth = SMOOTHING * rate.abs() + (1.0 - SMOOTHING) * self.smooth;
        self.history.push_back(rate);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "seconds of a watch are few")]
fn seconds_between(from: Option<&Timestamp>, to: Option<&Timestamp>) -> Option<f64> {
    let (from, to) = (from?, to?);
    let seconds = (to.seconds - from.seconds) as f64 + f64::from(to.nanos - from.nanos) / 1e9;
    (seconds > 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(number: u64, kind: CounterKind) -> WatchEvent {
        let series =
            Series { r#ref: number, map: "m".into(), kind: kind.into(), ..Series::default() };
        WatchEvent::Series(series)
    }

    fn batch(sweep: u64, refs: Vec<u64>, values: Vec<u64>) -> WatchEvent {
        let seconds = 100 + 2 * i64::try_from(sweep).unwrap();
        let read_end = Some(Timestamp { seconds, nanos: 0 });
        let map = "m".to_owned();
        WatchEvent::Batch(CounterBatch { map, sweep, read_end, refs, values, ..Default::default() })
    }

    #[test]
    fn rates_are_per_second_and_silence_is_zero() {
        let mut board = Board::default();
        board.apply(series(1, CounterKind::Monotonic));
        board.apply(batch(1, vec![1], vec![100]));
        assert_eq!(board.counter(1).unwrap().rate, None);
        board.apply(batch(2, vec![1], vec![130]));
        assert_eq!(board.counter(1).unwrap().rate, Some(15.0));
        board.apply(batch(3, vec![], vec![]));
        let counter = board.counter(1).unwrap();
        assert_eq!((counter.rate, counter.value, counter.moved), (Some(0.0), 130, false));
        assert_eq!(counter.history, [15.0, 0.0]);
    }

    #[test]
    fn a_counter_that_was_reset_never_runs_backwards_but_a_gauge_may() {
        let mut board = Board::default();
        board.apply(series(1, CounterKind::Monotonic));
        board.apply(series(2, CounterKind::Gauge));
        board.apply(batch(1, vec![1, 2], vec![100, 100]));
        board.apply(batch(2, vec![1, 2], vec![6, 94]));
        assert_eq!(board.counter(1).unwrap().rate, Some(3.0));
        assert_eq!(board.counter(2).unwrap().rate, Some(-3.0));
    }

    #[test]
    fn removed_series_are_gone_and_idle_ones_are_known() {
        let mut board = Board::default();
        board.apply(series(1, CounterKind::Gauge));
        board.apply(series(2, CounterKind::Gauge));
        board.apply(batch(1, vec![1, 2], vec![0, 5]));
        assert!(board.counter(1).unwrap().is_idle());
        assert!(!board.counter(2).unwrap().is_idle());
        let removed = bpfgate_client::v1::SeriesRemoved { refs: vec![2], ..Default::default() };
        board.apply(WatchEvent::Removed(removed));
        assert_eq!(board.counters().count(), 1);
    }
}
