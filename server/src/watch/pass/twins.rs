//! Keys that read the same as labels, and which of them is told with its bytes.
//!
//! Series are told apart by their labels. Of keys that have the same ones, the one that was told
//! first goes by these alone; of those that come with one sweep, the one whose bytes come first, so
//! that watches agree on it and so do lives of the agent. It stays so as long as a key is there.
//! Nothing of this is done for maps whose keys cannot read the same.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::HashTable;

use super::Pass;
use crate::watch::segment::Segment;
use crate::watch::version::Reading;

/// In the table of a reading: eight bytes and one, seven in eight used or half of that, and as much
/// again while it grows.
const TWIN_BYTES: usize = 32;
/// A key with longer labels is never told.
const LONGEST: usize = 256 << 10;

/// The keys that go by their labels alone, by one reading.
#[derive(Default)]
pub(super) struct Alone(HashTable<(u32, u32)>);

/// A key's hash as the table wants it: only so much of one is kept.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Pass {
    /// How many readings are paid for, and what they take for each key.
    pub(super) fn reading_cost(&self) -> (usize, usize) {
        let paid = self.alone.iter().flatten().count();
        (paid, paid * TWIN_BYTES)
    }

    /// Finds which of all keys that are there read the same. Without memory any may.
    pub(super) fn want_reading(&mut self, names: &[usize]) {
        let reading = self.readings.len();
        self.alone.push(Some(Alone::default()));
        let all_twins = self.settle(self.paid).is_err();
        if all_twins {
            self.alone[reading] = None;
        }
        self.readings.push(Reading { names: names.into(), all_twins });
        // What was remembered has an order of its own: who went alone comes first.
        let ordered = self.recalled > 0;
        for at in 0..u32::try_from(self.len).unwrap_or(u32::MAX) {
            let (segment, row) = self.shape.place(at);
            if self.segments[segment].values.is_there(row) {
                self.read_as(reading, at, !ordered);
            }
        }
    }

    /// Finds, for a key that has just come, who reads as it does.
    pub(super) fn read(&mut self, at: u32) {
        for reading in 0..self.readings.len() {
            self.read_as(reading, at, true);
        }
    }

    /// With `instead` a key may take the place of one that came with the same sweep.
    fn read_as(&mut self, reading: usize, at: u32, instead: bool) {
        let Some(hash) = self.spell(reading, at) else { return };
        let Some(other) = self.same(reading, hash, at) else {
            self.enter(reading, hash, at);
            return self.mark(reading, at, false);
        };
        if instead && self.comes_before(at, other) {
            self.leave(reading, hash, other);
            self.enter(reading, hash, at);
            self.mark(reading, at, false);
            self.mark(reading, other, true);
        } else {
            self.mark(reading, at, true);
        }
    }

    fn mark(&mut self, reading: usize, at: u32, twin: bool) {
        let (segment, row) = self.shape.place(at);
        let keys = &mut self.segments[segment].keys;
        if keys.is_twin(reading, row) != twin {
            Arc::make_mut(keys).set_twin(reading, row, twin);
        }
    }

    /// Forgets how a key read that goes.
    pub(super) fn unread(&mut self, at: u32) {
        for reading in 0..self.readings.len() {
            let (segment, row) = self.shape.place(at);
            if self.segments[segment].keys.is_twin(reading, row) {
                self.mark(reading, at, false);
            } else if let Some(hash) = self.spell(reading, at) {
                self.leave(reading, hash, at);
            }
        }
    }

    /// Whether nobody was told of either yet, and the bytes of the first come first.
    fn comes_before(&self, at: u32, other: u32) -> bool {
        let (segment, row) = self.shape.place(at);
        let (others, its) = self.shape.place(other);
        let (keys, others) = (&self.segments[segment].keys, &self.segments[others].keys);
        let is_new = |born: u32| born == self.sweep;
        // By a reading that is new itself nobody was told of any.
        let untold = other >= self.recalled && is_new(others.born(its)) || !is_new(keys.born(row));
        untold && keys.key(&self.shape, row) < others.key(&self.shape, its)
    }

    fn same(&self, reading: usize, hash: u32, at: u32) -> Option<u32> {
        let alone = self.alone[reading].as_ref()?;
        let same = |(known, other): &(u32, u32)| {
            *known == hash && *other != at && {
                let mut text = String::new();
                self.append_spelling(reading, *other, &mut text);
                text == self.spelling
            }
        };
        alone.0.find(spread(hash), same).map(|(_, other)| *other)
    }

    fn enter(&mut self, reading: usize, hash: u32, at: u32) {
        if let Some(alone) = &mut self.alone[reading] {
            alone.0.insert_unique(spread(hash), (hash, at), |(hash, _)| spread(*hash));
        }
    }

    fn leave(&mut self, reading: usize, hash: u32, at: u32) {
        if let Some(alone) = &mut self.alone[reading]
            && let Ok(entry) = alone.0.find_entry(spread(hash), |it| *it == (hash, at))
        {
            entry.remove();
        }
    }

    /// Puts down how a key reads; its hash. `None` where it does not matter.
    fn spell(&mut self, reading: usize, at: u32) -> Option<u32> {
        self.alone[reading].as_ref()?;
        let mut text = std::mem::take(&mut self.spelling);
        text.clear();
        let whole = self.append_spelling(reading, at, &mut text);
        // Half of a hash will do.
        let [a, b, c, d, ..] = self.hasher.hash_one(&*text).to_ne_bytes();
        self.spelling = text;
        whole.then_some(u32::from_ne_bytes([a, b, c, d]))
    }

    /// All labels of a key, apart by what none of them has. False if they are too long.
    fn append_spelling(&self, reading: usize, at: u32, out: &mut String) -> bool {
        let (segment, row) = self.shape.place(at);
        let Segment { keys, .. } = &self.segments[segment];
        let key = keys.key(&self.shape, row);
        let places = &self.readings[reading].names;
        for label in 0..self.layout.labels() {
            let place = places.iter().find(|place| self.names[**place].0 == label);
            match place.and_then(|place| keys.name(*place, row)) {
                Some(name) => out.push_str(name),
                None if out.len() + self.layout.label_bytes(label, key) > LONGEST => return false,
                None => self.layout.append_label(label, key, out),
            }
            out.push('\0');
        }
        true
    }
}
