//! Which operations a map has, as the kernel answered: see [`probe`].

use super::{Error, Map, kind, probe};
use crate::sys;

/// Which operations a map has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "a matrix's row is one")]
pub struct Capabilities {
    /// Read an entry.
    pub lookup: bool,
    /// Write an entry.
    pub update: bool,
    /// Remove an entry.
    pub delete: bool,
    /// Read an entry and remove it.
    pub lookup_and_delete: bool,
    /// Add a value.
    pub push: bool,
    /// Read the next value and remove it.
    pub pop: bool,
    /// Read the next value, or ask for one.
    pub peek: bool,
    /// Read the whole map.
    pub iterate: bool,
    /// In batches.
    pub batch_lookup: bool,
    /// Write in batches.
    pub batch_update: bool,
    /// Remove in batches.
    pub batch_delete: bool,
    /// Forbid writes for good.
    pub freeze: bool,
    /// Give it a path.
    pub pin: bool,
    /// Follow its numbers.
    pub watch_counters: bool,
    /// Follow its records.
    pub watch_events: bool,
    /// Values have a spin lock.
    pub lock: bool,
    /// Values are read through memory that the kernel shares.
    pub mmap: bool,
}

impl Capabilities {
    /// For people: "lookup, update".
    pub fn list(&self) -> String {
        // No `..`: an operation added above must be named here.
        let Self {
            lookup,
            update,
            delete,
            lookup_and_delete,
            push,
            pop,
            peek,
            iterate,
            batch_lookup: _,
            batch_update: _,
            batch_delete: _,
            freeze,
            pin,
            watch_counters,
            watch_events,
            lock: _,
            mmap: _,
        } = *self;
        let named = [
            (lookup, "lookup"),
            (update, "update"),
            (delete, "delete"),
            (lookup_and_delete, "lookup-and-delete"),
            (push, "push"),
            (pop, "pop"),
            (peek, "peek"),
            (iterate, "iterate"),
            (freeze, "freeze"),
            (pin, "pin"),
            (watch_counters, "watch counters"),
            (watch_events, "watch events"),
        ];
        let has: Vec<_> = named.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        if has.is_empty() { "nothing that this agent serves".into() } else { has.join(", ") }
    }
}

/// Which operations a map has. One that the agent does not own can only be read. Blocking: the
/// first map of a type makes another to learn from.
pub(super) fn of(map: &sys::Map, owned: bool) -> Capabilities {
    let map_type = map.info().map_type;
    let answers = probe::type_answers(map);
    let access = map.access().unwrap_or(sys::Access { read: false, write: false });
    let reads = access.read;
    let writes = access.write && owned && !kind::holds_events(map_type);
    let takes = access.read && writes;
    let keyed = map.key_len() > 0;
    let looks_up = reads && probe::lookup(map).unwrap_or(answers.lookup);
    let lookup = keyed && looks_up;
    let iterate = lookup && answers.next_key;
    let update = keyed && writes && answers.update;
    let delete = keyed && writes && answers.delete;
    let values_are_references = kind::values_are_references(map_type);
    Capabilities {
        lookup,
        update,
        delete,
        lookup_and_delete: keyed && takes && answers.take,
        push: !keyed && writes && answers.update,
        pop: !keyed && takes && answers.take,
        peek: !keyed && looks_up,
        iterate,
        batch_lookup: iterate && map.has_lookup_batch(),
        batch_update: update && !values_are_references && map.has_update_batch(),
        batch_delete: delete && map.has_delete_batch(),
        freeze: writes && probe::freeze(map),
        pin: owned,
        watch_counters: iterate && kind::has_counters(map_type),
        // Reading takes records out, or fills the slots.
        watch_events: owned && access.read && access.write && kind::has_events(map_type),
        lock: reads && probe::lock(map),
        // Known where the map is kept: see `mapped`.
        mmap: false,
    }
}

/// An operation whose request brings a key or a value.
#[derive(Debug, Clone, Copy)]
pub enum Operation {
    /// Reads an entry.
    Lookup,
    /// Writes an entry.
    Update,
    /// Removes an entry.
    Delete,
    /// Reads an entry and removes it.
    LookupAndDelete,
    /// Adds a value.
    Push,
}

impl Map {
    /// Fails if the map lacks the operation, or is not to be written: said before anything is said
    /// of the key or the value.
    pub fn check_operation(&self, operation: Operation) -> Result<(), Error> {
        let can = self.capabilities();
        let (writes, has, name) = match operation {
            Operation::Lookup => (false, can.lookup, "lookup"),
            Operation::Update => (true, can.update, "update"),
            Operation::Delete => (true, can.delete, "delete"),
            Operation::LookupAndDelete => (true, can.lookup_and_delete, "lookup-and-delete"),
            Operation::Push => (true, can.push, "push"),
        };
        if writes {
            self.require_writable()?;
        }
        self.require(has, name)
    }
}
