//! What a map's bytes say as series: labels from the key, numbers from the value. Worked out once
//! for each map.
//!
//! Without a schema a value of 1, 2, 4 or 8 bytes is one unsigned number without a name, and any
//! other of whole 64-bit words is the numbers "0", "1", ….
//!
//! Each key has `slots` series, of one number each but for histograms, which have one for each slot.

mod labels;
mod numbers;

use std::collections::BTreeMap;

use bpfgate_proto::value::{Leaf, Plan, Type};

use self::labels::Labels;
use self::numbers::Reader;
pub(super) use self::numbers::{Number, listed};
use super::request::CpuMode;
use super::source::CounterSource;
use crate::host_names::HostName;

/// How to read one map's entries.
pub(super) struct Layout {
    /// Bytes of a key; none where all entries are one.
    key: usize,
    labels: Labels,
    numbers: Vec<Number>,
    /// Bytes of a number's path and unit at most.
    longest: usize,
    reader: Reader,
    /// 1 for a map that is not per-CPU.
    cpus: usize,
    /// From one CPU's value to the next.
    stride: usize,
    per_cpu: bool,
    /// How many entries are taken as one, where that is so.
    whole: Option<usize>,
}

impl Layout {
    /// Works out how to read a map, or says why it has nothing to count.
    pub(super) fn of(source: &dyn CounterSource) -> Result<Self, String> {
        let size = source.value_size();
        let reader = reader(source)?;
        let (cpus, stride) = match source.cpus() {
            Some(cpus) => (cpus, size.next_multiple_of(8)),
            None => (1, size),
        };
        let whole = numbers::is_whole(&reader, source).then(|| source.entries_max());
        let numbers = numbers::numbers(&reader, source, whole.map(|_| cpus * stride))?;
        let labels = if whole.is_some() { Labels::none() } else { Labels::of(source) };
        let texts = |number: &Number| number.path.len() + number.unit.len();
        let longest = numbers.iter().map(texts).max().unwrap_or(0);
        let per_cpu = source.cpus().is_some();
        let key = if whole.is_some() { 0 } else { source.key_size() };
        Ok(Self { key, labels, numbers, longest, reader, cpus, stride, per_cpu, whole })
    }

    /// The bytes of a key.
    pub(super) fn key_bytes(&self) -> usize {
        self.key
    }

    /// The bytes of one entry's value, of all CPUs where it is per-CPU.
    pub(super) fn entry_bytes(&self) -> usize {
        self.cpus * self.stride
    }

    /// How many entries are taken as one key's, where that is so.
    pub(super) fn whole(&self) -> Option<usize> {
        self.whole
    }

    /// The bytes of all that is one key's.
    pub(super) fn value_bytes(&self) -> usize {
        self.entry_bytes() * self.whole.unwrap_or(1)
    }

    /// How the map's values are told apart: a map that is not per-CPU has one way only.
    pub(super) fn mode(&self, asked: CpuMode) -> CpuMode {
        if self.per_cpu { asked } else { CpuMode::Sum }
    }

    /// Series of one key.
    pub(super) fn slots(&self, mode: CpuMode) -> usize {
        self.numbers.len() * self.copies(mode)
    }

    fn copies(&self, mode: CpuMode) -> usize {
        match mode {
            CpuMode::Sum => 1,
            CpuMode::Each => self.cpus,
        }
    }

    /// Which number a slot is, and of which CPU.
    pub(super) fn slot(&self, mode: CpuMode, slot: usize) -> (&Number, Option<usize>) {
        match mode {
            CpuMode::Sum => (&self.numbers[slot], None),
            CpuMode::Each => (&self.numbers[slot / self.cpus], Some(slot % self.cpus)),
        }
    }

