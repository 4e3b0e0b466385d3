//! Which numbers a map's value has, and which of them belong together as one histogram.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bpfgate_proto::value::{Leaf, Plan};

use super::is_padding;
use crate::watch::source::{CounterKind, CounterSource, CounterSpec, KeyLife, covered, covers};

/// More than this is data, not counters.
const NUMBERS_MAX: usize = 4096;
/// Bounds of more slots than this do not fit 64 bits.
const SLOTS_MAX: usize = 64;

/// One series of each key: a number of the value, or all slots of a histogram.
pub(in crate::watch) struct Number {
    pub(in crate::watch) path: Arc<str>,
    pub(in crate::watch) unit: Arc<str>,
    pub(in crate::watch) kind: CounterKind,
    pub(in crate::watch) kind_undeclared: bool,
    pub(in crate::watch) signed: bool,
    /// One; of a histogram one for each slot.
    pub(super) cells: Vec<Cell>,
}

/// Where a number stands in an entry's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    /// Where the value begins: not at 0 only where many entries are taken as one.
    pub(super) base: usize,
    /// Which leaf of the plan, or which word.
    pub(super) leaf: usize,
}

/// How a value's bytes are read.
pub(super) enum Reader {
    Plan(Plan),
    /// Unsigned, of so many bytes, in host order.
    Words(usize),
}

impl Number {
    /// Of a histogram: what each slot counts from.
    pub(in crate::watch) fn bounds(&self) -> impl Iterator<Item = u64> {
        let slots = if self.kind == CounterKind::Histogram { self.cells.len() } else { 0 };
        (0..slots).map(|slot| if slot == 0 { 0 } else { 1 << slot })
    }
}

/// A number as it stands in the value.
struct Found<'a> {
    leaf: usize,
    path: Cow<'a, str>,
    signed: bool,
}

/// The series of each key. With `whole`, the bytes of one entry, all entries are one key's.
pub(super) fn numbers(
    reader: &Reader,
    source: &dyn CounterSource,
    whole: Option<usize>,
) -> Result<Vec<Number>, String> {
    let found = found(reader, source)?;
    let declared = Declared::of(source, &found, whole.is_some());
    let mut numbers: Vec<Number> = Vec::new();
    // The last number's histogram, if it is one.
    let mut open: Option<(usize, &str)> = None;
    for (Found { leaf, path, signed }, owner) in found.iter().zip(&declared.owners) {
        // What cannot be as it was declared counts as undeclared.
        let owner = owner.filter(|(spec, _)| !declared.faults.contains_key(spec));
        let spec = owner.map(|(spec, _)| &source.counters()[spec]);
        let histogram = owner.filter(|_| spec.is_some_and(is_histogram));
        let cell = Cell { base: 0, leaf: *leaf };
        if histogram.is_some()
            && open == histogram
            && let Some(last) = numbers.last_mut()
        {
            last.cells.push(cell);
            continue;
        }
        open = histogram;
        numbers.push(Number {
            unit: spec.map_or("", |spec| &spec.unit).into(),
            kind: spec.map_or(CounterKind::Gauge, |spec| spec.kind),
            kind_undeclared: spec.is_none(),
            path: histogram.map_or(path.as_ref(), |(_, place)| place).into(),
            signed: *signed,
            cells: vec![cell],
        });
    }
    if let Some(entry) = whole {
        for number in &mut numbers {
            let leaf = number.cells[0].leaf;
            let cells = (0..source.entries_max()).map(|at| Cell { base: at * entry, leaf });
            number.cells = cells.collect();
        }
    }
    Ok(numbers)
}

/// What is wrong with the declarations of a map, by their index.
pub(super) fn faults(
    reader: &Reader,
    source: &dyn CounterSource,
) -> Result<BTreeMap<usize, String>, String> {
    let found = found(reader, source)?;
    let mut faults = Declared::of(source, &found, is_whole(reader, source)).faults;
    let paths: Vec<_> = found.iter().map(|number| &*number.path).collect();
    for (at, spec) in source.counters().iter().enumerate() {
        if !paths.iter().any(|path| covers(&spec.field, path)) {
            let what = format!("it has no number {:?}; it has {}", spec.field, listed(&paths));
            faults.insert(at, what);
        }
    }
    Ok(faults)
}

