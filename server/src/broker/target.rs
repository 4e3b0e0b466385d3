//! Where programs can be attached, and which type goes where.

use aya_obj::generated::bpf_prog_type as program;

use super::{Error, program_type_name};
use crate::elf::{Direction, ProgramKind};

/// Where to attach a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An interface's receive path, before the stack.
    Xdp {
        /// Its name.
        interface: String,
        /// Who runs it.
        mode: XdpMode,
    },
    /// An interface's traffic control chain.
    Tcx {
        /// Its name.
        interface: String,
        /// Which of the two.
        direction: Direction,
    },
    /// A packet socket on an interface.
    Socket {
        /// Its name.
        interface: String,
    },
    /// A kernel tracepoint.
    Tracepoint {
        /// Its directory in tracefs.
        category: String,
        /// Its name there.
        name: String,
    },
    /// A kernel tracepoint with raw arguments.
    RawTracepoint {
        /// Its name.
        name: String,
    },
    /// A cgroup and those below it.
    Cgroup {
        /// Its directory.
        path: String,
    },
    /// A kernel function.
    Kprobe {
        /// Its name.
        symbol: String,
        /// From its start, in bytes.
        offset: u64,
        /// On return.
        on_return: bool,
    },
    /// A function of a program or library.
    Uprobe {
        /// The ELF file.
        path: String,
        /// Empty: `offset` counts from the file's start.
        symbol: String,
        /// In bytes.
        offset: u64,
        /// On return.
        on_return: bool,
        /// Only this process.
        pid: Option<u32>,
    },
    /// The function that the program's section names.
    Tracing,
    /// A sampled event on one CPU.
    PerfEvent {
        /// `enum perf_type_id`.
        kind: u32,
        /// Which one.
        config: u64,
        /// How often.
        rate: Rate,
        /// Which CPU.
        cpu: u32,
    },
}

/// Who runs an XDP program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// The driver if it can, otherwise the stack.
    Any,
    /// The driver.
    Native,
    /// The stack.
    Generic,
    /// The device.
    Offload,
}

/// How often an event is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Events from sample to sample.
    Period(u64),
    /// Samples a second.
    Frequency(u64),
}

impl Target {
    /// For messages: "xdp on eth0".
    pub fn describe(&self) -> String {
        match self {
            Self::Xdp { interface, .. } => format!("xdp on {interface}"),
            Self::Tcx { interface, direction: Direction::Ingress } => {
                format!("tcx ingress on {interface}")
            }
            Self::Tcx { interface, direction: Direction::Egress } => {
                format!("tcx egress on {interface}")
            }
            Self::Socket { interface } => format!("a socket on {interface}"),
            Self::Tracepoint { category, name } => format!("tracepoint {category}:{name}"),
            Self::RawTracepoint { name } => format!("raw tracepoint {name}"),
            Self::Cgroup { path } => format!("cgroup {path}"),
            Self::Kprobe { symbol, offset, .. } => format!("kprobe {symbol}+{offset}"),
            Self::Uprobe { path, symbol, offset, .. } => format!("uprobe {path}:{symbol}+{offset}"),
            Self::Tracing => "the function of its section".into(),
            Self::PerfEvent { kind, config, .. } => format!("perf event {kind}:{config}"),
        }
    }

    /// The kind alone: "xdp".
    fn kind(&self) -> &'static str {
        match self {
            Self::Xdp { .. } => "xdp",
            Self::Tcx { .. } => "tcx",
            Self::Socket { .. } => "a socket",
            Self::Tracepoint { .. } => "a tracepoint",
            Self::RawTracepoint { .. } => "a raw tracepoint",
            Self::Cgroup { .. } => "a cgroup",
            Self::Kprobe { .. } => "a kprobe",
            Self::Uprobe { .. } => "a uprobe",
            Self::Tracing => "the function of its section",
            Self::PerfEvent { .. } => "a perf event",
        }
    }
}

/// The kernel's own answer to a wrong pair is EINVAL without a word.
pub(super) fn check_type(kind: &ProgramKind, target: &Target) -> Result<(), Error> {
    use program as p;
    let fits: &[program] = match target {
        Target::Xdp { .. } => &[p::BPF_PROG_TYPE_XDP],
        Target::Tcx { .. } => &[p::BPF_PROG_TYPE_SCHED_CLS],
        Target::Socket { .. } => &[p::BPF_PROG_TYPE_SOCKET_FILTER],
        Target::Tracepoint { .. } => &[p::BPF_PROG_TYPE_TRACEPOINT],
        Target::RawTracepoint { .. } => {
            &[p::BPF_PROG_TYPE_RAW_TRACEPOINT, p::BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE]
        }
        Target::Cgroup { .. } => &[
            p::BPF_PROG_TYPE_CGROUP_SKB,
            p::BPF_PROG_TYPE_CGROUP_SOCK,
            p::BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
            p::BPF_PROG_TYPE_CGROUP_DEVICE,
            p::BPF_PROG_TYPE_CGROUP_SYSCTL,
            p::BPF_PROG_TYPE_CGROUP_SOCKOPT,
            p::BPF_PROG_TYPE_SOCK_OPS,
        ],
        Target::Kprobe { .. } | Target::Uprobe { .. } => &[p::BPF_PROG_TYPE_KPROBE],
        Target::Tracing => &[p::BPF_PROG_TYPE_TRACING, p::BPF_PROG_TYPE_LSM],
        Target::PerfEvent { .. } => &[p::BPF_PROG_TYPE_PERF_EVENT],
    };
    if fits.iter().any(|&fit| fit as u32 == kind.prog_type) {
        return Ok(());
    }
    Err(Error::WrongTarget {
        program_type: program_type_name(kind.prog_type),
        target: target.kind(),
        goes_to: goes_to(kind.prog_type),
    })
}

fn goes_to(prog_type: u32) -> &'static str {
    use program as p;
    const KINDS: [(program, &str); 15] = [
        (p::BPF_PROG_TYPE_XDP, "xdp on an interface"),
        (p::BPF_PROG_TYPE_SCHED_CLS, "tcx on an interface"),
        (p::BPF_PROG_TYPE_SOCKET_FILTER, "a socket on an interface"),
        (p::BPF_PROG_TYPE_TRACEPOINT, "a tracepoint"),
        (p::BPF_PROG_TYPE_RAW_TRACEPOINT, "a raw tracepoint"),
        (p::BPF_PROG_TYPE_CGROUP_SKB, "a cgroup"),
        (p::BPF_PROG_TYPE_CGROUP_SOCK, "a cgroup"),
        (p::BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "a cgroup"),
        (p::BPF_PROG_TYPE_CGROUP_DEVICE, "a cgroup"),
        (p::BPF_PROG_TYPE_CGROUP_SYSCTL, "a cgroup"),
        (p::BPF_PROG_TYPE_CGROUP_SOCKOPT, "a cgroup"),
        (p::BPF_PROG_TYPE_SOCK_OPS, "a cgroup"),
        (p::BPF_PROG_TYPE_KPROBE, "a kprobe or uprobe"),
        (p::BPF_PROG_TYPE_TRACING, "the function of its section"),
        (p::BPF_PROG_TYPE_PERF_EVENT, "a perf event"),
    ];
    let found = KINDS.iter().find(|(kind, _)| *kind as u32 == prog_type);
    found.map_or("nothing that this agent knows", |(_, place)| place)
}
