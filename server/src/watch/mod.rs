//! Counters over time: one sweep of a map for everyone who watches it.
//!
//! ```text
//! Sources ── Hub ── Sweeper (one for each map, interval and CPU mode) ── Table
//!                                                                          │ difference since
//!                                                              Watcher ────┘ the watcher's cursor
//! ```
//!
//! A sweeper reads its map on the blocking pool, never two passes at once, and folds what changed
//! into one table under a short lock. Nothing is queued for anybody: a watcher holds, for each map,
//! the number of the last sweep it was given, and takes the difference when its consumer asks. A
//! slow one thereby gets the newest totals and the number of sweeps they stand for; series and
//! removals are never lost to it, because removals stay logged until the slowest has them.
//!
//! - [`request`]: what is asked for, checked once
//! - [`message`]: what a watch says, and why one ends
//! - [`source`]: what the hub needs to know of a map
//! - `layout`: bytes to labels and numbers · `series`: the table · `sweeper`: filling it
//! - `view`: what one watch takes of one map · [`hub`], [`watcher`]: bringing these together
//!
//! This module knows neither the registry of maps nor the wire.

pub mod hub;
mod layout;
pub mod message;
pub mod request;
mod series;
pub mod source;
mod sweeper;
mod view;
pub mod watcher;

#[cfg(test)]
mod tests;

pub use hub::{Hub, WatchLimits};
pub use message::{
    Batch, Header, Label, Loss, LossSource, Removed, RemovedReason, Series, Sync, WatchError,
    WatchMessage,
};
pub use request::{CpuMode, LabelMatcher, MatchOp, Selector, WatchMode, WatchRequest};
pub use source::{CounterKind, CounterSource, CounterSpec, KeyLife, Sources};
pub use watcher::Watcher;
