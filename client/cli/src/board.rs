//! The counters of a watch as they stand, and what people want of them beyond: how they went
//! lately, which come first, which to leave out. Knows nothing of terminals.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};

use bpfgate_client::v1::WatchHeader;
use bpfgate_client::{
    Change, Counter, CounterKey, CounterOrder, CounterView, SeriesId, ViewError, WatchEvent,
};
use clap::ValueEnum;

/// Sweeps that a sparkline can look back on.
const HISTORY: usize = 60;

/// All counters of a watch.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    view: CounterView,
    trends: HashMap<SeriesId, Trend>,
    filter: Filter,
}

/// Keys of each map that a screen is told of, if nobody says how many.
pub(crate) const SCREEN_KEYS: u32 = 1000;

/// How a counter went.
#[derive(Debug, Clone, Default)]
struct Trend {
    /// Rates, the oldest first.
    history: VecDeque<f64>,
}

/// One counter and how it went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'b> {
    pub(crate) counter: Counter<'b>,
    trend: Option<&'b Trend>,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    Rate,
    Value,
    Name,
}

/// A text that map, key or field must contain, whatever its case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter(String);

impl Filter {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    pub(crate) fn lets(&self, text: &str) -> bool {
        self.0.is_empty() || text.to_lowercase().contains(&self.0)
    }

    pub(crate) fn lets_counter(&self, key: &CounterKey) -> bool {
        self.0.is_empty() || self.lets(&format!("{} {} {}", key.map, key_text(key), key.field))
    }
}

/// A key that is one value is that value; the fields of others are told apart by their names.
pub(crate) fn key_text(key: &CounterKey) -> String {
    let text = |(name, value): &(String, String)| match name.as_str() {
        "key" => value.clone(),
        name => format!("{name}={value}"),
    };
    key.labels.iter().map(text).collect::<Vec<_>>().join(" ")
}

impl Board {
    pub(crate) fn new(header: &WatchHeader, filter: Filter) -> Self {
        Self { view: CounterView::new(header), trends: HashMap::new(), filter }
    }

    /// Takes one event in.
    pub(crate) fn apply(&mut self, event: &WatchEvent) -> Result<Change, ViewError> {
        let change = self.view.apply(event)?;
        match &change {
            Change::Swept(sweep) => self.advance(&sweep.map),
            Change::Gone(gone) | Change::Synced(gone) => {
                for gone in gone {
                    self.trends.remove(&gone.id);
                }
            }
            _ => {}
        }
        Ok(change)
    }

    pub(crate) fn view(&self) -> &CounterView {
        &self.view
    }

    /// A map has as many keys here as a screen is told of: it may have more.
    pub(crate) fn is_cut(&self) -> bool {
        let mut keys: HashMap<&str, HashSet<&[(String, String)]>> = HashMap::new();
        for counter in self.view.counters() {
            let key = counter.key();
            keys.entry(&key.map).or_default().insert(&key.labels);
        }
        keys.values().any(|keys| keys.len() >= SCREEN_KEYS as usize)
    }

    /// A counter, unless the filter leaves it out.
    pub(crate) fn row(&self, id: SeriesId) -> Option<Row<'_>> {
        self.view.get(id).and_then(|counter| self.row_of(counter))
    }

    /// All that the filter lets pass, in the order of their announcement.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.view.counters().filter_map(|counter| self.row_of(counter))
    }

    fn row_of<'b>(&'b self, counter: Counter<'b>) -> Option<Row<'b>> {
        let trend = self.trends.get(&counter.id());
        self.filter.lets_counter(counter.key()).then_some(Row { counter, trend })
    }

    fn advance(&mut self, map: &str) {
        for counter in self.view.counters().filter(|counter| counter.key().map == map) {
            if let Some(rate) = counter.rate() {
                self.trends.entry(counter.id()).or_default().advance(rate);
            }
        }
    }
}

impl Trend {
    fn advance(&mut self, rate: f64) {
        self.history.push_back(rate);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }
}

impl<'b> Row<'b> {
    /// Its rates, the oldest first.
    pub(crate) fn history(&self) -> impl DoubleEndedIterator<Item = f64> + use<'b> {
        self.trend.into_iter().flat_map(|trend| trend.history.iter().copied())
    }

    /// How fast it is, up or down.
    fn speed(&self) -> f64 {
        self.counter.rate().map_or(0.0, f64::abs)
    }

    /// Zero and never anything else.
    pub(crate) fn is_idle(&self) -> bool {
        self.counter.value().is_zero() && self.counter.changed_at().is_none()
    }

    pub(crate) fn key(&self) -> String {
        key_text(self.counter.key())
    }
}

impl Sort {
    /// As the agent ranks by it.
    pub(crate) fn order(self) -> CounterOrder {
        match self {
            Self::Rate => CounterOrder::Rate,
            Self::Value => CounterOrder::Value,
            Self::Name => CounterOrder::Name,
        }
    }

