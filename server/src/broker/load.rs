//! Loading an object: its BTF, its maps, its programs. All or nothing, because everything made
//! here is owned by the value that comes back or dropped with the error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::thread::sleep;
use std::time::Duration;

use super::create::{MapRequest, create_map};
use super::{Error, Stop};
use crate::elf::{self, MapPlan, ObjectPlan, ProgramKind, ProgramPlan};
use crate::sys::{self, ObjName, ProgramAttr, UpdateFlags};

/// What the kernel made of an object.
#[derive(Debug)]
pub struct Loaded {
    /// In the plan's order; `None` for a map that was shared.
    pub maps: Vec<Option<sys::Map>>,
    /// In the plan's order, without those that are not to be loaded.
    pub programs: Vec<LoadedProgram>,
}

/// A program in the kernel. Its descriptor is authority to attach and never leaves the agent.
#[derive(Debug)]
pub struct LoadedProgram {
    /// The C function's name.
    pub name: String,
    /// As the file has it.
    pub section: String,
    /// Its type and where it goes.
    pub kind: ProgramKind,
    /// Keeps it loaded.
    pub fd: OwnedFd,
    /// What the kernel says of it.
    pub info: sys::ProgramInfo,
}

/// Carries out a validated plan, until it is told to stop. `shared` has the maps, by position, that
/// are not to be made; `whole_log` wants all that the verifier says of a program that it rejects.
pub fn load(
    plan: &ObjectPlan,
    shared: &BTreeMap<usize, BorrowedFd<'_>>,
    whole_log: bool,
    stop: &Stop,
) -> Result<Loaded, Error> {
    stop.check()?;
    let btf = match &plan.btf {
        Some(blob) => Some(sys::btf_load(blob).map_err(Error::LoadBtf)?),
        None => None,
    };
    let btf = btf.as_ref().map(OwnedFd::as_fd);

    let mut maps = Vec::with_capacity(plan.maps.len());
    for (at, map) in plan.maps.iter().enumerate() {
        stop.check()?;
        maps.push(if shared.contains_key(&at) { None } else { Some(make_map(map, btf)?) });
    }
    let fds: Vec<RawFd> = maps
        .iter()
        .enumerate()
        .map(|(at, made)| {
            made.as_ref().map_or_else(|| shared[&at].as_raw_fd(), |m| m.as_fd().as_raw_fd())
        })
        .collect();

    let license = CString::new(plan.license.as_str())
        .map_err(|error| Error::LoadProgram { program: "license".into(), source: error.into() })?;
    let programs = plan
        .programs
        .iter()
        .filter(|program| program.autoload)
        .map(|program| load_program(program, &license, btf, &fds, (whole_log, stop)))
        .collect::<Result<_, _>>()?;
    Ok(Loaded { maps, programs })
}

/// A map as a plan has it.
pub fn map_request(plan: &MapPlan) -> MapRequest {
    MapRequest {
        name: plan.name.clone(),
        map_type: plan.map_type,
        key_size: plan.key_size,
        value_size: plan.value_size,
        max_entries: plan.max_entries,
        flags: plan.flags,
        numa_node: None,
        map_extra: plan.map_extra,
        inner: plan.inner.as_deref().map(|inner| Box::new(map_request(inner))),
        btf_types: plan.kernel_btf_ids(),
    }
}

fn make_map(plan: &MapPlan, btf: Option<BorrowedFd<'_>>) -> Result<sys::Map, Error> {
    let map = create_map(&map_request(plan), btf)?;
    let failed = |source| Error::FillMap { name: plan.name.clone(), source };
    if let Some(initial) = &plan.initial {
        if initial.len() != map.value_len() || map.key_len() != 4 {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        }
        map.update(&0u32.to_ne_bytes(), initial, UpdateFlags::ANY).map_err(failed)?;
    }
    if plan.read_only {
        map.freeze().map_err(failed)?;
    }
    Ok(map)
}

