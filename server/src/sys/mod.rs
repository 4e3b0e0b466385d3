//! The raw bpf(2) layer: all unsafe code of the agent.
//!
//! One function for each bpf command, and its type says whether a new descriptor comes back:
//! `OwnedFd` (or [`Map`]) means that the kernel made one. Nothing here knows names, owners or
//! limits. Lengths are checked before every command, because the kernel reads and writes by the
//! map's sizes, not by the buffer's.

#![allow(unsafe_code)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "constants and sizes of structs in the widths that the kernel wants"
)]

mod attr;
mod batch;
mod btf;
mod confine;
mod element;
mod heap;
mod info;
mod interrupt;
mod link;
mod map;
mod mapping;
mod mmap;
mod perf;
mod perfbuf;
mod pin;
mod program;
mod program_info;
mod records;
mod ringbuf;
mod sign;
mod socket;

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

pub use attr::ObjName;
pub use batch::{BatchRead, BatchRefused};
pub use btf::{btf_blob, btf_get_fd_by_id, btf_load};
pub use confine::{allow_only, close_inherited, leave_network};
pub use element::Access;
pub use heap::{configure as configure_heap, give_back};
pub use info::{MapInfo, link_id, map_info, memory};
pub use interrupt::{ThreadId, interrupt, this_thread};
pub use link::{LinkTarget, link_create, raw_tracepoint_open};
pub use map::{
    Map, MapAttr, MapBtf, UpdateFlags, fd_bytes, map_create, map_get_fd_by_id, map_get_next_id,
};
pub use mmap::SharedValues;
pub use perf::{PerfEvent, perf_event_open};
pub use perfbuf::PerfBuffer;
pub use pin::{Pinned, obj_get, obj_get_any, obj_pin, open_beneath};
pub use program::{ProgramAttr, enable_stats, prog_load};
pub use program_info::{
    ProgramInfo, ProgramStats, prog_get_fd_by_id, prog_get_next_id, program_info, program_maps,
    program_stats,
};
pub use records::{ReadLimits, Records, Stopped};
pub use ringbuf::RingBuffer;
pub use sign::Sign;
pub use socket::packet_socket;

/// What the kernel answers for an operation that a map type does not have. libc has no name for
/// it: it is not meant to reach user space, and does.
pub const ENOTSUPP: i32 = 524;

/// Commands of bpf(2), in the order of `enum bpf_cmd`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
enum Command {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgGetNextId = 11,
    MapGetNextId = 12,
    ProgGetFdById = 13,
    MapGetFdById = 14,
    ObjGetInfoByFd = 15,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    BtfGetFdById = 19,
    MapLookupAndDeleteElem = 21,
    MapFreeze = 22,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    MapDeleteBatch = 27,
    LinkCreate = 28,
    EnableStats = 32,
}

/// An attribute block of bpf(2).
///
/// # Safety
///
/// The type is `repr(C)` without padding, laid out as the kernel's `union bpf_attr` for the
/// command it is used with.
unsafe trait Attr {}

/// Calls bpf(2).
///
/// # Safety
///
/// `attr` belongs to the command, and every pointer in it is good for as many bytes as the
/// command reads or writes through it.
unsafe fn bpf<A: Attr>(command: Command, attr: &mut A) -> io::Result<i32> {
    // SAFETY: the caller vouches for the pointers inside, the trait for the layout, and the size
    // is the block's own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attr),
            size_of::<A>() as libc::c_long,
        )
    };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Calls bpf(2) with a command that makes a descriptor.
///
/// # Safety
///
/// As [`bpf`], and the command returns a new descriptor on success.
unsafe fn bpf_fd<A: Attr>(command: Command, attr: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: passed on.
    let fd = unsafe { bpf(command, attr)? };
    // SAFETY: on success such a command returns a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How many values a per-CPU map holds for each key: possible CPUs, not online ones.
pub fn possible_cpus() -> usize {
    static CPUS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *CPUS.get_or_init(|| {
        let path = "/sys/devices/system/cpu/possible";
        let range = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{path} tells the size of per-CPU values: {error}"));
        // "0-N", or "0" on a single CPU.
        let last = range.trim().rsplit('-').next().and_then(|last| last.parse::<usize>().ok());
        last.unwrap_or_else(|| panic!("{path} has no CPU range: {range:?}")) + 1
    })
}
