//! The sending end of a server stream.
//!
//! One message waits while another is on the wire, and the place for the final status is kept from
//! the beginning, so that even a client that never reads can be told why the stream ended. What
//! waits is charged: its charge goes with it until it is encoded.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::core::{CallError, Error};
use crate::ledger::Charge;

/// A message, and what it takes as long as it waits.
type Item<T> = Result<(T, Charge), Status>;

/// What a handler returns for a stream.
#[derive(Debug)]
pub(super) struct Stream<T>(Receiver<Item<T>>);

impl<T> tokio_stream::Stream for Stream<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // It is encoded next, and charged again as what it then is.
        self.0.poll_recv(cx).map(|item| Some(item?.map(|(message, _)| message)))
    }
}

/// The sending end.
pub(super) struct Outlet<T> {
    sender: Sender<Item<T>>,
    last: Option<OwnedPermit<Item<T>>>,
    stall: Duration,
    stopping: CancellationToken,
}

/// The stream is over: nobody listens, or the final status was sent.
#[derive(Debug)]
pub(super) struct Closed;

impl<T: Send + 'static> Outlet<T> {
    pub(super) fn new(stall: Duration, stopping: CancellationToken) -> (Self, Stream<T>) {
        let (sender, receiver) = channel(2);
        let last = sender.clone().try_reserve_owned().ok();
        (Self { sender, last, stall, stopping }, Stream(receiver))
    }

    /// Sends a message, however long the client takes up to the stall limit.
    pub(super) async fn send(&mut self, message: T, charge: Charge) -> Result<(), Closed> {
        let message = Ok((message, charge));
        let sent = tokio::select! {
            sent = tokio::time::timeout(self.stall, self.sender.send(message)) => sent,
            () = self.stopping.cancelled() => return Err(self.fail(Error::Stopping)),
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Closed),
            Err(_) => {
                let seconds = self.stall.as_secs();
                Err(self.fail(Error::from(CallError::Unread { seconds })))
            }
        }
    }

    /// The same end for a thread that must not wait.
    pub(super) fn eager(&self) -> Eager<T> {
        Eager { sender: self.sender.clone(), stopping: self.stopping.clone() }
    }

    /// Ends the stream with an error.
    pub(super) fn fail(&mut self, status: impl Into<Status>) -> Closed {
        if let Some(last) = self.last.take() {
            last.send(Err(status.into()));
        }
        Closed
    }

    /// Waits until nobody listens any more or the agent stops, whichever comes first; then the
    /// stream is over.
    pub(super) async fn over(&mut self) -> Closed {
        tokio::select! {
            () = self.sender.closed() => Closed,
            () = self.stopping.cancelled() => self.fail(Error::Stopping),
        }
    }
}

/// Sends to a client that keeps up.
pub(super) struct Eager<T> {
    sender: Sender<Item<T>>,
    stopping: CancellationToken,
}

impl<T: Send + 'static> Eager<T> {
    /// Gives the message back if it would have to wait, or if the stream is over: [`Outlet::send`]
    /// does the waiting and knows why.
    #[allow(clippy::result_large_err, reason = "it is the message, which goes on to its place")]
    pub(super) fn send(&self, message: T, charge: Charge) -> Result<(), (T, Charge)> {
        if self.stopping.is_cancelled() {
            return Err((message, charge));
        }
        self.sender.try_send(Ok((message, charge))).map_err(|refused| match refused {
            TrySendError::Full(Ok(message)) | TrySendError::Closed(Ok(message)) => message,
            TrySendError::Full(Err(_)) | TrySendError::Closed(Err(_)) => unreachable!("it was Ok"),
        })
    }

    /// Nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::ledger::Account;

    fn outlet(stopping: &CancellationToken) -> (Outlet<u32>, Stream<u32>) {
        Outlet::new(Duration::from_mins(1), stopping.clone())
    }

    fn account() -> Account {
        crate::ledger::testing::account(1000)
    }

    #[tokio::test]
    async fn the_eager_get_back_what_would_wait() {
        let (mut outlet, mut stream) = outlet(&CancellationToken::new());
        let (eager, account) = (outlet.eager(), account());
        let free = || account.empty();
        assert!(eager.send(1, free()).is_ok());
        assert_eq!(eager.send(2, free()).unwrap_err().0, 2);
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        assert!(eager.send(2, account.charge(100).unwrap()).is_ok());
        assert_eq!(account.usage().used, 100);
        drop(eager);
        // However full it is, the last word has its place.
        let Closed = outlet.fail(Status::aborted("over"));
        drop(outlet);
        assert_eq!(stream.next().await.unwrap().unwrap(), 2);
        assert_eq!(account.usage().used, 0, "what is encoded is charged elsewhere");
        assert_eq!(stream.next().await.unwrap().unwrap_err().message(), "over");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_told_why_it_ended() {
        let (mut outlet, mut stream) = outlet(&CancellationToken::new());
        let mut sent = 0;
        while outlet.send(sent, account().empty()).await.is_ok() {
            sent += 1;
        }
        for number in 0..sent {
            assert_eq!(stream.next().await.unwrap().unwrap(), number);
        }
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().contains("read nothing for 60 s"), "{status}");
        assert!(status.message().contains("stall_seconds"), "{status}");
        drop(outlet);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn the_eager_send_nothing_behind_the_end() {
        let stopping = CancellationToken::new();
        let (outlet, stream) = outlet(&stopping);
        let eager = outlet.eager();
        drop(stream);
        assert_eq!(eager.send(1, account().empty()).unwrap_err().0, 1);

        let (outlet, _stream) = self::outlet(&stopping);
        stopping.cancel();
        assert_eq!(outlet.eager().send(1, account().empty()).unwrap_err().0, 1);
    }
}