fn load_program(
    plan: &ProgramPlan,
    license: &CString,
    btf: Option<BorrowedFd<'_>>,
    maps: &[RawFd],
    (whole_log, stop): (bool, &Stop),
) -> Result<LoadedProgram, Error> {
    const BPF_F_SLEEPABLE: u32 = 1 << 4;
    const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
    let mut insns = plan.insns.clone();
    elf::bind_maps(&mut insns, maps);
    let flag = |set, flag| if set { flag } else { 0 };
    let attr = ProgramAttr {
        prog_type: plan.kind.prog_type,
        expected_attach_type: plan.kind.expected_attach_type,
        flags: flag(plan.kind.sleepable, BPF_F_SLEEPABLE)
            | flag(plan.kind.xdp_frags, BPF_F_XDP_HAS_FRAGS),
        name: ObjName::new(&plan.name),
        insns: &insns,
        license,
        btf,
        func_info: &plan.func_info,
        func_info_rec_size: plan.func_info_rec_size,
        line_info: &plan.line_info,
        line_info_rec_size: plan.line_info_rec_size,
        attach_btf_id: plan.attach_btf_id,
    };
    let failed = |source| Error::LoadProgram { program: plan.name.clone(), source };
    let fd = match patiently(stop, || sys::prog_load(&attr, None))? {
        Ok(fd) => fd,
        Err(source) => return Err(explain(&attr, &plan.name, source, (whole_log, stop))),
    };
    let info = sys::program_info(fd.as_fd()).map_err(failed)?;
    Ok(LoadedProgram {
        name: plan.name.clone(),
        section: plan.section.clone(),
        kind: plan.kind.clone(),
        fd,
        info,
    })
}

/// The verifier gives way to signals with EAGAIN. To ours for good, to others' for a moment.
fn patiently<T>(
    stop: &Stop,
    mut load: impl FnMut() -> io::Result<T>,
) -> Result<io::Result<T>, Error> {
    const TRIES: u32 = 5;
    for attempt in 1..TRIES {
        stop.check()?;
        match load() {
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                stop.check()?;
                sleep(Duration::from_millis(10 << attempt));
            }
            done => return Ok(done),
        }
    }
    Ok(load())
}

/// Loads once more with a log, which makes the verifier much slower: only for a program that is
/// refused already.
fn explain(
    attr: &ProgramAttr<'_>,
    program: &str,
    source: io::Error,
    (whole_log, stop): (bool, &Stop),
) -> Error {
    const LOG_BYTES: [usize; 2] = [1 << 20, 16 << 20];
    const LOG_TOLD: usize = 64 << 10;
    let mut log = Vec::new();
    for size in LOG_BYTES {
        if let Err(given_up) = stop.check() {
            return given_up;
        }
        log = vec![0; size];
        match sys::prog_load(attr, Some(&mut log)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {}
            _ => break,
        }
    }
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    // The reason stands at the end.
    let told = if whole_log { end } else { LOG_TOLD };
    let log = String::from_utf8_lossy(&log[end.saturating_sub(told)..end]);
    let log = log.trim_end().lines().map(without_address).collect::<Vec<_>>().join("\n");
    let program = program.to_owned();
    match telling_line(&log) {
        Some(reason) => Error::Rejected { program, reason, log, source },
        None => Error::LoadProgram { program, source },
    }
}

/// A map is shown by its address in the kernel, which is not for who may only load.
fn without_address(line: &str) -> Cow<'_, str> {
    let loads_map =
        line.contains(": (18) ") && (line.contains("=map_ptr(") || line.contains("=map_value("));
    let Some(at) = line.find(" = 0x").filter(|_| loads_map) else { return line.into() };
    let (before, address) = line.split_at(at + 3);
    let behind = address.find(' ').map_or("", |end| &address[end..]);
    format!("{before}map{behind}").into()
}

/// The last line that is not the verifier's own statistics.
fn telling_line(log: &str) -> Option<String> {
    let statistics = |line: &&str| {
        line.starts_with("processed ")
            || line.starts_with("verification time")
            || line.starts_with("stack depth")
            || line.starts_with("-- END")
            || line.trim().is_empty()
    };
    log.lines().rev().find(|line| !statistics(line)).map(|line| line.trim().to_owned())
}

/// Types of programs by number, as bpftool names them.
pub const PROGRAM_TYPES: [&str; 33] = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
];

/// As bpftool names it.
pub fn program_type_name(prog_type: u32) -> &'static str {
    PROGRAM_TYPES.get(prog_type as usize).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stay_in_the_agent() {
        let line = "4: (18) r1 = 0xffff888104372000       ; R1=map_ptr(map=counts,ks=4,vs=8)";
        let shown = "4: (18) r1 = map       ; R1=map_ptr(map=counts,ks=4,vs=8)";
        assert_eq!(without_address(line), shown);
        for line in
            ["4: (18) r1 = 0xffff888104372000   ; R1=0xffff888104372000", "1: (b7) r0 = 0x0"]
        {
            assert_eq!(without_address(line), line);
        }
    }

    #[test]
    fn the_reason_is_the_last_line_before_the_statistics() {
        let log = "0: R1=ctx\n; return *p;\nR1 invalid mem access 'scalar'\nverification time 42 usec\nprocessed 3 insns (limit 1000000)\n";
        assert_eq!(telling_line(log).unwrap(), "R1 invalid mem access 'scalar'");
        assert_eq!(telling_line("processed 1 insns\n"), None);
    }
}