    /// Which of two rows comes first; equal ones keep their order.
    pub(crate) fn compare(self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        let value = |row: &Row<'_>| row.counter.value().total();
        match self {
            Self::Rate => {
                let faster = b.speed().total_cmp(&a.speed());
                faster.then_with(|| value(b).cmp(&value(a)))
            }
            Self::Value => value(b).cmp(&value(a)),
            Self::Name => {
                let (a, b) = (a.counter.key(), b.counter.key());
                let labels = |key: &CounterKey| -> Vec<Name> {
                    key.labels.iter().map(|(_, value)| Name::of(value)).collect()
                };
                a.map.cmp(&b.map).then_with(|| labels(a).cmp(&labels(b)))
            }
        }
    }
}

/// Numbers come in their own order, before everything else.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Number(i128),
    Text(String),
}

impl Name {
    fn of(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Text(text.to_owned()), Self::Number)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use bpfgate_client::v1::{CounterBatch, CounterKind, Label, Series, WatchSync};

    use super::*;

    /// Counters of some maps, by map and key, after three sweeps in which each grows by what
    /// `step` says.
    pub(crate) fn board(keys: &[(&str, u64)], step: impl Fn(u64) -> u64) -> Board {
        let mut board = Board::new(&WatchHeader::default(), Filter::default());
        for &(map, number) in keys {
            let label = Label { name: "key".into(), value: format!("key-{number}") };
            let series = Series {
                r#ref: number,
                map: map.into(),
                labels: vec![label],
                field: "packets".into(),
                kind: CounterKind::Monotonic.into(),
                ..Series::default()
            };
            board.apply(&WatchEvent::Series(series)).unwrap();
        }
        for number in 1..=3 {
            for batch in sweep(keys, number, |key| step(key) * number) {
                board.apply(&WatchEvent::Batch(batch)).unwrap();
            }
        }
        board.apply(&WatchEvent::Sync(WatchSync::default())).unwrap();
        board
    }

    /// One sweep of each map, at second `10 + number`.
    pub(crate) fn sweep(
        keys: &[(&str, u64)],
        number: u64,
        value: impl Fn(u64) -> u64,
    ) -> Vec<CounterBatch> {
        let mut maps: Vec<_> = keys.iter().map(|(map, _)| *map).collect();
        maps.dedup();
        let batch = |map: &str| {
            let refs: Vec<_> = keys.iter().filter(|key| key.0 == map).map(|key| key.1).collect();
            CounterBatch {
                map: map.into(),
                sweep: number,
                read_end: Some((UNIX_EPOCH + Duration::from_secs(10 + number)).into()),
                complete: true,
                values: refs.iter().map(|&key| value(key)).collect(),
                refs,
                ..CounterBatch::default()
            }
        };
        maps.into_iter().map(batch).collect()
    }

    fn keys(board: &Board, sort: Sort) -> Vec<String> {
        let mut rows: Vec<_> = board.rows().collect();
        rows.sort_by(|a, b| sort.compare(a, b));
        rows.iter().map(Row::key).collect()
    }

    #[test]
    fn rows_come_by_rate_value_or_name() {
        let board =
            board(&[("m", 1), ("m", 2), ("m", 3)], |key| if key == 2 { 9 } else { 4 + key });
        assert_eq!(keys(&board, Sort::Rate), ["key-2", "key-3", "key-1"]);
        assert_eq!(keys(&board, Sort::Value), ["key-2", "key-3", "key-1"]);
        assert_eq!(keys(&board, Sort::Name), ["key-1", "key-2", "key-3"]);
        assert!(Name::of("9") < Name::of("10") && Name::of("10") < Name::of("eth0"));
    }

    #[test]
    fn a_filter_looks_at_map_key_and_field_in_any_case() {
        let mut board = board(&[("net/rx", 1), ("net/tx", 2)], |_| 1);
        for (text, left) in [("", 2), ("RX", 1), ("Key-2", 1), ("packets", 2), ("bytes", 0)] {
            board.filter = Filter::new(text);
            assert_eq!(board.rows().count(), left, "{text:?}");
        }
    }

    #[test]
    fn a_trend_remembers_silence_too_and_ends_with_its_counter() {
        let only = [("m", 1)];
        let mut board = board(&only, |_| 4);
        for number in 4..=200 {
            let [batch] = &sweep(&only, number, |_| 12)[..] else { panic!() };
            board.apply(&WatchEvent::Batch(batch.clone())).unwrap();
        }
        let row = board.rows().next().unwrap();
        assert_eq!((row.history().count(), row.history().next_back()), (HISTORY, Some(0.0)));
        assert!(row.speed() == 0.0 && !row.is_idle());
        let gone = bpfgate_client::v1::SeriesRemoved { refs: vec![1], ..Default::default() };
        board.apply(&WatchEvent::Removed(gone)).unwrap();
        assert!(board.trends.is_empty());
    }
}
