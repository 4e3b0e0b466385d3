//! Entries to batches for the agent.

use bpfgate_client::reference::ReferenceKind;
use bpfgate_client::v1::Reference;
use bpfgate_client::{EntryBatch, Layout};

use super::{Batch, Lines, Problem};

/// Entries of one batch, and bytes: whichever is reached first.
const ENTRIES: u32 = 4096;
const BYTES: usize = 1 << 20;

/// Packs entries, and hands them on batch by batch.
pub(super) struct Packer<'a> {
    layout: &'a Layout,
    /// What values lead to, in maps of references.
    kind: Option<ReferenceKind>,
    /// Takes a batch; false if nobody wants any more.
    hand_on: Box<dyn FnMut(Batch) -> bool + 'a>,
    keys: Vec<u8>,
    values: Vec<u8>,
    references: Vec<Reference>,
    count: u32,
    lines: Lines,
    /// An entry of which not every CPU's value has come: it is the last of `keys` and `values`.
    begun: Option<Begun>,
}

struct Begun {
    line: u64,
    cpus: usize,
}

impl<'a> Packer<'a> {
    pub(super) fn new(
        layout: &'a Layout,
        kind: Option<ReferenceKind>,
        hand_on: impl FnMut(Batch) -> bool + 'a,
    ) -> Self {
        let (keys, values, references, lines) = Default::default();
        let hand_on = Box::new(hand_on);
        Self { layout, kind, hand_on, keys, values, references, count: 0, lines, begun: None }
    }

    /// Whether values are names of what they lead to: see [`Self::add_named`].
    pub(super) fn takes_names(&self) -> bool {
        self.kind.is_some()
    }

    /// An entry of a map of references. False if nobody wants any more.
    pub(super) fn add_named(&mut self, line: u64, key: &[u8], name: &str) -> Result<bool, Problem> {
        let problem = |why: String| Problem { line, why };
        let Some(kind) = self.kind else { return Err(problem("VALUE is no name".to_owned())) };
        let reference = kind.parse(name);
        self.references.push(reference.map_err(|error| problem(format!("VALUE: {error}")))?);
        self.keys.extend_from_slice(key);
        Ok(self.complete(line))
    }

    /// An entry, or with `cpu` that CPU's part of it. False if nobody wants any more.
    pub(super) fn add(
        &mut self,
        line: u64,
        key: &[u8],
        cpu: Option<usize>,
        value: &[u8],
    ) -> Result<bool, Problem> {
        let wrong = |why: String| Err(Problem { line, why });
        let cpus = self.layout.cpus();
        match (cpu, self.layout.per_cpu) {
            (None, false) => {
                self.keys.extend_from_slice(key);
                self.values.extend_from_slice(value);
                Ok(self.complete(line))
            }
            (None, true) => wrong(
                "it has one value for all CPUs, which cannot be taken apart; dump with --per-cpu \
                 or -o bpftool"
                    .to_owned(),
            ),
            (Some(cpu), false) => {
                wrong(format!("it is a value of CPU {cpu}, but the map has one value for all"))
            }
            (Some(cpu), true) => {
                let before = self.begun.as_ref().map_or(0, |begun| begun.cpus);
                let same = before == 0 || self.keys.ends_with(key);
                if cpu != before || !same {
                    let key = if same { "" } else { " of another key" };
                    return wrong(format!(
                        "CPU {cpu}{key} where CPU {before} must be: this map has {cpus} of them \
                         for each key, one behind the other"
                    ));
                }
                if before == 0 {
                    self.keys.extend_from_slice(key);
                    self.begun = Some(Begun { line, cpus: 0 });
                }
                self.values.extend_from_slice(value);
                // The kernel wants each CPU's value at a multiple of 8.
                let padded = self.values.len().next_multiple_of(8);
                self.values.resize(padded, 0);
                let Some(begun) = &mut self.begun else { return Ok(true) };
                begun.cpus += 1;
                if begun.cpus < cpus {
                    return Ok(true);
                }
                let line = begun.line;
                self.begun = None;
                Ok(self.complete(line))
            }
        }
    }

    /// There are no more.
    pub(super) fn finish(&mut self) -> Result<(), Problem> {
        if let Some(Begun { line, cpus }) = self.begun {
            let all = self.layout.cpus();
            let why = format!("the entry has the values of {cpus} of {all} CPUs");
            return Err(Problem { line, why });
        }
        self.flush();
        Ok(())
    }

    /// What has come before a problem is written.
    pub(super) fn flush(&mut self) -> bool {
        if self.count == 0 {
            return true;
        }
        let (keys, values) = (std::mem::take(&mut self.keys), std::mem::take(&mut self.values));
        self.keys.reserve(keys.len());
        self.values.reserve(values.len());
        let count = std::mem::take(&mut self.count);
        let entries = if self.kind.is_some() {
            EntryBatch::pointing(keys, std::mem::take(&mut self.references))
        } else {
            EntryBatch::packed(count, keys, values)
        };
        (self.hand_on)(Batch { entries, lines: std::mem::take(&mut self.lines) })
    }

    fn complete(&mut self, line: u64) -> bool {
        self.lines.push(line);
        self.count += 1;
        let full = self.count == ENTRIES || self.keys.len() + self.values.len() >= BYTES;
        if full { self.flush() } else { true }
    }
}
