//! The state of a map's series behind its last sweep, which all its watchers share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::layout::Layout;
use super::message::Label;
use super::pass::{Delta, MODES, ModeDelta, Turn};
use super::request::CpuMode;

/// One key's series.
pub(super) struct Entry {
    /// By CPU mode: of the first slot; the others follow.
    pub(super) refs: [u64; 2],
    pub(super) labels: Box<[Label]>,
    /// Names of the labels that somebody wanted them of, as far as there are any.
    pub(super) names: Vec<Option<Arc<str>>>,
    pub(super) start: SystemTime,
    /// The sweep that first saw it.
    pub(super) born: u64,
}

/// When a sweep ran.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) begin: SystemTime,
    pub(super) end: SystemTime,
    pub(super) begun: Instant,
}

/// A key that went away.
struct Removal {
    /// The sweep that missed it.
    at: u64,
    entry: Entry,
}

/// A number that went back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reset {
    /// The sweep that found it.
    pub(super) at: u64,
    pub(super) start: SystemTime,
}

/// The numbers of one CPU mode.
pub(super) struct Numbers {
    slots: usize,
    cells: usize,
    /// The sweep that opened the mode.
    since: u64,
    values: Vec<u64>,
    /// By slot: the sweep that last changed it.
    changed: Vec<u64>,
    /// By slot.
    resets: BTreeMap<usize, Reset>,
}

/// Whether a CPU mode's numbers are there.
pub(super) enum Mode {
    /// Nobody wanted them.
    Closed,
    /// There is no room for so many series.
    Refused(u64),
    Open(Numbers),
}

/// The state of all series behind the last sweep.
pub(super) struct Table {
    removals_max: usize,
    /// Number of the last sweep; 0 before the first.
    pub(super) sweep: u64,
    /// `None` too where nobody watched meanwhile.
    pub(super) span: Option<Span>,
    pub(super) complete: bool,
    /// The map is gone: no sweep will follow.
    pub(super) gone: bool,
    /// Why the map cannot be read, and since which sweep.
    pub(super) trouble: Option<(u64, Arc<str>)>,
    /// Keys without room in the hub.
    pub(super) left_out: u64,
    /// How many wanted names each key has.
    pub(super) named: usize,
    modes: [Mode; 2],
    entries: Vec<Option<Entry>>,
    /// The sweep that last changed any of the entry's slots; 0 for a hole.
    touched: Vec<u64>,
    /// By sweep, oldest first.
    removed: VecDeque<Removal>,
    /// All removals behind this sweep are still known.
    removed_since: u64,
}

impl Table {
    pub(super) fn new(removals_max: usize) -> Self {
        Self {
            removals_max,
            sweep: 0,
            span: None,
            complete: false,
            gone: false,
            trouble: None,
            left_out: 0,
            named: 0,
            modes: [Mode::Closed, Mode::Closed],
            entries: Vec::new(),
            touched: Vec::new(),
            removed: VecDeque::new(),
            removed_since: 0,
        }
    }

    /// Folds in a sweep. `outcome` is whether it was whole, or why it failed; `slowest` the last
    /// sweep that every watcher was given.
    pub(super) fn apply(
        &mut self,
        delta: Delta,
        layout: &Layout,
        span: Span,
        outcome: Result<bool, Arc<str>>,
        slowest: u64,
    ) {
        let Delta { new, gone, modes, names, named, left_out } = delta;
        self.sweep += 1;
        self.span = Some(span);
        self.complete = outcome == Ok(true);
        self.trouble = match (self.trouble.take(), outcome) {
            (_, Ok(_)) => None,
            (Some(known), Err(_)) => Some(known),
            (None, Err(why)) => Some((self.sweep, why)),
        };
        self.left_out = left_out.unwrap_or(self.left_out);
        self.named = named;
        // First, for keys that come and go in one failed sweep after another have both.
        for (at, name) in names {
            if let Some(entry) = &mut self.entries[at] {
                entry.names.push(name);
            }
        }
        for (at, entry) in new {
            if at >= self.entries.len() {
                self.entries.resize_with(at + 1, || None);
                self.touched.resize(at + 1, 0);
            }
            self.entries[at] = Some(entry);
        }
        for (mode, delta) in MODES.into_iter().zip(modes) {
            self.apply_mode(mode, delta, layout, span.begin);
        }
        for at in gone {
            self.touched[at] = 0;
            for numbers in self.modes.iter_mut().filter_map(Mode::numbers_mut) {
                let slots = at * numbers.slots..(at + 1) * numbers.slots;
                for slot in slots {
                    numbers.resets.remove(&slot);
                }
            }
            if let Some(entry) = self.entries[at].take() {
                self.removed.push_back(Removal { at: self.sweep, entry });
            }
        }
        self.forget_removals(slowest);
    }

