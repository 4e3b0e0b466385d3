//! What a map's sweeper and its watchers share.
//!
//! A feed lives as long as its map, though nobody may watch it: then it is not swept, but it still
//! knows since when each key counts. The hub lets go of such feeds when it needs their room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use bpfgate_proto::name::MapName;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::layout::Layout;
use super::message::RemovedReason;
use super::parcel::Parcels;
use super::pass::{Found, Pass, Wanted};
use super::purse::Purse;
use super::removals::Removals;
use super::request::CpuMode;
use super::segment::Shape;
use super::source::{CounterSource, KeyLife};
use crate::host_names::HostName;

use super::tiers::Tiers;
use super::version::{Span, Version};
use crate::ledger::{Account, Exhausted};

/// What a map is called, and how many names it had before.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) number: u32,
    pub(super) map: Arc<MapName>,
}

/// What a map's sweeper and its watchers share. It does not hold the map: that goes with the
/// sweeper, however long a watcher takes to notice.
pub(super) struct Feed {
    /// The kernel's, of the map.
    pub(super) id: u32,
    named: RwLock<Named>,
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
    removals_max: usize,
    /// For all that its watchers share.
    purse: Arc<Purse>,
    pub(super) parcels: Parcels,
}

/// What a sweep changes.
pub(super) struct State {
    pub(super) version: Arc<Version>,
    /// When that was read; `None` too where nobody watched meanwhile.
    pub(super) span: Option<Span>,
    removals: Removals,
    /// The map is gone: no sweep will follow.
    pub(super) gone: bool,
    pub(super) tiers: Tiers,
}

/// Who watches, and what for.
#[derive(Default)]
struct Crowd {
    subscribers: HashMap<u64, Arc<Subscriber>>,
    names: Vec<(usize, HostName)>,
    /// Ways of reading keys that somebody wants, by the places of the names that are shown.
    readings: Vec<Box<[usize]>>,
    /// Ends the sweeper, while there is one.
    stop: Option<CancellationToken>,
}

/// A watcher as its maps' sweepers see it.
pub(super) struct Subscriber {
    wake: Arc<Notify>,
    pub(super) interval: Duration,
    pub(super) mode: CpuMode,
    /// The last sweep it was given; [`NOTHING_YET`] before the first.
    cursor: AtomicU32,
    /// Who may come to pay for the map.
    caller: Account,
}

/// A watcher that was given nothing need not be told what went.
const NOTHING_YET: u32 = u32::MAX;
/// What a feed takes before it has a series.
const COST: usize = 16 << 10;

/// What a watcher wants of a map.
pub(super) struct Want<'a> {
    pub(super) interval: Duration,
    pub(super) mode: CpuMode,
    pub(super) names: &'a [(usize, HostName)],
    /// Who pays for the map if nobody does yet, or when others leave.
    pub(super) caller: Account,
}

/// A watcher's part in a feed.
pub(super) struct Part {
    pub(super) subscriber: Arc<Subscriber>,
    /// Where its names stand among those of each key.
    pub(super) places: Vec<usize>,
    /// Which reading of keys these make, where two keys may read the same.
    pub(super) reading: Option<usize>,
    /// It is the first one: a sweeper has to be started, which this ends.
    pub(super) starts: Option<CancellationToken>,
}

impl Subscriber {
    /// To be called with the table still locked, or removals are forgotten too early.
    pub(super) fn given(&self, sweep: u32) {
        self.cursor.store(sweep, Ordering::Release);
    }

    /// It was not given after all what it was to be given behind this sweep; 0 for none.
    pub(super) fn not_given(&self, known: u32) {
        self.given(if known == 0 { NOTHING_YET } else { known });
    }
}

