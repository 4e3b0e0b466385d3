//! HTTP/2 on one connection, with every bound that h2 has, and a task for each call.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::call::Call;
use super::gate::{Entrance, Gate, STREAM_WINDOW};
use crate::ledger::Account;
use crate::policy::Peer;

/// Large enough that a whole-map restore is never held up by a window's round trip.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// What h2 may hold of a stream's answer before the next piece is taken.
const SEND_BUFFER: usize = 64 << 10;
/// How long a peer that was asked for a sign of life gets.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How connections are served. A clone is the same.
#[derive(Clone)]
pub struct Http2 {
    gate: Arc<Gate>,
    stopping: CancellationToken,
}

impl Http2 {
    /// Serves connections through the gate, until the token is cancelled.
    pub fn new(gate: Gate, stopping: CancellationToken) -> Self {
        Self { gate: Arc::new(gate), stopping }
    }

    fn builder(&self, tasks: Tasks) -> http2::Builder<Tasks> {
        let limits = self.gate.limits();
        let mut builder = http2::Builder::new(tasks);
        builder
            .timer(TokioTimer::new())
            // A client cannot make the agent hold streams that it has reset.
            .max_pending_accept_reset_streams(256)
            .max_local_error_reset_streams(1024)
            // One connection cannot take every stream there is.
            .max_concurrent_streams(limits.max_streams.min(1024))
            .max_header_list_size(16 << 10)
            // A peer that is gone without a word is found.
            .keep_alive_interval(Duration::from_secs(limits.keepalive_seconds))
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER);
        builder
    }
}

/// Serves one connection to its end.
pub async fn serve<I>(http2: Http2, io: I, peer: Peer, account: Account)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let entrance = Entrance::new(http2.gate.clone(), peer.clone(), account);
    let tasks = Tasks { entrance: entrance.clone() };
    let serving = http2.builder(tasks).serve_connection(TokioIo::new(io), entrance);
    let mut serving = pin!(serving);
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = http2.stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        debug!(?peer, %error, "a connection broke");
    }
}

/// Starts the task of each call.
#[derive(Clone)]
struct Tasks {
    entrance: Entrance,
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        // hyper starts the task of a request right behind calling the service with it.
        match self.entrance.take_last() {
            Some(call) => drop(tokio::spawn(Timed { future, call, sleep: None })),
            None => drop(tokio::spawn(future)),
        }
    }
}

pin_project! {
    /// A call's task. When the answer was not taken in time it ends; h2 then resets the stream and
    /// drops what it holds of it.
    struct Timed<F> {
        #[pin]
        future: F,
        call: Arc<Call>,
        sleep: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for Timed<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.future.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(due) = this.call.due() else { return Poll::Pending };
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        ready!(sleep.as_mut().poll(cx));
        debug!(path = this.call.row().path, "an answer was not taken in time");
        Poll::Ready(())
    }
}
