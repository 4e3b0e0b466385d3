//! Who watches what: one hub for the agent. It finds the maps that a watch matches, and starts
//! and ends their sweepers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bpfgate_proto::name::MapName;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::layout::Layout;
use super::message::WatchError;
use super::request::{Terms, WatchRequest};
use super::series::Pool;
use super::source::{CounterSource, Sources, covers};
use super::sweeper::{self, Feed, FeedKey};
use super::view::{Choice, View};
use super::watcher::Watcher;

/// What watching may cost the agent.
#[derive(Debug, Clone)]
pub struct WatchLimits {
    /// Watches at a time.
    pub watches: usize,
    /// Series that one watch may follow.
    pub series_per_watch: usize,
    /// Series of all sweepers together: about 200 bytes each.
    pub series: usize,
    /// Keys that went away, remembered for each sweeper until its slowest watch was told. A watch
    /// that needs an older one ends.
    pub removals: usize,
    /// Maps that are read at a time; the others wait their turn. A watch of many maps at a short
    /// interval must not take every thread and CPU.
    pub sweeps: usize,
}

impl Default for WatchLimits {
    fn default() -> Self {
        Self {
            watches: 1024,
            series_per_watch: 100_000,
            series: 4_000_000,
            removals: 1_000_000,
            sweeps: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// All watches and their sweepers.
pub struct Hub {
    sources: Arc<dyn Sources>,
    changed: watch::Receiver<u64>,
    limits: WatchLimits,
    pool: Arc<Pool>,
    sweeps: Arc<Semaphore>,
    epoch: Instant,
    stop: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Kept while anyone watches, so that it does not keep maps alive for nobody.
    census: Option<Arc<Census>>,
    feeds: HashMap<FeedKey, Arc<Feed>>,
    watches: usize,
    last_watch: u64,
}

/// The maps that there were at some time.
pub(super) struct Census {
    pub(super) generation: u64,
    maps: HashMap<MapName, Arc<Known>>,
}

/// A map and how its bytes are read, or why it has nothing to count.
struct Known {
    source: Arc<dyn CounterSource>,
    layout: Result<Arc<Layout>, String>,
}

impl Known {
    fn of(source: Arc<dyn CounterSource>) -> Self {
        let layout = Layout::of(&*source).map(Arc::new);
        Self { source, layout }
    }
}

impl Hub {
    /// A hub over these maps. It does nothing until someone watches.
    pub fn new(sources: Arc<dyn Sources>, limits: WatchLimits) -> Arc<Self> {
        Arc::new(Self {
            changed: sources.changed(),
            sources,
            pool: Arc::new(Pool::new(limits.series)),
            sweeps: Arc::new(Semaphore::new(limits.sweeps)),
            limits,
            epoch: Instant::now(),
            stop: CancellationToken::new(),
            state: Mutex::default(),
        })
    }

    /// Begins a watch, or says what is wrong with the request. To be called within a tokio
    /// runtime, which runs the sweepers.
    pub fn watch(self: &Arc<Self>, request: WatchRequest) -> Result<Watcher, WatchError> {
        if self.stop.is_cancelled() {
            return Err(WatchError::Stopping);
        }
        let terms = Terms::of(request, &self.limits)?;
        let seat = self.seat()?;
        let census = self.census();
        census.check(&terms)?;
        Ok(Watcher::new(self.clone(), seat, terms))
    }

    /// Ends every watch with [`WatchError::Stopping`] and all sweepers. For good.
    pub fn shutdown(&self) {
        self.stop.cancel();
    }

    /// How many watches there are.
    pub fn watches(&self) -> usize {
        self.state().watches
    }

    /// How many sweepers run for them.
    pub fn sweepers(&self) -> usize {
        self.state().feeds.len()
    }

    /// The maps that there are. Ends the sweepers of those that went.
    pub(super) fn census(&self) -> Arc<Census> {
        // Read before the list is: the list is then at least as new.
        let generation = *self.changed.borrow();
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
        let maps = list.into_iter().map(known).collect();
        let census = Arc::new(Census { generation, maps });
        if state.watches > 0 {
            state.census = Some(census.clone());
        }
        state.feeds.retain(|key, feed| {
            let there = census.has(key);
            if !there {
                debug!(map = %key.map, "watched map is gone");
                feed.map_gone();
            }
            there
        });
        census
    }

    /// A view of every map that the terms take and that is not among `joined`, and the
    /// generation of the census they come from.
    pub(super) fn join(
        self: &Arc<Self>,
        terms: &Terms,
        watch: u64,
        wake: &Arc<Notify>,
        joined: &[View],
    ) -> (Vec<View>, u64) {
        let mut views = Vec::new();
        let mut state = self.state();
        // The newest census, so that no feed starts for a map that another has seen go.
        let Some(census) = state.census.clone() else { return (views, 0) };
        for Known { source, layout } in census.maps.values().map(|known| &**known) {
            let Ok(layout) = layout else { continue };
            if joined.iter().any(|view| view.feed.key.is_of(&**source)) {
                continue;
            }
            let Some(choice) = Choice::of(terms, source.name(), layout) else { continue };
            let key = FeedKey {
                map: Arc::new(source.name().clone()),
                id: source.id(),
                interval: terms.interval,
                mode: layout.mode(terms.cpu),
            };
            let feed = state.feeds.entry(key);
            let feed = feed.or_insert_with_key(|key| self.start(key.clone(), source, layout));
            let subscriber = feed.subscribe(watch, wake.clone());
            views.push(View::new(feed.clone(), subscriber, choice));
        }
        views.sort_by(|a, b| a.feed.key.map.cmp(&b.feed.key.map));
        (views, census.generation)
    }

    fn start(
        self: &Arc<Self>,
        key: FeedKey,
        source: &Arc<dyn CounterSource>,
        layout: &Arc<Layout>,
    ) -> Arc<Feed> {
        let stop = self.stop.child_token();
        let removals = self.limits.removals;
        let feed = Feed::new(key, layout.clone(), source.key_life(), removals, stop);
        let feed = Arc::new(feed);
        tokio::spawn(sweeper::run(self.clone(), feed.clone(), source.clone()));
        feed
    }

    /// Ends a watch's part in a feed, and the feed with its last watch.
    pub(super) fn leave(&self, feed: &Arc<Feed>, watch: u64) {
        let mut state = self.state();
        if feed.unsubscribe(watch) {
            feed.stop.cancel();
            if state.feeds.get(&feed.key).is_some_and(|known| Arc::ptr_eq(known, feed)) {
                state.feeds.remove(&feed.key);
            }
        }
    }

    fn seat(self: &Arc<Self>) -> Result<Seat, WatchError> {
        let limit = self.limits.watches;
        let mut state = self.state();
        if state.watches >= limit {
            return Err(WatchError::TooManyWatches { limit });
        }
        state.watches += 1;
        state.last_watch += 1;
        Ok(Seat { hub: self.clone(), watch: state.last_watch })
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    pub(super) fn pool(&self) -> Arc<Pool> {
        self.pool.clone()
    }

    /// Waits for a sweep's turn.
    pub(super) async fn sweep_turn(&self) -> OwnedSemaphorePermit {
        self.sweeps.clone().acquire_owned().await.expect("nobody closes it")
    }

    pub(super) fn epoch(&self) -> Instant {
        self.epoch
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics that holds the hub")
    }
}

impl State {
    fn current(&self, generation: u64) -> Option<Arc<Census>> {
        self.census.clone().filter(|census| census.generation >= generation)
    }
}

impl Census {
    fn has(&self, key: &FeedKey) -> bool {
        self.maps.get(&*key.map).is_some_and(|known| known.source.id() == key.id)
    }

    /// A selector that names a map, not a pattern, must find something in it if it is there.
    fn check(&self, terms: &Terms) -> Result<(), WatchError> {
        for selector in terms.selectors.iter().filter(|selector| selector.names_one_map()) {
            let Some((map, known)) = self.maps.iter().find(|(map, _)| selector.map.matches(map))
            else {
                continue;
            };
            let layout = match &known.layout {
                Ok(layout) => layout,
                Err(why) => {
                    return Err(WatchError::NoCounters { map: map.clone(), why: why.clone() });
                }
            };
            let paths = layout.paths();
            let missing = |field: &&String| !paths.iter().any(|path| covers(field, path));
            if let Some(field) = selector.fields.iter().find(missing) {
                let (map, field) = (map.clone(), field.clone());
                return Err(WatchError::NoSuchField { map, field, has: listed(&paths) });
            }
        }
        Ok(())
    }
}

/// Enough of the names to choose from.
fn listed(paths: &[&str]) -> String {
    const SHOWN: usize = 16;
    match paths {
        [""] => "a single number without a name".to_owned(),
        _ if paths.len() <= SHOWN => paths.join(", "),
        _ => format!("{}, …", paths[..SHOWN].join(", ")),
    }
}

impl FeedKey {
    fn is_of(&self, source: &dyn CounterSource) -> bool {
        self.id == source.id() && *self.map == *source.name()
    }
}

/// One of the watches that the hub may have.
pub(super) struct Seat {
    hub: Arc<Hub>,
    /// The watch's number.
    pub(super) watch: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.watches -= 1;
        if state.watches == 0 {
            state.census = None;
        }
    }
}

/// Waits for the next change; for ever once nothing can change any more.
pub(super) async fn bumped(changed: &mut watch::Receiver<u64>) {
    if changed.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
