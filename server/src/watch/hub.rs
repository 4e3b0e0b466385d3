//! Who watches what: one hub for the agent. It finds the maps that a watch matches, and starts
//! and ends their sweepers.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::census::{Census, Known};
use super::choice::{Choice, names};
use super::error::WatchError;
use super::feed::{Feed, Part, Want};
use super::layout::Layout;
use super::message::Wire;
use super::page::Size;
use super::pass::Pass;
use super::pool::Pool;
use super::purse::Purse;
use super::request::{Granted, Terms, WatchRequest};
use super::source::{CounterSource, Sources};
use super::sweeper;
use super::view::View;
use super::watcher::Watcher;
use crate::host_names::Names;
use crate::ledger::{Account, Ledger};

/// What watching may cost the agent.
#[derive(Debug, Clone)]
pub struct WatchLimits {
    /// Watches at a time.
    pub watches: usize,
    /// Series that one watch may follow.
    pub series_per_watch: usize,
    /// Series of all watched maps together. What they take is charged to who watches them.
    pub series: usize,
    /// Series of maps that nobody watches any more. Longest ago is forgotten first; then a key's
    /// start is the map's when somebody watches again.
    pub remembered: usize,
    /// Keys that went away, remembered for each map until its slowest watch was told. A watch that
    /// needs an older one is told the whole map again.
    pub removals: usize,
    /// Maps that are read at a time; the others wait their turn. A watch of many maps at a short
    /// interval must not take every thread and CPU.
    pub sweeps: usize,
    /// Bytes of one message. A series with longer labels is left out.
    pub message_bytes: usize,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            watches: 1024,
            series_per_watch: 100_000,
            series: 4_000_000,
            remembered: 250_000,
            removals: 1_000_000,
            sweeps: std::thread::available_parallelism().map_or(1, usize::from),
            message_bytes: 256 << 10,
        }
    }
}

/// What is remembered for nobody may take this part of all memory.
const REMEMBERED: u64 = 8;

/// All watches and their sweepers.
pub struct Hub {
    sources: Arc<dyn Sources>,
    wire: Arc<dyn Wire>,
    /// For what is remembered of maps that nobody watches.
    remembering: Account,
    changed: watch::Receiver<u64>,
    limits: WatchLimits,
    pool: Arc<Pool>,
    names: Arc<Names>,
    guests_changed: AtomicU64,
    sweeps: Arc<Semaphore>,
    epoch: Instant,
    stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Kept while anyone watches, so that it does not keep maps alive for nobody.
    census: Option<Arc<Census>>,
    /// By the kernel's ids of their maps.
    feeds: HashMap<u32, Arc<Feed>>,
    /// Those that nobody watches, longest ago first.
    idle: VecDeque<u32>,
    granted: HashMap<Arc<Terms>, Arc<Granted>>,
    watches: usize,
    /// Maps of others that somebody watches.
    guests: Vec<Weak<dyn CounterSource>>,
    /// Numbers watches and terms.
    last_id: u64,
}

impl Hub {
    /// A hub over these maps. It does nothing until someone watches.
    pub fn new(
        sources: Arc<dyn Sources>,
        wire: Arc<dyn Wire>,
        limits: WatchLimits,
        ledger: &Ledger,
    ) -> Arc<Self> {
        let total = ledger.usage().limit;
        Arc::new(Self {
            changed: sources.changed(),
            sources,
            wire,
            remembering: ledger.own("remembered series", total / REMEMBERED),
            pool: Arc::new(Pool::new(limits.series)),
            names: Arc::new(Names::of_this_host()),
            guests_changed: AtomicU64::new(0),
            sweeps: Arc::new(Semaphore::new(limits.sweeps)),
            limits,
            epoch: Instant::now(),
            stop: CancellationToken::new(),
            state: Mutex::default(),
        })
    }

    /// Names of what numbers stand for on this host.
    pub fn names(&self) -> &Arc<Names> {
        &self.names
    }

