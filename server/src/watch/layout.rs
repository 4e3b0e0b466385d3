//! What a map's bytes say as series: labels from the key, numbers from the value. Worked out once
//! for each map.
//!
//! Without a schema a value of 1, 2, 4 or 8 bytes is one unsigned number without a name, and any
//! other of whole 64-bit words is the numbers "0", "1", …; a key is the label "key", a decimal
//! index in an array and "hex:…" elsewhere, as is one of more fields than anyone would tell apart.

use std::borrow::Cow;
use std::sync::Arc;

use bpfgate_proto::value::{Leaf, Plan, Type};

use super::message::Label;
use super::request::CpuMode;
use super::source::{CounterKind, CounterSource, KeyLife, covers};

/// More than this is data, not counters.
const NUMBERS_MAX: usize = 4096;
/// A key of more fields than this is one label: the labels of every series are kept.
const LABELS_MAX: usize = 64;

/// How to read one map's entries.
pub(super) struct Layout {
    labels: Labels,
    numbers: Vec<Number>,
    reader: Reader,
    /// 1 for a map that is not per-CPU.
    cpus: usize,
    /// From one CPU's value to the next.
    stride: usize,
    per_cpu: bool,
}

/// A number in the value.
pub(super) struct Number {
    pub(super) path: Arc<str>,
    pub(super) unit: Arc<str>,
    pub(super) kind: CounterKind,
    pub(super) kind_undeclared: bool,
    pub(super) signed: bool,
    /// Which leaf of the plan, or which word.
    leaf: usize,
}

enum Reader {
    Plan(Plan),
    /// Unsigned, of so many bytes, in host order.
    Words(usize),
}

struct Labels {
    plan: Plan,
    /// Name of each leaf; `None` for padding.
    names: Vec<Option<Arc<str>>>,
    /// The bytes are a `u32` and nothing says how to show it.
    index: bool,
}

impl Layout {
    /// Works out how to read a map, or says why it has nothing to count.
    pub(super) fn of(source: &dyn CounterSource) -> Result<Self, String> {
        let size = source.value_size();
        let value = source.schema().and_then(|schema| compile(schema.value.as_ref(), size));
        let reader = match value {
            Some(plan) => Reader::Plan(plan),
            None if matches!(size, 1 | 2 | 4 | 8) => Reader::Words(size),
            None if size > 0 && size.is_multiple_of(8) => Reader::Words(8),
            None => {
                return Err(format!(
                    "its value of {size} bytes has no schema and is no whole number of 64-bit words"
                ));
            }
        };
        let numbers = numbers(&reader, source)?;
        let (cpus, stride) = match source.cpus() {
            Some(cpus) => (cpus, size.next_multiple_of(8)),
            None => (1, size),
        };
        let per_cpu = source.cpus().is_some();
        Ok(Self { labels: Labels::of(source), numbers, reader, cpus, stride, per_cpu })
    }

    /// The bytes of one entry's value, of all CPUs where it is per-CPU.
    pub(super) fn value_bytes(&self) -> usize {
        self.cpus * self.stride
    }

    /// How the map's values are told apart: a map that is not per-CPU has one way only.
    pub(super) fn mode(&self, asked: CpuMode) -> CpuMode {
        if self.per_cpu { asked } else { CpuMode::Sum }
    }

    /// Series of one key.
    pub(super) fn slots(&self, mode: CpuMode) -> usize {
        match mode {
            CpuMode::Sum => self.numbers.len(),
            CpuMode::Each => self.numbers.len() * self.cpus,
        }
    }

    /// Which number a slot is, and of which CPU.
    pub(super) fn slot(&self, mode: CpuMode, slot: usize) -> (&Number, Option<usize>) {
        match mode {
            CpuMode::Sum => (&self.numbers[slot], None),
            CpuMode::Each => (&self.numbers[slot / self.cpus], Some(slot % self.cpus)),
        }
    }

    /// A slot's number in `bytes`, which are [`value_bytes`](Self::value_bytes) long.
    pub(super) fn read(&self, mode: CpuMode, slot: usize, bytes: &[u8]) -> u64 {
        match self.slot(mode, slot) {
            (number, Some(cpu)) => self.read_one(number, &bytes[cpu * self.stride..]),
            (number, None) => bytes
                .chunks_exact(self.stride)
                .fold(0, |sum: u64, value| sum.wrapping_add(self.read_one(number, value))),
        }
    }

