//! One counter: its value, and the one place that knows what a rate and what a reset is.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bpfgate_proto::v1;
use bpfgate_proto::v1::CounterKind;

use super::maps::{MapProgress, Span, time};

/// A counter's name in its view: never used again, and the same behind a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub(super) u64);

/// What a counter counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey {
    /// The map's name.
    pub map: String,
    /// Name and value of each, in the agent's order; "cpu" is the last one of a counter that is
    /// one CPU's.
    pub labels: Vec<(String, String)>,
    /// Path in the value; empty where the value is one number.
    pub field: String,
}

impl CounterKey {
    pub(super) fn of(series: &v1::Series) -> Self {
        let label = |label: &v1::Label| (label.name.clone(), label.value.clone());
        Self {
            map: series.map.clone(),
            labels: series.labels.iter().map(label).collect(),
            field: series.field.clone(),
        }
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let label = self.labels.iter().find(|(it, _)| it == name);
        label.map(|(_, value)| value.as_str())
    }
}

/// A counter's value, exact.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CounterValue {
    /// Of an unsigned field.
    Unsigned(u64),
    /// Of a signed one.
    Signed(i64),
    /// One count for each slot; [`Counter::buckets`] says what the slots count.
    Histogram(Vec<u64>),
}

impl CounterValue {
    /// The number, or all that a histogram counted. Wide enough for every value.
    pub fn total(&self) -> i128 {
        match self {
            Self::Unsigned(number) => (*number).into(),
            Self::Signed(number) => (*number).into(),
            Self::Histogram(counts) => counts.iter().map(|&count| i128::from(count)).sum(),
        }
    }

    /// By how much each slot grew; a number is one slot. `None` if these are not two of a kind.
    fn grown_since(&self, before: &Self) -> Option<Vec<i128>> {
        let (Self::Histogram(now), Self::Histogram(then)) = (self, before) else {
            return Some(vec![self.total() - before.total()]);
        };
        let grown = |(&now, &then): (&u64, &u64)| i128::from(now) - i128::from(then);
        (now.len() == then.len()).then(|| now.iter().zip(then).map(grown).collect())
    }

    /// Whether it counts nothing.
    pub fn is_zero(&self) -> bool {
        self.total() == 0
    }
}

/// As a decimal number.
impl fmt::Display for CounterValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.total().fmt(f)
    }
}

/// What the last value is to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Before {
    /// The same counter's.
    Same,
    /// As far as is known; but the agent was started again meanwhile.
    Unsure,
    /// Another counter's, or this one's before it was reset.
    Other,
}

/// What is kept of one series.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Arc<CounterKey>,
    pub(super) series: v1::Series,
    /// In the present stream; otherwise it is what was known before a gap.
    pub(super) announced: bool,
    before: Before,
    /// `None` until the first sweep that lists it.
    pub(super) value: Option<CounterValue>,
    /// The sweep that last listed it, and when that ended.
    listed: (u64, Option<SystemTime>),
    rate: Option<f64>,
    /// Of a histogram, slot by slot; as many as slots, or none.
    slot_rates: Vec<f64>,
    changed_at: Option<SystemTime>,
    resets: u64,
}

impl Entry {
    pub(super) fn new(key: Arc<CounterKey>, series: &v1::Series) -> Self {
        Self {
            key,
            series: series.clone(),
            announced: true,
            before: Before::Same,
            value: None,
            listed: (0, None),
            rate: None,
            slot_rates: Vec::new(),
            changed_at: None,
            resets: 0,
        }
    }

    /// The same map, labels and field: the same life if it did not start since. A watch that
    /// begins cannot know how young a key is, so an earlier time than the known one is none.
    pub(super) fn announce_again(&mut self, series: &v1::Series) {
        let same_number = series.signed == self.series.signed
            && series.kind == self.series.kind
            && series.bounds == self.series.bounds;
        let later = time(series.start_time) > time(self.series.start_time);
        if later || !same_number {
            self.before = Before::Other;
        }
        let start_time = if later { series.start_time } else { self.series.start_time };
        self.series = v1::Series { start_time, ..series.clone() };
        self.announced = true;
    }

    /// It counts anew since then.
    pub(super) fn reset(&mut self, start_time: Option<prost_types::Timestamp>) {
        self.series.start_time = start_time.or(self.series.start_time);
        self.before = Before::Other;
    }

    /// Reads a value as the series has them.
    pub(super) fn number(&self, bits: u64) -> CounterValue {
        if self.series.signed {
            CounterValue::Signed(bits.cast_signed())
        } else {
            CounterValue::Unsigned(bits)
        }
    }

    /// The stream is over. What the map's last whole sweep said of it is written down, because
    /// the next stream counts sweeps anew.
    pub(super) fn detach(&mut self, map: Option<&MapProgress>, life: Life) {
        self.listed = (0, self.as_of(map.and_then(|map| map.whole)).1);
        self.rate = None;
        self.announced = false;
        let before = match life {
            Life::Same => Before::Same,
            // A map may have outlived the agent: its start says so.
            Life::OfAgent => Before::Unsure,
            Life::OfHost => Before::Other,
        };
        self.before = self.before.max(before);
    }

    /// A sweep of the present stream has listed it.
    pub(super) fn is_of_this_stream(&self) -> bool {
        self.listed.0 > 0
    }

