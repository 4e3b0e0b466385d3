//! The names that a map's keys have.

use std::collections::HashSet;
use std::sync::Arc;

use super::purse::Purse;

/// The names that a map's keys have, each held once.
#[derive(Default)]
pub(super) struct Interned(HashSet<Arc<str>>);

impl Interned {
    /// The name as it is held, if there is memory for it.
    pub(super) fn take(&mut self, name: &str, purse: &Purse) -> Option<Arc<str>> {
        if let Some(known) = self.0.get(name) {
            return Some(known.clone());
        }
        purse.take(Self::cost(name)).ok()?;
        let name: Arc<str> = name.into();
        self.0.insert(name.clone());
        Some(name)
    }

    /// Lets go of those that no key has any more.
    pub(super) fn forget(&mut self, purse: &Purse) {
        self.0.retain(|name| {
            let used = Arc::strong_count(name) > 1;
            if !used {
                purse.give(Self::cost(name));
            }
            used
        });
    }

    fn cost(name: &str) -> usize {
        // Its counts, its place in the set, and the set's growth.
        name.len() + 96
    }
}