    fn read_one(&self, number: &Number, value: &[u8]) -> u64 {
        match &self.reader {
            Reader::Plan(plan) => plan.leaves()[number.leaf].read(&value[..plan.size()]),
            Reader::Words(width) => word(&value[number.leaf * width..][..*width]),
        }
    }

    /// What tells this key's series from others.
    pub(super) fn labels(&self, key: &[u8]) -> Box<[Label]> {
        let Labels { plan, names, index } = &self.labels;
        let text = |leaf: &Leaf| if *index { word(key).to_string() } else { leaf.text(key) };
        let label = |(name, leaf): (&Option<Arc<str>>, &Leaf)| {
            Some(Label { name: name.clone()?, value: text(leaf).into() })
        };
        names.iter().zip(plan.leaves()).filter_map(label).collect()
    }

    /// Paths of all numbers, for people.
    pub(super) fn paths(&self) -> Vec<&str> {
        self.numbers.iter().map(|number| &*number.path).collect()
    }
}

impl Labels {
    fn of(source: &dyn CounterSource) -> Self {
        let size = source.key_size();
        let plan = source.schema().and_then(|schema| compile(schema.key.as_ref(), size));
        let index = plan.is_none() && source.key_life() == KeyLife::Fixed && size == 4;
        let plan = plan.filter(|plan| plan.leaves().len() <= LABELS_MAX);
        let plan = plan.unwrap_or_else(|| Plan::opaque(size));
        let name = |leaf: &Leaf| match leaf.path() {
            _ if is_padding(leaf, &plan) => None,
            "" => Some("key".into()),
            // The name is taken by what tells a per-CPU map's series apart.
            "cpu" if source.cpus().is_some() => Some("key.cpu".into()),
            path => Some(path.into()),
        };
        let names = plan.leaves().iter().map(name).collect();
        Self { plan, names, index }
    }
}

/// Only a type that is itself one leaf has it without a path, unless nobody is to address it.
fn is_padding(leaf: &Leaf, plan: &Plan) -> bool {
    leaf.path().is_empty() && plan.leaves().len() > 1
}

/// A plan for bytes of just this size. Anything else would read past the value.
fn compile(ty: Option<&Type>, size: usize) -> Option<Plan> {
    Plan::compile(ty?).ok().filter(|plan| plan.size() == size)
}

fn numbers(reader: &Reader, source: &dyn CounterSource) -> Result<Vec<Number>, String> {
    let found: Vec<(usize, Cow<'_, str>, bool)> = match reader {
        Reader::Plan(plan) => {
            let number = |leaf: &Leaf| leaf.is_number() && !is_padding(leaf, plan);
            let numbers = plan.leaves().iter().enumerate().filter(|(_, leaf)| number(leaf));
            numbers.map(|(at, leaf)| (at, leaf.path().into(), leaf.is_signed())).collect()
        }
        Reader::Words(width) if source.value_size() == *width => vec![(0, "".into(), false)],
        Reader::Words(width) => (0..source.value_size() / width)
            .take(NUMBERS_MAX + 1)
            .map(|at| (at, at.to_string().into(), false))
            .collect(),
    };
    match found.len() {
        0 => Err("no field of its value is an integer".to_owned()),
        1..=NUMBERS_MAX => Ok(found.into_iter().map(|it| number(it, source)).collect()),
        _ => Err(format!("its value has more than {NUMBERS_MAX} numbers")),
    }
}

fn number((leaf, path, signed): (usize, Cow<'_, str>, bool), source: &dyn CounterSource) -> Number {
    // The closest declaration wins: "rx.bytes" over "rx".
    let declared = source.counters().iter().filter(|spec| covers(&spec.field, &path));
    let spec = declared.max_by_key(|spec| spec.field.len());
    Number {
        unit: spec.map_or("", |spec| &spec.unit).into(),
        kind: spec.map_or(CounterKind::Gauge, |spec| spec.kind),
        kind_undeclared: spec.is_none(),
        path: path.into(),
        signed,
        leaf,
    }
}

/// An unsigned number of at most 8 bytes in host order.
fn word(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    let from = if cfg!(target_endian = "little") { 0 } else { wide.len() - bytes.len() };
    wide[from..][..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(wide)
}
