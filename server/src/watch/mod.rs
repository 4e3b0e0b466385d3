//! Counters over time: one sweep of a map for everyone who watches it.
//!
//! ```text
//! Sources ── Hub ── Sweeper (one for each map) ── Pass ── Version (and Tiers, one for each interval)
//!                                                           │ difference since the watch's cursor,
//!                                              Watcher ─────┘ one Parcel for all who are told the same
//! ```
//!
//! A sweeper reads its map on the blocking pool, never two passes at once, at the ticks of every
//! interval that somebody asked for, and puts what it found in the place of what was known, as a
//! version that nobody changes any more. Nothing is queued for anybody: a watcher holds, for each
//! map, the number of the last sweep it was given, and is told the difference page by page as its
//! consumer asks. A slow one thereby gets the newest totals and the number of sweeps they stand
//! for; series, resets and removals are never lost to it, because removals stay logged until the
//! slowest has them.
//!
//! All of it is paid for before it is there: a watch's own by the account that it came with, what a
//! map's watchers share by the caller of one of them, what is remembered for nobody by the agent.
//!
//! - [`request`]: what is asked for, checked once · [`error`]: why a watch is refused or ends
//! - [`message`]: what a watch says · [`told`]: the same as bytes
//! - [`source`]: what the hub needs to know of a map
//! - `layout`: bytes to labels and numbers · `interned`: names that keys have
//! - `pass`: reading a map, which keys read the same · `segment`: its series · `removals`: what went · `version`: both behind
//!   a sweep · `tiers`: when it is read · `sweeper`: reading it again · `feed`: all of these for one
//!   map · `purse`: who pays for it · `pool`: refs and room for all maps
//! - `choice`: a watch's selectors for one map · `telling`: what happened, in pages · `page`: one of
//!   them · `parcel`: sharing these · `view`: how far one watch was told of one map · `ranking`: which
//!   keys come first
//! - `census`: the maps that there are · [`hub`], [`watcher`]: bringing these together
//!
//! This module knows neither the registry of maps nor the wire.

mod census;
mod choice;
pub mod error;
mod feed;
pub mod hub;
mod interned;
mod layout;
pub mod message;
mod page;
mod parcel;
mod pass;
mod pool;
mod purse;
mod ranking;
mod removals;
pub mod request;
mod segment;
pub mod source;
mod sweeper;
mod telling;
mod tiers;
pub mod told;
mod version;
mod view;
pub mod watcher;

#[cfg(test)]
mod tests;

pub use error::WatchError;
pub use hub::{Hub, WatchLimits};
pub use layout::counter_faults;
pub use message::{
    Batch, Header, Histogram, Label, Loss, LossSource, Message, Removed, RemovedReason, Renamed,
    Reset, Series, Sync, Wire,
};
pub use request::{CpuMode, LabelMatcher, Order, Selector, WatchMode, WatchRequest};
pub use source::{CounterKind, CounterSource, CounterSpec, KeyLife, Sources};
pub use told::Told;
pub use watcher::Watcher;
