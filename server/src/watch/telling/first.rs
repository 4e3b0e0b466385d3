//! One page of a telling of the keys that come first.

use super::step::Step;
use super::{Chunk, First, Place};
use crate::watch::message::RemovedReason;

impl Step<'_> {
    /// `Place::Gone` and `Place::Row` are places in the lists here.
    pub(super) fn run_first(mut self, first: &First) -> Chunk {
        let (mut key, mut slot, mut partly) = (0, 0, false);
        match self.telling.place {
            Place::Gone(number, _) => {
                let next = self.removals(first, number);
                if self.telling.news.is_none() {
                    let removed = self.chunk.removed;
                    return self.finish(next, removed);
                }
                if next.is_some() {
                    return self.finish(next, 0);
                }
            }
            Place::Row(at, from) => (key, slot) = (at, from),
            Place::New(at, from) => (key, slot, partly) = (at, from, true),
        }
        let version = self.telling.version.clone();
        for number in key..u32::try_from(first.keys.len()).unwrap_or(u32::MAX) {
            let (at, known) = first.keys[number as usize];
            if self.page.is_full() {
                return self.finish(Some(place(number, slot, partly)), 0);
            }
            let Some(row) = version.row(at) else { continue };
            let slots = self.slots(row);
            if !known && !partly {
                self.chunk.added += slots;
            }
            if let Some(Place::Row(_, slot) | Place::New(_, slot)) = self.row(row, slot, known) {
                return self.finish(Some(place(number, slot, !known)), 0);
            }
            (slot, partly) = (0, false);
        }
        self.finish(None, 0)
    }

    /// What goes, from a number on. Where to go on.
    fn removals(&mut self, first: &First, number: usize) -> Option<Place> {
        let (gone, out) = (first.gone.len(), first.out.len());
        for at in number..gone + out {
            if self.page.is_full() {
                self.put_removed(at <= gone);
                return Some(Place::Gone(at, 0));
            }
            if at == gone {
                self.put_removed(true);
            }
            self.page.gone(if at < gone { first.gone[at] } else { first.out[at - gone] });
            self.chunk.removed += 1;
        }
        self.put_removed(out == 0);
        None
    }

    /// Of a map that is gone the page's end says why.
    fn put_removed(&mut self, gone: bool) {
        if self.telling.news.is_some() {
            let key_removed = self.listener.feed.key_removed();
            self.page.removed(if gone { key_removed } else { RemovedReason::NotTop });
        }
    }
}

fn place(number: u32, slot: usize, partly: bool) -> Place {
    if partly { Place::New(number, slot) } else { Place::Row(number, slot) }
}
