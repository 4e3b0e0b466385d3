//! Who watches what: one hub for the agent. It starts the readers and sees to it that they end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bpfgate_proto::name::MapGlob;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::batch::Memory;
use super::feed::Feed;
use super::queue::{Ended, Item, Queue};
use super::reader::Reader;
use super::source::Source;
use crate::core::{Error, Limits, Map, Registry};
use crate::ledger::Account;

/// All watchers of events and their readers.
#[derive(Debug)]
pub struct EventHub {
    registry: Arc<Registry>,
    /// Maps that are read though nobody watches.
    keep_draining: Vec<MapGlob>,
    /// By the kernel's id of the map.
    feeds: Mutex<HashMap<u32, Fed>>,
    /// When maps that were read were read last, by the kernel's id.
    read_until: Mutex<HashMap<u32, SystemTime>>,
    /// Held while a reader starts or ends: two for one buffer would steal from each other.
    turn: tokio::sync::Mutex<()>,
    seats: Arc<Semaphore>,
    memory: Memory,
    stop: CancellationToken,
}

/// A map that is read.
#[derive(Debug, Clone)]
struct Fed {
    map: Arc<Map>,
    feed: Arc<Feed>,
}

impl EventHub {
    /// A hub over the registry's maps, of which those that one of the globs fits are read though
    /// nobody watches. To be called within a tokio runtime.
    pub fn new(registry: Arc<Registry>, keep_draining: Vec<MapGlob>) -> Arc<Self> {
        let limits = registry.limits();
        let hub = Arc::new(Self {
            keep_draining,
            feeds: Mutex::default(),
            read_until: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            seats: Arc::new(Semaphore::new(limits.max_event_watchers as usize)),
            memory: Memory::new(limits.max_event_memory_bytes),
            stop: CancellationToken::new(),
            registry,
        });
        tokio::spawn(hub.clone().follow());
        hub
    }

    /// Begins to watch a map, which must have events. So many bytes may wait for the watcher.
    pub async fn watch(
        self: &Arc<Self>,
        map: &Arc<Map>,
        queue_bytes: u64,
        account: &Account,
    ) -> Result<Watcher, Error> {
        let limit = self.limits().max_event_watchers;
        let seat = self.seats.clone().try_acquire_owned().map_err(|_| Error::Limit {
            what: "watchers of events at once",
            limit: limit.into(),
        })?;
        let queue = Arc::new(Queue::new(queue_bytes, account));
        if let Some(feed) = self.joined(map, &queue) {
            return Ok(Watcher { feed, queue, _seat: seat });
        }
        // On its own, because a caller that gives up must not leave half of it behind.
        let (hub, map) = (self.clone(), map.clone());
        let starting = tokio::spawn(async move {
            let feed = hub.feed(&map, &queue).await?;
            Ok(Watcher { feed, queue, _seat: seat })
        });
        starting.await.map_err(|_| Error::Stopping)?
    }

    /// Ends every watch and every reader. For good.
    pub fn shutdown(&self) {
        self.stop.cancel();
        for fed in self.feeds().values() {
            fed.feed.end(Ended::Stopping);
        }
    }

    /// The map's feed, with that queue among its watchers.
    async fn feed(
        self: &Arc<Self>,
        map: &Arc<Map>,
        queue: &Arc<Queue>,
    ) -> Result<Arc<Feed>, Error> {
        let _turn = self.turn.lock().await;
        if let Some(feed) = self.joined(map, queue) {
            return Ok(feed);
        }
        let feed = Arc::new(Feed::new(map.text(), self.keeps(map)));
        feed.join(queue);
        self.start(Fed { map: map.clone(), feed: feed.clone() }).await?;
        Ok(feed)
    }

    fn joined(&self, map: &Map, queue: &Arc<Queue>) -> Option<Arc<Feed>> {
        let Fed { map: _, feed } = self.feeds().get(&map.sys().info().id).cloned()?;
        feed.join(queue).then_some(feed)
    }

