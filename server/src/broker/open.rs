//! Opening maps that others made, read-only.

use std::os::fd::{AsFd as _, BorrowedFd};

use super::Error;
use crate::sys;

/// A map by the kernel's id.
pub fn open_id(id: u32) -> Result<sys::Map, Error> {
    sys::map_get_fd_by_id(id, false)
        .map_err(|source| Error::OpenMap { reference: format!("id:{id}"), source })
}

/// A map by its pin below `bpffs`, without following links. An absolute path must lead there too.
pub fn open_pin(bpffs: BorrowedFd<'_>, relative: &str) -> Result<sys::Map, Error> {
    let failed = |source| Error::OpenMap { reference: format!("pin:{relative}"), source };
    let pin = sys::open_beneath(bpffs, relative).map_err(failed)?;
    sys::obj_get(pin.as_fd()).map_err(failed)
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
