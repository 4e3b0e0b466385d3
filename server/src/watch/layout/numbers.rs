//! Which numbers a map's value has, and which of them belong together as one histogram.

use std::borrow::Cow;
use std::sync::Arc;

use bpfgate_proto::value::{Leaf, Plan};

use super::is_padding;
use crate::watch::source::{CounterKind, CounterSource, CounterSpec, KeyLife, covers};

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
    let mut numbers: Vec<Number> = Vec::new();
    // The last number's histogram, if it is one.
    let mut open: Option<&CounterSpec> = None;
    for Found { leaf, path, signed } in found {
        // The closest declaration wins: "rx.bytes" over "rx".
        let declared = source.counters().iter().filter(|spec| covers(&spec.field, &path));
        let spec = declared.max_by_key(|spec| spec.field.len());
        let histogram = spec.filter(|spec| spec.kind == CounterKind::Histogram);
        if let (Some(open), Some(spec)) = (open, histogram)
            && std::ptr::eq(open, spec)
            && let Some(last) = numbers.last_mut()
        {
            last.cells.push(Cell { base: 0, leaf });
            continue;
        }
        open = histogram;
        numbers.push(Number {
            unit: spec.map_or("", |spec| &spec.unit).into(),
            kind: spec.map_or(CounterKind::Gauge, |spec| spec.kind),
            kind_undeclared: spec.is_none(),
            path: histogram.map_or(path.as_ref(), |spec| &spec.field).into(),
            signed,
            cells: vec![Cell { base: 0, leaf }],
        });
    }
    for number in numbers.iter_mut().filter(|number| number.kind == CounterKind::Histogram) {
        let slots = whole.map_or(number.cells.len(), |_| source.entries_max());
        if !(2..=SLOTS_MAX).contains(&slots) {
            return Err(format!(
                "field {:?} is declared a histogram and has {slots} slots, not 2 to {SLOTS_MAX}",
                number.path
            ));
        }
        if let Some(entry) = whole {
            let leaf = number.cells[0].leaf;
            number.cells = (0..slots).map(|at| Cell { base: at * entry, leaf }).collect();
        }
    }
    Ok(numbers)
}

/// A map whose entries are the slots: an array of single numbers that are declared histograms.
pub(super) fn is_whole(reader: &Reader, source: &dyn CounterSource) -> bool {
    let Ok(found) = found(reader, source) else { return false };
    let single = |path: &str| {
        let histogram =
            |spec: &CounterSpec| spec.kind == CounterKind::Histogram && spec.field == path;
        source.counters().iter().any(histogram)
    };
    source.key_life() == KeyLife::Fixed && found.iter().all(|number| single(&number.path))
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
