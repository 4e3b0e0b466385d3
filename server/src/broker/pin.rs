//! Pins below the agent's bpffs, made and removed without following a link.
//!
//! Paths are given as their parts, which have to be names: not empty, no `..`, no slash.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat2, unlinkat};

use super::Error;
use crate::sys;

/// Pins a map and makes the directories on the way. Gives those that it made, outermost first;
/// after an error none of them is left.
pub fn pin(
    bpffs: BorrowedFd<'_>,
    path: &[&str],
    map: BorrowedFd<'_>,
) -> Result<Vec<String>, Error> {
    check_bpffs(bpffs)?;
    let mut made = Vec::new();
    let pinned = make(bpffs, path, map, &mut made);
    pinned.map_err(|source| {
        for directory in made.iter().rev() {
            let _ = remove_directory(bpffs, directory);
        }
        let path = path.join("/");
        match source.raw_os_error() {
            Some(libc::ELOOP | libc::ENOTDIR | libc::EXDEV) => Error::BadPin {
                reference: path,
                problem: "leads over something that is no directory of the bpffs",
            },
            _ => Error::Pin { path, source },
        }
    })?;
    Ok(made)
}

fn make(
    bpffs: BorrowedFd<'_>,
    path: &[&str],
    map: BorrowedFd<'_>,
    made: &mut Vec<String>,
) -> io::Result<()> {
    let (name, directories) = path.split_last().ok_or(io::ErrorKind::InvalidInput)?;
    let mut at: Option<OwnedFd> = None;
    for (depth, part) in directories.iter().enumerate() {
        let above = at.as_ref().map_or(bpffs, AsFd::as_fd);
        let below = match open_directory(above, part) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                mkdirat(above, *part, Mode::RWXU)?;
                made.push(directories[..=depth].join("/"));
                open_directory(above, part)?
            }
            opened => opened?,
        };
        at = Some(below);
    }
    sys::obj_pin(at.as_ref().map_or(bpffs, AsFd::as_fd), name, map)
}

/// Removes a pin.
pub fn unpin(bpffs: BorrowedFd<'_>, path: &str) -> Result<(), Error> {
    unlink(bpffs, path, AtFlags::empty())
        .map_err(|source| Error::Pin { path: path.to_owned(), source })
}

/// Removes a directory below `bpffs` if it is empty.
pub fn remove_directory(bpffs: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    unlink(bpffs, path, AtFlags::REMOVEDIR)
}

/// Where a path below `bpffs` is on this host.
pub fn host_path(bpffs: BorrowedFd<'_>, path: &str) -> Result<PathBuf, Error> {
    let root = std::fs::read_link(format!("/proc/self/fd/{}", bpffs.as_raw_fd()))
        .map_err(|source| Error::Pin { path: path.to_owned(), source })?;
    Ok(root.join(path))
}

fn unlink(bpffs: BorrowedFd<'_>, path: &str, flags: AtFlags) -> io::Result<()> {
    let Some((above, name)) = path.rsplit_once('/') else {
        return Ok(unlinkat(bpffs, path, flags)?);
    };
    Ok(unlinkat(open_directory(bpffs, above)?, name, flags)?)
}

fn open_directory(above: BorrowedFd<'_>, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    Ok(openat2(above, path, flags, Mode::empty(), resolve)?)
}

/// Before directories are made where no pin can be.
fn check_bpffs(directory: BorrowedFd<'_>) -> Result<(), Error> {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let info = rustix::fs::fstatfs(directory);
    if info.is_ok_and(|info| u64::try_from(info.f_type) == Ok(BPF_FS_MAGIC)) {
        return Ok(());
    }
    let place = host_path(directory, "")?;
    Err(Error::Host(format!("{} is no bpffs: mount one there (mount -t bpf)", place.display())))
}
