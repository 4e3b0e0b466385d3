//! What a map's sweeper and its watchers share.
//!
//! A feed lives as long as its map, though nobody may watch it: then it is not swept, but it still
//! knows since when each key counts. The hub lets go of such feeds when it needs their room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bpfgate_proto::name::MapName;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::layout::Layout;
use super::message::RemovedReason;
use super::parcel::Parcels;
use super::pass::{Delta, Pass, Wanted};
use super::request::CpuMode;
use super::source::{CounterSource, HostName, KeyLife};
use super::table::{Span, Table};
use super::tiers::Tiers;

/// Which map.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FeedKey {
    pub(super) map: Arc<MapName>,
    pub(super) id: u32,
}

/// What a map's sweeper and its watchers share. It does not hold the map: that goes with the
/// sweeper, however long a watcher takes to notice.
pub(super) struct Feed {
    pub(super) key: FeedKey,
    pub(super) layout: Arc<Layout>,
    key_life: KeyLife,
    is_part: bool,
    /// Taken by the sweep that runs.
    pub(super) pass: Arc<tokio::sync::Mutex<Pass>>,
    /// Something is due sooner than it was.
    pub(super) hurry: Notify,
    state: RwLock<State>,
    crowd: Mutex<Crowd>,
    series: AtomicUsize,
    pub(super) parcels: Parcels,
}

/// What a sweep changes.
pub(super) struct State {
    pub(super) table: Table,
    pub(super) tiers: Tiers,
}

/// Who watches, and what for.
#[derive(Default)]
struct Crowd {
    subscribers: HashMap<u64, Arc<Subscriber>>,
    names: Vec<(usize, HostName)>,
    /// Ends the sweeper, while there is one.
    stop: Option<CancellationToken>,
}

/// A watcher as its maps' sweepers see it.
pub(super) struct Subscriber {
    wake: Arc<Notify>,
    pub(super) interval: Duration,
    pub(super) mode: CpuMode,
    /// The last sweep it was given; [`NOTHING_YET`] before the first.
    cursor: AtomicU64,
}

/// A watcher that was given nothing need not be told what went.
const NOTHING_YET: u64 = u64::MAX;

/// What a watcher wants of a map.
pub(super) struct Want<'a> {
    pub(super) interval: Duration,
    pub(super) mode: CpuMode,
    pub(super) names: &'a [(usize, HostName)],
}

impl Subscriber {
    /// To be called with the table still locked, or removals are forgotten too early.
    pub(super) fn given(&self, sweep: u64) {
        self.cursor.store(sweep, Ordering::Release);
    }
}

impl Feed {
    pub(super) fn new(
        source: &dyn CounterSource,
        layout: Arc<Layout>,
        pass: Pass,
        removals_max: usize,
        epoch: Instant,
    ) -> Self {
        let tiers = Tiers::new(epoch, source.name());
        Self {
            key: FeedKey { map: Arc::new(source.name().clone()), id: source.id() },
            layout,
            key_life: source.key_life(),
            is_part: source.is_part(),
            pass: Arc::new(tokio::sync::Mutex::new(pass)),
            hurry: Notify::new(),
            state: RwLock::new(State { table: Table::new(removals_max), tiers }),
            crowd: Mutex::default(),
            series: AtomicUsize::new(0),
            parcels: Parcels::default(),
        }
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect("nothing panics that holds the table")
    }

    fn change(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().expect("nothing panics that holds the table")
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock().expect("nothing panics that holds the list of watchers")
    }

