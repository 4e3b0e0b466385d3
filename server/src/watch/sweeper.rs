//! Reading one map over and over: one task for each map, interval and CPU mode, as long as anyone
//! watches.
//!
//! Sweeps of different maps are spread over the interval by the hash of their names. A pass that
//! takes longer than the interval costs the ticks it ran over; they are not made up for.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};

use bpfgate_proto::name::MapName;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::hub::{Hub, bumped};
use super::layout::Layout;
use super::request::CpuMode;
use super::series::{Delta, Pass, Span, Table};
use super::source::{CounterSource, KeyLife};

/// Which sweeper: watchers that agree in this share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FeedKey {
    pub(super) map: Arc<MapName>,
    pub(super) id: u32,
    pub(super) interval: Duration,
    pub(super) mode: CpuMode,
}

/// What a sweeper and its watchers share. It does not hold the map: that goes with the sweeper,
/// however long a watcher takes to notice.
pub(super) struct Feed {
    pub(super) key: FeedKey,
    pub(super) layout: Arc<Layout>,
    pub(super) key_life: KeyLife,
    pub(super) stop: CancellationToken,
    table: RwLock<Table>,
    subscribers: Mutex<HashMap<u64, Arc<Subscriber>>>,
}

/// A watcher as its sweepers see it.
pub(super) struct Subscriber {
    wake: Arc<Notify>,
    /// The last sweep it was given; [`NOTHING_YET`] before the first.
    cursor: AtomicU64,
}

/// A watcher that was given nothing need not be told what went.
const NOTHING_YET: u64 = u64::MAX;

impl Subscriber {
    /// To be called with the table still locked, or removals are forgotten too early.
    pub(super) fn given(&self, sweep: u64) {
        self.cursor.store(sweep, Ordering::Release);
    }
}

impl Feed {
    pub(super) fn new(
        key: FeedKey,
        layout: Arc<Layout>,
        key_life: KeyLife,
        removals_max: usize,
        stop: CancellationToken,
    ) -> Self {
        let table = RwLock::new(Table::new(layout.slots(key.mode), removals_max));
        Self { key, layout, key_life, stop, table, subscribers: Mutex::default() }
    }

    pub(super) fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().expect("nothing panics that holds the table")
    }

    pub(super) fn subscribe(&self, watch: u64, wake: Arc<Notify>) -> Arc<Subscriber> {
        let subscriber = Arc::new(Subscriber { wake, cursor: AtomicU64::new(NOTHING_YET) });
        self.subscribers().insert(watch, subscriber.clone());
        subscriber
    }

    /// True if it was the last one.
    pub(super) fn unsubscribe(&self, watch: u64) -> bool {
        let mut subscribers = self.subscribers();
        subscribers.remove(&watch);
        subscribers.is_empty()
    }

    /// The map is gone: ends the sweeper and tells the watchers.
    pub(super) fn map_gone(&self) {
        self.table.write().expect("nothing panics that holds the table").gone = true;
        self.stop.cancel();
        self.wake_all();
    }

    fn publish(&self, delta: Delta, span: Span, outcome: Result<bool, Arc<str>>) {
        {
            let mut table = self.table.write().expect("nothing panics that holds the table");
            let cursors = self.subscribers();
            let cursors = cursors.values().map(|it| it.cursor.load(Ordering::Acquire));
            let slowest = cursors.min().unwrap_or(NOTHING_YET);
            table.apply(delta, span, outcome, slowest);
        }
        self.wake_all();
    }

    fn wake_all(&self) {
        for subscriber in self.subscribers().values() {
            subscriber.wake.notify_one();
        }
    }

    fn subscribers(&self) -> MutexGuard<'_, HashMap<u64, Arc<Subscriber>>> {
        self.subscribers.lock().expect("nothing panics that holds the list of watchers")
    }
}

