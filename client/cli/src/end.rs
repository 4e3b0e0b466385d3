//! What ends a watch well: ^C, SIGTERM, the time that was asked for, or a reader that has enough.

use std::future::pending;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::exit::{Exit, Failure};

/// What ends a watch well.
pub(crate) struct End {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
    /// `None` where standard output is a file, which nobody leaves.
    output: Option<pipe::Sender>,
}

/// Only to wait on, never to write to: standard output blocks, as others who hold it expect.
fn output() -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd_unchecked(io::stdout().as_fd().try_clone_to_owned()?)
}

impl End {
    pub(crate) fn new(duration: Option<Duration>) -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Other, format!("could not listen for signals: {error}"))
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            deadline: duration.map(|duration| Instant::now() + duration),
            output: output().ok(),
        })
    }

    pub(crate) async fn come(&mut self) {
        let Self { interrupt, terminate, deadline, output } = self;
        let time = async {
            match deadline {
                Some(at) => sleep_until(*at).await,
                None => pending().await,
            }
        };
        // A pipe tells its writer at once that nobody reads; writing would tell with the next
        // change, which may never come.
        let left = async {
            match output {
                Some(output) if output.ready(Interest::ERROR).await.is_ok() => {}
                _ => pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = time => {}
            () = left => {}
        }
    }
}
