//! The stream of a watch.

use std::fmt::Display;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bpfgate_proto::name::{MapGlob, MapName};
use bpfgate_proto::v1;
use bpfgate_proto::v1::watch_counters_response::Message;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Duration, Instant, Sleep};
use tonic::Streaming;

use super::reconnect::{Backoff, Reconnect};
use super::{Interruption, WatchEvent, WatchOptions};
use crate::error::{Call, Error};
use crate::maps::Maps;

/// A stream of [`WatchEvent`]s. It ends by itself only with [`WatchOptions::once`]; otherwise the
/// agent's end of it is an error, or with [`WatchOptions::reconnect`] an
/// [`WatchEvent::Interrupted`]. What makes no sense does not end it: see [`Watch::start_over`].
/// Dropping it ends the watch.
pub struct Watch {
    maps: Maps,
    request: v1::WatchCountersRequest,
    once: bool,
    header: v1::WatchHeader,
    state: State,
    /// `None` if a lost connection is the end.
    backoff: Option<Backoff>,
    /// For what makes no sense, and when that last came.
    oddities: (Backoff, Option<Instant>),
}

/// A watch that made sense for so long may make none once more.
const SENSIBLE: Duration = Duration::from_mins(1);
/// What is to end by itself is not begun anew for longer than this.
const ONCE_TRIED: Duration = Duration::from_secs(10);

enum State {
    Open {
        connection: Box<Connection>,
        synced: bool,
    },
    /// Until the next attempt.
    Waiting(Pin<Box<Sleep>>),
    Opening(BoxFuture<'static, Result<Box<Connection>, Error>>),
    /// What came made no sense, which is to be said.
    Odd(String),
    Over,
}

/// A stream behind its header.
struct Connection {
    call: Call,
    stream: Streaming<v1::WatchCountersResponse>,
    header: v1::WatchHeader,
}

impl Watch {
    /// Returns when the agent has begun. The first attempt is the only one: what is wrong with a
    /// request shows in it.
    pub(crate) async fn open(
        maps: Maps,
        selectors: Vec<v1::CounterSelector>,
        options: WatchOptions,
    ) -> Result<Self, Error> {
        let request = options.request(selectors);
        let connection = connect(maps.clone(), request.clone()).await?;
        let give_up_after = options.once.then_some(ONCE_TRIED);
        let oddities = Backoff::new(Reconnect { give_up_after, ..Reconnect::default() });
        Ok(Self {
            maps,
            request,
            once: options.once,
            header: connection.header.clone(),
            state: State::Open { connection, synced: false },
            backoff: options.reconnect.map(Backoff::new),
            oddities: (oddities, None),
        })
    }

    /// Begins anew, because an event does not fit those before it: a [`crate::ViewError`], say. The
    /// next event is a [`WatchEvent::Interrupted`] with the reason, and behind a pause, which grows
    /// if that happens again, comes a [`WatchEvent::Resumed`] and everything once more. With
    /// [`WatchOptions::once`] what goes on for more than ten seconds is an error.
    pub fn start_over(&mut self, why: impl Display) {
        self.state = State::Odd(why.to_string());
    }

    /// What came made no sense.
    fn odd(&mut self, why: String) -> Result<WatchEvent, Error> {
        let (backoff, last) = &mut self.oddities;
        if last.replace(Instant::now()).is_some_and(|last| last.elapsed() > SENSIBLE) {
            backoff.reset();
        }
        let Some((attempts, retry_in)) = backoff.next() else {
            self.state = State::Over;
            return Err(Error::protocol("WatchCounters", why));
        };
        self.state = State::Waiting(Box::pin(tokio::time::sleep(retry_in)));
        Ok(WatchEvent::Interrupted(Interruption { why, odd: true, attempts, retry_in }))
    }

    /// Which agent it is, which maps match, which interval it granted: as of the last
    /// [`WatchEvent::Resumed`], if there was one.
    pub fn header(&self) -> &v1::WatchHeader {
        &self.header
    }

    /// The next event; `None` behind the end of a watch with [`WatchOptions::once`].
    ///
    /// # Errors
    ///
    /// What ended the watch: without [`WatchOptions::reconnect`] the first failure, with it one
    /// that does not heal by itself ([`Error::may_heal`]) or that lasts longer than
    /// [`crate::Reconnect::give_up_after`].
    pub async fn next_event(&mut self) -> Result<Option<WatchEvent>, Error> {
        self.next().await.transpose()
    }

