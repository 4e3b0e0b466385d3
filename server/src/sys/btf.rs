//! BTF: loading it, and reading it back.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::attr::{BtfLoad, ById};
use super::info::object_info;
use super::{Command, bpf_fd};

/// `BPF_BTF_LOAD`.
pub fn btf_load(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut block = BtfLoad {
        btf: btf.as_ptr() as u64,
        btf_size: u32::try_from(btf.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        ..BtfLoad::default()
    };
    // SAFETY: the kernel reads btf_size bytes; on success the command makes a descriptor.
    unsafe { bpf_fd(Command::BtfLoad, &mut block) }
}

/// `BPF_BTF_GET_FD_BY_ID`.
pub fn btf_get_fd_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut block = ById { id, ..ById::default() };
    // SAFETY: the block has no pointers; on success the command makes a descriptor.
    unsafe { bpf_fd(Command::BtfGetFdById, &mut block) }
}

/// The head of `struct bpf_btf_info`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct BtfInfo {
    btf: u64,
    btf_size: u32,
    id: u32,
}

/// The BTF's own bytes.
pub fn btf_blob(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut info = BtfInfo::default();
    // SAFETY: integers only, and a null pointer to no bytes.
    unsafe { object_info(fd.as_fd(), &mut info)? };
    let mut blob = vec![0; info.btf_size as usize];
    let mut info = BtfInfo { btf: blob.as_mut_ptr() as u64, btf_size: info.btf_size, id: 0 };
    // SAFETY: the kernel writes at most btf_size bytes, which the blob has.
    unsafe { object_info(fd, &mut info)? };
    Ok(blob)
}