    /// Takes in what a sweep listed.
    pub(super) fn take_in(&mut self, value: CounterValue, span: &Span) {
        let told = self.series.before.filter(|_| self.value.is_none());
        let (since_sweep, since) = match told {
            Some(told) => (span.sweep.saturating_sub(1), time(told.read_end)),
            None => self.as_of(span.whole),
        };
        let told = told.map(|told| self.number(told.value));
        let before = std::mem::replace(&mut self.before, Before::Same);
        let known = self.value.as_ref().or(told.as_ref()).filter(|_| before != Before::Other);
        let grown = known.and_then(|known| value.grown_since(known));
        let only_grows = match self.series.kind() {
            CounterKind::Monotonic | CounterKind::Histogram => true,
            CounterKind::Gauge | CounterKind::Unspecified => false,
        };
        let backwards = only_grows && grown.iter().flatten().any(|grown| *grown < 0);
        let unlike = self.value.is_some() && grown.is_none();
        let reset = backwards || unlike;
        self.resets += u64::from(reset);
        // What a reset counter counted before it was reset is not known, nor when that was; nor
        // how long it took if the clock was set meanwhile.
        let timed = since_sweep >= span.stepped;
        let grown = grown.filter(|_| !reset && timed && before == Before::Same);
        let seconds = grown.as_ref().and_then(|_| seconds(since, span.read_end));
        self.rate = seconds.map(|seconds| per_second(grown.iter().flatten().sum(), seconds));
        self.slot_rates.clear();
        if let (CounterValue::Histogram(_), Some(seconds)) = (&value, seconds) {
            let grown = grown.iter().flatten();
            self.slot_rates.extend(grown.map(|grown| per_second(*grown, seconds)));
        }
        let before = self.value.as_ref().or(told.as_ref());
        if before.is_some_and(|before| *before != value) || reset {
            self.changed_at = span.read_end;
        }
        self.value = Some(value);
        self.listed = (span.sweep, span.read_end);
    }

    /// Until which sweep, and when, its value is known, given the map's last whole sweep.
    fn as_of(&self, whole: Option<(u64, Option<SystemTime>)>) -> (u64, Option<SystemTime>) {
        whole.filter(|(sweep, _)| *sweep > self.listed.0).unwrap_or(self.listed)
    }
}

/// Whose life it is that begins with a resumed watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Nobody's: only the connection was lost.
    Same,
    /// The agent's.
    OfAgent,
    /// The host's, and so every map's.
    OfHost,
}

/// `None` if the clock did not move on.
fn seconds(from: Option<SystemTime>, to: Option<SystemTime>) -> Option<f64> {
    let seconds = to?.duration_since(from?).ok()?.as_secs_f64();
    (seconds > 0.0).then_some(seconds)
}

#[allow(clippy::cast_precision_loss, reason = "a rate needs no more digits than that")]
fn per_second(grown: i128, seconds: f64) -> f64 {
    grown as f64 / seconds
}

/// One slot of a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// The smallest value that it counts.
    pub at_least: u64,
    /// Larger than all that it counts; `None` for the last one.
    pub below: Option<u64>,
    /// How many it counted.
    pub count: u64,
    /// How many more per second: see [`Counter::rate`].
    pub rate: Option<f64>,
}

/// One counter as a [`super::CounterView`] has it.
#[derive(Debug, Clone, Copy)]
pub struct Counter<'v> {
    pub(super) id: SeriesId,
    pub(super) entry: &'v Entry,
    pub(super) value: &'v CounterValue,
    pub(super) map: Option<&'v MapProgress>,
    pub(super) stale: bool,
}

impl<'v> Counter<'v> {
    /// Its name in the view.
    pub fn id(&self) -> SeriesId {
        self.id
    }

    /// What it counts.
    pub fn key(&self) -> &'v Arc<CounterKey> {
        &self.entry.key
    }

    /// Kind, unit, start time and what else the agent said of it.
    pub fn series(&self) -> &'v v1::Series {
        &self.entry.series
    }

    /// Its value in the last sweep that read it.
    pub fn value(&self) -> &'v CounterValue {
        self.value
    }

    /// Change per second since it was last known, by the times when the map was read. Negative
    /// only for a gauge. `None` while there is nothing to compare with: at first, behind a reset,
    /// behind a restart of the agent, when the clock of its host was set, and while it is stale.
    pub fn rate(&self) -> Option<f64> {
        if self.stale {
            return None;
        }
        match self.map.and_then(|map| map.whole) {
            // A whole sweep that did not list it: it stood still.
            Some((sweep, _)) if sweep > self.entry.listed.0 => Some(0.0),
            _ => self.entry.rate,
        }
    }

    /// The slots of a histogram, lowest first; nothing for other counters.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        let counts = match self.value {
            CounterValue::Histogram(counts) => counts.as_slice(),
            _ => &[],
        };
        let bounds = &self.entry.series.bounds;
        let still = self.rate() == Some(0.0);
        let slots = self.entry.slot_rates.as_slice();
        let rate = move |at: usize| if still { Some(0.0) } else { slots.get(at).copied() };
        let stale = self.stale;
        counts.iter().zip(bounds).enumerate().map(move |(at, (&count, &at_least))| Bucket {
            at_least,
            below: bounds.get(at + 1).copied(),
            count,
            rate: if stale { None } else { rate(at) },
        })
    }

    /// When it last changed: the end of the sweep that found it. `None` if nobody saw it change.
    pub fn changed_at(&self) -> Option<SystemTime> {
        self.entry.changed_at
    }

    /// Until when the value is known to be right.
    pub fn as_of(&self) -> Option<SystemTime> {
        self.entry.as_of(self.map.and_then(|map| map.whole)).1
    }

    /// Whether the last sweep that told of it changed it.
    pub fn moved(&self) -> bool {
        self.changed_at().is_some() && self.changed_at() == self.as_of()
    }

    /// How often it began anew since the view knows it.
    pub fn resets(&self) -> u64 {
        self.entry.resets
    }

    /// It is what was known before the connection was lost.
    pub fn is_stale(&self) -> bool {
        self.stale
    }
}
