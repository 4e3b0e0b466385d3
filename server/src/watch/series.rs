//! One map's series: what a pass over the map finds, and the table it is folded into.
//!
//! A [`Pass`] belongs to the sweeper alone and is filled while the kernel is read. What changed
//! comes out as a [`Delta`] and goes into the [`Table`] that the watchers share, so that the
//! table's lock is held for the changes only and readers never see half a sweep.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use tokio::time::Instant;

use super::layout::Layout;
use super::message::Label;
use super::request::CpuMode;

/// One key's series.
pub(super) struct Entry {
    /// Of the first slot; the others follow.
    pub(super) first_ref: u64,
    pub(super) labels: Box<[Label]>,
    pub(super) start: SystemTime,
    /// The sweep that first saw it.
    pub(super) born: u64,
}

/// What all tables of the hub draw on.
pub(super) struct Pool {
    next_ref: AtomicU64,
    room: AtomicUsize,
}

impl Pool {
    pub(super) fn new(series: usize) -> Self {
        Self { next_ref: AtomicU64::new(1), room: AtomicUsize::new(series) }
    }

    fn refs(&self, count: usize) -> u64 {
        self.next_ref.fetch_add(count as u64, Ordering::Relaxed)
    }

    fn take(&self, series: usize) -> bool {
        let less = |room: usize| room.checked_sub(series);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn give(&self, series: usize) {
        self.room.fetch_add(series, Ordering::Relaxed);
    }
}

/// When a sweep ran.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) begin: SystemTime,
    pub(super) end: SystemTime,
    pub(super) begun: Instant,
}

/// What a sweep changed.
#[derive(Default)]
pub(super) struct Delta {
    new: Vec<(usize, Entry)>,
    /// Slot and value. New keys list all their slots.
    values: Vec<(usize, u64)>,
    gone: Vec<usize>,
    /// Series without room. Known after a complete sweep.
    left_out: Option<u64>,
}

/// What the sweeper remembers from one pass to the next.
pub(super) struct Pass {
    layout: Arc<Layout>,
    mode: CpuMode,
    slots: usize,
    pool: Arc<Pool>,
    created_at: SystemTime,
    index: HashMap<Box<[u8]>, usize>,
    /// The value last seen, by index.
    raw: Vec<u8>,
    /// The sweep that last saw the key, by index.
    seen: Vec<u64>,
    free: Vec<usize>,
    sweep: u64,
    seen_now: usize,
    left_out: u64,
    begin: SystemTime,
    /// A whole pass was made: keys seen from now on are younger than the map.
    caught_up: bool,
    delta: Delta,
}

impl Pass {
    pub(super) fn new(
        layout: Arc<Layout>,
        mode: CpuMode,
        pool: Arc<Pool>,
        created_at: SystemTime,
    ) -> Self {
        Self {
            slots: layout.slots(mode),
            layout,
            mode,
            pool,
            created_at,
            index: HashMap::new(),
            raw: Vec::new(),
            seen: Vec::new(),
            free: Vec::new(),
            sweep: 0,
            seen_now: 0,
            left_out: 0,
            begin: created_at,
            caught_up: false,
            delta: Delta::default(),
        }
    }

    pub(super) fn start(&mut self, begin: SystemTime) {
        self.sweep += 1;
        self.seen_now = 0;
        self.left_out = 0;
        self.begin = begin;
    }

