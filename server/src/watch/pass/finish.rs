//! The end of a pass: what it found, and which keys went.

use std::sync::Arc;

use super::{Found, MODES, Pass};
use crate::watch::removals::Gone;
use crate::watch::segment::{RESET_BYTES, Segment};

impl Pass {
    /// Ends the pass. Only after a whole one is a key that was not seen gone.
    pub(in crate::watch) fn finish(&mut self, complete: bool) -> Found {
        let (mut gone, mut forgotten, mut left_out) = (Vec::new(), false, None);
        if complete {
            if self.layout.whole().is_some() {
                let whole = std::mem::take(&mut self.whole);
                self.take(&[], &whole);
                self.whole = whole;
            }
            self.caught_up = true;
            left_out = Some(self.left_out);
            if self.seen_now < self.index.len() {
                (gone, forgotten) = self.drop_unseen();
            }
        }
        Found {
            sweep: self.sweep,
            modes: self.modes,
            names: self.names.as_slice().into(),
            readings: self.readings.as_slice().into(),
            segments: self.segments.clone(),
            gone,
            forgotten,
            left_out,
            short: self.short.take(),
            series: self.series(),
        }
    }

    /// The keys that went, and whether there was no memory to say which.
    fn drop_unseen(&mut self) -> (Vec<Gone>, bool) {
        let mut ats = Vec::new();
        let mut index = std::mem::take(&mut self.index);
        index.retain(|at| {
            self.saw(*at) || {
                ats.push(*at);
                false
            }
        });
        self.index = index;
        ats.sort_unstable();
        self.pool.give(ats.len() * self.key_series());
        let cost = ats.len() * Gone::cost(self.shape.key_bytes(), self.names.len());
        let told = self.purse.take(cost).is_ok();
        let mut gone = Vec::with_capacity(if told { ats.len() } else { 0 });
        for at in ats {
            self.unread(at);
            let (segment, row) = self.shape.place(at);
            let Segment { keys, values } = &mut self.segments[segment];
            if told {
                let names = (0..self.names.len()).map(|place| keys.name(place, row).cloned());
                gone.push(Gone {
                    at,
                    sweep: self.sweep,
                    born: keys.born(row),
                    firsts: MODES.map(|mode| keys.first(mode, row)),
                    key: keys.key(&self.shape, row).into(),
                    names: names.collect(),
                });
            }
            let resets = Arc::make_mut(values).clear(&self.shape, row, self.sweep);
            self.purse.give(resets * RESET_BYTES);
            self.free.push(at);
        }
        self.interned.forget(&self.purse);
        (gone, !told)
    }
}
