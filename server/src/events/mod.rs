//! Records that programs write into ring buffers and perf buffers: one reader for everyone who
//! watches a map.
//!
//! ```text
//! buffer ── Source ── Feed (one for each map) ── Queue (one for each watcher) ── Watcher
//! ```
//!
//! Reading takes records out, so there is one reader, and only while somebody watches (or the
//! configuration keeps a map drained). It packs records into batches, which all watchers share,
//! and never waits for any of them: a watcher whose queue is full loses the batch and is told how
//! many records that were, in the place where they are missing.
//!
//! - [`batch`]: records packed · `queue`: what waits for one watcher
//! - `source`: the buffer and its wake-ups · `reader`: reading it · `feed`: for whom
//! - [`hub`]: bringing these together
//! - [`view`]: what one watcher wants of the records
//!
//! This module does not know the wire.

pub mod batch;
mod feed;
pub mod hub;
mod queue;
mod reader;
mod source;
pub mod view;

pub use batch::{Batch, Loss, LossSource};
pub use hub::{EventHub, Watcher};
pub use queue::{Ended, Item};
pub use view::{Filter, View};