    /// A slot's numbers in `bytes`, which are [`value_bytes`](Self::value_bytes) long, one for each
    /// of its cells.
    pub(super) fn read<'a>(
        &'a self,
        mode: CpuMode,
        slot: usize,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = u64> + 'a {
        let (number, cpu) = self.slot(mode, slot);
        number.cells.iter().map(move |cell| {
            let entry = &bytes[cell.base..][..self.entry_bytes()];
            match cpu {
                Some(cpu) => self.read_one(cell.leaf, &entry[cpu * self.stride..]),
                None => entry
                    .chunks_exact(self.stride)
                    .fold(0, |sum: u64, value| sum.wrapping_add(self.read_one(cell.leaf, value))),
            }
        })
    }

    fn read_one(&self, leaf: usize, value: &[u8]) -> u64 {
        match &self.reader {
            Reader::Plan(plan) => plan.leaves()[leaf].read(&value[..plan.size()]),
            Reader::Words(width) => word(&value[leaf * width..][..*width]),
        }
    }

    /// Slots whose numbers are not what they were, and those of them that began anew.
    pub(super) fn compare(
        &self,
        mode: CpuMode,
        known: &[u8],
        value: &[u8],
        changed: &mut Vec<usize>,
        back: &mut Vec<usize>,
    ) {
        for slot in 0..self.slots(mode) {
            let (number, _) = self.slot(mode, slot);
            let mut differs = false;
            let mut less = false;
            for (was, now) in self.read(mode, slot, known).zip(self.read(mode, slot, value)) {
                differs |= was != now;
                less |=
                    if number.signed { now.cast_signed() < was.cast_signed() } else { now < was };
            }
            if differs {
                changed.push(slot);
            }
            if less && number.kind.grows() {
                back.push(slot);
            }
        }
    }

    /// How many numbers a value has, those of a histogram taken for one.
    pub(super) fn numbers(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of a number's path and unit at most.
    pub(super) fn longest_number(&self) -> usize {
        self.longest
    }

    /// How many labels a key has.
    pub(super) fn labels(&self) -> usize {
        self.labels.count()
    }

    pub(super) fn label_name(&self, label: usize) -> &str {
        self.labels.name(label)
    }

    /// Appends what a key's label says.
    pub(super) fn append_label(&self, label: usize, key: &[u8], out: &mut String) {
        self.labels.append(label, key, out);
    }

    /// What that has at most, in bytes.
    pub(super) fn label_bytes(&self, label: usize, key: &[u8]) -> usize {
        self.labels.bytes(label, key)
    }

    /// Names of all labels, for a watch that asks for this mode.
    pub(super) fn label_names(&self, asked: CpuMode) -> Vec<&str> {
        let cpu = (self.mode(asked) == CpuMode::Each).then_some("cpu");
        self.labels.names().chain(cpu).collect()
    }

    /// Where a label stands among those of each key.
    pub(super) fn label(&self, name: &str) -> Option<usize> {
        self.labels.position(name)
    }

    /// Where a label is in a key, and what it says there.
    pub(super) fn label_leaf(&self, label: usize) -> &Leaf {
        self.labels.leaf(label)
    }

    /// A label's bytes in a key, and the number they are.
    pub(super) fn label_number<'a>(&self, key: &'a [u8], label: usize) -> (&'a [u8], u64) {
        self.labels.number(key, label)
    }

    /// Whether two keys may have the same labels, by their numbers and texts.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.labels.is_ambiguous()
    }

    /// The label that tells a key's bytes.
    pub(super) fn raw_name(&self) -> &str {
        self.labels.raw_name()
    }

    /// Labels that were declared to be names of the host's.
    pub(super) fn declared(&self) -> &[(usize, HostName)] {
        self.labels.declared()
    }

    /// Paths of all numbers, for people.
    pub(super) fn paths(&self) -> Vec<&str> {
        self.numbers.iter().map(|number| &*number.path).collect()
    }
}

/// What is wrong with the declarations of a map's counters, by their index; an error if it has
/// nothing that they could be about.
pub fn counter_faults(source: &dyn CounterSource) -> Result<BTreeMap<usize, String>, String> {
    numbers::faults(&reader(source)?, source)
}

fn reader(source: &dyn CounterSource) -> Result<Reader, String> {
    let size = source.value_size();
    let value = source.schema().and_then(|schema| compile(schema.value.as_ref(), size));
    match value {
        Some(plan) => Ok(Reader::Plan(plan)),
        None if matches!(size, 1 | 2 | 4 | 8) => Ok(Reader::Words(size)),
        None if size > 0 && size.is_multiple_of(8) => Ok(Reader::Words(8)),
        None => Err(format!(
            "its value of {size} bytes has no schema and is no whole number of 64-bit words"
        )),
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

/// An unsigned number of at most 8 bytes in host order.
fn word(bytes: &[u8]) -> u64 {
    let mut wide = [0; 8];
    let from = if cfg!(target_endian = "little") { 0 } else { wide.len() - bytes.len() };
    wide[from..][..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(wide)
}
