//! One watch: a place in each of its maps, asked in turn for what is new.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::{Notify, watch};

use super::hub::{Hub, Seat, bumped};
use super::message::{Header, Sync, Told, WatchError, WatchMessage};
use super::request::{Selector, WatchMode};
use super::view::{Delivery, Following, View};

/// Messages that an idle watch has room for.
const IDLE_MESSAGES: usize = 8;

/// One watch. Holds no more than the messages of one map's last difference; dropping it ends the
/// watch and the sweepers that nobody else needs.
#[must_use = "dropping the watcher ends the watch"]
pub struct Watcher {
    hub: Arc<Hub>,
    views: Vec<View>,
    /// Where to look first, so that a busy map does not starve the others.
    turn: usize,
    following: Following,
    wake: Arc<Notify>,
    changed: watch::Receiver<u64>,
    generation: u64,
    out: VecDeque<Arc<Told>>,
    state: State,
    seat: Seat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Sync is still to come.
    Initial,
    Synced,
    Ended,
}

impl Watcher {
    pub(super) fn new(hub: Arc<Hub>, seat: Seat) -> Self {
        let mut watcher = Self {
            following: Following { series: 0, max: seat.granted.terms.max_series },
            changed: hub.changed(),
            hub,
            views: Vec::new(),
            turn: 0,
            wake: Arc::default(),
            generation: 0,
            out: VecDeque::new(),
            state: State::Initial,
            seat,
        };
        watcher.join();
        for view in &mut watcher.views {
            view.initial = true;
        }
        let maps: Vec<_> = watcher.views.iter().map(|view| (*view.feed.key.map).clone()).collect();
        let terms = &watcher.seat.granted.terms;
        let matches = |it: &&Selector| maps.iter().any(|map| it.map.matches(map));
        let unmatched = terms.selectors.iter().filter(|it| !matches(it));
        let unmatched = unmatched.map(|it| it.map.clone()).collect();
        let header = Header { interval: terms.interval, maps, unmatched };
        watcher.say(WatchMessage::Header(header));
        watcher
    }

    /// The next message; waits for one. After an error or the end of a ONCE watch: `None`. May be
    /// dropped and called again without losing anything.
    pub async fn next(&mut self) -> Option<Result<Arc<Told>, WatchError>> {
        loop {
            if self.state == State::Ended {
                return None;
            }
            if self.hub.stop().is_cancelled() {
                self.end();
                return Some(Err(WatchError::Stopping));
            }
            if let Some(message) = self.out.pop_front() {
                return Some(Ok(message));
            }
            if self.state == State::Synced && self.seat.granted.terms.mode == WatchMode::Once {
                self.end();
                return None;
            }
            if !self.collect() {
                // A watch is idle most of its life; its first snapshot was its largest.
                self.out.shrink_to(IDLE_MESSAGES);
                tokio::select! {
                    () = self.hub.stop().cancelled() => {}
                    () = self.wake.notified() => {}
                    () = bumped(&mut self.changed) => {}
                }
            }
        }
    }

    /// Another message that belongs to the last one, if there is one. Does not look for news.
    pub fn at_hand(&mut self) -> Option<Arc<Told>> {
        self.out.pop_front()
    }

    /// The same messages as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Arc<Told>, WatchError>> + Send {
        futures_util::stream::unfold(self, |mut watcher| async {
            watcher.next().await.map(|message| (message, watcher))
        })
    }

    /// Takes the news of the first map that has any. False if none has.
    fn collect(&mut self) -> bool {
        if self.hub.census().generation != self.generation {
            self.join();
        }
        // What is left of a map that went comes before anything of another by its name.
        let gone = self.views.iter().position(|view| view.feed.state().table.gone);
        let (count, turn) = (self.views.len(), self.turn);
        let mut found = false;
        for at in gone.into_iter().chain((0..count).map(|n| (turn + n) % count)) {
            let view = &mut self.views[at];
            let news = view.deliver(&self.seat.granted, &mut self.following, &mut self.out);
            if news == Delivery::Nothing {
                continue;
            }
            view.initial = false;
            if news == Delivery::End {
                let view = self.views.remove(at);
                self.hub.leave(&view.feed, self.seat.watch);
            }
            self.turn = at + 1;
            found = true;
            break;
        }
        if self.state == State::Initial && !self.views.iter().any(|view| view.initial) {
            self.state = State::Synced;
            self.say(WatchMessage::Sync(Sync { series: self.following.series as u64 }));
            found = true;
        }
        found
    }

    fn say(&mut self, message: WatchMessage) {
        self.out.push_back(Arc::new(Told::new(message)));
    }

    fn join(&mut self) {
        let (views, generation) = self.hub.join(&self.seat, &self.wake, &self.views);
        self.views.extend(views);
        self.generation = generation;
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.out.clear();
        for view in self.views.drain(..) {
            self.hub.leave(&view.feed, self.seat.watch);
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.end();
    }
}
