//! Server streams whose last message says how much there was, so that nobody takes a part for the
//! whole.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream as _;
use tonic::Streaming;

use crate::error::{Call, Error};

/// Such a stream of messages `M`, which ends with `E`.
#[derive(Debug)]
pub(crate) struct Counted<M, E> {
    call: Call,
    stream: Streaming<M>,
    /// What is counted, in the plural.
    what: &'static str,
    received: u64,
    end: Option<E>,
    over: bool,
}

/// What a message is.
pub(crate) enum Taken<T, E> {
    /// Something for the caller that counts for so many.
    Item(T, u64),
    /// The last message, and how many it says there were.
    End(E, u64),
    Header,
    /// A kind newer than this client: it might carry what is counted.
    Unknown,
}

impl<M, E> Counted<M, E> {
    pub(crate) fn new(call: Call, stream: Streaming<M>, what: &'static str) -> Self {
        Self { call, stream, what, received: 0, end: None, over: false }
    }

    /// The last message; `None` before the stream's end.
    pub(crate) fn end(&self) -> Option<&E> {
        self.end.as_ref()
    }

    /// The next item. The stream is over behind its last message, and behind an error.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(M) -> Result<Taken<T, E>, String>,
    ) -> Poll<Option<Result<T, Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let item = match std::task::ready!(Pin::new(&mut self.stream).poll_next(cx)) {
            Some(Ok(message)) => take(message)
                .and_then(|taken| self.count(taken))
                .map_err(|what| Error::protocol(self.call.rpc, what))
                .transpose(),
            Some(Err(status)) => Some(Err(self.call.error(status))),
            None => Some(Err(Error::CutOff { rpc: self.call.rpc })),
        };
        self.over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }

    fn count<T>(&mut self, taken: Taken<T, E>) -> Result<Option<T>, String> {
        match taken {
            Taken::Item(item, count) => {
                self.received += count;
                Ok(Some(item))
            }
            Taken::End(end, count) if count == self.received => {
                self.end = Some(end);
                Ok(None)
            }
            Taken::End(_, count) => {
                let Self { what, received, .. } = self;
                Err(format!("it ends with {count} {what}, but {received} came"))
            }
            Taken::Header => Err("a second header".into()),
            Taken::Unknown => Err("a message of an unknown kind".into()),
        }
    }
}
