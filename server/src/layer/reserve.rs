//! What is kept for those who ask how the agent is, when their own share is used up.
//!
//! Each caller may use a few places of it: one who fills his share, and then asks for health in
//! crowds, must not be the reason why others cannot ask.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ledger::{Account, CallerKey, Ledger};

/// Enough for so many callers as a host has that ask for health, each with all his places.
const BYTES: u64 = 8 << 20;
/// Calls of one caller at a time.
const PLACES: u32 = 4;

/// What is kept for health. A clone is the same.
#[derive(Debug, Clone)]
pub(super) struct Reserve {
    account: Account,
    taken: Arc<Mutex<HashMap<CallerKey, u32>>>,
}

/// A place of the reserve, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    caller: CallerKey,
    taken: Arc<Mutex<HashMap<CallerKey, u32>>>,
}

impl Reserve {
    pub(super) fn new(ledger: &Ledger) -> Self {
        Self { account: ledger.own("health", BYTES), taken: Arc::default() }
    }

    /// Whose memory it is.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// A place for one more call, if the caller has one left.
    pub(super) fn place(&self, caller: CallerKey) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let places = taken.entry(caller).or_default();
        if *places >= PLACES {
            return None;
        }
        *places += 1;
        Some(Place { caller, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        if let Some(places) = taken.get_mut(&self.caller) {
            *places -= 1;
            if *places == 0 {
                taken.remove(&self.caller);
            }
        }
    }
}

// Each change is one number: a panic elsewhere leaves the list whole.
fn lock(taken: &Mutex<HashMap<CallerKey, u32>>) -> MutexGuard<'_, HashMap<CallerKey, u32>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Limits;

    #[test]
    fn one_caller_cannot_take_the_reserve_of_all() {
        let reserve = Reserve::new(&Ledger::new(BYTES * 4, Limits::default().seats()));
        let (alice, bob) = (CallerKey::Uid(1000), CallerKey::Uid(1001));
        let mut hers: Vec<_> = (0..100).map_while(|_| reserve.place(alice)).collect();
        assert_eq!(hers.len(), PLACES as usize);
        assert!(reserve.place(bob).is_some());
        hers.pop();
        assert!(reserve.place(alice).is_some());
        drop(hers);
        assert!(lock(&reserve.taken).is_empty(), "nobody is remembered");
    }
}
