//! What ends a watch well: ^C, SIGTERM, the time that was asked for, or a reader that has enough.

use std::future::pending;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::exit::{Exit, Failure};

/// How long a watch that was told to end may take for it: it may be stuck in a write to somebody
/// who does not read.
const GRACE: Duration = Duration::from_secs(1);

/// What ends a watch well.
pub(crate) struct End {
    told: Arc<Notify>,
    deadline: Option<Instant>,
    /// `None` where standard output is a file, which nobody leaves.
    output: Option<pipe::Sender>,
}

/// Only to wait on, never to write to: standard output blocks, as others who hold it expect.
fn output() -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd_unchecked(io::stdout().as_fd().try_clone_to_owned()?)
}

/// Told when the first signal comes.
fn signals() -> io::Result<Arc<Notify>> {
    let told = Arc::new(Notify::new());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let teller = Arc::clone(&told);
    // A thread of its own, as the command's may be stuck.
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            teller.notify_one();
            sleep(GRACE).await;
        });
        std::process::exit(Exit::Success as i32);
    })?;
    Ok(told)
}

impl End {
    pub(crate) fn new(duration: Option<Duration>) -> Result<Self, Failure> {
        let told = signals().map_err(|error| {
            Failure::new(Exit::Other, format!("could not listen for signals: {error}"))
        })?;
        let deadline = duration.map(|duration| Instant::now() + duration);
        Ok(Self { told, deadline, output: output().ok() })
    }

    pub(crate) async fn come(&mut self) {
        let Self { told, deadline, output } = self;
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
            () = told.notified() => {}
            () = time => {}
            () = left => {}
        }
    }
}
