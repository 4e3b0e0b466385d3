//! Taking connections in: no more than there are seats for, each caller's own and all together, and
//! without spinning when descriptors run out.

use std::fs::File;
use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::connection::Socket;
use super::{Connection, Listener};
use crate::core::Limits;
use crate::ledger::{Ledger, SeatKind};
use crate::policy::Peer;

/// What a connection takes that nobody uses: HTTP/2's buffers, the socket's own, a task.
const CONNECTION_BYTES: u64 = 64 << 10;

/// Accepts on all listeners until the token is cancelled; then the sockets are gone. Each
/// connection is served by a task of its own.
pub fn serve_listeners<S, F>(
    listeners: Vec<Listener>,
    limits: &Limits,
    ledger: &Ledger,
    stopping: &CancellationToken,
    serve: S,
) -> (JoinSet<()>, TaskTracker)
where
    S: Fn(Connection) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let preface = Duration::from_secs(limits.preface_seconds);
    let served = TaskTracker::new();
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let (ledger, served) = (ledger.clone(), served.clone());
        let (stopping, serve) = (stopping.clone(), serve.clone());
        tasks.spawn(async move {
            let take = |socket, peer| match admit(&ledger, socket, peer, preface) {
                Ok(connection) => drop(served.spawn(serve(connection))),
                Err(refused) => debug!(%refused, "connection refused"),
            };
            tokio::select! {
                () = accept(&listener, take) => {}
                () = stopping.cancelled() => {}
            }
        });
    }
    (tasks, served)
}

/// Gives a connection its caller's seat and an account, or drops it.
fn admit(
    ledger: &Ledger,
    socket: Socket,
    peer: Peer,
    preface: Duration,
) -> Result<Connection, Box<dyn std::error::Error>> {
    let caller = peer.key();
    let account = ledger.caller(caller).connection();
    let seat = account.sit(SeatKind::Connection).inspect_err(|refused| {
        warn!(%caller, %refused, "connection refused: all are taken");
    })?;
    let charge = account.charge(CONNECTION_BYTES)?;
    Ok(Connection::new(socket, peer, account, preface, (seat, charge)))
}

async fn accept(listener: &Listener, take: impl Fn(Socket, Peer)) {
    // Without a descriptor a connection can be neither taken nor refused, and stays in the queue:
    // this one is given up so that it can be refused.
    let mut reserve = File::open("/dev/null").ok();
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => take(socket, peer),
            Err(error) if is_out_of_descriptors(&error) => {
                warn!(%error, "connection refused");
                drop(reserve.take());
                // The next in the queue, whom nobody serves; dropped at once.
                let refused = tokio::time::timeout(Duration::from_millis(10), listener.accept());
                drop(refused.await);
                reserve = File::open("/dev/null").ok();
                sleep(Duration::from_millis(100)).await;
            }
            // The client's own doing, such as going away before it was taken.
            Err(error) => {
                warn!(%error, "a connection failed before it was taken");
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM))
}