    /// Begins a watch, or says what is wrong with the request. The account pays for it, and its
    /// caller for what it may share with others. To be called within a tokio runtime, which runs
    /// the sweepers.
    pub fn watch(
        self: &Arc<Self>,
        request: WatchRequest,
        account: Account,
    ) -> Result<Watcher, WatchError> {
        if self.stop.is_cancelled() {
            return Err(WatchError::Stopping);
        }
        let terms = Terms::of(request, &self.limits)?;
        let charge = account.charge((Watcher::COST + terms.cost()) as u64)?;
        let seat = self.seat(terms)?;
        let census = self.census();
        census.check(&seat.granted.terms, &self.names)?;
        Watcher::new(self.clone(), seat, account, charge)
    }

    /// Ends every watch with [`WatchError::Stopping`] and all sweepers. For good.
    pub fn shutdown(&self) {
        self.stop.cancel();
    }

    /// How many watches there are.
    pub fn watches(&self) -> usize {
        self.state().watches
    }

    /// How many maps are swept for them.
    pub fn sweepers(&self) -> usize {
        let state = self.state();
        state.feeds.len() - state.idle.len()
    }

    /// Grows with every change of the maps that there are.
    fn generation(&self) -> u64 {
        *self.changed.borrow() + self.guests_changed.load(Ordering::Acquire)
    }

    /// Takes in a map that is not among the [`Sources`], for as long as somebody holds it.
    pub fn admit(&self, guest: &Arc<dyn CounterSource>) {
        let mut state = self.state();
        state.guests.retain(|guest| guest.strong_count() > 0);
        state.guests.push(Arc::downgrade(guest));
        self.guests_changed.fetch_add(1, Ordering::AcqRel);
    }

    /// The maps that there are. Ends the sweepers of those that went.
    pub(super) fn census(&self) -> Arc<Census> {
        // Read before the list is: the list is then at least as new.
        let generation = self.generation();
        if let Some(census) = self.state().current(generation) {
            return census;
        }
        let list = self.sources.list();
        let mut state = self.state();
        if let Some(census) = state.current(generation) {
            return census;
        }
        let known = |source: Arc<dyn CounterSource>| {
            let name = source.name().clone();
            let known = state.census.as_ref().and_then(|census| census.maps.get(&name));
            let same = known.filter(|known| known.source.id() == source.id()).cloned();
            (name, same.unwrap_or_else(|| Arc::new(Known::of(source))))
        };
        let list = list.into_iter().chain(state.guests.iter().filter_map(Weak::upgrade));
        let census = Arc::new(Census::new(generation, list.map(known).collect()));
        if state.watches > 0 {
            state.census = Some(census.clone());
        }
        state.idle.retain(|id| census.name(*id).is_some());
        state.feeds.retain(|id, feed| {
            let named = feed.named().map;
            match census.name(*id) {
                Some(name) if *name == *named => {}
                Some(name) => {
                    debug!(from = %named, to = %name, "watched map has another name");
                    feed.rename(name);
                }
                None => {
                    debug!(map = %named, "watched map is gone");
                    feed.map_gone();
                    return false;
                }
            }
            true
        });
        census
    }

    /// A view of every map that the terms take and that is not among `joined`, and the
    /// generation of the census they come from.
    pub(super) fn join(
        self: &Arc<Self>,
        seat: &Seat,
        wake: &Arc<Notify>,
        views: &mut Vec<View>,
        account: &Account,
    ) -> Result<u64, WatchError> {
        let terms = &seat.granted.terms;
        let joined = views.len();
        let mut state = self.state();
        // The newest census, so that no feed starts for a map that another has seen go.
        let Some(census) = state.census.clone() else { return Ok(0) };
        for Known { source, layout } in census.maps.values().map(|known| &**known) {
            let Ok(layout) = layout else { continue };
            if !terms.selectors.iter().any(|it| it.map.matches(source.name()))
                || views[..joined].iter().any(|view| view.feed.id == source.id())
            {
                continue;
            }
            let cost = View::COST + Choice::cost(terms, source.name(), layout);
            let mut charge = account.charge(cost as u64)?;
            let Some(choice) = Choice::of(terms, source.name(), layout, &self.names) else {
                continue;
            };
            charge.shrink((View::COST + choice.bytes(terms)) as u64);
            let feed = state.feed(source.id(), || self.feed(source, layout));
            let names = names(terms, layout);
            let mode = layout.mode(terms.cpu);
            let (interval, caller) = (terms.interval, account.caller());
            let want = Want { interval, mode, names: &names, caller };
            let part = feed.subscribe(seat.watch, wake.clone(), &want, &self.stop);
            let Part { subscriber, places, reading, starts } = match part {
                Ok(part) => part,
                Err(exhausted) => {
                    state.rest(&feed);
                    return Err(exhausted.into());
                }
            };
            if let Some(stop) = starts {
                tokio::spawn(sweeper::run(self.clone(), feed.clone(), source.clone(), stop));
            }
            let choice = choice.named(&names, &places, reading);
            views.push(View::new(feed, subscriber, choice, charge));
        }
        views[joined..].sort_by(|a, b| a.named.map.cmp(&b.named.map));
        Ok(census.generation)
    }

