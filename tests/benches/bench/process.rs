//! A process of ours: started, measured through procfs, and gone at the end.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// A process of ours. Dropping it ends it.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        let attempt = || format!("could not start {}", command.get_program().display());
        Ok(Self { child: child.with_context(attempt)? })
    }

    /// Bytes in memory now.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.status("VmRSS:")
    }

    /// Of these, bytes that are its own: no files, nothing that it shares with others.
    pub(crate) fn anonymous(&self) -> Result<u64> {
        self.status("RssAnon:")
    }

    /// Most bytes in memory since [`Self::reset_peak`].
    pub(crate) fn peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    pub(crate) fn reset_peak(&self) -> Result<()> {
        let path = self.proc("clear_refs");
        fs::write(&path, "5").with_context(|| format!("could not write {path}"))
    }

    /// CPU time of all threads that there are.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(self.proc("task"))? {
            let path = thread?.path().join("schedstat");
            let text = fs::read_to_string(&path)
                .with_context(|| format!("could not read {}", path.display()))?;
            nanoseconds += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn status(&self, field: &str) -> Result<u64> {
        let path = self.proc("status");
        let text = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        let kib: u64 = kib.with_context(|| format!("{path} has no {field}"))?.parse()?;
        Ok(kib * 1024)
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
