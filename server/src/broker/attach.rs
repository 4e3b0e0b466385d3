//! Attaching programs. Dropping an [`Attachment`] detaches.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use aya_obj::generated::bpf_attach_type as attach;
use aya_obj::generated::bpf_prog_type as program;
use rustix::fs::{Mode, OFlags, open};

use super::{Error, uprobe};
use crate::elf::{Direction, ProgramKind};
use crate::sys::{self, LinkTarget, PerfEvent};

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

/// A program attached somewhere.
#[must_use = "dropping the attachment detaches the program"]
#[derive(Debug)]
pub struct Attachment {
    link: OwnedFd,
    /// The event below a perf link, which has to stay open with it.
    _event: Option<OwnedFd>,
    /// The kernel's id of the link; `None` for a packet socket, which is no link.
    pub kernel_id: Option<u32>,
}

impl Attachment {
    /// The descriptor that keeps it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
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

/// Attaches a loaded program.
pub fn attach(
    program: BorrowedFd<'_>,
    kind: &ProgramKind,
    target: &Target,
) -> Result<Attachment, Error> {
    check_type(kind, target)?;
    let failed = |source| Error::Attach { target: target.describe(), source };
    let link = |to, attach_type: u32, flags| {
        sys::link_create(program, to, attach_type, flags).map_err(failed)
    };
    let fd = match target {
        Target::Xdp { interface, mode } => {
            let flags = match mode {
                XdpMode::Any => 0,
                XdpMode::Generic => 1 << 1,
                XdpMode::Native => 1 << 2,
                XdpMode::Offload => 1 << 3,
            };
            link(LinkTarget::Interface(ifindex(interface)?), attach::BPF_XDP as u32, flags)?
        }
        Target::Tcx { interface, direction } => {
            let attach_type = match direction {
                Direction::Ingress => attach::BPF_TCX_INGRESS,
                Direction::Egress => attach::BPF_TCX_EGRESS,
            };
            link(LinkTarget::Interface(ifindex(interface)?), attach_type as u32, 0)?
        }
        Target::Socket { interface } => {
            let socket = sys::packet_socket(program, ifindex(interface)?).map_err(failed)?;
            return Ok(Attachment { link: socket, _event: None, kernel_id: None });
        }
        Target::RawTracepoint { name } => {
            let what = "raw tracepoint";
            let text = event_name(what, name)?;
            sys::raw_tracepoint_open(program, Some(&text)).map_err(|source| {
                match source.raw_os_error() {
                    Some(libc::ENOENT) => Error::NoTarget { what, name: name.clone() },
                    _ => failed(source),
                }
            })?
        }
        Target::Cgroup { path } => {
            let cgroup = cgroup(path)?;
            link(LinkTarget::Fd(cgroup.as_fd()), kind.expected_attach_type, 0)?
        }
        Target::Tracing => {
            // tp_btf, fentry and lsm links are all made this way; the program knows its target.
            sys::raw_tracepoint_open(program, None).map_err(failed)?
        }
        Target::Tracepoint { .. }
        | Target::Kprobe { .. }
        | Target::Uprobe { .. }
        | Target::PerfEvent { .. } => {
            let event = perf_event(target)?;
            let fd = link(LinkTarget::Fd(event.as_fd()), attach::BPF_PERF_EVENT as u32, 0)?;
            return with_id(fd, Some(event), target);
        }
    };
    with_id(fd, None, target)
}

fn with_id(link: OwnedFd, event: Option<OwnedFd>, target: &Target) -> Result<Attachment, Error> {
    let id = sys::link_id(link.as_fd())
        .map_err(|source| Error::Attach { target: target.describe(), source })?;
    Ok(Attachment { link, _event: event, kernel_id: Some(id) })
}

/// The kernel's own answer to a wrong pair is EINVAL without a word.
fn check_type(kind: &ProgramKind, target: &Target) -> Result<(), Error> {
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
        program_type: super::load::program_type_name(kind.prog_type),
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

fn ifindex(name: &str) -> Result<u32, Error> {
    const IFNAMSIZ: usize = 16;
    let valid = !name.is_empty() && name.len() < IFNAMSIZ && !name.contains(['/', '\0', ' ']);
    if !valid {
        let rule = "give an interface's name, 1 to 15 bytes, as `ip link` shows it";
        return Err(Error::BadTarget { what: "interface", name: name.to_owned(), rule });
    }
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None);
    let index = socket.and_then(|s| rustix::net::netdevice::name_to_index(s, name));
    index.map_err(|_| Error::NoTarget { what: "interface", name: name.to_owned() })
}

fn cgroup(path: &str) -> Result<OwnedFd, Error> {
    let what = "cgroup";
    if !Path::new(path).is_absolute() || path.contains('\0') {
        let rule = "give the absolute path of a directory in a cgroup2 mount";
        return Err(Error::BadTarget { what, name: path.to_owned(), rule });
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|_| Error::NoTarget { what, name: path.to_owned() })
}

fn perf_event(target: &Target) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Attach { target: target.describe(), source };
    match target {
        Target::Tracepoint { category, name } => {
            let id = tracepoint_id(category, name)?;
            sys::perf_event_open(PerfEvent::Tracepoint(id)).map_err(failed)
        }
        Target::Kprobe { symbol, offset, on_return } => {
            let text = event_name("kernel symbol", symbol)?;
            let (pmu, config) = probe_pmu("kprobe", *on_return)?;
            let event = PerfEvent::Probe { pmu, config, target: &text, offset: *offset, pid: None };
            sys::perf_event_open(event).map_err(failed)
        }
        Target::Uprobe { path, symbol, offset, on_return, pid } => {
            let offset = uprobe::file_offset(path, symbol, *offset)?;
            let text = CString::new(path.as_str()).map_err(|error| failed(error.into()))?;
            let (pmu, config) = probe_pmu("uprobe", *on_return)?;
            let pid = pid.map(u32::cast_signed);
            let event = PerfEvent::Probe { pmu, config, target: &text, offset, pid };
            sys::perf_event_open(event).map_err(failed)
        }
        Target::PerfEvent { kind, config, rate, cpu } => {
            let (rate, frequency) = match *rate {
                Rate::Period(period) => (period, false),
                Rate::Frequency(hertz) => (hertz, true),
            };
            let cpu = cpu.cast_signed();
            let event = PerfEvent::Sampled { kind: *kind, config: *config, rate, frequency, cpu };
            sys::perf_event_open(event).map_err(failed)
        }
        Target::Xdp { .. }
        | Target::Tcx { .. }
        | Target::Socket { .. }
        | Target::RawTracepoint { .. }
        | Target::Cgroup { .. }
        | Target::Tracing => Err(failed(io::ErrorKind::Unsupported.into())),
    }
}

