//! What passes over a map find: which keys are there, and what changed since the pass before.
//!
//! A [`Pass`] belongs to the sweep that runs and is filled while the kernel is read. What changed
//! comes out as a [`Delta`] and goes into the [`Table`](super::table::Table) that the watchers
//! share, so that the table's lock is held for the changes only and readers never see half a sweep.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::layout::Layout;
use super::names::Names;
use super::pool::Pool;
use super::request::CpuMode;
use super::source::HostName;
use super::table::Entry;

/// What watchers want of a map's next sweep.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// By CPU mode.
    pub(super) modes: [bool; 2],
    /// Labels to find names for. Only ever grows.
    pub(super) names: Vec<(usize, HostName)>,
}

/// What a sweep changed.
#[derive(Default)]
pub(super) struct Delta {
    pub(super) new: Vec<(usize, Entry)>,
    pub(super) gone: Vec<usize>,
    /// By CPU mode.
    pub(super) modes: [ModeDelta; 2],
    /// Names of keys that were there before somebody wanted them, to be appended.
    pub(super) names: Vec<(usize, Option<Arc<str>>)>,
    /// How many wanted names each key now has.
    pub(super) named: usize,
    /// Keys without room. Known after a complete sweep.
    pub(super) left_out: Option<u64>,
}

/// The same for one CPU mode.
#[derive(Default)]
pub(super) struct ModeDelta {
    /// What becomes of the mode, before anything else.
    pub(super) turn: Option<Turn>,
    /// First refs of keys that are not new themselves.
    pub(super) refs: Vec<(usize, u64)>,
    /// New numbers. New keys list all of them.
    pub(super) cells: Vec<(usize, u64)>,
    /// Series with a new number.
    pub(super) slots: Vec<usize>,
    /// Those of them that went back.
    pub(super) resets: Vec<usize>,
}

/// What becomes of a CPU mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Its series are there from now on.
    Opened,
    /// Nobody wants them any more.
    Closed,
    /// There is no room for so many series.
    Refused(u64),
}

pub(super) const MODES: [CpuMode; 2] = [CpuMode::Sum, CpuMode::Each];

impl CpuMode {
    /// In arrays by mode.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Sum => 0,
            Self::Each => 1,
        }
    }
}

/// What is remembered from one pass to the next, as long as the map lives.
pub(super) struct Pass {
    layout: Arc<Layout>,
    pool: Arc<Pool>,
    names: Arc<Names>,
    created_at: SystemTime,
    index: HashMap<Box<[u8]>, usize>,
    /// The value last seen, by index.
    raw: Vec<u8>,
    /// The sweep that last saw the key, by index.
    seen: Vec<u64>,
    free: Vec<usize>,
    /// By CPU mode: its series are in the table.
    open: [bool; 2],
    wanted_names: Vec<(usize, HostName)>,
    sweep: u64,
    seen_now: usize,
    left_out: u64,
    begin: SystemTime,
    /// A whole pass was made: keys seen from now on are younger than the map.
    caught_up: bool,
    /// Entries that are taken as one, as far as they were read.
    whole: Vec<u8>,
    delta: Delta,
}

impl Pass {
    pub(super) fn new(
        layout: Arc<Layout>,
        pool: Arc<Pool>,
        names: Arc<Names>,
        created_at: SystemTime,
    ) -> Self {
        let whole = layout.whole().map_or(0, |_| layout.value_bytes());
        Self {
            layout,
            pool,
            names,
            created_at,
            index: HashMap::new(),
            raw: Vec::new(),
            seen: Vec::new(),
            free: Vec::new(),
            open: [false; 2],
            wanted_names: Vec::new(),
            sweep: 0,
            seen_now: 0,
            left_out: 0,
            begin: created_at,
            caught_up: false,
            whole: vec![0; whole],
            delta: Delta::default(),
        }
    }

    /// How many series it has room for.
    pub(super) fn series(&self) -> usize {
        self.index.len() * self.key_series()
    }

    pub(super) fn start(&mut self, begin: SystemTime, wanted: &Wanted) {
        self.sweep += 1;
        self.seen_now = 0;
        self.left_out = 0;
        self.begin = begin;
        for mode in MODES {
            self.turn(mode, wanted.modes[mode.index()]);
        }
        for &(label, what) in wanted.names.get(self.wanted_names.len()..).unwrap_or_default() {
            for (key, at) in &self.index {
                let (bytes, number) = self.layout.label_number(key, label);
                self.delta.names.push((*at, self.names.find(what, bytes, number)));
            }
            self.wanted_names.push((label, what));
        }
        self.delta.named = self.wanted_names.len();
    }

    fn turn(&mut self, mode: CpuMode, wanted: bool) {
        let series = self.index.len() * self.layout.slots(mode);
        let turn = match (self.open[mode.index()], wanted) {
            (true, true) | (false, false) => None,
            (true, false) => {
                self.pool.give(series);
                Some(Turn::Closed)
            }
            (false, true) if self.pool.take(series) => Some(Turn::Opened),
            (false, true) => Some(Turn::Refused(series as u64)),
        };
        self.delta.modes[mode.index()].turn = turn;
        self.open[mode.index()] = match turn {
            None => self.open[mode.index()],
            Some(Turn::Opened) => true,
            Some(Turn::Closed | Turn::Refused(_)) => false,
        };
        if turn == Some(Turn::Opened) {
            let Self { index, layout, raw, pool, delta, .. } = self;
            let (slots, width) = (layout.slots(mode), layout.value_bytes());
            let delta = &mut delta.modes[mode.index()];
            for &at in index.values() {
                delta.refs.push((at, pool.refs(slots)));
                delta.all(layout, mode, at, &raw[at * width..][..width]);
            }
        }
    }

