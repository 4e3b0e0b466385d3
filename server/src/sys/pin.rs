//! Pins: maps by their path in a bpffs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::attr::Object;
use super::map::raw;
use super::{Command, Map, bpf, bpf_fd};

/// Finds `path` below `root` without following a link or leaving it.
pub fn open_beneath(root: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// What a pin leads to.
#[derive(Debug)]
pub enum Pinned {
    /// A map, read-only.
    Map(Map),
    /// A program.
    Program(OwnedFd),
}

/// `BPF_OBJ_GET` of a pinned map that was found already, read-only.
pub fn obj_get(pin: BorrowedFd<'_>) -> io::Result<Map> {
    Map::new(get(pin)?)
}

/// The same of a map or a program. Links are refused with `EINVAL`: they are not to be had
/// read-only.
pub fn obj_get_any(pin: BorrowedFd<'_>) -> io::Result<Pinned> {
    let fd = get(pin)?;
    let kind = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    match kind.to_str() {
        Some("anon_inode:bpf-map") => Ok(Pinned::Map(Map::new(fd)?)),
        Some("anon_inode:bpf-prog") => Ok(Pinned::Program(fd)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn get(pin: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const BPF_F_RDONLY: u32 = 1 << 3;
    // The command takes a path and follows links; this path leads to the very inode.
    let path = CString::new(format!("/proc/self/fd/{}", pin.as_raw_fd()))?;
    let mut block = Object { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: BPF_F_RDONLY };
    // SAFETY: the path ends with a NUL; on success the command makes a descriptor.
    unsafe { bpf_fd(Command::ObjGet, &mut block) }
}

/// `BPF_OBJ_PIN` of a map as `name` in a directory of a bpffs. `EEXIST` if something has the name,
/// were it a link.
pub fn obj_pin(directory: BorrowedFd<'_>, name: &str, map: BorrowedFd<'_>) -> io::Result<()> {
    let path = CString::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?;
    let mut block = Object { pathname: path.as_ptr() as u64, bpf_fd: raw(map), file_flags: 0 };
    // SAFETY: the path ends with a NUL.
    unsafe { bpf(Command::ObjPin, &mut block)? };
    Ok(())
}
