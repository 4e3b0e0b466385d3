//! What a watch says, in order: Header, then for each map Series before the batches that carry
//! their values, and Sync once.
//!
//! Messages are made of what the tables hold and written down at once: nobody keeps one.

use std::time::{Duration, SystemTime};

use bpfgate_proto::name::{MapGlob, MapName};

use super::source::CounterKind;

/// One message of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<'a> {
    /// First.
    Header(Header<'a>),
    /// Once for each series, before its first value.
    Series(Series<'a>),
    /// What a sweep found.
    Batch(Batch<'a>),
    /// Series that are no more.
    Removed(Removed<'a>),
    /// Series that count anew.
    Reset(Reset<'a>),
    /// A map has another name; its series go on.
    Renamed(Renamed<'a>),
    /// Every map that matched at the start has been delivered, or its trouble reported.
    Sync(Sync),
    /// Something is missing.
    Loss(Loss<'a>),
}

/// How messages are written down for whoever is watching: the same for all.
pub trait Wire: Send + std::marker::Sync + 'static {
    /// Appends a message, as a whole that can be followed by another.
    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>);
}

/// How the watch was granted.
#[derive(Debug, Clone, PartialEq)]
pub struct Header<'a> {
    /// From one sweep to the next.
    pub interval: Duration,
    /// Maps that match now.
    pub maps: &'a [&'a MapName],
    /// Patterns of selectors that match nothing yet.
    pub unmatched: &'a [&'a MapGlob],
}

/// One counter: a map, a key, a field of the value.
#[derive(Debug, Clone, PartialEq)]
pub struct Series<'a> {
    /// Unique in the agent's life.
    pub reference: u64,
    /// Its map.
    pub map: &'a MapName,
    /// From the key; "cpu" last where there is a series for each CPU.
    pub labels: &'a [Label<'a>],
    /// Path in the value; empty where the value is one number.
    pub field: &'a str,
    /// How it may change.
    pub kind: CounterKind,
    /// Nobody declared the kind.
    pub kind_undeclared: bool,
    /// May be empty.
    pub unit: &'a str,
    /// Since when it counts.
    pub start_time: SystemTime,
    /// Values are two's complement.
    pub signed: bool,
    /// Of a histogram: what each slot counts from, up to the next one's.
    pub bounds: &'a [u64],
    /// Its number in the sweep before its first value, and when that ended.
    pub before: Option<(u64, SystemTime)>,
}

/// A label of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label<'a> {
    /// Path of the field in the key, or "key".
    pub name: &'a str,
    /// As text.
    pub value: &'a str,
}

/// The outcome of a sweep. Too much for one message comes in several with the same sweep number,
/// of which only the last may be complete; series that are new to the watch come before the batch
/// that has their value.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<'a> {
    /// The map that was read.
    pub map: &'a MapName,
    /// Sweeps of this map since someone began to watch it at this interval, from 1.
    pub sweep: u64,
    /// When reading began.
    pub read_begin: SystemTime,
    /// When reading ended.
    pub read_end: SystemTime,
    /// The whole map was read: a series that is not listed had not changed at `read_end`.
    pub complete: bool,
    /// Whose values follow.
    pub refs: &'a [u64],
    /// As many as `refs`.
    pub values: &'a [u64],
    /// Sweeps that this watch was too slow for and that these totals stand for too.
    pub coalesced: u64,
    /// The same sweep goes on in the next batch.
    pub more: bool,
    /// Histograms that changed.
    pub histograms: &'a [Histogram],
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
pub struct Reset<'a> {
    /// Which.
    pub refs: &'a [u64],
    /// Since when they count.
    pub start_time: SystemTime,
    /// Their map.
    pub map: &'a MapName,
}

/// A map that has another name, because its object went while another shared it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed<'a> {
    /// What it was called.
    pub from: &'a MapName,
    /// What it is called now.
    pub to: &'a MapName,
}

/// Series that are no more. Their refs are not used again, but for [`RemovedReason::Limit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed<'a> {
    /// Which. None where a map goes of which nothing was followed: another of its name counts
    /// sweeps from 1; and none where all are meant.
    pub refs: &'a [u64],
    /// Why.
    pub reason: RemovedReason,
    /// Their map.
    pub map: &'a MapName,
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
    /// Others come before them.
    NotTop,
}

/// The initial snapshot is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync {
    /// Series announced so far and still there.
    pub series: u64,
}

/// Something is missing from this watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss<'a> {
    /// What kind of thing.
    pub source: LossSource,
    /// How many series (limit) or sweeps (read error).
    pub count: u64,
    /// Where.
    pub map: &'a MapName,
    /// For people.
    pub detail: &'a str,
}

/// What kind of thing is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossSource {
    /// The map could not be read. Said once, not with each sweep.
    ReadError,
    /// More series than the watch or the agent may follow. Said when the number changes.
    Limit,
}
