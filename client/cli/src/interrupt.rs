//! ^C for commands that are long at work: the first one asks them to end, the second ends them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::exit::Exit;

/// Whether ^C was pressed. From its making on, ^C alone ends nothing.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    asked: Arc<AtomicBool>,
    wake: Arc<Notify>,
}

impl Interrupt {
    pub(crate) fn new() -> io::Result<Self> {
        let this = Self { asked: Arc::default(), wake: Arc::default() };
        let Self { asked, wake } = this.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let mut signals = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt())?
        };
        // A thread of its own: the command's may be stuck in a write that nobody reads.
        std::thread::Builder::new().name("interrupt".into()).spawn(move || {
            runtime.block_on(async {
                while signals.recv().await.is_some() {
                    if asked.swap(true, Ordering::Relaxed) {
                        std::process::exit(Exit::Interrupted as i32);
                    }
                    wake.notify_one();
                }
            });
        })?;
        Ok(this)
    }

    /// Whether it has been pressed.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Until it is pressed. One caller may wait.
    pub(crate) async fn pressed(&self) {
        while !self.asked() {
            self.wake.notified().await;
        }
    }
}
