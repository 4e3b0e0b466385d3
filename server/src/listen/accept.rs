//! Taking connections in: no more than the limit, and without spinning when descriptors run out.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Connection, Listener};
use crate::core::Limits;

/// Accepts on all listeners until the token is cancelled; then the sockets are gone.
pub fn serve_listeners(
    listeners: Vec<Listener>,
    limits: &Limits,
    stopping: &CancellationToken,
) -> (JoinSet<()>, ReceiverStream<io::Result<Connection>>) {
    let slots = Arc::new(Semaphore::new(limits.max_connections as usize));
    let preface = Duration::from_secs(limits.preface_seconds);
    let (sender, receiver) = mpsc::channel(16);
    let mut tasks = JoinSet::new();
    for listener in listeners {
        let (slots, sender, stopping) = (slots.clone(), sender.clone(), stopping.clone());
        tasks.spawn(async move {
            let accepting = accept(&listener, &slots, preface, &sender);
            tokio::select! {
                () = accepting => {}
                () = stopping.cancelled() => {}
            }
        });
    }
    (tasks, ReceiverStream::new(receiver))
}

async fn accept(
    listener: &Listener,
    slots: &Arc<Semaphore>,
    preface: Duration,
    sender: &mpsc::Sender<io::Result<Connection>>,
) {
    // Without a descriptor a connection can be neither taken nor refused, and stays in the queue:
    // this one is given up so that it can be refused.
    let mut reserve = File::open("/dev/null").ok();
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let Ok(permit) = slots.clone().try_acquire_owned() else {
                    warn!(?peer, "connection refused: all are taken");
                    continue;
                };
                let connection = Connection::new(socket, peer, preface, permit);
                if sender.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
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