    /// Takes one entry. A key that comes twice counts once, with the later value.
    pub(super) fn visit(&mut self, key: &[u8], value: &[u8]) {
        let width = self.layout.value_bytes();
        debug_assert_eq!(value.len(), width, "a value's length");
        if value.len() != width {
            return;
        }
        let Some(&at) = self.index.get(key) else {
            return self.insert(key, value);
        };
        if self.seen[at] != self.sweep {
            self.seen[at] = self.sweep;
            self.seen_now += 1;
        }
        let known = &mut self.raw[at * width..][..width];
        if known == value {
            return;
        }
        for slot in 0..self.slots {
            let now = self.layout.read(self.mode, slot, value);
            if now != self.layout.read(self.mode, slot, known) {
                self.delta.values.push((at * self.slots + slot, now));
            }
        }
        known.copy_from_slice(value);
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) {
        if !self.pool.take(self.slots) {
            self.left_out += self.slots as u64;
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
        let entry = Entry {
            first_ref: self.pool.refs(self.slots),
            labels: self.layout.labels(key),
            start: if self.caught_up { self.begin } else { self.created_at },
            born: self.sweep,
        };
        self.delta.new.push((at, entry));
        for slot in 0..self.slots {
            let now = self.layout.read(self.mode, slot, value);
            self.delta.values.push((at * self.slots + slot, now));
        }
    }

    /// Ends the pass. Only after a whole one is a key that was not seen gone.
    pub(super) fn finish(&mut self, complete: bool) -> Delta {
        if complete {
            self.caught_up = true;
            self.delta.left_out = Some(self.left_out);
            if self.seen_now < self.index.len() {
                self.drop_unseen();
            }
        }
        std::mem::take(&mut self.delta)
    }

    fn drop_unseen(&mut self) {
        let Self { index, seen, free, delta, sweep, .. } = self;
        index.retain(|_, at| {
            let there = seen[*at] == *sweep;
            if !there {
                free.push(*at);
                delta.gone.push(*at);
            }
            there
        });
        self.pool.give(self.delta.gone.len() * self.slots);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.pool.give(self.index.len() * self.slots);
    }
}

/// A key that went away.
pub(super) struct Removal {
    /// The sweep that missed it.
    pub(super) at: u64,
    pub(super) entry: Entry,
}

/// The state of all series behind the last sweep.
pub(super) struct Table {
    slots: usize,
    removals_max: usize,
    /// Number of the last sweep; 0 before the first.
    pub(super) sweep: u64,
    pub(super) span: Option<Span>,
    pub(super) complete: bool,
    /// The map is gone: no sweep will follow.
    pub(super) gone: bool,
    /// Why the map cannot be read, and since which sweep.
    pub(super) trouble: Option<(u64, Arc<str>)>,
    /// Series without room in the hub.
    pub(super) left_out: u64,
    entries: Vec<Option<Entry>>,
    /// The sweep that last changed any of the entry's slots; 0 for a hole.
    touched: Vec<u64>,
    /// By slot.
    values: Vec<u64>,
    /// By slot: the sweep that last changed it.
    changed: Vec<u64>,
    /// By sweep, oldest first.
    removed: VecDeque<Removal>,
    /// All removals behind this sweep are still known.
    removed_since: u64,
}

impl Table {
    pub(super) fn new(slots: usize, removals_max: usize) -> Self {
        Self {
            slots,
            removals_max,
            sweep: 0,
            span: None,
            complete: false,
            gone: false,
            trouble: None,
            left_out: 0,
            entries: Vec::new(),
            touched: Vec::new(),
            values: Vec::new(),
            changed: Vec::new(),
            removed: VecDeque::new(),
            removed_since: 0,
        }
    }

    /// Folds in a sweep. `trouble` is why it failed, if it did; `slowest` the last sweep that
    /// every watcher was given.
    pub(super) fn apply(
        &mut self,
        delta: Delta,
        span: Span,
        outcome: Result<bool, Arc<str>>,
        slowest: u64,
    ) {
        let Delta { new, values, gone, left_out } = delta;
        self.sweep += 1;
        self.span = Some(span);
        self.complete = outcome == Ok(true);
        self.trouble = match (self.trouble.take(), outcome) {
            (_, Ok(_)) => None,
            (Some(known), Err(_)) => Some(known),
            (None, Err(why)) => Some((self.sweep, why)),
        };
        self.left_out = left_out.unwrap_or(self.left_out);
        for (at, entry) in new {
            if at >= self.entries.len() {
                self.entries.resize_with(at + 1, || None);
                self.touched.resize(at + 1, 0);
                self.values.resize((at + 1) * self.slots, 0);
                self.changed.resize((at + 1) * self.slots, 0);
            }
            self.entries[at] = Some(entry);
        }
        for (slot, value) in values {
            self.values[slot] = value;
            self.changed[slot] = self.sweep;
            self.touched[slot / self.slots] = self.sweep;
        }
        for at in gone {
            self.touched[at] = 0;
            if let Some(entry) = self.entries[at].take() {
                self.removed.push_back(Removal { at: self.sweep, entry });
            }
        }
        self.forget_removals(slowest);
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

    /// The value of an entry's slot and the sweep that last changed it.
    pub(super) fn value(&self, at: usize, slot: usize) -> (u64, u64) {
        let slot = at * self.slots + slot;
        (self.values[slot], self.changed[slot])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_never_gives_more_than_it_has() {
        let pool = Pool::new(5);
        assert!(pool.take(3));
        assert!(!pool.take(3));
        pool.give(3);
        assert!(pool.take(5));
        assert_eq!(pool.refs(3), 1);
        assert_eq!(pool.refs(1), 4);
    }
}
