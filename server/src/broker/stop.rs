//! Giving up an act that is under way in the kernel.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Error;
use crate::sys::{self, ThreadId};

/// Tells the one thread that is at an act that nobody waits for it any more.
#[derive(Debug, Default)]
pub struct Stop {
    told: AtomicBool,
    thread: Mutex<Option<ThreadId>>,
}

impl Stop {
    /// Does it on this thread, which can be told from now on.
    pub fn during<T>(&self, act: impl FnOnce() -> T) -> T {
        /// Nobody is told whose thread may be gone.
        struct Leave<'a>(&'a Stop);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                *self.0.thread() = None;
            }
        }
        *self.thread() = Some(sys::this_thread());
        let _leave = Leave(self);
        act()
    }

    /// Tells it, and calls it out of a system call. It may have been about to enter one, so this
    /// has to be done again until it is back.
    pub fn tell(&self) {
        self.told.store(true, Ordering::SeqCst);
        let thread = self.thread();
        if let Some(thread) = *thread
            && let Err(error) = sys::interrupt(thread)
        {
            tracing::debug!(%error, "a thread cannot be called");
        }
    }

    /// Whether it was told.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }

    /// Fails once it was told.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_told() { Err(Error::GivenUp) } else { Ok(()) }
    }

    fn thread(&self) -> MutexGuard<'_, Option<ThreadId>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