    fn apply_mode(&mut self, mode: CpuMode, delta: ModeDelta, layout: &Layout, begin: SystemTime) {
        let ModeDelta { turn, refs, cells, slots, resets } = delta;
        let this = &mut self.modes[mode.index()];
        match turn {
            None => {}
            Some(Turn::Closed) => *this = Mode::Closed,
            Some(Turn::Refused(series)) => *this = Mode::Refused(series),
            Some(Turn::Opened) => *this = Mode::Open(Numbers::new(layout, mode, self.sweep)),
        }
        let Some(numbers) = this.numbers_mut() else { return };
        numbers.values.resize(self.entries.len() * numbers.cells, 0);
        numbers.changed.resize(self.entries.len() * numbers.slots, 0);
        for (at, first) in refs {
            if let Some(entry) = &mut self.entries[at] {
                entry.refs[mode.index()] = first;
            }
        }
        for (cell, value) in cells {
            numbers.values[cell] = value;
        }
        for slot in slots {
            numbers.changed[slot] = self.sweep;
            self.touched[slot / numbers.slots] = self.sweep;
        }
        for slot in resets {
            numbers.resets.insert(slot, Reset { at: self.sweep, start: begin });
        }
    }

    fn forget_removals(&mut self, slowest: u64) {
        while let Some(oldest) = self.removed.front() {
            if oldest.at > slowest && self.removed.len() <= self.removals_max {
                break;
            }
            self.removed_since = oldest.at;
            self.removed.pop_front();
        }
    }

    /// Keys that went behind a sweep; `None` if that is too long ago to know.
    pub(super) fn removed_behind(&self, sweep: u64) -> Option<impl Iterator<Item = &Entry>> {
        let from = self.removed.partition_point(|removal| removal.at <= sweep);
        (self.removed_since <= sweep)
            .then(|| self.removed.range(from..).map(|removal| &removal.entry))
    }

    /// Keys that are there, with their index. With `behind`, only those that changed behind that
    /// sweep.
    pub(super) fn entries(&self, behind: Option<u64>) -> impl Iterator<Item = (usize, &Entry)> {
        let behind = behind.unwrap_or(0);
        let touched = self.touched.iter().enumerate().filter(move |(_, sweep)| **sweep > behind);
        touched.filter_map(|(at, _)| self.entries[at].as_ref().map(|entry| (at, entry)))
    }

    pub(super) fn mode(&self, mode: CpuMode) -> &Mode {
        &self.modes[mode.index()]
    }

    /// Whether a mode's numbers and these names were looked at in the last sweep.
    pub(super) fn has(&self, mode: CpuMode, names: &[usize]) -> bool {
        let looked = !matches!(self.mode(mode), Mode::Closed);
        looked && names.iter().all(|name| *name < self.named)
    }
}

impl Mode {
    pub(super) fn numbers(&self) -> Option<&Numbers> {
        match self {
            Self::Open(numbers) => Some(numbers),
            Self::Closed | Self::Refused(_) => None,
        }
    }

    fn numbers_mut(&mut self) -> Option<&mut Numbers> {
        match self {
            Self::Open(numbers) => Some(numbers),
            Self::Closed | Self::Refused(_) => None,
        }
    }
}

impl Numbers {
    fn new(layout: &Layout, mode: CpuMode, since: u64) -> Self {
        Self {
            slots: layout.slots(mode),
            cells: layout.cells(mode),
            since,
            values: Vec::new(),
            changed: Vec::new(),
            resets: BTreeMap::new(),
        }
    }

    /// The sweep that first had an entry's numbers.
    pub(super) fn born(&self, entry: &Entry) -> u64 {
        entry.born.max(self.since)
    }

    /// An entry's numbers.
    pub(super) fn values(&self, at: usize) -> &[u64] {
        &self.values[at * self.cells..][..self.cells]
    }

    /// The sweep that last changed an entry's slot.
    pub(super) fn changed(&self, at: usize, slot: usize) -> u64 {
        self.changed[at * self.slots + slot]
    }

    /// When an entry's slot last went back.
    pub(super) fn reset(&self, at: usize, slot: usize) -> Option<Reset> {
        self.resets.get(&(at * self.slots + slot)).copied()
    }
}
