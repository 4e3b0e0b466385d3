//! What a sweep has to look at beside the keys: CPU modes and names.

use std::sync::Arc;

use super::Pass;
use crate::host_names::HostName;
use crate::watch::request::CpuMode;
use crate::watch::segment::{RESET_BYTES, Segment};
use crate::watch::version::Mode;

/// What watchers want of a map's next sweep.
#[derive(Debug, Clone, Default)]
pub(in crate::watch) struct Wanted {
    /// By CPU mode.
    pub(in crate::watch) modes: [bool; 2],
    /// Labels to find names for. Only ever grows while anyone watches.
    pub(in crate::watch) names: Vec<(usize, HostName)>,
    /// Ways of reading keys, by the places of the names that are shown. Likewise.
    pub(in crate::watch) readings: Vec<Box<[usize]>>,
}

impl Pass {
    /// Opens or closes a CPU mode.
    pub(super) fn turn(&mut self, mode: CpuMode, wanted: bool) {
        if self.modes[mode.index()].is_open() == wanted {
            if !wanted {
                self.modes[mode.index()] = Mode::Closed;
            }
            return;
        }
        let series = self.index.len() * self.shape.slots(mode);
        if !wanted {
            self.modes[mode.index()] = Mode::Closed;
            for Segment { keys, values } in &mut self.segments {
                Arc::make_mut(keys).close(mode);
                let resets = Arc::make_mut(values).close(mode);
                self.purse.give(resets * RESET_BYTES);
            }
            self.pool.give(series);
        } else if self.pool.take(series) {
            self.modes[mode.index()] = Mode::Open(self.sweep);
        } else {
            self.modes[mode.index()] = Mode::Refused(series as u64);
        }
        if self.settle(self.paid).is_err() {
            self.pool.give(series);
            self.modes[mode.index()] = Mode::Refused(series as u64);
        }
        if self.modes[mode.index()].is_open() {
            self.announce(mode);
        }
    }

    /// Gives all keys series of a mode, which are all new.
    fn announce(&mut self, mode: CpuMode) {
        let slots = self.shape.slots(mode);
        for Segment { keys, values } in &mut self.segments {
            let (keys, values) = (Arc::make_mut(keys), Arc::make_mut(values));
            for row in 0..keys.len() {
                if values.is_there(row) {
                    keys.set_first(mode, row, self.pool.refs(slots));
                    values.change(mode, row * slots..(row + 1) * slots, self.sweep);
                    values.touch(row, self.sweep);
                }
            }
        }
    }

    /// Finds the names of all keys that are there already. Without memory they stay numbers.
    pub(super) fn want_name(&mut self, name: (usize, HostName)) {
        let (place, (label, what)) = (self.names.len(), name);
        self.names.push(name);
        if self.settle(self.paid).is_err() || !what.is_kept() {
            return;
        }
        for Segment { keys, .. } in &mut self.segments {
            let keys = Arc::make_mut(keys);
            for row in 0..keys.len() {
                let (_, number) = self.layout.label_number(keys.key(&self.shape, row), label);
                let name = self.host.find(what, number);
                keys.set_name(
                    place,
                    row,
                    name.and_then(|name| self.interned.take(&name, &self.purse)),
                );
            }
        }
    }
}
