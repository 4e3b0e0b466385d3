//! What not every kernel has. Asked of the kernel, so that a test runs wherever it can.

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::kernel;
use crate::output::run;

/// Something that not every kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Probes on kernel functions.
    Kprobe,
    /// Probes on functions of programs.
    Uprobe,
    /// fentry, fexit and the like.
    Tracing,
    /// Programs on security hooks.
    Lsm,
    /// Programs on the traffic of an interface, by link.
    Tcx,
    /// The unified hierarchy, mounted somewhere.
    CgroupV2,
    /// Entries that belong to files.
    InodeStorage,
    /// Entries that belong to processes.
    TaskStorage,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kprobe => "kprobes",
            Self::Uprobe => "uprobes",
            Self::Tracing => "fentry",
            Self::Lsm => "LSM programs",
            Self::Tcx => "tcx",
            Self::CgroupV2 => "cgroup v2",
            Self::InodeStorage => "inode storage",
            Self::TaskStorage => "task storage",
        })
    }
}

impl Feature {
    /// Why this kernel does not have it.
    pub fn check(self) -> Result<(), String> {
        match self {
            Self::Kprobe => event_source("kprobe", "CONFIG_KPROBE_EVENTS"),
            Self::Uprobe => event_source("uprobe", "CONFIG_UPROBE_EVENTS"),
            Self::Tracing => loads(PROG_TYPE_TRACING, TRACE_FENTRY),
            Self::Lsm => loads(PROG_TYPE_LSM, LSM_MAC),
            Self::Tcx => since(6, 6),
            Self::InodeStorage => storage("bpf_fd_inode_storage_lookup_elem"),
            Self::TaskStorage => storage("bpf_pid_task_storage_lookup_elem"),
            Self::CgroupV2 => {
                let mounted = cgroup2();
                mounted.map(|_| ()).ok_or_else(|| "no cgroup2 is mounted".to_owned())
            }
        }
    }
}

/// Where cgroup v2 is mounted.
pub fn cgroup2() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (path, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then(|| path.to_owned())
    })
}

/// Such a map's functions are in a kernel that has it.
fn storage(symbol: &str) -> Result<(), String> {
    let symbols = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    if symbols.lines().any(|line| line.ends_with(symbol)) {
        return Ok(());
    }
    Err(format!("this kernel has no {symbol} (CONFIG_BPF_LSM)"))
}

fn event_source(name: &str, option: &str) -> Result<(), String> {
    if Path::new("/sys/bus/event_source/devices").join(name).exists() {
        return Ok(());
    }
    Err(format!("this kernel has no {name} event source ({option})"))
}

const PROG_TYPE_TRACING: u32 = 26;
const PROG_TYPE_LSM: u32 = 29;
const TRACE_FENTRY: u32 = 24;
const LSM_MAC: u32 = 27;

fn loads(prog_type: u32, attach_type: u32) -> Result<(), String> {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err("this kernel has no type information (CONFIG_DEBUG_INFO_BTF)".to_owned());
    }
    match kernel::refuses_program(prog_type, attach_type) {
        Some(error) => Err(format!("this kernel refuses such programs ({error}; locked down?)")),
        None => Ok(()),
    }
}

fn since(major: u32, minor: u32) -> Result<(), String> {
    let release = run(Command::new("uname").arg("-r")).ok().stdout;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    let here: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if here >= (major, minor) {
        return Ok(());
    }
    Err(format!("this is Linux {}, and it came with {major}.{minor}", release.trim()))
}
