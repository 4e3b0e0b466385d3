//! Attaching programs. Dropping an [`Attachment`] detaches.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use aya_obj::generated::bpf_attach_type as attach;

use super::host::{cgroup, ifindex, kernel_is_before};
use super::target::check_type;
use super::{Error, Rate, Target, XdpMode, uprobe};
use crate::elf::{Direction, ProgramKind};
use crate::sys::{self, LinkTarget, PerfEvent};

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

/// Attaches a loaded program.
pub fn attach(
    program: BorrowedFd<'_>,
    kind: &ProgramKind,
    target: &Target,
) -> Result<Attachment, Error> {
    check_type(kind, target)?;
    let failed = |source| refused(target, source);
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

/// The kernel's number, which says the same of many things, as what it means there.
fn refused(target: &Target, source: io::Error) -> Error {
    let occupied = |by: String| Error::Occupied { target: target.describe(), by };
    match (target, source.raw_os_error()) {
        (Target::Xdp { interface, .. }, Some(libc::EBUSY)) => occupied(format!(
            "{interface} has an XDP program already and takes one at a time; `bpfgate link list` \
             and `ip link show {interface}` tell whose: detach it first"
        )),
        (Target::Xdp { interface, .. }, Some(libc::EEXIST)) => occupied(format!(
            "{interface} has an XDP program in another mode (native, generic) already; \
             `bpfgate link list` and `ip link show {interface}` tell whose: detach it first"
        )),
        (Target::Xdp { interface, mode: XdpMode::Offload }, Some(libc::EOPNOTSUPP)) => {
            Error::Incapable(format!(
                "could not attach to xdp on {interface}: the card runs no programs (offload)"
            ))
        }
        (Target::Xdp { interface, mode: XdpMode::Native }, Some(libc::EOPNOTSUPP)) => {
            Error::Incapable(format!(
                "could not attach to xdp on {interface}: its driver has no native mode, take the \
                 generic one"
            ))
        }
        (Target::Tcx { .. }, Some(libc::EEXIST)) => {
            occupied("this program is attached there already; `bpfgate link list` shows it".into())
        }
        (Target::Tcx { .. }, Some(libc::EINVAL)) if kernel_is_before((6, 6)) => {
            Error::Incapable("this kernel has no tcx, which came with Linux 6.6".into())
        }
        (Target::Cgroup { path }, Some(libc::EPERM)) => occupied(format!(
            "a program above {path} leaves no room for others below, or the agent may not"
        )),
        _ => Error::Attach { target: target.describe(), source },
    }
}

fn with_id(link: OwnedFd, event: Option<OwnedFd>, target: &Target) -> Result<Attachment, Error> {
    let id = sys::link_id(link.as_fd())
        .map_err(|source| Error::Attach { target: target.describe(), source })?;
    Ok(Attachment { link, _event: event, kernel_id: Some(id) })
}

/// The kernel takes 0 for the caller, which is the agent, and -1 for all.
fn process(pid: u32) -> Result<i32, Error> {
    let rule = "give the id of a process, or leave it out for all";
    let bad = || Error::BadTarget { what: "pid", name: pid.to_string(), rule };
    i32::try_from(pid).ok().filter(|&pid| pid > 0).ok_or_else(bad)
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
            let pid = pid.map(process).transpose()?;
            let event = PerfEvent::Probe { pmu, config, target: &text, offset, pid };
            sys::perf_event_open(event).map_err(|source| match (source.raw_os_error(), pid) {
                (Some(libc::ESRCH), Some(pid)) => {
                    Error::NoTarget { what: "process", name: pid.to_string() }
                }
                _ => failed(source),
            })
        }
        Target::PerfEvent { kind, config, rate, cpu } => {
            if *cpu as usize >= sys::possible_cpus() {
                let rule = "give the number of a CPU of this host, from 0";
                return Err(Error::BadTarget { what: "CPU", name: cpu.to_string(), rule });
            }
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