fn event_name(what: &'static str, name: &str) -> Result<CString, Error> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    let bad = name.is_empty() || name.len() > 255 || !name.chars().all(valid) || name == "..";
    match CString::new(name) {
        Ok(text) if !bad => Ok(text),
        _ => {
            let rule = "use letters, digits, '_', '-' and '.'";
            Err(Error::BadTarget { what, name: name.chars().take(80).collect(), rule })
        }
    }
}

fn tracepoint_id(category: &str, name: &str) -> Result<u64, Error> {
    const MOUNTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let what = "tracepoint";
    event_name(what, category)?;
    event_name(what, name)?;
    let Some(events) =
        MOUNTS.iter().map(|mount| Path::new(mount).join("events")).find(|p| p.is_dir())
    else {
        let advice = "tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing";
        return Err(Error::Host(advice.into()));
    };
    let id = fs::read_to_string(events.join(category).join(name).join("id"))
        .map_err(|_| Error::NoTarget { what, name: format!("{category}:{name}") })?;
    id.trim().parse().map_err(|_| Error::Host(format!("{what} {category}:{name} has no id")))
}

/// The PMU's number, and `config` with its return bit.
fn probe_pmu(pmu: &'static str, on_return: bool) -> Result<(u32, u64), Error> {
    let base = Path::new("/sys/bus/event_source/devices").join(pmu);
    let read = |file: &str| fs::read_to_string(base.join(file)).ok();
    let lacks = || Error::Host(format!("this kernel has no {pmu}s"));
    let number = read("type").and_then(|text| text.trim().parse().ok()).ok_or_else(lacks)?;
    if !on_return {
        return Ok((number, 0));
    }
    // "config:0"
    let bit: u32 = read("format/retprobe")
        .and_then(|text| text.trim().strip_prefix("config:")?.parse().ok())
        .ok_or_else(lacks)?;
    Ok((number, 1 << bit))
}
