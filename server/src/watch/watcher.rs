//! One watch: a place in each of its maps, asked in turn for what is new.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::{Notify, watch};

use super::hub::{Hub, Seat, bumped};
use super::message::{Header, Sync, WatchError, WatchMessage};
use super::request::{Terms, WatchMode};
use super::view::{Delivery, Following, View};

/// Messages that an idle watch has room for.
const IDLE_MESSAGES: usize = 8;

/// One watch. Holds no more than the messages of one map's last difference; dropping it ends the
/// watch and the sweepers that nobody else needs.
#[must_use = "dropping the watcher ends the watch"]
pub struct Watcher {
    hub: Arc<Hub>,
    terms: Terms,
    views: Vec<View>,
    /// Where to look first, so that a busy map does not starve the others.
    turn: usize,
    following: Following,
    wake: Arc<Notify>,
    changed: watch::Receiver<u64>,
    generation: u64,
    out: VecDeque<WatchMessage>,
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
    pub(super) fn new(hub: Arc<Hub>, seat: Seat, terms: Terms) -> Self {
        let mut watcher = Self {
            following: Following { series: 0, max: terms.max_series },
            changed: hub.changed(),
            hub,
            terms,
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
        let maps = watcher.views.iter().map(|view| (*view.feed.key.map).clone()).collect();
        let header = Header { interval: watcher.terms.interval, maps };
        watcher.out.push_back(WatchMessage::Header(header));
        watcher
    }

    /// The next message; waits for one. After an error or the end of a ONCE watch: `None`. May be
    /// dropped and called again without losing anything.
    pub async fn next(&mut self) -> Option<Result<WatchMessage, WatchError>> {
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
            if self.state == State::Synced && self.terms.mode == WatchMode::Once {
                self.end();
                return None;
            }
            match self.collect() {
                Ok(true) => {}
                Ok(false) => {
                    // A watch is idle most of its life; its first snapshot was its largest.
                    self.out.shrink_to(IDLE_MESSAGES);
                    tokio::select! {
                        () = self.hub.stop().cancelled() => {}
                        () = self.wake.notified() => {}
                        () = bumped(&mut self.changed) => {}
                    }
                }
                Err(error) => {
                    self.end();
                    return Some(Err(error));
                }
            }
        }
    }

    /// The same messages as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchMessage, WatchError>> + Send {
        futures_util::stream::unfold(self, |mut watcher| async {
            watcher.next().await.map(|message| (message, watcher))
        })
    }

    /// Takes the news of the first map that has any. False if none has.
    fn collect(&mut self) -> Result<bool, WatchError> {
        if self.hub.census().generation != self.generation {
            self.join();
        }
        // What is left of a map that went comes before anything of another by its name.
        let gone = self.views.iter().position(|view| view.feed.stop.is_cancelled());
        let (count, turn) = (self.views.len(), self.turn);
        let mut found = false;
        for at in gone.into_iter().chain((0..count).map(|n| (turn + n) % count)) {
            let view = &mut self.views[at];
            let news = view.deliver(&self.terms, &mut self.following, &mut self.out)?;
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
            self.out.push_back(WatchMessage::Sync(Sync { series: self.following.series as u64 }));
            found = true;
        }
        Ok(found)
    }

    fn join(&mut self) {
        let (views, generation) =
            self.hub.join(&self.terms, self.seat.watch, &self.wake, &self.views);
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
