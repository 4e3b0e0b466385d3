//! What a sweep has to tell, made once for all watchers that are to be told the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::message::Told;

/// Messages of one map, and what they do to the number of series that are followed.
pub(super) struct Parcel {
    pub(super) messages: Vec<Arc<Told>>,
    pub(super) added: usize,
    pub(super) removed: usize,
    /// Series that are left out now.
    pub(super) left_out: u64,
}

/// Watchers that agree in this are told the same of the last sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ParcelKey {
    /// What they asked for.
    pub(super) terms: u64,
    /// The last sweep they were given.
    pub(super) cursor: u64,
    /// The same, counted at their interval.
    pub(super) number: u64,
    /// Everything is sent again.
    pub(super) full: bool,
}

/// Parcels of a map's last sweep that others may still ask for.
#[derive(Default)]
pub(super) struct Parcels(Mutex<HashMap<ParcelKey, Kept>>);

struct Kept {
    parcel: Arc<Parcel>,
    taken: usize,
}

impl Parcels {
    /// The parcel for one of so many sharers; `make` makes it for the first. Nothing is kept that
    /// everybody has taken.
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
        let this = kept.entry(key).or_insert_with(|| Kept { parcel: Arc::new(make()), taken: 0 });
        this.taken += 1;
        let parcel = this.parcel.clone();
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
        let key = ParcelKey { terms: 1, cursor: 2, number: 2, full: false };
        let mut made = 0;
        let mut take = |key, sharers| {
            let parcel = parcels.take(key, sharers, || {
                made += 1;
                Parcel { messages: Vec::new(), added: made, removed: 0, left_out: 0 }
            });
            parcel.added
        };
        assert_eq!([take(key, 3), take(key, 3), take(key, 3)], [1, 1, 1]);
        assert_eq!(take(key, 3), 2, "nobody was expected any more");
        assert_eq!(take(ParcelKey { full: true, ..key }, 3), 3);
        assert_eq!([take(key, 1), take(key, 1)], [4, 5], "not shared, not kept");
        parcels.clear();
        assert!(parcels.lock().is_empty());
    }
}
