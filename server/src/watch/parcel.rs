//! What a sweep has to tell, made once for all watchers that are to be told the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::telling::{Chunk, Place};
use crate::ledger::Charge;

/// Pages that are kept for others at a time. Who comes later makes one again.
const KEPT: usize = 16;

/// A page of one map, and what it does to the number of series that are followed.
pub(super) struct Parcel {
    pub(super) bytes: Box<[u8]>,
    pub(super) next: Option<Place>,
    pub(super) added: usize,
    pub(super) removed: usize,
    pub(super) left_out: u64,
    /// Of whoever made it.
    _charge: Option<Charge>,
}

impl Parcel {
    /// A page, with what pays for it as long as others may take it.
    pub(super) fn new(chunk: Chunk, charge: Option<Charge>) -> Self {
        let Chunk { bytes, next, added, removed, left_out } = chunk;
        // It had room to grow.
        let bytes = bytes.into_boxed_slice();
        Self { bytes, next, added, removed, left_out, _charge: charge }
    }
}

/// Watchers that agree in this are told the same page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ParcelKey {
    /// What they asked for.
    pub(super) terms: u64,
    /// Which of the map's names they know.
    pub(super) named: u32,
    /// The sweep that is told of.
    pub(super) sweep: u32,
    /// The last sweep they were given.
    pub(super) cursor: u32,
    /// The sweep that they were told of troubles at.
    pub(super) known: u32,
    /// The last sweep they were given, counted at their interval.
    pub(super) before: u64,
    /// Everything is sent again.
    pub(super) full: bool,
    /// Where the page begins.
    pub(super) place: Place,
    /// Series left out: as last told, and passed over so far.
    pub(super) left_out: (u64, u64),
}

impl ParcelKey {
    /// Watches that know the sweep before come for it together.
    pub(super) fn is_told_to_all(&self) -> bool {
        self.cursor > 0
    }
}

/// Pages of a map that others may still ask for.
#[derive(Default)]
pub(super) struct Parcels(Mutex<HashMap<ParcelKey, Kept>>);

struct Kept {
    /// As long as anybody has it.
    parcel: Weak<Parcel>,
    /// However soon the others come.
    until_taken: Option<Arc<Parcel>>,
    taken: usize,
}

/// A parcel's bytes.
pub(super) struct Bytes(pub(super) Arc<Parcel>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Parcels {
    /// The parcel for one of so many sharers; `make` makes it for the first. What all of them are
    /// told with a sweep is kept until everybody has taken it. Who begins does so for itself: others
    /// who do at the same time take what it has in hand.
    pub(super) fn take(
        &self,
        key: ParcelKey,
        sharers: usize,
        make: impl FnOnce() -> Parcel,
    ) -> Arc<Parcel> {
        if sharers <= 1 {
            return Arc::new(make());
        }
        // Made under the lock, so that the others of a thousand wait for it instead of making it.
        let mut kept = self.lock();
        if !kept.contains_key(&key) && kept.len() >= KEPT {
            kept.clear();
        }
        let (parcel, taken) = (Weak::new(), 0);
        let this = kept.entry(key).or_insert(Kept { parcel, until_taken: None, taken });
        this.taken += 1;
        let parcel = this.parcel.upgrade().unwrap_or_else(|| {
            let parcel = Arc::new(make());
            this.parcel = Arc::downgrade(&parcel);
            this.until_taken = Some(parcel.clone()).filter(|_| key.is_told_to_all());
            parcel
        });
        if this.taken >= sharers {
            kept.remove(&key);
        }
        parcel
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ParcelKey, Kept>> {
        self.0.lock().expect("nothing panics that makes a parcel")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parcel_is_made_once_and_kept_until_all_have_it() {
        let parcels = Parcels::default();
        let place = Place::Row(0, 0);
        let (sweep, cursor, known, before, full, left_out) = (3, 2, 2, 2, false, (0, 0));
        let named = 0;
        let key =
            ParcelKey { terms: 1, named, sweep, cursor, known, before, full, place, left_out };
        let mut made = 0;
        let mut take = |key, sharers| {
            let parcel = parcels.take(key, sharers, || {
                made += 1;
                let (bytes, next, removed, left_out) = (Vec::new(), None, 0, 0);
                Parcel::new(Chunk { bytes, next, added: made, removed, left_out }, None)
            });
            parcel.added
        };
        assert_eq!([take(key, 3), take(key, 3), take(key, 3)], [1, 1, 1]);
        assert_eq!(take(key, 3), 2, "nobody was expected any more");
        assert_eq!(take(ParcelKey { full: true, ..key }, 3), 3);
        assert_eq!([take(key, 1), take(key, 1)], [4, 5], "not shared, not kept");
        let first = ParcelKey { cursor: 0, ..key };
        assert_eq!([take(first, 3), take(first, 3)], [6, 7], "nobody had it any more");
        for terms in 2..100 {
            take(ParcelKey { terms, ..key }, 3);
            assert!(parcels.lock().len() <= KEPT);
        }
        parcels.clear();
        assert!(parcels.lock().is_empty());
    }
}
