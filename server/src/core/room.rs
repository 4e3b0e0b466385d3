//! What maps take of the agent's limits, and what is said where nothing is left of them.

use std::sync::Arc;

use super::kernel_memory::KernelCharge;
use super::seats::Seat;
use crate::ledger::Charge;

/// What a map takes of the agent's limits, until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    /// Its descriptor.
    pub _seat: Seat,
    /// The kernel's memory that it takes: nothing for a map that others made.
    pub kernel: KernelCharge,
    /// The agent's own memory for what it knows of it, shared with others that it is of.
    pub own: Vec<Arc<Charge>>,
}

/// A limit of the configuration that is reached.
#[derive(Debug, thiserror::Error)]
pub enum NoRoom {
    /// The agent has no more of something that the configuration counts.
    #[error("the limit of {limit} {what} ({name}) is reached")]
    TooMany {
        /// "maps", "programs", …
        what: &'static str,
        /// The limit, as the configuration has it.
        name: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// A map that could grow larger than one may.
    #[error("map {map} could take {asked} bytes, above the limit of {limit} (max_map_bytes)")]
    MapTooLarge {
        /// Its name.
        map: String,
        /// Bytes at its worst.
        asked: u64,
        /// Bytes granted to one map.
        limit: u64,
    },
    /// The kernel's memory that the agent's maps and programs may take is in use.
    #[error(
        "{what} could take {asked} bytes of the kernel's memory, of which {used} of at most \
         {limit} (max_kernel_bytes) are in use"
    )]
    KernelMemory {
        /// "map a", …
        what: String,
        /// Bytes at its worst.
        asked: u64,
        /// Bytes in use.
        used: u64,
        /// Bytes that there may be.
        limit: u64,
    },
}
