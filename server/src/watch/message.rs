//! What a watch says, in order: Header, then for each map Series before the batches that carry
//! their values, and Sync once.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use bpfgate_proto::name::{MapGlob, MapName};
use bytes::Bytes;

use super::source::CounterKind;

/// One message of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchMessage {
    /// First.
    Header(Header),
    /// Once for each series, before its first value.
    Series(Series),
    /// What a sweep found.
    Batch(Batch),
    /// Series that are no more.
    Removed(Removed),
    /// Series that count anew.
    Reset(Reset),
    /// Every map that matched at the start has been delivered, or its trouble reported.
    Sync(Sync),
    /// Something is missing.
    Loss(Loss),
}

/// A message, made once for all watchers that are told the same.
#[derive(Debug)]
pub struct Told {
    message: WatchMessage,
    wire: OnceLock<Bytes>,
}

impl Told {
    pub(super) fn new(message: WatchMessage) -> Self {
        Self { message, wire: OnceLock::new() }
    }

    /// What is said.
    pub fn message(&self) -> &WatchMessage {
        &self.message
    }

    /// The same in the bytes that whoever asks first makes of it.
    pub fn wire(&self, encode: impl FnOnce(&WatchMessage) -> Bytes) -> &Bytes {
        self.wire.get_or_init(|| encode(&self.message))
    }
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message
    }
}

/// How the watch was granted.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// From one sweep to the next.
    pub interval: Duration,
    /// Maps that match now.
    pub maps: Vec<MapName>,
    /// Patterns of selectors that match nothing yet.
    pub unmatched: Vec<MapGlob>,
}

/// One counter: a map, a key, a field of the value.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Unique in the agent's life.
    pub reference: u64,
    /// Its map.
    pub map: Arc<MapName>,
    /// From the key; "cpu" last where there is a series for each CPU.
    pub labels: Vec<Label>,
    /// Path in the value; empty where the value is one number.
    pub field: Arc<str>,
    /// How it may change.
    pub kind: CounterKind,
    /// Nobody declared the kind.
    pub kind_undeclared: bool,
    /// May be empty.
    pub unit: Arc<str>,
    /// Since when it counts.
    pub start_time: SystemTime,
    /// Values are two's complement.
    pub signed: bool,
    /// Of a histogram: what each slot counts from, up to the next one's.
    pub bounds: Vec<u64>,
}

/// A label of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Path of the field in the key, or "key".
    pub name: Arc<str>,
    /// As text.
    pub value: Arc<str>,
}

/// The outcome of a sweep. Too many values for one message come in several with the same sweep
/// number, of which only the last may be complete.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The map that was read.
    pub map: Arc<MapName>,
    /// Sweeps of this map since someone began to watch it at this interval, from 1.
    pub sweep: u64,
    /// When reading began.
    pub read_begin: SystemTime,
    /// When reading ended.
    pub read_end: SystemTime,
    /// The whole map was read: a series that is not listed had not changed at `read_end`.
    pub complete: bool,
    /// Whose values follow.
    pub refs: Vec<u64>,
    /// As many as `refs`.
    pub values: Vec<u64>,
    /// Sweeps that this watch was too slow for and that these totals stand for too.
    pub coalesced: u64,
    /// The same sweep goes on in the next batch.
    pub more: bool,
    /// Histograms that changed.
    pub histograms: Vec<Histogram>,
    /// From the begin of the sweep before to the begin of this one.
    pub achieved: Option<Duration>,
    /// From when this sweep was due to its begin.
    pub lag: Duration,
}

/// A histogram as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    /// Whose.
    pub reference: u64,
    /// As many as its bounds.
    pub counts: Box<[u64]>,
}

/// Series whose numbers went back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Which.
    pub refs: Vec<u64>,
    /// Since when they count.
    pub start_time: SystemTime,
    /// Their map.
    pub map: Arc<MapName>,
}

/// Series that are no more. Their refs are not used again, but for [`RemovedReason::Limit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Which. None where a map goes of which nothing was followed: another of its name counts
    /// sweeps from 1; and none where all are meant.
    pub refs: Vec<u64>,
    /// Why.
    pub reason: RemovedReason,
    /// Their map.
    pub map: Arc<MapName>,
}

/// Why series are no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovedReason {
    /// The key is gone.
    Deleted,
    /// The key is gone from a map that drops keys by itself.
    Evicted,
    /// The map is gone.
    MapGone,
    /// The map is gone with its object.
    Unloaded,
    /// The agent could not remember what went. All series of the map are meant; those that are
    /// still there follow anew, by the same refs.
    Limit,
}

/// The initial snapshot is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync {
    /// Series announced so far and still there.
    pub series: u64,
}

/// Something is missing from this watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// What kind of thing.
    pub source: LossSource,
    /// How many series (limit) or sweeps (read error).
    pub count: u64,
    /// Where.
    pub map: Arc<MapName>,
    /// For people.
    pub detail: String,
}

/// What kind of thing is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossSource {
    /// The map could not be read. Said once, not with each sweep.
    ReadError,
    /// More series than the watch or the agent may follow. Said when the number changes.
    Limit,
}

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
    /// A matcher that could not match.
    #[error("the matcher for label {label:?} of selector {map} lists no values")]
    NoLabelValues {
        /// The selector's pattern.
        map: MapGlob,
        /// The label.
        label: String,
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
    /// A name to resolve a label by, without a label.
    #[error("a label to resolve has no name")]
    UnnamedResolution,
    /// The agent is going down.
    #[error("the agent is stopping")]
    Stopping,
}
