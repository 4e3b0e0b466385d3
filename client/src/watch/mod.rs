//! Counters over time: what to watch, and what a watch tells. [`stream`] is the stream itself,
//! [`reconnect`] when and how it is opened again, [`names`] labels by names instead of numbers.

mod names;
mod reconnect;
mod stream;

use std::time::Duration;

use bpfgate_proto::v1;

use crate::{CounterOrder, CpuMode};

pub use names::{HostName, LabelResolution, LabelResolutionError};
pub use reconnect::Reconnect;
pub use stream::Watch;

/// How [`crate::Maps::watch_counters`] watches.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct WatchOptions {
    /// End behind the first snapshot. By default it goes on.
    pub once: bool,
    /// From one sweep to the next; `None` leaves it to the agent (1 s).
    pub interval: Option<Duration>,
    /// Send a series only when its value changed. The default.
    pub suppress_unchanged: bool,
    /// Send unchanged series at least this often all the same; `None`, the default, does not.
    pub heartbeat: Option<Duration>,
    /// Add the CPUs' values, which is the default, or one series for each CPU.
    pub cpu: CpuMode,
    /// Series beyond this many are left out and reported as loss; 0 for the agent's own limit.
    pub max_series: u32,
    /// Labels to show by name, or by number in spite of a declaration. One that a map does not
    /// have is passed over.
    pub resolve: Vec<LabelResolution>,
    /// Show labels by name that the map's maker declared to have names, as built-ins do. Not by
    /// default.
    pub resolve_declared: bool,
    /// At most so many keys of each map: the first ones by `order`, ranked by the agent over all of
    /// them with every sweep; 0 for all.
    pub top: u32,
    /// What comes first; the largest by default. With `once`, [`CounterOrder::Rate`] makes two sweeps and tells the second.
    pub order: CounterOrder,
    /// The other way round.
    pub reverse: bool,
    /// Only series that have this text in `MAP KEY FIELD`, in any case; empty for all.
    pub contains: String,
    /// Open the watch again when the connection is lost or the agent goes away. `None`, the
    /// default, ends it with the error.
    pub reconnect: Option<Reconnect>,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            once: false,
            interval: None,
            suppress_unchanged: true,
            heartbeat: None,
            cpu: CpuMode::Sum,
            max_series: 0,
            resolve: Vec::new(),
            resolve_declared: false,
            top: 0,
            order: CounterOrder::Value,
            reverse: false,
            contains: String::new(),
            reconnect: None,
        }
    }
}

impl WatchOptions {
    fn request(&self, selectors: Vec<v1::CounterSelector>) -> v1::WatchCountersRequest {
        let Self {
            once,
            interval,
            suppress_unchanged,
            heartbeat,
            cpu,
            max_series,
            ref resolve,
            resolve_declared,
            top,
            order,
            reverse,
            ref contains,
            reconnect: _,
        } = *self;
        let mode = if once { v1::WatchMode::Once } else { v1::WatchMode::Stream };
        v1::WatchCountersRequest {
            selectors,
            mode: mode.into(),
            interval: interval.map(duration),
            suppress_unchanged,
            heartbeat: heartbeat.map(duration),
            cpu: cpu.into(),
            max_series,
            resolve: resolve.iter().map(LabelResolution::request).collect(),
            resolve_declared,
            top,
            order: order.into(),
            reverse,
            contains: contains.clone(),
        }
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    // Longer than any watch: the agent refuses what it does not grant.
    let longest = prost_types::Duration { seconds: 315_576_000_000, nanos: 0 };
    duration.try_into().unwrap_or(longest)
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent {
    /// A series that later batches refer to by its `ref`.
    Series(v1::Series),
    /// One sweep of one map; a series that is not listed is unchanged.
    Batch(v1::CounterBatch),
    /// Series that are no more.
    Removed(v1::SeriesRemoved),
    /// Series whose numbers went back and count anew.
    Reset(v1::SeriesReset),
    /// A map has another name, because its object was unloaded while another shared it. Its series
    /// go on; a watch that is opened again names it so.
    Renamed(v1::MapRenamed),
    /// Everything that matched at the start has been told.
    Sync(v1::WatchSync),
    /// Something is missing.
    Loss(v1::WatchLoss),
    /// The connection is lost, or another attempt to open it failed, with
    /// [`WatchOptions::reconnect`]; or the watch begins anew because what came made no sense.
    Interrupted(Interruption),
    /// The watch goes on with the agent of this header: refs and sweep numbers start anew, and
    /// everything is announced again up to another `Sync`.
    Resumed(v1::WatchHeader),
}

/// Why a watch does not go on, and when it is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct Interruption {
    /// The error, as text.
    pub why: String,
    /// What came made no sense, as [`Watch::start_over`] was told or this library found: nothing is
    /// wrong with the connection.
    pub odd: bool,
    /// 0 when the connection was lost, then one more with each attempt that failed; likewise of
    /// what made no sense, unless the watch went well for a minute.
    pub attempts: u32,
    /// Until the next attempt.
    pub retry_in: Duration,
}
