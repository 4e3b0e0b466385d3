//! The series of a map's keys, in segments that whoever tells of them can hold on to.
//!
//! A segment that somebody holds is not changed but copied, and the copy is changed: what is told in
//! many parts is still what one sweep saw. What a sweep changes most often, values, is a part of its
//! own, so that holding on costs no more than it has to.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::layout::Layout;
use super::request::CpuMode;

/// Keys in a segment at most.
const KEYS_MAX: usize = 1024;
/// Bytes of a segment at most, but for one whose single key has more.
const BYTES_MAX: usize = 64 << 10;

/// The measures of a map's segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    key: usize,
    value: usize,
    slots: [usize; 2],
    keys: usize,
}

/// So many keys at most, by index.
#[derive(Clone, Default)]
pub(super) struct Segment {
    pub(super) keys: Arc<Keys>,
    pub(super) values: Arc<Values>,
}

/// What stays as long as a key is there.
#[derive(Clone, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    /// Since when it counts, in nanoseconds of the epoch.
    starts: Vec<u64>,
    /// The sweep that first saw it.
    born: Vec<u32>,
    /// By CPU mode, while it is open: the first slot's ref; those of the others follow.
    refs: [Vec<u64>; 2],
    /// For each name that somebody wanted: those of all keys, as far as there are any to keep.
    names: Vec<Vec<Option<Arc<str>>>>,
    /// For each reading that somebody wanted: the keys that read as another does.
    twins: Vec<Vec<bool>>,
}

/// What a sweep may change.
#[derive(Clone, Default)]
pub(super) struct Values {
    /// As the kernel gave them.
    raw: Vec<u8>,
    /// The sweep that last changed any of the key's slots; 0 for a hole.
    touched: Vec<u32>,
    /// The latest of these.
    pub(super) last: u32,
    /// By CPU mode, while it is open: the sweep that last changed each slot.
    changed: [Vec<u32>; 2],
    /// By CPU mode: numbers that went back, by slot.
    resets: [Vec<Reset>; 2],
}

/// A number that went back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reset {
    /// Among those of all keys of the segment.
    slot: u32,
    /// The sweep that found it.
    pub(super) at: u32,
    /// Since when it counts, in nanoseconds of the epoch.
    pub(super) start: u64,
}

/// What a reset takes: once in the table and once more where it is copied.
pub(super) const RESET_BYTES: usize = 2 * size_of::<Reset>();

impl Shape {
    pub(super) fn of(layout: &Layout) -> Self {
        let (key, value) = (layout.key_bytes(), layout.value_bytes());
        let slots = [CpuMode::Sum, CpuMode::Each].map(|mode| layout.slots(mode));
        let fit = BYTES_MAX / (key + value + 64);
        let keys = if fit < 2 { 1 } else { 1 << fit.min(KEYS_MAX).ilog2() };
        Self { key, value, slots, keys }
    }

    /// Which segment a key is in, and where in it.
    pub(super) fn place(&self, at: u32) -> (usize, usize) {
        (at as usize / self.keys, at as usize % self.keys)
    }

    /// The index of a segment's key.
    pub(super) fn index(&self, segment: usize, row: usize) -> u32 {
        u32::try_from(segment * self.keys + row).expect("maps have 32-bit sizes")
    }

    pub(super) fn slots(&self, mode: CpuMode) -> usize {
        self.slots[mode.index()]
    }

    /// In each key.
    pub(super) fn key_bytes(&self) -> usize {
        self.key
    }

    /// A slot among those of all keys of a segment.
    pub(super) fn slot(&self, mode: CpuMode, row: usize, slot: usize) -> u32 {
        u32::try_from(row * self.slots(mode) + slot).expect("a segment has few slots")
    }

    /// Keys in a segment at most.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// What a key takes without its values: a name for each of `names`, a mark for each of
    /// `readings`, and its series of the open modes.
    pub(super) fn key_cost(&self, open: [bool; 2], names: usize, readings: usize) -> usize {
        let refs = open.iter().filter(|open| **open).count() * size_of::<u64>();
        self.key + 12 + refs + names * size_of::<Option<Arc<str>>>() + readings
    }

    /// What its values take.
    pub(super) fn value_cost(&self, open: [bool; 2]) -> usize {
        let slots = self.slots.iter().zip(open).filter(|(_, open)| *open).map(|(slots, _)| slots);
        self.value + 4 + slots.sum::<usize>() * size_of::<u32>()
    }
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn key(&self, shape: &Shape, row: usize) -> &[u8] {
        &self.bytes[row * shape.key..][..shape.key]
    }

    pub(super) fn born(&self, row: usize) -> u32 {
        self.born[row]
    }

    pub(super) fn start(&self, row: usize) -> u64 {
        self.starts[row]
    }

    /// The first slot's ref; 0 where the mode is not open.
    pub(super) fn first(&self, mode: CpuMode, row: usize) -> u64 {
        self.refs[mode.index()].get(row).copied().unwrap_or(0)
    }

    /// Puts a key in, or at the end.
    pub(super) fn set(&mut self, row: usize, key: &[u8], (start, born): (u64, u32)) {
        if row == self.len() {
            self.bytes.extend_from_slice(key);
            self.starts.push(start);
            self.born.push(born);
        } else {
            self.bytes[row * key.len()..][..key.len()].copy_from_slice(key);
            (self.starts[row], self.born[row]) = (start, born);
        }
    }

