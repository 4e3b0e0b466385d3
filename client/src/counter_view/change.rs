//! What an event does to a view.

use std::sync::Arc;
use std::time::SystemTime;

use bpfgate_proto::v1;
use bpfgate_proto::v1::series_removed::Reason;

use super::entry::{CounterKey, SeriesId};

/// Where the watch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not everything has been told yet.
    Starting,
    /// The view is what the agent has.
    Live,
    /// The connection is lost: the view is what the agent had.
    Interrupted,
}

/// What did not reach the view, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Sweeps that could not be read.
    pub read_errors: u64,
    /// Series beyond a limit, as last reported.
    pub left_out: u64,
    /// What the agent could not keep for a reader as slow as this one.
    pub slow_client: u64,
    /// Of a kind that this client does not know.
    pub other: u64,
    /// Sweeps that newer totals stood for.
    pub coalesced: u64,
    /// Sweeps that ended before the map's end.
    pub incomplete: u64,
}

/// What one event did to the view.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// Nothing that can be seen, yet.
    None,
    /// This new counter has the labels of another one, though they are not the same. It is counted
    /// by itself all the same, and [`crate::CounterView::find`] finds the first. Only older agents
    /// do so: others add a label.
    Twin(SeriesId),
    /// A whole sweep of a map was folded in.
    Swept(Sweep),
    /// These counters are gone.
    Gone(Vec<Gone>),
    /// Everything there is has been told. After a gap the counters that went meanwhile are gone.
    Synced(Vec<Gone>),
    /// A map has another name; its counters are the same.
    Renamed {
        /// What it was called.
        from: String,
        /// What it is called now.
        to: String,
    },
    /// Something is missing.
    Lost,
    /// The connection is lost; all counters are stale.
    Interrupted,
    /// The watch goes on. `restarted`: with another life of the agent, so that no counter has a
    /// rate at first, and each begins anew that did not start before.
    Resumed {
        /// The agent or its host was started again.
        restarted: bool,
    },
}

/// One whole sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// The map's name.
    pub map: String,
    /// Of this map, from 1.
    pub number: u64,
    /// When the map had been read. What is not listed had not changed by then.
    pub read_end: Option<SystemTime>,
    /// False if the map could not be read to its end.
    pub complete: bool,
    /// Sweeps before it that these totals stand for.
    pub coalesced: u64,
    /// The counters that it listed, in its order.
    pub listed: Vec<SeriesId>,
}

/// A counter that is no more.
#[derive(Debug, Clone, PartialEq)]
pub struct Gone {
    /// Its name in this view.
    pub id: SeriesId,
    /// What it was.
    pub key: Arc<CounterKey>,
    /// Why; `Unspecified` for one that went during a gap.
    pub reason: Reason,
}

/// A message that does not fit those before it. The view is as it was before, and
/// [`crate::Watch::start_over`] gets it all anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// A batch is not one value for each ref.
    #[error("a batch of map {map} has {refs} refs and {values} values")]
    Uneven {
        /// The map.
        map: String,
        /// How many refs.
        refs: usize,
        /// How many values.
        values: usize,
    },
    /// A histogram has more or fewer counts than slots.
    #[error("map {map}: histogram {reference} has {slots} slots, but {counts} counts came")]
    Slots {
        /// The map.
        map: String,
        /// The ref.
        reference: u64,
        /// As announced.
        slots: usize,
        /// As sent.
        counts: usize,
    },
    /// A series was not announced.
    #[error("map {map}: series {reference} was not announced")]
    Unannounced {
        /// The map.
        map: String,
        /// The ref.
        reference: u64,
    },
    /// A series was announced twice, as two things.
    #[error("map {map}: series {reference} was announced before, as another")]
    Reused {
        /// The map.
        map: String,
        /// The ref.
        reference: u64,
    },
    /// A sweep came behind a later one, or before the rest of another.
    #[error("map {map}: sweep {sweep} came behind or within sweep {last}")]
    OutOfOrder {
        /// The map.
        map: String,
        /// What came.
        sweep: u64,
        /// What came before.
        last: u64,
    },
}

impl Losses {
    pub(super) fn count(&mut self, loss: &v1::WatchLoss) {
        use v1::watch_loss::Source;
        match loss.source() {
            Source::ReadError => self.read_errors += loss.count,
            Source::Limit => self.left_out = loss.count,
            Source::SlowClient => self.slow_client += loss.count,
            Source::Unspecified => self.other += loss.count,
        }
    }
}
