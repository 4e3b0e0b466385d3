//! What the kernel says of programs.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::attr::ById;
use super::info::object_info;
use super::{Command, ObjName, bpf, bpf_fd};

/// The head of `struct bpf_prog_info`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct RawProgramInfo {
    prog_type: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
}

/// `struct bpf_prog_info` up to the statistics. Lists are left out where their lengths are
/// zero.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct RawProgramStats {
    head: RawProgramInfo,
    /// `jited_prog_insns`, `xlated_prog_insns`.
    code: [u64; 2],
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
    ifindex: u32,
    gpl_compatible: u32,
    netns: [u64; 2],
    nr_jited_ksyms: u32,
    nr_jited_func_lens: u32,
    jited_ksyms: u64,
    jited_func_lens: u64,
    btf_id: u32,
    func_info_rec_size: u32,
    func_info: u64,
    nr_func_info: u32,
    nr_line_info: u32,
    line_info: u64,
    jited_line_info: u64,
    nr_jited_line_info: u32,
    line_info_rec_size: u32,
    jited_line_info_rec_size: u32,
    nr_prog_tags: u32,
    prog_tags: u64,
    run_time_ns: u64,
    run_count: u64,
    recursion_misses: u64,
}

// Where the kernel's header has it.
const _: () = assert!(std::mem::offset_of!(RawProgramStats, run_time_ns) == 192);

/// What the kernel says of a program.
#[derive(Debug, Clone, Copy)]
pub struct ProgramInfo {
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// Unique as long as the program lives.
    pub id: u32,
    /// Hash of its instructions.
    pub tag: [u8; 8],
    /// Instructions after the verifier rewrote them.
    pub instructions: u32,
    /// The kernel's name.
    pub name: ObjName,
    /// When it was loaded: nanoseconds of `CLOCK_BOOTTIME`.
    pub load_time: u64,
    /// Who loaded it, in the initial user namespace.
    pub created_by_uid: u32,
}

/// What the kernel says of a program.
pub fn program_info(fd: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let RawProgramStats { head, load_time, created_by_uid, name, .. } = whole(fd)?;
    let RawProgramInfo { prog_type, id, tag, jited_prog_len: _, xlated_prog_len } = head;
    let (instructions, name) = (xlated_prog_len / 8, ObjName::from_bytes(name));
    Ok(ProgramInfo { prog_type, id, tag, instructions, name, load_time, created_by_uid })
}

/// What the kernel counted of a program while its statistics were on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramStats {
    /// Runs.
    pub run_count: u64,
    /// Nanoseconds in them.
    pub run_time_ns: u64,
    /// Runs that were left out because one was under way on that CPU.
    pub recursion_misses: u64,
}

/// What the kernel counted of a program.
pub fn program_stats(fd: BorrowedFd<'_>) -> io::Result<ProgramStats> {
    let RawProgramStats { run_count, run_time_ns, recursion_misses, .. } = whole(fd)?;
    Ok(ProgramStats { run_count, run_time_ns, recursion_misses })
}

fn whole(fd: BorrowedFd<'_>) -> io::Result<RawProgramStats> {
    let mut info = RawProgramStats::default();
    // SAFETY: integers only, and the lists' lengths are zero.
    unsafe { object_info(fd, &mut info)? };
    Ok(info)
}

/// Ids of the maps that a program uses, its global data among them.
pub fn program_maps(fd: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let count = whole(fd)?.nr_map_ids;
    let mut ids = vec![0; count as usize];
    let map_ids = ids.as_mut_ptr() as u64;
    let mut info = RawProgramStats { nr_map_ids: count, map_ids, ..RawProgramStats::default() };
    // SAFETY: the one list whose length is not zero has room for so many ids.
    unsafe { object_info(fd, &mut info)? };
    // A program's maps do not change; less is told to who may not see them.
    ids.truncate(info.nr_map_ids as usize);
    Ok(ids)
}

/// `BPF_PROG_GET_FD_BY_ID`.
pub fn prog_get_fd_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut block = ById { id, next_id: 0, open_flags: 0 };
    // SAFETY: the block has no pointers; on success the command makes a descriptor.
    unsafe { bpf_fd(Command::ProgGetFdById, &mut block) }
}

/// `BPF_PROG_GET_NEXT_ID`: the least id of a program above `id`, if there is one.
pub fn prog_get_next_id(id: u32) -> io::Result<Option<u32>> {
    let mut block = ById { id, next_id: 0, open_flags: 0 };
    // SAFETY: the block has no pointers; the kernel writes the next id into it.
    match unsafe { bpf(Command::ProgGetNextId, &mut block) } {
        Ok(_) => Ok(Some(block.next_id)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