    /// Starts a map's reader, in the caller's turn.
    async fn start(self: &Arc<Self>, fed: Fed) -> Result<(), Error> {
        let (map, bytes) = (fed.map.clone(), self.limits().perf_buffer_bytes);
        let room = self.registry.record_room(&map)?;
        let open = move || Source::open(&map, usize::try_from(bytes).unwrap_or(usize::MAX), room);
        let source = tokio::task::spawn_blocking(open).await.map_err(|_| Error::Stopping)??;
        let longest = usize::try_from(self.limits().max_message_bytes / 2).unwrap_or(usize::MAX);
        let idle_since = self.read_until().get(&fed.map.sys().info().id).copied();
        let idle_since = idle_since.unwrap_or(fed.map.created_at());
        let reader =
            Reader::new(fed.feed.clone(), source, self.memory.clone(), idle_since, longest);
        debug!(map = fed.map.text(), "records are read");
        self.feeds().insert(fed.map.sys().info().id, fed.clone());
        if !self.has(&fed.map) {
            // It went while the reader was started, so nobody else will say so.
            fed.feed.end(Ended::MapGone);
        }
        if self.stop.is_cancelled() {
            fed.feed.end(Ended::Stopping);
        }
        tokio::spawn(self.clone().read(reader, fed));
        Ok(())
    }

    async fn read(self: Arc<Self>, mut reader: Reader<Source>, fed: Fed) {
        let turn = loop {
            reader.run().await;
            let turn = self.turn.lock().await;
            // Giving memory and events back takes a moment; the end reads what is left.
            let closed = tokio::task::spawn_blocking(move || reader.close());
            match closed.await {
                Ok(Some(wanted)) => reader = wanted,
                Ok(None) => break turn,
                Err(error) => {
                    warn!(map = fed.map.text(), %error, "the reader of a map panicked");
                    break turn;
                }
            }
        };
        let mut feeds = self.feeds();
        let id = fed.map.sys().info().id;
        self.read_until().insert(id, SystemTime::now());
        if feeds.get(&id).is_some_and(|known| Arc::ptr_eq(&known.feed, &fed.feed)) {
            feeds.remove(&id);
        }
        drop((feeds, turn));
    }

    /// Ends the readers of maps that went, and starts those of maps that are always read.
    async fn follow(self: Arc<Self>) {
        let mut registry = self.registry.changes();
        loop {
            let gone: Vec<_> =
                self.feeds().values().filter(|fed| !self.has(&fed.map)).cloned().collect();
            for fed in gone {
                fed.feed.end(Ended::MapGone);
            }
            let fed: Vec<_> = self.feeds().values().cloned().collect();
            for Fed { map, feed } in fed {
                if let Some(now) = self.registry.now(&map) {
                    feed.rename(now.text());
                }
            }
            self.read_until().retain(|&id, _| self.registry.has_map_id(id));
            if !self.keep_draining.is_empty() {
                self.start_kept().await;
            }
            tokio::select! {
                changed = registry.changed() => if changed.is_err() { return },
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn start_kept(self: &Arc<Self>) {
        for map in self.registry.all_maps() {
            if !self.keeps(&map) || map.require_events().is_err() {
                continue;
            }
            let _turn = self.turn.lock().await;
            if self.feeds().contains_key(&map.sys().info().id) {
                continue;
            }
            let feed = Arc::new(Feed::new(map.text(), true));
            let started = self.start(Fed { map: map.clone(), feed }).await;
            if let Err(error) = started {
                warn!(map = map.text(), %error, "the map cannot be kept drained");
            }
        }
    }

    fn keeps(&self, map: &Map) -> bool {
        map.name().is_some_and(|name| self.keep_draining.iter().any(|glob| glob.matches(name)))
    }

    /// The map is still the agent's, whatever it is called.
    fn has(&self, map: &Map) -> bool {
        self.registry.now(map).is_some()
    }

    fn limits(&self) -> &Limits {
        self.registry.limits()
    }

    fn read_until(&self) -> MutexGuard<'_, HashMap<u32, SystemTime>> {
        self.read_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn feeds(&self) -> MutexGuard<'_, HashMap<u32, Fed>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One watcher. Dropping it ends its watch, and with the last one the map's reader.
#[derive(Debug)]
pub struct Watcher {
    feed: Arc<Feed>,
    queue: Arc<Queue>,
    _seat: OwnedSemaphorePermit,
}

impl Watcher {
    /// Waits for the next thing. Nothing comes behind an end.
    pub async fn next(&mut self) -> Item {
        self.queue.next().await
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.feed.leave(&self.queue);
    }
}
