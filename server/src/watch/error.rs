//! Why a watch was refused or ended.

use std::time::Duration;

use bpfgate_proto::name::{MapGlob, MapName};

use crate::ledger::Exhausted;

/// Why a watch was refused or ended.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WatchError {
    /// Nothing to watch.
    #[error("a watch needs at least one selector")]
    NoSelector,
    /// Out of bounds.
    #[error("watch interval {asked:?} is outside {min:?} to {max:?}")]
    Interval {
        /// What was asked for.
        asked: Duration,
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// A heartbeat that would never pass.
    #[error("watch heartbeat must be longer than 0")]
    ZeroHeartbeat,
    /// A part of the request is too long.
    #[error("a watch has {count} {what}, at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// The most there may be.
        max: usize,
    },
    /// A matcher without a label's name.
    #[error("a label matcher of selector {map} names no label")]
    UnnamedLabel {
        /// The selector's pattern.
        map: MapGlob,
    },
    /// A selector names a map, not a pattern, and has a label be what it cannot.
    #[error("label {label} of map {map}: {why}")]
    BadCondition {
        /// The map.
        map: MapName,
        /// The label.
        label: String,
        /// Why it cannot, for people.
        why: String,
    },
    /// A selector names a map, not a pattern, that has nothing to watch.
    #[error("map {map} has no counters: {why}")]
    NoCounters {
        /// The map.
        map: MapName,
        /// Why not.
        why: String,
    },
    /// A selector names a map, not a pattern, and a field that this map does not have.
    #[error("map {map} has no number {field:?}; it has {has}")]
    NoSuchField {
        /// The map.
        map: MapName,
        /// What was asked for.
        field: String,
        /// The fields there are, for people.
        has: String,
    },
    /// A selector names a map, not a pattern, and a label that this map's keys do not have.
    #[error("map {map} has no label {label:?}; it has {has}")]
    NoSuchLabel {
        /// The map.
        map: MapName,
        /// What was asked for.
        label: String,
        /// The labels there are, for people.
        has: String,
    },
    /// The agent's limit.
    #[error("the agent serves {limit} watches at a time and has them all")]
    TooManyWatches {
        /// The limit.
        limit: usize,
    },
    /// What it would have to hold does not fit the caller's account.
    #[error("there is no memory for the watch")]
    Memory(#[from] Exhausted),
    /// A name to resolve a label by, without a label.
    #[error("a label to resolve has no name")]
    UnnamedResolution,
    /// The agent is going down.
    #[error("the agent is stopping")]
    Stopping,
}
