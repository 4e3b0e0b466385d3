//! Counters over time: one sweep of a map for everyone who watches it.
//!
//! ```text
//! Sources ── Hub ── Sweeper (one for each map) ── Pass ── Table (and Tiers, one for each interval)
//!                                                           │ difference since the watch's cursor,
//!                                              Watcher ─────┘ one Parcel for all who are told the same
//! ```
//!
//! A sweeper reads its map on the blocking pool, never two passes at once, at the ticks of every
//! interval that somebody asked for, and folds what changed into one table under a short lock.
//! Nothing is queued for anybody: a watcher holds, for each map, the number of the last sweep it
//! was given, and takes the difference when its consumer asks. A slow one thereby gets the newest
//! totals and the number of sweeps they stand for; series, resets and removals are never lost to
//! it, because removals stay logged until the slowest has them.
//!
//! - [`request`]: what is asked for, checked once
//! - [`message`]: what a watch says, and why one ends
//! - [`source`]: what the hub needs to know of a map
//! - `layout`: bytes to labels and numbers · `names`: numbers to this host's names
//! - `pass`: reading a map · `table`: its series · `tiers`: when it is read · `sweeper`: reading it
//!   again · `feed`: all of these for one map · `pool`: refs and room for all maps
//! - `choice`: a watch's selectors for one map · `telling`: what happened, in messages · `parcel`:
//!   sharing these · `view`: how far one watch was told of one map
//! - [`hub`], [`watcher`]: bringing these together
//!
//! This module knows neither the registry of maps nor the wire.

mod choice;
mod feed;
pub mod hub;
mod layout;
pub mod message;
mod names;
mod parcel;
mod pass;
mod pool;
pub mod request;
pub mod source;
mod sweeper;
mod table;
mod telling;
mod tiers;
mod view;
pub mod watcher;

#[cfg(test)]
mod tests;

pub use hub::{Hub, WatchLimits};
pub use layout::counter_faults;
pub use message::{
    Batch, Header, Histogram, Label, Loss, LossSource, Removed, RemovedReason, Reset, Series, Sync,
    Told, WatchError, WatchMessage,
};
pub use request::{CpuMode, LabelMatcher, MatchOp, Selector, WatchMode, WatchRequest};
pub use source::{CounterKind, CounterSource, CounterSpec, HostName, KeyLife, Sources};
pub use watcher::Watcher;
