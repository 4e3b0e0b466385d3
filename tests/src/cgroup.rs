//! A cgroup of a test's own.

use std::fs;
use std::path::PathBuf;

use crate::{Netns, binaries, cgroup2, run};

/// A cgroup of a test's own; gone when it is dropped.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one. Needs cgroup v2.
    pub fn new(name: &str) -> Self {
        let base = cgroup2().expect("cgroup v2");
        let path = PathBuf::from(base).join(format!("bpfgate-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a cgroup");
        Self(path)
    }

    /// Its directory.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }

    /// A process inside, in a network namespace, sends that many datagrams to itself.
    pub fn datagrams(&self, netns: &Netns, count: u64) {
        let script = format!(
            "echo $$ > {}/cgroup.procs && exec {} udp --to 127.0.0.1 --count {count}",
            self.path(),
            binaries::traffic().display()
        );
        drop(run(netns.command("sh").args(["-c", &script])).ok());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{}: {removed:?}", self.path());
    }
}
