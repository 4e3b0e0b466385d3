//! What passes over a map find: which keys are there, and what changed since the pass before.
//!
//! A [`Pass`] belongs to the sweep that runs and is filled while the kernel is read. It works on
//! segments of its own, shared with the [`Version`](crate::watch::version::Version) before as long as they
//! are the same, so that readers never see half a sweep.
//!
//! Nothing is taken that is not paid for first: a key that finds no memory is left out.

mod finish;
mod memory;
mod twins;
mod wanted;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashTable;

use self::memory::Memory;
use self::twins::Alone;
pub(in crate::watch) use self::wanted::Wanted;

use crate::host_names::HostName;
use crate::host_names::Names;
use crate::ledger::Exhausted;
use crate::watch::interned::Interned;
use crate::watch::layout::Layout;
use crate::watch::pool::Pool;
use crate::watch::purse::Purse;
use crate::watch::removals::Gone;
use crate::watch::request::CpuMode;
use crate::watch::segment::{RESET_BYTES, Segment, Shape, nanoseconds};
use crate::watch::version::{Mode, Reading};

/// What a sweep found.
pub(in crate::watch) struct Found {
    pub(in crate::watch) sweep: u32,
    pub(in crate::watch) modes: [Mode; 2],
    pub(in crate::watch) names: Arc<[(usize, HostName)]>,
    pub(in crate::watch) readings: Arc<[Reading]>,
    pub(in crate::watch) segments: Vec<Segment>,
    pub(in crate::watch) gone: Vec<Gone>,
    /// Keys went, and there was no memory to say which.
    pub(in crate::watch) forgotten: bool,
    /// Keys without room. Known after a complete sweep.
    pub(in crate::watch) left_out: Option<u64>,
    /// There was no memory for all that went back.
    pub(in crate::watch) short: Option<Exhausted>,
    pub(in crate::watch) series: usize,
}

pub(in crate::watch) const MODES: [CpuMode; 2] = [CpuMode::Sum, CpuMode::Each];

/// In the index of keys: four bytes and one, seven in eight used or half of that, and as much again
/// while it grows.
const INDEX_BYTES: usize = 20;
/// Keys whose memory is taken at a time at least.
const KEYS_MIN: usize = 16;

impl CpuMode {
    /// In arrays by mode.
    pub(in crate::watch) fn index(self) -> usize {
        match self {
            Self::Sum => 0,
            Self::Each => 1,
        }
    }
}

/// What is remembered from one pass to the next, as long as somebody watches.
pub(in crate::watch) struct Pass {
    layout: Arc<Layout>,
    shape: Shape,
    pool: Arc<Pool>,
    host: Arc<Names>,
    purse: Arc<Purse>,
    created_at: u64,
    hasher: RandomState,
    index: HashTable<u32>,
    segments: Vec<Segment>,
    /// Indices in use or free.
    len: usize,
    /// Indices that are paid for.
    paid: usize,
    /// What they take, as far as it is paid for.
    charged: usize,
    /// By index: the pass at hand saw it.
    seen: Vec<u64>,
    seen_now: usize,
    free: Vec<u32>,
    modes: [Mode; 2],
    names: Vec<(usize, HostName)>,
    /// Names that keys have, each once.
    interned: Interned,
    readings: Vec<Reading>,
    /// By reading, as far as there was memory.
    alone: Vec<Option<Alone>>,
    /// Room to work in: how a key reads.
    spelling: String,
    /// Keys below this index were taken in by the sweep at hand from what was remembered.
    recalled: u32,
    sweep: u32,
    left_out: u64,
    /// There was no memory for a number that went back.
    short: Option<Exhausted>,
    begin: u64,
    /// A whole pass was made: keys seen from now on are younger than the map.
    caught_up: bool,
    /// Entries that are taken as one, as far as they were read.
    whole: Vec<u8>,
    /// What is known of the keys from when somebody last watched.
    memory: Option<Memory>,
    /// Slots of a key that changed, and those that went back.
    changed: [Vec<usize>; 2],
    back: [Vec<usize>; 2],
}

