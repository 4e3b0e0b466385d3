//! Programs.

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::attr::{EnableStats, ProgLoad};
use super::map::raw;
use super::{Command, ObjName, bpf_fd};

/// What to make a program of.
#[derive(Debug, Clone, Copy)]
pub struct ProgramAttr<'a> {
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// `enum bpf_attach_type`.
    pub expected_attach_type: u32,
    /// `BPF_F_SLEEPABLE`, `BPF_F_XDP_HAS_FRAGS`, …
    pub flags: u32,
    /// The kernel's name.
    pub name: ObjName,
    /// Instructions, 8 bytes each, with descriptors in place.
    pub insns: &'a [u8],
    /// "GPL", "Dual MIT/GPL", …
    pub license: &'a CStr,
    /// The object's loaded BTF.
    pub btf: Option<BorrowedFd<'a>>,
    /// Records of `func_info_rec_size` bytes.
    pub func_info: &'a [u8],
    /// Bytes of one record.
    pub func_info_rec_size: u32,
    /// Records of `line_info_rec_size` bytes.
    pub line_info: &'a [u8],
    /// Bytes of one record.
    pub line_info_rec_size: u32,
    /// The function in the kernel's BTF that fentry, fexit, lsm and `tp_btf` attach to.
    pub attach_btf_id: u32,
}

/// `BPF_PROG_LOAD`. With a `log`, the verifier writes its reasons there up to a NUL; `ENOSPC` if
/// they do not fit.
pub fn prog_load(attr: &ProgramAttr<'_>, log: Option<&mut [u8]>) -> io::Result<OwnedFd> {
    let records =
        |bytes: &[u8], size: u32| u32_len(bytes.len().checked_div(size as usize).unwrap_or(0));
    let (log_level, log_size, log_buf) = match log {
        Some(log) => (1, u32_len(log.len()), log.as_mut_ptr() as u64),
        None => (0, 0, 0),
    };
    let mut block = ProgLoad {
        prog_type: attr.prog_type,
        insn_cnt: u32_len(attr.insns.len() / 8),
        insns: attr.insns.as_ptr() as u64,
        license: attr.license.as_ptr() as u64,
        log_level,
        log_size,
        log_buf,
        prog_flags: attr.flags,
        prog_name: attr.name,
        expected_attach_type: attr.expected_attach_type,
        prog_btf_fd: attr.btf.map_or(0, raw),
        func_info_rec_size: attr.func_info_rec_size,
        func_info: attr.func_info.as_ptr() as u64,
        func_info_cnt: records(attr.func_info, attr.func_info_rec_size),
        line_info_rec_size: attr.line_info_rec_size,
        line_info: attr.line_info.as_ptr() as u64,
        line_info_cnt: records(attr.line_info, attr.line_info_rec_size),
        attach_btf_id: attr.attach_btf_id,
        ..ProgLoad::default()
    };
    // SAFETY: every pointer is good for the count beside it, the licence ends with a NUL, and the
    // kernel writes at most log_size bytes of the log; on success a descriptor is made.
    unsafe { bpf_fd(Command::ProgLoad, &mut block) }
}

/// `BPF_ENABLE_STATS` for run counts and times: they are on as long as the descriptor is open.
pub fn enable_stats() -> io::Result<OwnedFd> {
    /// `BPF_STATS_RUN_TIME`.
    const RUN_TIME: u32 = 0;
    let mut block = EnableStats { stats_type: RUN_TIME };
    // SAFETY: the block has no pointers; on success a descriptor is made.
    unsafe { bpf_fd(Command::EnableStats, &mut block) }
}

fn u32_len(len: usize) -> u32 {
    u32::try_from(len).expect("the kernel takes no program or log of 4 GiB")
}
