//! One watch: a place in each of its maps, asked in turn for what is new.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bpfgate_proto::name::MapGlob;
use futures_util::Stream;
use tokio::sync::{Notify, watch};
use tokio::task::yield_now;

use super::error::WatchError;
use super::feed::Named;
use super::hub::{Hub, Seat, bumped};
use super::message::{Header, Message, Renamed, Sync};
use super::request::WatchMode;
use super::told::Told;
use super::view::{Asking, Delivery, Following, View};
use crate::ledger::{Account, Charge};

/// When a watch that found no memory for a page tries again, if nothing wakes it before.
const AGAIN: Duration = Duration::from_millis(500);

/// One watch. Holds no more than one page of messages; dropping it ends the watch and the sweepers
/// that nobody else needs.
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
    out: VecDeque<Told>,
    state: State,
    seat: Seat,
    account: Account,
    /// For all but the views.
    _charge: Charge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Sync is still to come.
    Initial,
    Synced,
    Ended,
}

/// What came of looking for news.
enum Look {
    Nothing,
    /// Something was told, or will be when asked again.
    Something,
    /// There is news and no memory to tell it.
    Short,
}

impl Watcher {
    /// What one takes beside its terms and views, and with its stream.
    pub(super) const COST: usize = 4096;

    pub(super) fn new(
        hub: Arc<Hub>,
        seat: Seat,
        account: Account,
        charge: Charge,
    ) -> Result<Self, WatchError> {
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
            account,
            _charge: charge,
        };
        watcher.join()?;
        for view in &mut watcher.views {
            view.initial = true;
        }
        watcher.begin()?;
        Ok(watcher)
    }

    fn begin(&mut self) -> Result<(), WatchError> {
        let terms = self.seat.granted.terms.clone();
        let maps: Vec<_> = self.views.iter().map(|view| &*view.named.map).collect();
        let is_unmatched = |it: &&_| !maps.iter().any(|map| MapGlob::matches(it, map));
        let globs = terms.selectors.iter().map(|it| &it.map);
        let unmatched: Vec<&MapGlob> = globs.filter(is_unmatched).collect();
        let header = Header { interval: terms.interval, maps: &maps, unmatched: &unmatched };
        let names: usize = maps.iter().map(|map| map.as_str().len() + 8).sum();
        let told = self.write(&Message::Header(header), names)?;
        self.out.push_back(told);
        Ok(())
    }

    /// What comes next; waits for it. After an error or the end of a ONCE watch: `None`. May be
    /// dropped and called again without losing anything.
    pub async fn next(&mut self) -> Option<Result<Told, WatchError>> {
        loop {
            if self.state == State::Ended {
                return None;
            }
            if self.hub.stop().is_cancelled() {
                self.end();
                return Some(Err(WatchError::Stopping));
            }
            if let Some(told) = self.out.pop_front() {
                return Some(Ok(told));
            }
            if self.state == State::Synced && self.seat.granted.terms.mode == WatchMode::Once {
                self.end();
                return None;
            }
            let pause = match self.collect() {
                // The next page may be long in coming: others have their turn.
                Ok(Look::Something) if self.out.is_empty() => {
                    yield_now().await;
                    continue;
                }
                Ok(Look::Something) => continue,
                Ok(Look::Nothing) => Duration::MAX,
                Ok(Look::Short) => AGAIN,
                Err(error) => {
                    self.end();
                    return Some(Err(error));
                }
            };
            tokio::select! {
                () = self.hub.stop().cancelled() => {}
                () = self.wake.notified() => {}
                () = bumped(&mut self.changed) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Told, WatchError>> + Send {
        futures_util::stream::unfold(self, |mut watcher| async {
            watcher.next().await.map(|told| (told, watcher))
        })
    }

    /// Takes the news of the first map that has any. One that finds no memory while the watch
    /// begins ends it; later it is tried again, with what is new then.
    fn collect(&mut self) -> Result<Look, WatchError> {
        if self.hub.census().generation != self.generation {
            self.join()?;
        }
        let (count, turn) = (self.views.len(), self.turn);
        // What is left of a map that went comes before anything of another by its name, and what
        // was begun is told to its end.
        let gone = self.views.iter().position(|view| view.feed.state().gone);
        let open = self.views.iter().position(View::is_open);
        // A name that is free again may be another's by now.
        if gone.or(open).is_none()
            && let Some((at, now)) = self.renamed()
        {
            let (from, to) = (&*self.views[at].named.map, &*now.map);
            let texts = from.as_str().len() + to.as_str().len();
            let told = self.write(&Message::Renamed(Renamed { from, to }), texts)?;
            self.out.push_back(told);
            self.views[at].named = now;
            return Ok(Look::Something);
        }
        let turns = (0..count).map(|n| (turn + n) % count);
        let mut look = Look::Nothing;
        for at in gone.into_iter().chain(open).chain(turns) {
            let (account, wire, size) = (&self.account, self.hub.wire(), self.hub.page_size());
            let asking = Asking { granted: &self.seat.granted, wire, size, account };
            let view = &mut self.views[at];
            let told = match view.deliver(asking, &mut self.following) {
                Ok(Delivery::Nothing) => continue,
                Ok(Delivery::Page(told)) => told,
                Ok(Delivery::Last(told)) => {
                    view.initial = false;
                    self.turn = at + 1;
                    told
                }
                Ok(Delivery::End(told)) => {
                    let view = self.views.remove(at);
                    self.hub.leave(&view.feed, self.seat.watch);
                    told
                }
                Err(WatchError::Memory(_)) if self.state == State::Synced => {
                    look = Look::Short;
                    break;
                }
                Err(error) => return Err(error),
            };
            self.out.extend(told);
            look = Look::Something;
            break;
        }
        // A map that came since may be told in part.
        let busy = self.views.iter().any(|view| view.initial || view.is_open());
        if self.state == State::Initial && !busy {
            let series = self.following.series as u64;
            let told = self.write(&Message::Sync(Sync { series }), 0)?;
            self.out.push_back(told);
            self.state = State::Synced;
            look = Look::Something;
        }
        Ok(look)
    }

    /// A map that the watch knows by another name than it has.
    fn renamed(&self) -> Option<(usize, Named)> {
        self.views.iter().enumerate().find_map(|(at, view)| Some((at, view.renamed()?)))
    }

    /// A message that has texts of so many bytes.
    fn write(&self, message: &Message<'_>, texts: usize) -> Result<Told, WatchError> {
        // The text is made once, written down once, and its buffer doubles.
        let mut charge = self.account.charge((1024 + 4 * texts) as u64)?;
        let mut bytes = Vec::new();
        self.hub.wire().write(message, &mut bytes);
        Told::new(bytes.into_boxed_slice(), &mut charge)
    }

    fn join(&mut self) -> Result<(), WatchError> {
        let Self { hub, seat, wake, views, account, .. } = self;
        self.generation = hub.join(seat, wake, views, account)?;
        Ok(())
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
