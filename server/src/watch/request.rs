//! What a watch asks for, and what it was granted: checked once, here.

use std::sync::Arc;
use std::time::Duration;

use bpfgate_proto::name::MapGlob;
use bpfgate_proto::value::Condition;

use super::error::WatchError;
use super::hub::WatchLimits;
use super::tiers::GRID;
use crate::host_names::HostName;

/// The shortest interval. What is granted is a multiple of it.
pub const INTERVAL_MIN: Duration = GRID;
/// The longest interval.
pub const INTERVAL_MAX: Duration = Duration::from_hours(1);
/// The interval where none is asked for.
pub const INTERVAL_DEFAULT: Duration = Duration::from_secs(1);

const MATCHERS_MAX: usize = 16;
const ALL_MATCHERS_MAX: usize = 128;
const VALUES_MAX: usize = 1024;
/// These are looked at one by one.
const PATTERNS_MAX: usize = 64;
const ALL_VALUES_MAX: usize = 8192;
const FIELDS_MAX: usize = 256;
const ALL_FIELDS_MAX: usize = 1024;
const RESOLUTIONS_MAX: usize = 64;
const CONTAINS_MAX: usize = 1024;

/// Which counters to follow, and how.
#[derive(Debug, Clone)]
pub struct WatchRequest {
    /// At least one.
    pub selectors: Vec<Selector>,
    /// Once or for as long as someone listens.
    pub mode: WatchMode,
    /// [`INTERVAL_MIN`] to [`INTERVAL_MAX`]; [`INTERVAL_DEFAULT`] if absent.
    pub interval: Option<Duration>,
    /// Send only what changed. Off: every series with every sweep.
    pub suppress_unchanged: bool,
    /// With `suppress_unchanged`: send every series at least this often.
    pub heartbeat: Option<Duration>,
    /// What becomes of per-CPU values.
    pub cpu: CpuMode,
    /// The most series to follow; 0 for the agent's limit.
    pub max_series: usize,
    /// Labels to show by name: what their numbers stand for, or `None` to show the number though
    /// something was declared.
    pub resolve: Vec<(String, Option<HostName>)>,
    /// The same for labels that were declared to have names.
    pub resolve_declared: bool,
    /// The most keys of each map, those that come first; 0 for all.
    pub top: usize,
    /// What comes first.
    pub order: Order,
    /// The other way round.
    pub reverse: bool,
    /// What a series' map, key or field has to contain, in any case; empty for all.
    pub contains: String,
}

impl WatchRequest {
    /// Selectors that a request may have.
    pub const SELECTORS_MAX: usize = 64;
}

/// By what keys are ranked: the one of their series that puts them the furthest ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// The largest first.
    Value,
    /// The fastest first, up or down.
    Rate,
    /// By labels: numbers in their order, before texts in theirs.
    Name,
}

/// Which series: those of a matching map, with matching labels, of the named fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    /// On map names.
    pub map: MapGlob,
    /// All must match.
    pub labels: Vec<LabelMatcher>,
    /// Paths in the value, each with all that is within it; none for all.
    pub fields: Vec<String>,
}

/// A condition on a label. A label that a series does not have counts as empty, where a pattern
/// found its map; a map that is named has to have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LabelMatcher {
    /// Its name.
    pub label: String,
    /// What it has to be.
    pub condition: Condition,
}

/// How long a watch lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchMode {
    /// Until Sync.
    Once,
    /// Until someone ends it.
    Stream,
}

/// What becomes of a per-CPU map's values. Others have one value either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CpuMode {
    /// Added up, wrapping at 64 bits.
    Sum,
    /// A series for each possible CPU, told apart by the label "cpu".
    Each,
}

impl LabelMatcher {
    /// A label of more bytes is none of its values.
    pub(super) fn longest(&self) -> usize {
        let texts = self.condition.values().iter().chain(self.condition.prefixes());
        // What a text has at most is known better for some than for others.
        texts.map(String::len).max().unwrap_or(0) + 1024
    }

    /// What it takes once it is made for the labels of a map, beside their description.
    pub(super) fn cost(&self) -> usize {
        let texts = self.condition.values().iter().chain(self.condition.prefixes());
        512 + texts.map(|text| text.len() + 64).sum::<usize>() + 32 * self.condition.count()
    }
}

impl WatchRequest {
    /// Everything that one selector matches, by the agent's defaults.
    pub fn of(selector: Selector) -> Self {
        Self {
            selectors: vec![selector],
            mode: WatchMode::Stream,
            interval: None,
            suppress_unchanged: true,
            heartbeat: None,
            cpu: CpuMode::Sum,
            max_series: 0,
            resolve: Vec::new(),
            resolve_declared: false,
            top: 0,
            order: Order::Value,
            reverse: false,
            contains: String::new(),
        }
    }
}