impl Pass {
    pub(in crate::watch) fn new(
        layout: Arc<Layout>,
        pool: Arc<Pool>,
        host: Arc<Names>,
        purse: Arc<Purse>,
        created_at: SystemTime,
    ) -> Self {
        let whole = layout.whole().map_or(0, |_| layout.value_bytes());
        Self {
            shape: Shape::of(&layout),
            layout,
            pool,
            host,
            purse,
            created_at: nanoseconds(created_at),
            hasher: RandomState::new(),
            index: HashTable::new(),
            segments: Vec::new(),
            len: 0,
            paid: 0,
            charged: 0,
            seen: Vec::new(),
            seen_now: 0,
            free: Vec::new(),
            modes: [Mode::Closed; 2],
            names: Vec::new(),
            interned: Interned::default(),
            readings: Vec::new(),
            alone: Vec::new(),
            spelling: String::new(),
            recalled: 0,
            sweep: 0,
            left_out: 0,
            short: None,
            begin: 0,
            caught_up: false,
            whole: vec![0; whole],
            memory: None,
            changed: Default::default(),
            back: Default::default(),
        }
    }

    pub(in crate::watch) fn start(&mut self, begin: SystemTime, wanted: &Wanted) {
        self.sweep += 1;
        self.seen_now = 0;
        self.seen.fill(0);
        self.left_out = 0;
        self.short = None;
        self.begin = nanoseconds(begin);
        self.recalled = 0;
        if let Some(memory) = self.memory.take() {
            self.recall(&memory);
            self.recalled = u32::try_from(self.len).unwrap_or(u32::MAX);
        }
        for mode in MODES {
            self.turn(mode, wanted.modes[mode.index()]);
        }
        for &name in wanted.names.get(self.names.len()..).unwrap_or_default() {
            self.want_name(name);
        }
        for names in wanted.readings.get(self.readings.len()..).unwrap_or_default() {
            self.want_reading(names);
        }
    }

    fn open(&self) -> [bool; 2] {
        self.modes.map(Mode::is_open)
    }

    fn opened(&self) -> impl Iterator<Item = CpuMode> + use<> {
        let open = self.open();
        MODES.into_iter().filter(move |mode| open[mode.index()])
    }

    /// What an index takes: its values twice, for they are copied while somebody holds them.
    fn cost(&self) -> usize {
        let open = self.open();
        let (readings, twins) = self.reading_cost();
        let key = self.shape.key_cost(open, self.names.len(), readings);
        key + 2 * self.shape.value_cost(open) + INDEX_BYTES + twins
    }

    /// Takes or gives back what so many indices take more or less than what is paid.
    fn settle(&mut self, paid: usize) -> Result<(), Exhausted> {
        let target = paid * self.cost();
        if target > self.charged {
            self.purse.take_sparing(target - self.charged)?;
        } else {
            self.purse.give(self.charged - target);
        }
        (self.charged, self.paid) = (target, paid);
        Ok(())
    }

    /// Takes one entry. A key that comes twice counts once, with the later value.
    pub(in crate::watch) fn visit(&mut self, key: &[u8], value: &[u8]) {
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
        let hash = self.hasher.hash_one(key);
        let Some(at) = self.find(hash, key) else {
            let start = if self.caught_up { self.begin } else { self.created_at };
            match self.insert((hash, key), value, start) {
                Some(at) => self.see(at),
                None => self.left_out += 1,
            }
            return;
        };
        self.see(at);
        let (segment, row) = self.shape.place(at);
        if self.segments[segment].values.raw(&self.shape, row) != value {
            self.update(segment, row, value);
        }
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let same = |at: &u32| {
            let (segment, row) = self.shape.place(*at);
            self.segments[segment].keys.key(&self.shape, row) == key
        };
        self.index.find(hash, same).copied()
    }

    fn see(&mut self, at: u32) {
        let (word, bit) = (at as usize / 64, 1 << (at % 64));
        self.seen_now += usize::from(self.seen[word] & bit == 0);
        self.seen[word] |= bit;
    }