impl Feed {
    pub(super) fn new(
        source: &dyn CounterSource,
        layout: Arc<Layout>,
        pass: Pass,
        purse: Arc<Purse>,
        removals_max: usize,
        epoch: Instant,
    ) -> Self {
        let tiers = Tiers::new(epoch, source.name());
        let version = Arc::new(Version::new(Shape::of(&layout), 0));
        let (span, removals, gone) = Default::default();
        Self {
            id: source.id(),
            named: RwLock::new(Named { number: 0, map: Arc::new(source.name().clone()) }),
            layout,
            key_life: source.key_life(),
            is_part: source.is_part(),
            pass: Arc::new(tokio::sync::Mutex::new(pass)),
            hurry: Notify::new(),
            state: RwLock::new(State { version, span, removals, gone, tiers }),
            crowd: Mutex::default(),
            series: AtomicUsize::new(0),
            removals_max,
            purse,
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

    /// Takes in a watcher.
    pub(super) fn subscribe(
        &self,
        watch: u64,
        wake: Arc<Notify>,
        want: &Want,
        stop: &CancellationToken,
    ) -> Result<Part, Exhausted> {
        let &Want { interval, mode, names, ref caller } = want;
        let (cursor, caller) = (AtomicU32::new(NOTHING_YET), caller.clone());
        let mut state = self.change();
        let mut crowd = self.crowd();
        if crowd.subscribers.is_empty() {
            self.purse.pass_to(&caller)?;
            self.purse.take(COST)?;
        }
        let subscriber = Arc::new(Subscriber { wake, interval, mode, cursor, caller });
        let mut place = |name: &(usize, HostName)| {
            crowd.names.iter().position(|known| known == name).unwrap_or_else(|| {
                crowd.names.push(*name);
                crowd.names.len() - 1
            })
        };
        let places: Vec<usize> = names.iter().map(&mut place).collect();
        let reading = self.reading(&mut crowd, names, &places);
        let State { version, span, tiers, .. } = &mut *state;
        let starts = crowd.stop.is_none();
        if starts {
            // What was known when the last watcher left is no snapshot.
            *span = None;
        }
        let now = Instant::now();
        let fits = version.has(mode, places.iter().copied(), reading);
        let last = span.map(|span| span.begun);
        tiers.join(interval, last.filter(|begun| fits && *begun + interval >= now), now);
        crowd.subscribers.insert(watch, subscriber.clone());
        let starts = starts.then(|| stop.child_token());
        crowd.stop = starts.clone().or(crowd.stop.take());
        self.hurry.notify_one();
        Ok(Part { subscriber, places, reading, starts })
    }

    /// The reading that these names make; `None` if no two keys can have the same labels by it.
    fn reading(
        &self,
        crowd: &mut Crowd,
        names: &[(usize, HostName)],
        places: &[usize],
    ) -> Option<usize> {
        // Names that never change are no two numbers'.
        let kept = names.iter().zip(places).filter(|((_, what), _)| what.is_kept());
        let mut shown: Vec<usize> = kept.map(|(_, place)| *place).collect();
        if shown.is_empty() && !self.layout.is_ambiguous() {
            return None;
        }
        shown.sort_unstable();
        let known = crowd.readings.iter().position(|known| **known == *shown);
        Some(known.unwrap_or_else(|| {
            crowd.readings.push(shown.into());
            crowd.readings.len() - 1
        }))
    }

    /// True if it was the last one; then the sweeper ends.
    pub(super) fn unsubscribe(&self, watch: u64) -> bool {
        let mut state = self.change();
        let mut crowd = self.crowd();
        if let Some(subscriber) = crowd.subscribers.remove(&watch) {
            state.tiers.leave(subscriber.interval);
            self.hand_on(&crowd);
        }
        let last = crowd.subscribers.is_empty();
        if let Some(stop) = crowd.stop.take_if(|_| last) {
            stop.cancel();
            self.parcels.clear();
        }
        last
    }

    /// Another watcher's caller pays for the map, if the one that does watches no more.
    fn hand_on(&self, crowd: &Crowd) {
        let payer = self.purse.account().key();
        let callers = crowd.subscribers.values().map(|it| &it.caller);
        if callers.clone().all(|caller| caller.key() != payer) {
            // If it fits none of them, it stays where it is.
            let _ = callers.clone().any(|caller| self.purse.pass_to(caller).is_ok());
        }
    }

    /// Gives back what only watchers need, if there is none, and remembers the rest on the agent's
    /// own account.
    pub(super) fn rest(&self, pass: &mut Pass, own: &Account) {
        let version = {
            let mut state = self.change();
            let mut crowd = self.crowd();
            if !crowd.subscribers.is_empty() {
                return;
            }
            // They are looked for anew when somebody wants them.
            crowd.names.clear();
            crowd.readings.clear();
            // Whoever comes while the rest is put away pays from then on.
            self.purse.empty(own);
            let sweep = state.version.sweep;
            state.span = None;
            state.removals.clear(sweep);
            let empty = Arc::new(Version::new(Shape::of(&self.layout), sweep));
            std::mem::replace(&mut state.version, empty)
        };
        drop(version);
        pass.rest(own);
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.crowd().subscribers.is_empty()
    }

    /// How many series it has room for, as of the last sweep.
    pub(super) fn series(&self) -> usize {
        self.series.load(Ordering::Relaxed)
    }

    /// What the map is called now.
    pub(super) fn named(&self) -> Named {
        self.named.read().expect("nothing panics that holds the name").clone()
    }

    /// The map is another's now: goes on, and tells the watchers.
    pub(super) fn rename(&self, map: &MapName) {
        {
            let mut named = self.named.write().expect("nothing panics that holds the name");
            *named = Named { number: named.number + 1, map: Arc::new(map.clone()) };
        }
        self.crowd().subscribers.values().for_each(|subscriber| subscriber.wake.notify_one());
    }

    /// The map is gone: ends the sweeper and tells the watchers.
    pub(super) fn map_gone(&self) {
        self.change().gone = true;
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
        Wanted { modes, names: crowd.names.clone(), readings: crowd.readings.clone() }
    }

    /// Folds a sweep into the table and wakes those it was for.
    pub(super) fn publish(&self, found: Found, span: Span, outcome: Result<bool, Arc<str>>) {
        self.series.store(found.series, Ordering::Relaxed);
        let mut state = self.change();
        let State { version, removals, tiers, .. } = &mut *state;
        tiers.swept(span.begun, Instant::now());
        let crowd = self.crowd();
        let subscribers = crowd.subscribers.values();
        let cursors = subscribers.clone().map(|it| it.cursor.load(Ordering::Acquire));
        let slowest = cursors.min().unwrap_or(NOTHING_YET);
        let Found { sweep, modes, names, readings, segments, gone, forgotten, left_out, .. } =
            found;
        for gone in gone {
            removals.push(gone);
        }
        let mut free = removals.forget(slowest, self.removals_max);
        if forgotten {
            free += removals.clear(sweep);
        }
        self.purse.give(free);
        let complete = outcome == Ok(true);
        let trouble = match (&version.trouble, outcome) {
            (_, Ok(_)) => None,
            (Some(known), Err(_)) => Some(known.clone()),
            (None, Err(why)) => Some((sweep, why)),
        };
        let left_out = left_out.unwrap_or(version.left_out);
        let (shape, removals) = (version.shape, removals.clone());
        let next = Version {
            complete,
            trouble,
            left_out,
            modes,
            names,
            readings,
            segments,
            removals,
            ..Version::new(shape, sweep)
        };
        let before = std::mem::replace(version, Arc::new(next));
        state.span = Some(span);
        for subscriber in subscribers.filter(|it| state.tiers.took(it.interval, span.begun)) {
            subscriber.wake.notify_one();
        }
        drop((crowd, state));
        self.parcels.clear();
        // It may be the last to hold many segments.
        drop(before);
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
