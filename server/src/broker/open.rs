//! Opening maps that others made, read-only.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use super::Error;
use crate::sys;

/// A map by the kernel's id.
pub fn open_id(id: u32) -> Result<sys::Map, Error> {
    sys::map_get_fd_by_id(id, false)
        .map_err(|source| Error::OpenMap { reference: format!("id:{id}"), source })
}

/// Whether the kernel has the map of that id; no if it does not tell.
pub fn map_exists(id: u32) -> bool {
    // Not by opening it: a prog_array that is opened while the kernel empties it, behind the close
    // of its last descriptor, never goes (`prog_array_map_clear`, seen on 6.18).
    id > 0 && sys::map_get_next_id(id - 1).is_ok_and(|next| next == Some(id))
}

/// A map by its pin below `bpffs`, without following links. An absolute path must lead there too.
pub fn open_pin(bpffs: BorrowedFd<'_>, relative: &str) -> Result<sys::Map, Error> {
    let reference = || format!("pin:{relative}");
    let pin = sys::open_beneath(bpffs, relative).map_err(|source| {
        let problem = match source.raw_os_error() {
            Some(libc::EXDEV) => "leads out of the agent's bpffs",
            Some(libc::ELOOP) => "leads over a symbolic link, and these are not followed",
            Some(libc::ENAMETOOLONG) => "is longer than a path can be",
            Some(libc::EINVAL) => "is not a path",
            // Below something that is no directory there is nothing.
            Some(libc::ENOTDIR) => {
                let source = io::ErrorKind::NotFound.into();
                return Error::OpenMap { reference: reference(), source };
            }
            _ => return Error::OpenMap { reference: reference(), source },
        };
        Error::BadPin { reference: reference(), problem }
    })?;
    sys::obj_get(pin.as_fd()).map_err(|source| {
        let problem = match source.kind() {
            io::ErrorKind::InvalidInput => "is pinned, but is no map",
            // What the kernel answers for a directory.
            io::ErrorKind::PermissionDenied => "is no pin of a map, or one of somebody else's",
            _ => return Error::OpenMap { reference: reference(), source },
        };
        Error::BadPin { reference: reference(), problem }
    })
}

/// The BTF that a map was made with.
pub fn btf_of(map: &sys::Map) -> Option<Vec<u8>> {
    let id = map.info().btf_id;
    if id == 0 {
        return None;
    }
    let btf = sys::btf_get_fd_by_id(id).ok()?;
    sys::btf_blob(btf.as_fd()).ok()
}