    fn saw(&self, at: u32) -> bool {
        self.seen[at as usize / 64] & 1 << (at % 64) != 0
    }

    /// Takes in a key's other value. Without memory for what went back the next pass has to.
    fn update(&mut self, segment: usize, row: usize, value: &[u8]) {
        let known = self.segments[segment].values.raw(&self.shape, row);
        for mode in self.opened() {
            let (changed, back) = (&mut self.changed[mode.index()], &mut self.back[mode.index()]);
            changed.clear();
            back.clear();
            self.layout.compare(mode, known, value, changed, back);
        }
        let back: usize = self.opened().map(|mode| self.back[mode.index()].len()).sum();
        if back > 0
            && let Err(short) = self.purse.take(back * RESET_BYTES)
        {
            self.short = Some(short);
            return;
        }
        let (sweep, begin, opened) = (self.sweep, self.begin, self.opened());
        let values = Arc::make_mut(&mut self.segments[segment].values);
        let mut known = 0;
        let mut touched = false;
        for mode in opened {
            for &slot in &self.changed[mode.index()] {
                let slot = self.shape.slot(mode, row, slot) as usize;
                values.change(mode, slot..slot + 1, sweep);
                touched = true;
            }
            for &slot in &self.back[mode.index()] {
                let slot = self.shape.slot(mode, row, slot);
                known += usize::from(!values.set_reset(mode, slot, sweep, begin));
            }
        }
        self.purse.give(known * RESET_BYTES);
        values.set(row, value);
        if touched {
            values.touch(row, sweep);
        }
    }

    /// Series of one key.
    fn key_series(&self) -> usize {
        self.opened().map(|mode| self.shape.slots(mode)).sum()
    }

    /// An index for one more key, with its memory paid for.
    fn index(&mut self) -> Option<u32> {
        if let Some(free) = self.free.pop() {
            return Some(free);
        }
        if self.len == self.paid {
            let more = self.len.clamp(KEYS_MIN, self.shape.keys().max(KEYS_MIN));
            self.settle(self.len + more).ok()?;
        }
        let at = u32::try_from(self.len).ok()?;
        self.len += 1;
        let segments = self.len.div_ceil(self.shape.keys());
        self.segments.resize_with(segments, Segment::default);
        self.seen.resize(self.len.div_ceil(64), 0);
        Some(at)
    }

    /// Takes in a key that was not there. `None` if there is no room for it.
    fn insert(&mut self, (hash, key): (u64, &[u8]), value: &[u8], start: u64) -> Option<u32> {
        let series = self.key_series();
        if !self.pool.take(series) {
            return None;
        }
        let Some(at) = self.index() else {
            self.pool.give(series);
            return None;
        };
        let (segment, row) = self.shape.place(at);
        let opened = self.opened();
        let Segment { keys, values } = &mut self.segments[segment];
        let (keys, values) = (Arc::make_mut(keys), Arc::make_mut(values));
        keys.set(row, key, (start, self.sweep));
        values.set(row, value);
        values.touch(row, self.sweep);
        for mode in opened {
            let slots = self.shape.slots(mode);
            keys.set_first(mode, row, self.pool.refs(slots));
            values.change(mode, row * slots..(row + 1) * slots, self.sweep);
        }
        for (place, &(label, what)) in self.names.iter().enumerate().filter(|it| it.1.1.is_kept()) {
            let (_, number) = self.layout.label_number(key, label);
            let name = self.host.find(what, number);
            keys.set_name(place, row, name.and_then(|name| self.interned.take(&name, &self.purse)));
        }
        let Self { index, hasher, segments, shape, .. } = self;
        index.insert_unique(hash, at, |at| {
            let (segment, row) = shape.place(*at);
            hasher.hash_one(segments[segment].keys.key(shape, row))
        });
        self.read(at);
        Some(at)
    }

    /// How many series it has room for.
    pub(in crate::watch) fn series(&self) -> usize {
        self.index.len() * self.key_series()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.pool.give(self.series());
    }
}