/// Sweeps until the feed is stopped.
pub(super) async fn run(hub: Arc<Hub>, feed: Arc<Feed>, source: Arc<dyn CounterSource>) {
    let FeedKey { map, interval, mode, id: _ } = &feed.key;
    let phase = phase(map, *interval);
    let mut changed = hub.changed();
    let mut pass = Pass::new(feed.layout.clone(), *mode, hub.pool(), source.created_at());
    let mut failing = false;
    loop {
        let turn = tokio::select! {
            biased;
            () = feed.stop.cancelled() => return,
            turn = hub.sweep_turn() => turn,
        };
        let begun = Instant::now();
        let reader = source.clone();
        let sweep = tokio::task::spawn_blocking(move || {
            let swept = sweep(&*reader, &mut pass);
            // Given back by the pass itself: it runs on although nobody waits for it any more.
            drop(turn);
            (pass, swept)
        });
        let swept = tokio::select! {
            biased;
            () = feed.stop.cancelled() => return,
            swept = sweep => swept,
        };
        // Panics are caught inside, so this is the runtime going down.
        let Ok((back, Swept { delta, begin, end, outcome })) = swept else { return };
        pass = back;
        match &outcome {
            Err(why) if !failing => warn!(%map, %why, "map could not be swept"),
            Ok(_) if failing => info!(%map, "map can be swept again"),
            _ => {}
        }
        failing = outcome.is_err();
        feed.publish(delta, Span { begin, end, begun }, outcome);

        let next = next_tick(hub.epoch() + phase, *interval, begun, Instant::now());
        loop {
            tokio::select! {
                biased;
                () = feed.stop.cancelled() => return,
                () = bumped(&mut changed) => drop(hub.census()),
                () = tokio::time::sleep_until(next) => break,
            }
        }
    }
}

struct Swept {
    delta: Delta,
    begin: SystemTime,
    end: SystemTime,
    outcome: Result<bool, Arc<str>>,
}

fn sweep(source: &dyn CounterSource, pass: &mut Pass) -> Swept {
    let begin = SystemTime::now();
    pass.start(begin);
    // Each visit leaves the pass whole, so what was read before a panic counts.
    let read = catch_unwind(AssertUnwindSafe(|| {
        source.sweep(&mut |key, value| pass.visit(key, value)).map_err(|error| error.to_string())
    }));
    let outcome = read.unwrap_or_else(|_| Err("reading it panicked".to_owned()));
    let outcome = outcome.map_err(Arc::from);
    let delta = pass.finish(outcome == Ok(true));
    Swept { delta, begin, end: SystemTime::now(), outcome }
}

/// Where in the interval a map is swept.
fn phase(map: &MapName, interval: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    map.hash(&mut hasher);
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(hasher.finish() % nanos)
}

/// The next of the ticks that start at `first`, but no sooner than half an interval after the last
/// sweep began: the first sweep comes when the first watcher does, not on a tick.
fn next_tick(first: Instant, interval: Duration, begun: Instant, now: Instant) -> Instant {
    let from = now.max(begun + interval / 2).saturating_duration_since(first);
    let ticks = from.as_nanos().div_ceil(interval.as_nanos());
    first + Duration::from_nanos_u128(ticks * interval.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_phase_and_are_not_made_up_for() {
        let first = Instant::now();
        let second = Duration::from_secs(1);
        let at = |seconds: f64| first + Duration::from_secs_f64(seconds);
        let next = |begun: f64, now: f64| next_tick(first, second, at(begun), at(now));
        assert_eq!(next(1.0, 1.1), at(2.0));
        // The first sweep came just before a tick.
        assert_eq!(next(1.9, 1.9), at(3.0));
        assert_eq!(next(1.5, 1.5), at(2.0));
        // The sweep took 2.7 s.
        assert_eq!(next(1.0, 3.7), at(4.0));
        // The first sweep came in the hub's first moments, before any tick.
        assert_eq!(next_tick(at(0.3), second, first, first), at(1.3));
        assert_eq!(next_tick(at(0.7), second, first, first), at(0.7));
    }

    #[test]
    fn maps_are_spread_over_the_interval() {
        let interval = Duration::from_secs(1);
        let name = |n: u32| format!("m{n}").parse().unwrap();
        let phases: Vec<Duration> = (0..100).map(|n| phase(&name(n), interval)).collect();
        assert!(phases.iter().all(|phase| *phase < interval));
        let early = phases.iter().filter(|phase| **phase < interval / 2).count();
        assert!((25..75).contains(&early), "{early} of 100 in the first half");
    }
}