impl Selector {
    /// All series of the matching maps.
    pub fn all_of(map: MapGlob) -> Self {
        Self { map, labels: Vec::new(), fields: Vec::new() }
    }

    /// The map it names, if it names one rather than a pattern.
    pub(super) fn names_one_map(&self) -> bool {
        !self.map.as_str().contains(['*', '?'])
    }
}

/// A request that was found good, with what it left open filled in.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) selectors: Vec<Selector>,
    pub(super) mode: WatchMode,
    pub(super) interval: Duration,
    /// How often every series is sent, changed or not; `None` for never.
    pub(super) resend: Option<Duration>,
    pub(super) cpu: CpuMode,
    pub(super) max_series: usize,
    pub(super) resolve: Vec<(String, Option<HostName>)>,
    pub(super) resolve_declared: bool,
    pub(super) ranked: Option<Ranked>,
    /// In small letters.
    pub(super) contains: String,
}

/// Which keys of each map a watch is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ranked {
    /// Keys that were asked for.
    pub(super) asked: usize,
    /// Keys that can be told.
    pub(super) top: usize,
    pub(super) order: Order,
    pub(super) reverse: bool,
    /// Nothing is told before there is a rate.
    pub(super) waits: bool,
}

impl Terms {
    /// Whether each sweep is measured by the one before.
    pub(super) fn measures_rates(&self) -> bool {
        self.ranked.is_some_and(|ranked| ranked.order == Order::Rate)
    }

    /// What they take.
    pub(super) fn cost(&self) -> usize {
        /// A text beside its bytes, in the list and in its allocation.
        const TEXT: usize = 64;
        let text = |text: &String| text.len() + TEXT;
        let matcher = |it: &LabelMatcher| text(&it.label) + it.cost();
        let selector = |it: &Selector| {
            let fields = it.fields.iter().map(text).sum::<usize>();
            2 * TEXT + it.labels.iter().map(matcher).sum::<usize>() + fields
        };
        let resolve = self.resolve.iter().map(|(label, _)| text(label));
        let selectors = self.selectors.iter().map(selector).sum::<usize>();
        selectors + resolve.sum::<usize>() + text(&self.contains)
    }
}

/// Terms that any number of watches have in common.
#[derive(Debug)]
pub(super) struct Granted {
    /// Not that of any others in the agent's life.
    pub(super) id: u64,
    pub(super) terms: Arc<Terms>,
}

impl Granted {
    /// How many watches have these terms.
    pub(super) fn sharers(self: &Arc<Self>) -> usize {
        // The hub has one too.
        Arc::strong_count(self) - 1
    }
}

impl Terms {
    pub(super) fn of(request: WatchRequest, limits: &WatchLimits) -> Result<Self, WatchError> {
        let WatchRequest {
            selectors,
            mode,
            interval,
            suppress_unchanged,
            heartbeat,
            cpu,
            max_series,
            resolve,
            resolve_declared,
            top,
            order,
            reverse,
            contains,
        } = request;
        if selectors.is_empty() {
            return Err(WatchError::NoSelector);
        }
        at_most(WatchRequest::SELECTORS_MAX, selectors.len(), "selectors")?;
        selectors.iter().try_for_each(check_selector)?;
        let matchers = || selectors.iter().flat_map(|it| &it.labels);
        at_most(ALL_MATCHERS_MAX, matchers().count(), "label matchers")?;
        let values = matchers().map(|it| it.condition.count()).sum();
        at_most(ALL_VALUES_MAX, values, "values in label matchers")?;
        at_most(ALL_FIELDS_MAX, selectors.iter().map(|it| it.fields.len()).sum(), "fields")?;
        let interval = interval.unwrap_or(INTERVAL_DEFAULT);
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
            let (min, max) = (INTERVAL_MIN, INTERVAL_MAX);
            return Err(WatchError::Interval { asked: interval, min, max });
        }
        let ticks = interval.as_nanos().div_ceil(GRID.as_nanos());
        let interval = Duration::from_nanos_u128(ticks * GRID.as_nanos());
        at_most(RESOLUTIONS_MAX, resolve.len(), "labels to resolve")?;
        if resolve.iter().any(|(label, _)| label.is_empty()) {
            return Err(WatchError::UnnamedResolution);
        }
        if heartbeat.is_some_and(|heartbeat| heartbeat.is_zero()) {
            return Err(WatchError::ZeroHeartbeat);
        }
        let resend = if suppress_unchanged { heartbeat } else { Some(Duration::ZERO) };
        let limit = limits.series_per_watch;
        let max_series = if max_series == 0 { limit } else { max_series.min(limit) };
        at_most(CONTAINS_MAX, contains.len(), "bytes in the text to contain")?;
        let waits = mode == WatchMode::Once && order == Order::Rate;
        let asked = if top == 0 { usize::MAX } else { top };
        let all = Ranked { asked, top: asked.min(max_series), order, reverse, waits };
        let ranked = (top > 0 || waits).then_some(all);
        let contains = contains.to_lowercase();
        Ok(Self {
            selectors,
            mode,
            interval,
            resend,
            cpu,
            max_series,
            resolve,
            resolve_declared,
            ranked,
            contains,
        })
    }
}

