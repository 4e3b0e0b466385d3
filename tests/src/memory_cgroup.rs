//! A memory cgroup of a test's own, of either version.

use std::fs;
use std::path::{Path, PathBuf};

/// A memory cgroup of a test's own; gone when it is dropped.
#[derive(Debug)]
pub struct MemoryCgroup {
    path: PathBuf,
    /// Where it says how many processes the kernel has killed.
    kills: &'static str,
}

impl MemoryCgroup {
    /// Makes one of so many bytes.
    pub fn new(name: &str, bytes: u64) -> Self {
        let name = format!("bpfgate-{}-{name}", std::process::id());
        let (base, limit, kills) = match mount("cgroup", Some("memory")) {
            Some(base) => (base, "memory.limit_in_bytes", "memory.oom_control"),
            None => (unified(), "memory.max", "memory.events"),
        };
        let path = base.join(name);
        fs::create_dir(&path).expect("a memory cgroup");
        let cgroup = Self { path, kills };
        fs::write(cgroup.path.join(limit), bytes.to_string()).expect("a limit");
        cgroup
    }

    /// A line of shell that goes into it.
    pub fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.path.display())
    }

    /// Processes in it that the kernel has killed for want of memory.
    pub fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.path.join(self.kills)).expect("its events");
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.expect("a count").trim().parse().expect("a number")
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.path);
        let path = self.path.display();
        assert!(removed.is_ok() || std::thread::panicking(), "{path}: {removed:?}");
    }
}

/// The root of the second version's hierarchy, which hands memory on to those below.
fn unified() -> PathBuf {
    let base = mount("cgroup2", None).expect("a memory cgroup of either version");
    let handed_on = fs::write(base.join("cgroup.subtree_control"), "+memory");
    handed_on.expect("the memory controller of cgroup v2");
    base
}

fn mount(kind: &str, option: Option<&str>) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
    mounts.lines().find_map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let [_, path, its_kind, options, ..] = words[..] else { return None };
        let has = option.is_none_or(|wanted| options.split(',').any(|option| option == wanted));
        (its_kind == kind && has).then(|| Path::new(path).to_owned())
    })
}