    pub(super) fn set_first(&mut self, mode: CpuMode, row: usize, first: u64) {
        let refs = &mut self.refs[mode.index()];
        if row >= refs.len() {
            refs.resize(row + 1, 0);
        }
        refs[row] = first;
    }

    /// Names one of a key's labels, by its place among those that were wanted.
    pub(super) fn set_name(&mut self, place: usize, row: usize, name: Option<Arc<str>>) {
        if place >= self.names.len() {
            self.names.resize_with(place + 1, Vec::new);
        }
        let names = &mut self.names[place];
        if name.is_some() && row >= names.len() {
            names.resize(row + 1, None);
        }
        if let Some(known) = names.get_mut(row) {
            *known = name;
        }
    }

    /// The name that was found, if one was.
    pub(super) fn name(&self, place: usize, row: usize) -> Option<&Arc<str>> {
        self.names.get(place)?.get(row)?.as_ref()
    }

    /// Notes whether a key reads as another does.
    pub(super) fn set_twin(&mut self, reading: usize, row: usize, twin: bool) {
        if reading >= self.twins.len() {
            self.twins.resize_with(reading + 1, Vec::new);
        }
        let twins = &mut self.twins[reading];
        if twin && row >= twins.len() {
            twins.resize(row + 1, false);
        }
        if let Some(known) = twins.get_mut(row) {
            *known = twin;
        }
    }

    pub(super) fn is_twin(&self, reading: usize, row: usize) -> bool {
        self.twins.get(reading).and_then(|twins| twins.get(row)).copied().unwrap_or(false)
    }

    /// By any reading.
    pub(super) fn is_any_twin(&self, row: usize) -> bool {
        self.twins.iter().any(|twins| twins.get(row) == Some(&true))
    }

    pub(super) fn close(&mut self, mode: CpuMode) {
        self.refs[mode.index()] = Vec::new();
    }
}

impl Values {
    pub(super) fn raw(&self, shape: &Shape, row: usize) -> &[u8] {
        &self.raw[row * shape.value..][..shape.value]
    }

    /// It is no hole.
    pub(super) fn is_there(&self, row: usize) -> bool {
        self.touched[row] > 0
    }

    pub(super) fn touched(&self, row: usize) -> u32 {
        self.touched[row]
    }

    pub(super) fn changed(&self, mode: CpuMode, shape: &Shape, row: usize, slot: usize) -> u32 {
        self.changed[mode.index()].get(row * shape.slots(mode) + slot).copied().unwrap_or(0)
    }

    /// When a slot last went back.
    pub(super) fn reset(
        &self,
        mode: CpuMode,
        shape: &Shape,
        row: usize,
        slot: usize,
    ) -> Option<Reset> {
        let resets = &self.resets[mode.index()];
        let at = resets.binary_search_by_key(&shape.slot(mode, row, slot), |reset| reset.slot);
        Some(resets[at.ok()?])
    }

    /// Puts a key's value in, or at the end.
    pub(super) fn set(&mut self, row: usize, value: &[u8]) {
        if row == self.touched.len() {
            self.raw.extend_from_slice(value);
            self.touched.push(0);
        } else {
            self.raw[row * value.len()..][..value.len()].copy_from_slice(value);
        }
    }

    /// Marks a key.
    pub(super) fn touch(&mut self, row: usize, sweep: u32) {
        self.touched[row] = sweep;
        self.last = sweep;
    }

    /// Marks slots of a key.
    pub(super) fn change(&mut self, mode: CpuMode, slots: Range<usize>, sweep: u32) {
        let changed = &mut self.changed[mode.index()];
        if slots.end > changed.len() {
            changed.resize(slots.end, 0);
        }
        changed[slots].fill(sweep);
    }

    /// Notes that a slot went back. True if it had not before.
    pub(super) fn set_reset(&mut self, mode: CpuMode, slot: u32, at: u32, start: u64) -> bool {
        let resets = &mut self.resets[mode.index()];
        let reset = Reset { slot, at, start };
        match resets.binary_search_by_key(&slot, |reset| reset.slot) {
            Ok(known) => {
                resets[known] = reset;
                false
            }
            Err(place) => {
                resets.insert(place, reset);
                true
            }
        }
    }

    /// Makes it a hole. How many resets it had.
    pub(super) fn clear(&mut self, shape: &Shape, row: usize, sweep: u32) -> usize {
        self.touched[row] = 0;
        self.last = sweep;
        let mut gone = 0;
        for mode in [CpuMode::Sum, CpuMode::Each] {
            let slots = shape.slot(mode, row, 0)..shape.slot(mode, row + 1, 0);
            let resets = &mut self.resets[mode.index()];
            let before = resets.len();
            resets.retain(|reset| !slots.contains(&reset.slot));
            gone += before - resets.len();
        }
        gone
    }

    /// Forgets a mode. How many resets it had.
    pub(super) fn close(&mut self, mode: CpuMode) -> usize {
        self.changed[mode.index()] = Vec::new();
        std::mem::take(&mut self.resets[mode.index()]).len()
    }

    /// A key's resets.
    pub(super) fn resets_of(
        &self,
        mode: CpuMode,
        shape: &Shape,
        row: usize,
    ) -> impl Iterator<Item = (u32, u64)> {
        let (first, end) = (shape.slot(mode, row, 0), shape.slot(mode, row + 1, 0));
        let of = self.resets[mode.index()].iter().filter(move |it| (first..end).contains(&it.slot));
        of.map(move |reset| (reset.slot - first, reset.start))
    }
}

pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}