/// Which declaration each number has, and which cannot be, by index.
struct Declared<'a> {
    /// Beside the declaration what it names in the number's path.
    owners: Vec<Option<(usize, &'a str)>>,
    faults: BTreeMap<usize, String>,
}

impl<'a> Declared<'a> {
    fn of(source: &dyn CounterSource, found: &'a [Found<'_>], whole: bool) -> Self {
        let specs = source.counters();
        let owner = |number: &'a Found<'_>| {
            let named = |(at, spec): (usize, &CounterSpec)| {
                covered(&spec.field, &number.path).map(|place| (at, place))
            };
            // The closest one wins: "rx.bytes" over "rx", "slots[3]" over "slots[]".
            let exact = |at: usize| !specs[at].field.contains("[]");
            let named = specs.iter().enumerate().filter_map(named);
            named.max_by_key(|(at, place)| (place.len(), exact(*at)))
        };
        let owners: Vec<_> = found.iter().map(owner).collect();
        let mut faults = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for run in owners.chunk_by(|a, b| a == b) {
            let Some((at, place)) = run[0].filter(|(at, _)| is_histogram(&specs[*at])) else {
                continue;
            };
            let what = match run.len() {
                _ if !seen.insert((at, place)) => "something else is declared amid it".to_owned(),
                1 if whole => continue,
                1 => format!(
                    "it is a single number, and slots are an array or all of the 2 to {SLOTS_MAX} \
                     entries of an array map"
                ),
                2..=SLOTS_MAX => continue,
                slots => format!("it has {slots} slots, not 2 to {SLOTS_MAX}"),
            };
            faults.insert(at, format!("{place:?} cannot be a histogram: {what}"));
        }
        Self { owners, faults }
    }
}

fn is_histogram(spec: &CounterSpec) -> bool {
    spec.kind == CounterKind::Histogram
}

/// Enough of the names to choose from, for people.
pub(in crate::watch) fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 16;
    match names {
        [] => "none".to_owned(),
        [""] => "a single number without a name".to_owned(),
        _ if names.len() <= SHOWN => names.join(", "),
        _ => format!("{}, …", names[..SHOWN].join(", ")),
    }
}

/// A map whose entries are the slots: an array of single numbers that are declared histograms, of
/// as many entries as a histogram can have.
pub(super) fn is_whole(reader: &Reader, source: &dyn CounterSource) -> bool {
    let Ok(found) = found(reader, source) else { return false };
    let specs = source.counters();
    let slot = |(number, owner): (&Found<'_>, &Option<(usize, &str)>)| {
        owner.is_some_and(|(at, place)| is_histogram(&specs[at]) && place == number.path)
    };
    source.key_life() == KeyLife::Fixed
        && (2..=SLOTS_MAX).contains(&source.entries_max())
        && found.iter().zip(&Declared::of(source, &found, true).owners).all(slot)
}

fn found<'a>(reader: &'a Reader, source: &dyn CounterSource) -> Result<Vec<Found<'a>>, String> {
    let found: Vec<_> = match reader {
        Reader::Plan(plan) => {
            let number = |leaf: &Leaf| leaf.is_number() && !is_padding(leaf, plan);
            let numbers = plan.leaves().iter().enumerate().filter(|(_, leaf)| number(leaf));
            let number = |(at, leaf): (usize, &'a Leaf)| Found {
                leaf: at,
                path: leaf.path().into(),
                signed: leaf.is_signed(),
            };
            numbers.map(number).collect()
        }
        Reader::Words(width) if source.value_size() == *width => {
            vec![Found { leaf: 0, path: "".into(), signed: false }]
        }
        Reader::Words(width) => (0..source.value_size() / width)
            .take(NUMBERS_MAX + 1)
            .map(|at| Found { leaf: at, path: at.to_string().into(), signed: false })
            .collect(),
    };
    match found.len() {
        0 => Err("no field of its value is an integer".to_owned()),
        1..=NUMBERS_MAX => Ok(found),
        _ => Err(format!("its value has more than {NUMBERS_MAX} numbers")),
    }
}
