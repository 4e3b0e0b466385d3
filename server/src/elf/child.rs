//! The parsing process: gives up what rights it has, reads one file from stdin, writes the plan
//! to stdout. It may panic, abort or be killed at any time; nobody minds.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use aya_obj::btf::{Btf as KernelBtf, BtfFeatures};
use aya_obj::{Map, Object};
use object::Endianness;
use rustix::process::{DumpableBehavior, Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::btf::Btf;
use super::host::Host;
use super::image::Malformed;
use super::plan::{GlobalValue, ObjectPlan};
use super::prepare::Prepared;
use super::{ElfError, globals, maps, programs, rewrite};
use crate::sys;

/// Exit code of a process that could not give up its rights, or not talk.
pub(super) const UNUSABLE: u8 = 3;
/// Standard streams, the kernel's BTF, and one to spare.
const FILES_MAX: u64 = 8;

/// A user and group that no account has, so that no process of a user's may touch the parser.
/// `nobody` would not do: others run as `nobody` too. Distributions keep this number free, and a
/// container's usual id mapping includes it.
const NO_ACCOUNT: u32 = 65533;

/// What a parser does: read, compute, write, end. Nothing here opens, executes or connects.
const SYSTEM_CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_close,
    // The allocator, and HashMap's seeds.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getrandom,
    libc::SYS_futex,
    // A panic, an abort, and the end of the main thread.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What the parsing process does, once `main` finds [`CHILD_ARGUMENT`](super::CHILD_ARGUMENT)
/// before its memory limit in bytes and its processor time in seconds.
pub fn child_main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing else is listening; the parent keeps the first lines.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn run() -> io::Result<()> {
    let mut limits = env::args().skip(2).map(|arg| arg.parse::<u64>().map_err(io::Error::other));
    let mut limit = || limits.next().unwrap_or_else(|| Err(io::Error::other("a limit is missing")));
    sys::close_inherited()?;
    let host = Host::learn();
    confine(limit()?, limit()?)?;
    let (globals, elf) = read_request(&mut io::stdin().lock())?;
    let answer = plan(&elf, &globals, &host);
    let answer = postcard::to_stdvec(&answer).map_err(io::Error::other)?;
    io::stdout().write_all(&answer)?;
    io::stdout().flush()
}

/// Gives up everything that a parser does not need, before it has seen a byte.
fn confine(memory: u64, cpu_seconds: u64) -> io::Result<()> {
    // Where the agent may not do this itself the filter below has to do.
    let _ = sys::leave_network();
    if rustix::process::geteuid().is_root() {
        change_user()?;
    }
    // If the agent dies now, the pipes are closed and reading or writing them ends this process.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Another parsing process runs as the same user; it must not trace this one.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )?;
    let limit = |resource, soft: u64, hard: u64| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) })
    };
    limit(Resource::As, memory, memory)?;
    // The soft limit's signal tells the parent why; the hard one ends it for sure.
    limit(Resource::Cpu, cpu_seconds, cpu_seconds + 1)?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, 0, 0)?;
    limit(Resource::Nproc, 0, 0)?;
    limit(Resource::Nofile, FILES_MAX, FILES_MAX)?;
    match sys::allow_only(SYSTEM_CALLS) {
        // A kernel that was built without filters.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        result => result,
    }
}

/// The process has one thread, which is all that these calls change.
fn change_user() -> io::Result<()> {
    let (user, group) = (Uid::from_raw(NO_ACCOUNT), Gid::from_raw(NO_ACCOUNT));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    Ok(())
}

/// The other end of [`request_head`]: two lengths, the global variables, the file.
fn read_request(from: &mut impl Read) -> io::Result<(BTreeMap<String, GlobalValue>, Vec<u8>)> {
    let mut lengths = [[0; 8]; 2];
    for length in &mut lengths {
        from.read_exact(length)?;
    }
    let [globals_len, elf_len] = lengths.map(usize::from_le_bytes);
    let mut globals = vec![0; globals_len];
    from.read_exact(&mut globals)?;
    let globals = postcard::from_bytes(&globals).map_err(io::Error::other)?;
    let mut elf = vec![0; elf_len];
    from.read_exact(&mut elf)?;
    Ok((globals, elf))
}

/// What goes before the file on the child's stdin.
pub(super) fn request_head(
    globals: &BTreeMap<String, GlobalValue>,
    elf: &[u8],
) -> io::Result<Vec<u8>> {
    let globals = postcard::to_stdvec(globals).map_err(io::Error::other)?;
    let mut head = Vec::with_capacity(16 + globals.len());
    head.extend(globals.len().to_le_bytes());
    head.extend(elf.len().to_le_bytes());
    head.extend(globals);
    Ok(head)
}

/// From the file to the plan.
fn plan(
    elf: &[u8],
    values: &BTreeMap<String, GlobalValue>,
    host: &Host,
) -> Result<ObjectPlan, ElfError> {
    let prepared = Prepared::read(elf)?;
    let copy = rewrite::rewrite(elf, &prepared)?;
    let mut object = Object::parse(&copy).map_err(|e| invalid(&e))?;
    globals::set(&mut object.maps, &prepared, values)?;

    let btf = object
        .fixup_and_sanitize_btf(&every_feature())
        .map_err(|e| invalid(&e))?
        .map(aya_obj::btf::Btf::to_bytes);
    let types = btf.as_deref().map(Btf::parse).transpose()?;
    if object.has_btf_relocations() {
        let kernel = KernelBtf::parse(&host.vmlinux()?, Endianness::default())
            .map_err(|e| ElfError::Kernel { reason: chain(&e) })?;
        object.relocate_btf(&kernel).map_err(|e| ElfError::Kernel { reason: chain(&e) })?;
    }

    let mut warnings = prepared.warnings.clone();
    let maps = maps::plan(&object.maps, types.as_ref(), host, &mut warnings)?;
    relocate(&mut object, &maps)?;
    let programs = programs::plan(&object, &prepared, host)?;
    Ok(ObjectPlan { license: prepared.license, btf, maps, programs, warnings })
}

/// Makes map references positions in the list, and every program one piece with what it calls.
fn relocate(object: &mut Object, plans: &[super::MapPlan]) -> Result<(), ElfError> {
    let text = object.functions.keys().map(|(section, _)| *section).collect();
    let definitions = std::mem::take(&mut object.maps);
    let places: Vec<(&str, i32, &Map)> = plans
        .iter()
        .zip(0..)
        .filter_map(|(plan, place)| Some((plan.name.as_str(), place, definitions.get(&plan.name)?)))
        .collect();
    object.relocate_maps(places.into_iter(), &text).map_err(|e| invalid(&e))?;
    object.relocate_calls(&text).map_err(|e| invalid(&e))
}

/// The agent needs a kernel that has them all.
fn every_feature() -> BtfFeatures {
    BtfFeatures::new(true, true, true, true, true, true, true, true)
}

fn invalid(error: &dyn std::error::Error) -> ElfError {
    let text = chain(error);
    // What the section `.maps` says is BTF alone.
    if text.contains("no BTF parsed") {
        let text = "its maps are described by BTF, and it has none: compile with -g";
        return Malformed::new(text).into();
    }
    Malformed(text).into()
}

/// The error with its causes: only text crosses the pipe.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