    fn feed(&self, source: &Arc<dyn CounterSource>, layout: &Arc<Layout>) -> Arc<Feed> {
        let (pool, names) = (self.pool.clone(), self.names.clone());
        let purse = Arc::new(Purse::new(&self.remembering));
        let pass = Pass::new(layout.clone(), pool, names, purse.clone(), source.created_at());
        let removals = self.limits.removals;
        Arc::new(Feed::new(&**source, layout.clone(), pass, purse, removals, self.epoch))
    }

    /// Ends a watch's part in a feed. With its last watch the feed is swept no more, but it stays,
    /// so that it still knows since when its keys count when somebody watches again.
    pub(super) fn leave(&self, feed: &Arc<Feed>, watch: u64) {
        let mut state = self.state();
        if feed.unsubscribe(watch) {
            state.rest(feed);
            let series = |id| state.feeds.get(id).map_or(0, |feed| feed.series());
            let mut all: usize = state.idle.iter().map(series).sum();
            while all > self.limits.remembered
                && let Some(longest) = state.idle.pop_front()
            {
                all -= state.feeds.remove(&longest).map_or(0, |feed| feed.series());
            }
        }
    }

    pub(super) fn remembering(&self) -> &Account {
        &self.remembering
    }

    pub(super) fn page_size(&self) -> Size {
        Size::of(self.limits.message_bytes)
    }

    pub(super) fn wire(&self) -> &dyn Wire {
        &*self.wire
    }

    fn seat(self: &Arc<Self>, terms: Terms) -> Result<Seat, WatchError> {
        let limit = self.limits.watches;
        let mut state = self.state();
        if state.watches >= limit {
            return Err(WatchError::TooManyWatches { limit });
        }
        state.watches += 1;
        state.last_id += 1;
        let id = state.last_id;
        let terms = Arc::new(terms);
        let granted = state.granted.entry(terms.clone());
        let granted = granted.or_insert_with(|| Arc::new(Granted { id, terms })).clone();
        Ok(Seat { hub: self.clone(), watch: id, granted })
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Waits for a sweep's turn.
    pub(super) async fn sweep_turn(&self) -> OwnedSemaphorePermit {
        self.sweeps.clone().acquire_owned().await.expect("nobody closes it")
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics that holds the hub")
    }
}

impl State {
    /// Nobody watches a feed any more, if it is still there.
    fn rest(&mut self, feed: &Arc<Feed>) {
        let there = self.feeds.get(&feed.id).is_some_and(|known| Arc::ptr_eq(known, feed));
        if there && !feed.is_watched() {
            self.idle.push_back(feed.id);
        }
    }

    /// The feed of a map, made if there is none.
    fn feed(&mut self, id: u32, make: impl FnOnce() -> Arc<Feed>) -> Arc<Feed> {
        self.idle.retain(|idle| *idle != id);
        self.feeds.entry(id).or_insert_with(make).clone()
    }

    fn current(&self, generation: u64) -> Option<Arc<Census>> {
        self.census.clone().filter(|census| census.generation >= generation)
    }
}

/// One of the watches that the hub may have.
pub(super) struct Seat {
    hub: Arc<Hub>,
    /// The watch's number.
    pub(super) watch: u64,
    pub(super) granted: Arc<Granted>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.watches -= 1;
        if self.granted.sharers() == 1 {
            state.granted.remove(&self.granted.terms);
        }
        if state.watches == 0 {
            state.census = None;
            self.hub.names.forget();
        }
    }
}

/// Waits for the next change; for ever once nothing can change any more.
pub(super) async fn bumped(changed: &mut watch::Receiver<u64>) {
    if changed.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
