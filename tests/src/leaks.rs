//! The leak check: everything that an agent ever held must be gone when it is.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::kernel::Id;
use crate::{Held, SOON, within};

/// What the tests made themselves and agents only opened.
static FOREIGN: Mutex<BTreeSet<Id>> = Mutex::new(BTreeSet::new());

/// Says that this is not the agent's: it may outlast it.
pub(crate) fn is_foreign(id: Id) {
    FOREIGN.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
}

/// What one agent was seen to hold over its life.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    ids: BTreeSet<Id>,
}

impl Seen {
    pub(crate) fn add(&mut self, held: &Held) {
        self.ids.extend(&held.ids);
    }

    /// Waits for the kernel, which frees behind a grace period, and fails if something stays. A
    /// pin, a reference in a map or an attachment without a link keep it alive, so this finds
    /// these as well.
    pub(crate) fn assert_gone(&self) {
        let foreign = FOREIGN.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut left: Vec<Id> = self.ids.difference(&foreign).copied().collect();
        within(SOON, || {
            left.retain(|id| id.exists());
            left.is_empty()
        });
        assert!(left.is_empty(), "the agent is gone, but the kernel still has {left:?}");
    }
}