    /// The connection or an attempt to open it failed.
    fn lost(&mut self, error: Error) -> Result<WatchEvent, Error> {
        if let Error::Protocol { what, rpc: _ } = error {
            return self.odd(what);
        }
        let retry = self.backoff.as_mut().filter(|_| error.may_heal()).and_then(Backoff::next);
        let Some((attempts, retry_in)) = retry else {
            self.state = State::Over;
            return Err(error);
        };
        self.state = State::Waiting(Box::pin(tokio::time::sleep(retry_in)));
        let why = error.to_string();
        Ok(WatchEvent::Interrupted(Interruption { why, odd: false, attempts, retry_in }))
    }
}

impl Stream for Watch {
    type Item = Result<WatchEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Open { connection, synced } => match ready!(connection.poll(cx)) {
                    Some(Ok(None)) => {}
                    Some(Ok(Some(event))) => {
                        if let WatchEvent::Sync(_) = event {
                            *synced = true;
                            // An agent that ends every watch at once must not be asked for ever
                            // without a pause.
                            this.backoff.iter_mut().for_each(Backoff::reset);
                        }
                        if let WatchEvent::Renamed(renamed) = &event {
                            follow(&mut this.request.selectors, renamed);
                        }
                        return Poll::Ready(Some(Ok(event)));
                    }
                    None if this.once && *synced => {
                        this.state = State::Over;
                        return Poll::Ready(None);
                    }
                    None => {
                        let error = Error::CutOff { rpc: connection.call.rpc };
                        return Poll::Ready(Some(this.lost(error)));
                    }
                    Some(Err(error)) => return Poll::Ready(Some(this.lost(error))),
                },
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    let open = connect(this.maps.clone(), this.request.clone());
                    this.state = State::Opening(Box::pin(open));
                }
                State::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(connection) => {
                        this.header = connection.header.clone();
                        this.state = State::Open { connection, synced: false };
                        return Poll::Ready(Some(Ok(WatchEvent::Resumed(this.header.clone()))));
                    }
                    Err(error) => return Poll::Ready(Some(this.lost(error))),
                },
                State::Odd(why) => {
                    let why = std::mem::take(why);
                    return Poll::Ready(Some(this.odd(why)));
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Open { synced, .. } if *synced => "synced",
            State::Open { .. } => "open",
            State::Waiting(_) => "waiting",
            State::Opening(_) => "opening",
            State::Odd(_) => "odd",
            State::Over => "over",
        };
        let Self { request, header, .. } = self;
        let mut it = f.debug_struct("Watch");
        it.field("request", request).field("header", header).field("state", &state);
        it.finish_non_exhaustive()
    }
}

/// Has the selectors take a map by its new name too, where they take it by the one that it had.
fn follow(selectors: &mut Vec<v1::CounterSelector>, renamed: &v1::MapRenamed) {
    let (Ok(from), Ok(to)) = (renamed.from.parse::<MapName>(), renamed.to.parse::<MapName>())
    else {
        return;
    };
    let takes = |selector: &v1::CounterSelector, name| {
        selector.map.parse::<MapGlob>().is_ok_and(|glob| glob.matches(name))
    };
    let left = selectors.iter().filter(|it| takes(it, &from) && !takes(it, &to));
    let new = |selector: &v1::CounterSelector| {
        let map = renamed.to.clone();
        v1::CounterSelector { map, ..selector.clone() }
    };
    let new: Vec<_> = left.map(new).filter(|it| !selectors.contains(it)).collect();
    selectors.extend(new);
}

async fn connect(maps: Maps, request: v1::WatchCountersRequest) -> Result<Box<Connection>, Error> {
    let (call, stream, first) = maps.open_watch(request).await?;
    let Some(Message::Header(header)) = first.message else {
        return Err(Error::protocol(call.rpc, "the first message is no header"));
    };
    Ok(Box::new(Connection { call, stream, header }))
}

impl Connection {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Option<WatchEvent>, Error>>> {
        let next = ready!(Pin::new(&mut self.stream).poll_next(cx));
        Poll::Ready(next.map(|message| match message {
            Ok(message) => self.accept(message),
            Err(status) => Err(self.call.error(status)),
        }))
    }

    /// `None` for a message of a kind newer than this client.
    fn accept(&self, message: v1::WatchCountersResponse) -> Result<Option<WatchEvent>, Error> {
        let wrong = |what: String| Error::protocol(self.call.rpc, what);
        let event = match message.message {
            Some(Message::Series(series)) => WatchEvent::Series(series),
            Some(Message::Batch(batch)) if batch.refs.len() != batch.values.len() => {
                let (refs, values) = (batch.refs.len(), batch.values.len());
                return Err(wrong(format!("a batch of {refs} refs and {values} values")));
            }
            Some(Message::Batch(batch)) => WatchEvent::Batch(batch),
            Some(Message::Removed(removed)) => WatchEvent::Removed(removed),
            Some(Message::Reset(reset)) => WatchEvent::Reset(reset),
            Some(Message::Renamed(renamed)) => WatchEvent::Renamed(renamed),
            Some(Message::Sync(sync)) => WatchEvent::Sync(sync),
            Some(Message::Loss(loss)) => WatchEvent::Loss(loss),
            Some(Message::Header(_)) => return Err(wrong("a second header".into())),
            None => return Ok(None),
        };
        Ok(Some(event))
    }
}