fn check_selector(selector: &Selector) -> Result<(), WatchError> {
    at_most(MATCHERS_MAX, selector.labels.len(), "label matchers in a selector")?;
    at_most(FIELDS_MAX, selector.fields.len(), "fields in a selector")?;
    for LabelMatcher { label, condition } in &selector.labels {
        if label.is_empty() {
            return Err(WatchError::UnnamedLabel { map: selector.map.clone() });
        }
        at_most(VALUES_MAX, condition.count(), "values in a label matcher")?;
        let patterns = condition.prefixes().len() + condition.networks().len();
        at_most(PATTERNS_MAX, patterns, "prefixes and networks in a label matcher")?;
    }
    Ok(())
}

fn at_most(max: usize, count: usize, what: &'static str) -> Result<(), WatchError> {
    if count > max { Err(WatchError::TooMany { what, count, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use bpfgate_proto::value::Comparison;

    use super::*;

    fn terms(change: impl FnOnce(&mut WatchRequest)) -> Result<Terms, String> {
        let mut request = WatchRequest::of(Selector::all_of("o/*".parse().unwrap()));
        change(&mut request);
        Terms::of(request, &WatchLimits::default()).map_err(|error| error.to_string())
    }

    fn matcher(label: &str, values: usize) -> LabelMatcher {
        let values = (0..values).map(|n| n.to_string()).collect();
        let condition = Condition::new(Comparison::In, values, Vec::new(), &[]).unwrap();
        LabelMatcher { label: label.to_owned(), condition }
    }

    fn with(matchers: usize, values: usize, fields: usize) -> Selector {
        Selector {
            labels: (0..matchers).map(|_| matcher("key", values)).collect(),
            fields: vec![String::new(); fields],
            ..Selector::all_of("o/*".parse().unwrap())
        }
    }

    #[test]
    fn absent_terms_get_defaults() {
        let limits = WatchLimits::default();
        let granted = terms(|_| {}).unwrap();
        assert_eq!(granted.interval, INTERVAL_DEFAULT);
        assert_eq!(granted.resend, None);
        assert_eq!(granted.max_series, limits.series_per_watch);
        assert_eq!(terms(|r| r.max_series = 7).unwrap().max_series, 7);
        let granted = terms(|r| r.max_series = usize::MAX).unwrap();
        assert_eq!(granted.max_series, limits.series_per_watch);
        let granted = terms(|r| r.suppress_unchanged = false).unwrap();
        assert_eq!(granted.resend, Some(Duration::ZERO));
    }

    #[test]
    fn intervals_have_bounds_that_the_error_names() {
        for asked in [INTERVAL_MIN, INTERVAL_MAX] {
            assert_eq!(terms(|r| r.interval = Some(asked)).unwrap().interval, asked);
        }
        for (asked, granted) in [(51, 100), (100, 100), (333, 350)] {
            let asked = Some(Duration::from_millis(asked));
            let terms = terms(|r| r.interval = asked).unwrap();
            assert_eq!(terms.interval, Duration::from_millis(granted), "a multiple of 50 ms");
        }
        let ten_years = Duration::from_hours(10 * 365 * 24);
        for asked in [Duration::ZERO, Duration::from_nanos(1), ten_years] {
            let said = terms(|r| r.interval = Some(asked)).unwrap_err();
            assert!(said.contains("50ms to 3600s"), "{said}");
        }
    }

    #[test]
    fn requests_that_cannot_work_say_why() {
        type Change = fn(&mut WatchRequest);
        let cases: [(Change, &str); 11] = [
            (|r| r.selectors.clear(), "at least one selector"),
            (|r| r.selectors = vec![r.selectors[0].clone(); 65], "65 selectors, at most 64"),
            (|r| r.heartbeat = Some(Duration::ZERO), "longer than 0"),
            (|r| r.selectors[0].labels.push(matcher("", 1)), "selector o/* names no label"),
            (|r| r.selectors[0].labels.push(matcher("dport", 1025)), "1025 values"),
            (|r| r.selectors = vec![with(9, 1, 0); 15], "135 label matchers, at most 128"),
            (|r| r.selectors = vec![with(1, 1000, 0); 9], "9000 values in label matchers"),
            (|r| r.selectors = vec![with(0, 0, 250); 5], "1250 fields, at most 1024"),
            (|r| r.resolve = vec![(String::new(), None)], "resolve has no name"),
            (|r| r.resolve = vec![("uid".into(), None); 65], "65 labels to resolve"),
            (|r| r.selectors[0].fields = vec![String::new(); 257], "257 fields"),
        ];
        for (change, part) in cases {
            let said = terms(change).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }
}
