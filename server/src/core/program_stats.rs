//! What the kernel counts of programs, and for how long it does.
//!
//! Its statistics cost every program of the host some time with every run. So they are on while
//! somebody wants them: [`StatsLease`] is renewed with every request that asks, and ends by itself
//! when nobody has asked for a while.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bpfgate_proto::name::ObjectName;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::{Error, Program, Registry};
use crate::broker;
use crate::sys::{self, ProgramStats};

/// Keeps the kernel's statistics on as long as somebody asks for them.
#[derive(Debug)]
pub struct StatsLease {
    time: Duration,
    held: Arc<Mutex<Option<Held>>>,
}

#[derive(Debug)]
struct Held {
    /// Open: on.
    _on: OwnedFd,
    until: Instant,
}

impl StatsLease {
    /// Off, and then on for `time` behind every [`StatsLease::renew`].
    pub fn new(time: Duration) -> Self {
        Self { time, held: Arc::default() }
    }

    /// Turns them on, or keeps them on. Blocking; in a runtime.
    pub fn renew(&self) -> Result<(), Error> {
        let until = Instant::now() + self.time;
        let mut held = lock(&self.held);
        if let Some(held) = &mut *held {
            held.until = until;
            return Ok(());
        }
        *held = Some(Held { _on: broker::enable_stats()?, until });
        drop(held);
        info!("program statistics on");
        tokio::spawn(end(self.held.clone()));
        Ok(())
    }

    /// Until they are turned off; `None` if they are not on through this.
    pub fn left(&self) -> Option<Duration> {
        let held = lock(&self.held);
        held.as_ref().map(|held| held.until.saturating_duration_since(Instant::now()))
    }
}

/// Waits until the lease is over.
async fn end(held: Arc<Mutex<Option<Held>>>) {
    loop {
        let until = lock(&held).as_ref().map(|held| held.until);
        let Some(until) = until else { return };
        sleep_until(until).await;
        let over = lock(&held).take_if(|held| held.until <= Instant::now());
        if over.is_some() {
            info!("program statistics off");
        }
    }
}

// A panic elsewhere leaves it as it was.
fn lock(held: &Mutex<Option<Held>>) -> MutexGuard<'_, Option<Held>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the administrator has them on for good.
pub fn stats_sysctl() -> bool {
    let value = std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled");
    value.is_ok_and(|value| value.trim() == "1")
}

impl Registry {
    /// What the kernel counted of an object's programs, or of all. Blocking.
    pub fn program_stats(
        &self,
        object: Option<&ObjectName>,
    ) -> Result<Vec<(Arc<Program>, ProgramStats)>, Error> {
        let objects = match object {
            Some(name) => vec![self.object(name)?],
            None => self.objects(&super::Labels::default()),
        };
        let programs = objects.iter().flat_map(|object| &object.programs);
        let read = |program: &Arc<Program>| {
            let stats = sys::program_stats(program.loaded.fd.as_fd());
            let name = || program.name.clone();
            let stats = stats.map_err(|source| Error::ProgramStats { name: name(), source })?;
            Ok((program.clone(), stats))
        };
        programs.map(read).collect()
    }
}
