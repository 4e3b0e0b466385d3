//! Links: a program attached somewhere, for as long as the descriptor lives.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::attr::{LinkCreate, RawTracepoint};
use super::map::raw;
use super::{Command, bpf_fd};

/// What a link is attached to.
#[derive(Debug, Clone, Copy)]
pub enum LinkTarget<'a> {
    /// A cgroup directory, a perf event.
    Fd(BorrowedFd<'a>),
    /// A network interface.
    Interface(u32),
    /// The program itself says: fentry, fexit, lsm.
    Program,
}

/// `BPF_LINK_CREATE`.
pub fn link_create(
    program: BorrowedFd<'_>,
    target: LinkTarget<'_>,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let target = match target {
        LinkTarget::Fd(fd) => raw(fd),
        LinkTarget::Interface(index) => index,
        LinkTarget::Program => 0,
    };
    let mut block = LinkCreate { prog_fd: raw(program), target, attach_type, flags, extra: [0; 2] };
    // SAFETY: the block has no pointers; on success the command makes a descriptor.
    unsafe { bpf_fd(Command::LinkCreate, &mut block) }
}

/// `BPF_RAW_TRACEPOINT_OPEN`, with the tracepoint's name; none for `tp_btf`.
pub fn raw_tracepoint_open(program: BorrowedFd<'_>, name: Option<&CStr>) -> io::Result<OwnedFd> {
    let mut block = RawTracepoint {
        name: name.map_or(0, |name| name.as_ptr() as u64),
        prog_fd: raw(program),
        pad: 0,
    };
    // SAFETY: the name ends with a NUL; on success the command makes a descriptor.
    unsafe { bpf_fd(Command::RawTracepointOpen, &mut block) }
}
