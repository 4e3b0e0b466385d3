//! What pays for what all watchers of a map share: the account of a caller that watches it.

use std::sync::{Mutex, MutexGuard};

use crate::ledger::{Account, Charge, Exhausted};

/// The part of an account that keys leave.
const SPARED: u64 = 8;

/// The charge for a map's table, which grows with it and passes from caller to caller.
pub(super) struct Purse(Mutex<Charge>);

impl Purse {
    pub(super) fn new(account: &Account) -> Self {
        Self(Mutex::new(account.empty()))
    }

    /// Takes so many bytes more.
    pub(super) fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        self.charge().grow(bytes as u64)
    }

    /// The same for keys, of which there can be any number: they leave a part of the account, or
    /// there would be nothing to tell of them by.
    pub(super) fn take_sparing(&self, bytes: usize) -> Result<(), Exhausted> {
        let mut charge = self.charge();
        let spared = charge.account().usage().limit / SPARED;
        charge.grow(bytes as u64 + spared)?;
        let taken = charge.bytes() - spared;
        charge.shrink(taken);
        Ok(())
    }

    /// Gives so many back.
    pub(super) fn give(&self, bytes: usize) {
        let mut charge = self.charge();
        let left = charge.bytes().saturating_sub(bytes as u64);
        charge.shrink(left);
    }

    pub(super) fn account(&self) -> Account {
        self.charge().account().clone()
    }

    /// From now on it is this one's, if there is room for all of it.
    pub(super) fn pass_to(&self, account: &Account) -> Result<(), Exhausted> {
        self.charge().transfer(account)
    }

    /// Gives all back; from now on it is this one's.
    pub(super) fn empty(&self, account: &Account) {
        *self.charge() = account.empty();
    }

    // Each change of a charge is whole or none.
    fn charge(&self) -> MutexGuard<'_, Charge> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