    /// Takes in a watcher, and where its names stand among those of each key. With a token if it is
    /// the first one, so that a sweeper has to be started.
    pub(super) fn subscribe(
        &self,
        watch: u64,
        wake: Arc<Notify>,
        want: &Want,
        stop: &CancellationToken,
    ) -> (Arc<Subscriber>, Vec<usize>, Option<CancellationToken>) {
        let &Want { interval, mode, names } = want;
        let cursor = AtomicU64::new(NOTHING_YET);
        let subscriber = Arc::new(Subscriber { wake, interval, mode, cursor });
        let mut state = self.change();
        let mut crowd = self.crowd();
        let mut place = |name: &(usize, HostName)| {
            crowd.names.iter().position(|known| known == name).unwrap_or_else(|| {
                crowd.names.push(*name);
                crowd.names.len() - 1
            })
        };
        let places: Vec<usize> = names.iter().map(&mut place).collect();
        let State { table, tiers } = &mut *state;
        let starts = crowd.stop.is_none();
        if starts {
            // What was known when the last watcher left is no snapshot.
            table.span = None;
        }
        let now = Instant::now();
        let fits = table.has(mode, &places);
        let last = table.span.map(|span| span.begun);
        tiers.join(interval, last.filter(|begun| fits && *begun + interval >= now), now);
        crowd.subscribers.insert(watch, subscriber.clone());
        let token = starts.then(|| stop.child_token());
        crowd.stop = token.clone().or(crowd.stop.take());
        self.hurry.notify_one();
        (subscriber, places, token)
    }

    /// True if it was the last one; then the sweeper ends.
    pub(super) fn unsubscribe(&self, watch: u64) -> bool {
        let mut state = self.change();
        let mut crowd = self.crowd();
        if let Some(subscriber) = crowd.subscribers.remove(&watch) {
            state.tiers.leave(subscriber.interval);
        }
        let last = crowd.subscribers.is_empty();
        if let Some(stop) = crowd.stop.take_if(|_| last) {
            stop.cancel();
            self.parcels.clear();
        }
        last
    }

    /// How many series it has room for, as of the last sweep.
    pub(super) fn series(&self) -> usize {
        self.series.load(Ordering::Relaxed)
    }

    /// The map is gone: ends the sweeper and tells the watchers.
    pub(super) fn map_gone(&self) {
        self.change().table.gone = true;
        let crowd = self.crowd();
        if let Some(stop) = &crowd.stop {
            stop.cancel();
        }
        crowd.subscribers.values().for_each(|subscriber| subscriber.wake.notify_one());
    }

    /// When the next sweep is due, if anybody waits for one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.state().tiers.due()
    }

    /// What the next sweep has to look at.
    pub(super) fn wanted(&self) -> Wanted {
        let crowd = self.crowd();
        let mut modes = [false; 2];
        for subscriber in crowd.subscribers.values() {
            modes[subscriber.mode.index()] = true;
        }
        Wanted { modes, names: crowd.names.clone() }
    }

    /// Folds a sweep into the table and wakes those it was for.
    pub(super) fn publish(
        &self,
        (delta, series): (Delta, usize),
        span: Span,
        outcome: Result<bool, Arc<str>>,
    ) {
        self.series.store(series, Ordering::Relaxed);
        let mut state = self.change();
        let State { table, tiers } = &mut *state;
        tiers.swept(span.begun, Instant::now());
        let crowd = self.crowd();
        let subscribers = crowd.subscribers.values();
        let cursors = subscribers.clone().map(|it| it.cursor.load(Ordering::Acquire));
        let slowest = cursors.min().unwrap_or(NOTHING_YET);
        table.apply(delta, &self.layout, span, outcome, slowest);
        self.parcels.clear();
        for subscriber in subscribers.filter(|it| tiers.took(it.interval, span.begun)) {
            subscriber.wake.notify_one();
        }
    }

    /// Why a key's series are no more.
    pub(super) fn key_removed(&self) -> RemovedReason {
        match self.key_life {
            KeyLife::Fixed | KeyLife::Deletable => RemovedReason::Deleted,
            KeyLife::Evictable => RemovedReason::Evicted,
        }
    }

    /// Why the map's series are no more.
    pub(super) fn map_removed(&self) -> RemovedReason {
        if self.is_part { RemovedReason::Unloaded } else { RemovedReason::MapGone }
    }
}