    /// Takes one entry. A key that comes twice counts once, with the later value.
    pub(super) fn visit(&mut self, key: &[u8], value: &[u8]) {
        let width = self.layout.entry_bytes();
        debug_assert_eq!(value.len(), width, "a value's length");
        if value.len() != width {
            return;
        }
        let Some(entries) = self.layout.whole() else { return self.take(key, value) };
        let index = <[u8; 4]>::try_from(key).map(u32::from_ne_bytes);
        if let Some(at) = index.ok().map(|at| at as usize).filter(|at| *at < entries) {
            self.whole[at * width..][..width].copy_from_slice(value);
        }
    }

    fn take(&mut self, key: &[u8], value: &[u8]) {
        let Some(&at) = self.index.get(key) else {
            return self.insert(key, value);
        };
        if self.seen[at] != self.sweep {
            self.seen[at] = self.sweep;
            self.seen_now += 1;
        }
        let known = &mut self.raw[at * value.len()..][..value.len()];
        if known == value {
            return;
        }
        for mode in MODES.into_iter().filter(|mode| self.open[mode.index()]) {
            let delta = &mut self.delta.modes[mode.index()];
            delta.difference(&self.layout, mode, at, (known, value));
        }
        known.copy_from_slice(value);
    }

    /// Series of one key.
    fn key_series(&self) -> usize {
        let open = MODES.into_iter().filter(|mode| self.open[mode.index()]);
        open.map(|mode| self.layout.slots(mode)).sum()
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) {
        let series = self.key_series();
        if !self.pool.take(series) {
            self.left_out += 1;
            return;
        }
        let at = self.free.pop().unwrap_or(self.seen.len());
        if at == self.seen.len() {
            self.seen.push(0);
            self.raw.extend_from_slice(value);
        } else {
            self.raw[at * value.len()..][..value.len()].copy_from_slice(value);
        }
        self.seen[at] = self.sweep;
        self.seen_now += 1;
        self.index.insert(key.into(), at);
        let mut refs = [0; 2];
        for mode in MODES.into_iter().filter(|mode| self.open[mode.index()]) {
            refs[mode.index()] = self.pool.refs(self.layout.slots(mode));
            self.delta.modes[mode.index()].all(&self.layout, mode, at, value);
        }
        let name = |&(label, what): &(usize, HostName)| {
            let (bytes, number) = self.layout.label_number(key, label);
            self.names.find(what, bytes, number)
        };
        let entry = Entry {
            refs,
            labels: self.layout.labels(key),
            names: self.wanted_names.iter().map(name).collect(),
            start: if self.caught_up { self.begin } else { self.created_at },
            born: self.sweep,
        };
        self.delta.new.push((at, entry));
    }

    /// Ends the pass. Only after a whole one is a key that was not seen gone.
    pub(super) fn finish(&mut self, complete: bool) -> Delta {
        if complete {
            if self.layout.whole().is_some() {
                let whole = std::mem::take(&mut self.whole);
                self.take(&[], &whole);
                self.whole = whole;
            }
            self.caught_up = true;
            self.delta.left_out = Some(self.left_out);
            if self.seen_now < self.index.len() {
                self.drop_unseen();
            }
        }
        std::mem::take(&mut self.delta)
    }

    fn drop_unseen(&mut self) {
        let series = self.key_series();
        let Self { index, seen, free, delta, sweep, .. } = self;
        index.retain(|_, at| {
            let there = seen[*at] == *sweep;
            if !there {
                free.push(*at);
                delta.gone.push(*at);
            }
            there
        });
        self.pool.give(self.delta.gone.len() * series);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.pool.give(self.series());
    }
}

impl ModeDelta {
    /// All numbers of a key.
    fn all(&mut self, layout: &Layout, mode: CpuMode, at: usize, value: &[u8]) {
        let (slots, cells) = (layout.slots(mode), layout.cells(mode));
        for slot in 0..slots {
            let range = layout.slot_cells(mode, slot).map(|cell| at * cells + cell);
            self.cells.extend(range.zip(layout.read(mode, slot, value)));
            self.slots.push(at * slots + slot);
        }
    }

    /// The numbers of a key that are not what they were.
    fn difference(
        &mut self,
        layout: &Layout,
        mode: CpuMode,
        at: usize,
        (known, value): (&[u8], &[u8]),
    ) {
        let (slots, cells) = (layout.slots(mode), layout.cells(mode));
        for slot in 0..slots {
            let range = layout.slot_cells(mode, slot).map(|cell| at * cells + cell);
            let pairs = layout.read(mode, slot, known).zip(layout.read(mode, slot, value));
            let (number, _) = layout.slot(mode, slot);
            let (mut changed, mut back) = (false, false);
            for (cell, (was, now)) in range.zip(pairs).filter(|(_, (was, now))| was != now) {
                changed = true;
                back |=
                    if number.signed { now.cast_signed() < was.cast_signed() } else { now < was };
                self.cells.push((cell, now));
            }
            if changed {
                self.slots.push(at * slots + slot);
            }
            if back && number.kind.grows() {
                self.resets.push(at * slots + slot);
            }
        }
    }
}
