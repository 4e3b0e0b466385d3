//! Counters over time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bpfgate_proto::v1;
use bpfgate_proto::v1::watch_counters_response::Message;
use futures_util::{Stream, StreamExt as _};
use tonic::Streaming;

use crate::CpuMode;
use crate::error::{Call, Error};

/// How [`crate::Maps::watch_counters`] watches.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// End behind the first snapshot.
    pub once: bool,
    /// From one sweep to the next; `None` leaves it to the agent (1 s).
    pub interval: Option<Duration>,
    /// Send a series only when its value changed.
    pub suppress_unchanged: bool,
    /// Send unchanged series at least this often all the same.
    pub heartbeat: Option<Duration>,
    /// Add the CPUs' values, or one series for each CPU.
    pub cpu: CpuMode,
    /// Series beyond this many are left out and reported as loss; 0 for the agent's own limit.
    pub max_series: u32,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            once: false,
            interval: None,
            suppress_unchanged: true,
            heartbeat: None,
            cpu: CpuMode::Sum,
            max_series: 0,
        }
    }
}

impl WatchOptions {
    pub(crate) fn into_request(
        self,
        selectors: Vec<v1::CounterSelector>,
    ) -> v1::WatchCountersRequest {
        let Self { once, interval, suppress_unchanged, heartbeat, cpu, max_series } = self;
        let mode = if once { v1::WatchMode::Once } else { v1::WatchMode::Stream };
        v1::WatchCountersRequest {
            selectors,
            mode: mode.into(),
            interval: interval.map(duration),
            suppress_unchanged,
            heartbeat: heartbeat.map(duration),
            cpu: cpu.into(),
            max_series,
            ..v1::WatchCountersRequest::default()
        }
    }
}

fn duration(duration: Duration) -> prost_types::Duration {
    // Longer than any watch: the agent refuses what it does not grant.
    let longest = prost_types::Duration { seconds: 315_576_000_000, nanos: 0 };
    duration.try_into().unwrap_or(longest)
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent {
    /// A series that later batches refer to by its `ref`.
    Series(v1::Series),
    /// One sweep of one map; a series that is not listed is unchanged.
    Batch(v1::CounterBatch),
    /// Series that are no more.
    Removed(v1::SeriesRemoved),
    /// Series whose numbers went back and count anew.
    Reset(v1::SeriesReset),
    /// Everything that matched at the start has been told.
    Sync(v1::WatchSync),
    /// Something is missing.
    Loss(v1::WatchLoss),
}

/// A stream of [`WatchEvent`]s. It ends by itself only with [`WatchOptions::once`]; otherwise the
/// agent's end of it is an error. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    call: Call,
    stream: Streaming<v1::WatchCountersResponse>,
    header: v1::WatchHeader,
    once: bool,
    synced: bool,
    over: bool,
}

impl Watch {
    pub(crate) fn new(
        call: Call,
        stream: Streaming<v1::WatchCountersResponse>,
        first: v1::WatchCountersResponse,
        once: bool,
    ) -> Result<Self, Error> {
        let Some(Message::Header(header)) = first.message else {
            return Err(Error::protocol(call.rpc, "the first message is no header"));
        };
        Ok(Self { call, stream, header, once, synced: false, over: false })
    }

    /// Which agent it is, which maps match, which interval it granted.
    pub fn header(&self) -> &v1::WatchHeader {
        &self.header
    }

    /// The next event; `None` behind the end of a watch with [`WatchOptions::once`].
    pub async fn next_event(&mut self) -> Result<Option<WatchEvent>, Error> {
        self.next().await.transpose()
    }

    /// `None` for a message of a kind newer than this client.
    fn accept(&mut self, message: v1::WatchCountersResponse) -> Result<Option<WatchEvent>, Error> {
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
            Some(Message::Sync(sync)) => {
                self.synced = true;
                WatchEvent::Sync(sync)
            }
            Some(Message::Loss(loss)) => WatchEvent::Loss(loss),
            Some(Message::Header(_)) => return Err(wrong("a second header".into())),
            None => return Ok(None),
        };
        Ok(Some(event))
    }
}

impl Stream for Watch {
    type Item = Result<WatchEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let item = loop {
            break match std::task::ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(message)) => match self.accept(message).transpose() {
                    Some(item) => Some(item),
                    None => continue,
                },
                Some(Err(status)) => Some(Err(self.call.error(status))),
                None if self.once && self.synced => None,
                None => Some(Err(Error::CutOff { rpc: self.call.rpc })),
            };
        };
        self.over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}
