//! What is remembered of a map that nobody watches: its keys, since when they count and their last
//! numbers, so that one that goes back meanwhile is found out.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;

use super::{MODES, Pass};
use crate::ledger::{Account, Charge};
use crate::watch::request::CpuMode;
use crate::watch::segment::RESET_BYTES;
use crate::watch::version::Mode;

/// Keys one behind the other.
pub(super) struct Memory {
    keys: Vec<u8>,
    values: Vec<u8>,
    starts: Vec<u64>,
    resets: Vec<Reset>,
    _charge: Charge,
}

/// A number that went back.
struct Reset {
    /// Which of the keys.
    key: u32,
    mode: CpuMode,
    slot: u32,
    start: u64,
}

impl Pass {
    /// Gives back all but what is to be remembered, which goes on the agent's own account; without
    /// room there nothing is. The map's purse is the caller's to empty.
    pub(in crate::watch) fn rest(&mut self, own: &Account) {
        if self.memory.is_some() {
            return;
        }
        let memory = self.remember(own);
        // Keys that were forgotten are as old as the map.
        self.caught_up &= memory.is_some();
        self.memory = memory;
        self.pool.give(self.series());
        self.index = HashTable::new();
        (self.segments, self.seen, self.free, self.names) = Default::default();
        (self.readings, self.alone, self.spelling, self.recalled) = Default::default();
        (self.len, self.paid, self.charged) = (0, 0, 0);
        self.interned = super::Interned::default();
        self.modes = [Mode::Closed; 2];
    }

    fn remember(&self, own: &Account) -> Option<Memory> {
        let (keys, value) = (self.index.len(), self.layout.value_bytes());
        let row = self.shape.key_bytes() + value + size_of::<u64>();
        let those = |twins: bool| {
            self.segments.iter().flat_map(move |segment| {
                let there = (0..segment.keys.len()).filter(|row| segment.values.is_there(*row));
                let those = there.filter(move |row| segment.keys.is_any_twin(*row) == twins);
                those.map(move |row| (segment, row))
            })
        };
        // Who comes first goes by its labels alone when somebody watches again.
        let live = || those(false).chain(those(true));
        let resets = || {
            live().zip(0..).flat_map(|((segment, row), key)| {
                MODES.into_iter().flat_map(move |mode| {
                    let resets = segment.values.resets_of(mode, &self.shape, row);
                    resets.map(move |(slot, start)| Reset { key, mode, slot, start })
                })
            })
        };
        let resets_len = resets().count();
        let bytes = keys * row + resets_len * size_of::<Reset>();
        let charge = own.charge(bytes as u64).ok()?;
        let mut memory = Memory {
            keys: Vec::with_capacity(keys * self.shape.key_bytes()),
            values: Vec::with_capacity(keys * value),
            starts: Vec::with_capacity(keys),
            resets: Vec::with_capacity(resets_len),
            _charge: charge,
        };
        for (segment, row) in live() {
            memory.keys.extend_from_slice(segment.keys.key(&self.shape, row));
            memory.values.extend_from_slice(segment.values.raw(&self.shape, row));
            memory.starts.push(segment.keys.start(row));
        }
        memory.resets.extend(resets());
        Some(memory)
    }

    /// Takes in again what is remembered. What finds no memory is forgotten.
    pub(super) fn recall(&mut self, memory: &Memory) {
        let (key, value) = (self.shape.key_bytes(), self.layout.value_bytes());
        let mut resets = memory.resets.iter().peekable();
        for (number, start) in (0_u32..).zip(&memory.starts) {
            let at = number as usize;
            let key = &memory.keys[at * key..][..key];
            let known = &memory.values[at * value..][..value];
            let placed = self.insert((self.hasher.hash_one(key), key), known, *start);
            while let Some(reset) = resets.next_if(|reset| reset.key == number) {
                let Some(at) = placed else { continue };
                if self.purse.take(RESET_BYTES).is_ok() {
                    let (segment, row) = self.shape.place(at);
                    let slot = self.shape.slot(reset.mode, row, reset.slot as usize);
                    let values = std::sync::Arc::make_mut(&mut self.segments[segment].values);
                    values.set_reset(reset.mode, slot, 0, reset.start);
                }
            }
        }
    }
}
