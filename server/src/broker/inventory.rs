//! What the whole kernel has, whoever made it: maps, programs, and their pins.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat2};

use super::Error;
use crate::sys;

/// Directories within directories of the bpffs that are looked through.
const DEPTH: usize = 16;

/// A map, as the kernel tells of it.
#[derive(Debug, Clone, Copy)]
pub struct HostMap {
    /// Sizes, name and id.
    pub info: sys::MapInfo,
    /// Bytes that the kernel charges for it.
    pub memory: u64,
    /// Nobody may write it through bpf(2) any more.
    pub frozen: bool,
}

/// A program, as the kernel tells of it.
#[derive(Debug, Clone)]
pub struct HostProgram {
    /// Type, name and id.
    pub info: sys::ProgramInfo,
    /// What was counted while the kernel's statistics were on.
    pub stats: sys::ProgramStats,
    /// Ids of the maps that it uses.
    pub maps: Vec<u32>,
    /// Bytes that the kernel charges for it.
    pub memory: u64,
}

/// Paths below a bpffs, by what they lead to.
#[derive(Debug, Default)]
pub struct HostPins {
    /// By the map's id.
    pub maps: HashMap<u32, Vec<String>>,
    /// By the program's id.
    pub programs: HashMap<u32, Vec<String>>,
}

/// All maps, in order of id, and at most so many.
pub fn maps(most: usize) -> Result<Vec<HostMap>, Error> {
    let open = |id| {
        let map = sys::map_get_fd_by_id(id, false)?;
        let (memory, frozen) = sys::memory(map.as_fd())?;
        Ok(HostMap { info: *map.info(), memory, frozen })
    };
    all("maps", most, sys::map_get_next_id, open)
}

/// All programs, in order of id, and at most so many.
pub fn programs(most: usize) -> Result<Vec<HostProgram>, Error> {
    all("programs", most, sys::prog_get_next_id, |id| program(sys::prog_get_fd_by_id(id)?.as_fd()))
}

/// A program that is open.
pub fn program(fd: BorrowedFd<'_>) -> std::io::Result<HostProgram> {
    Ok(HostProgram {
        info: sys::program_info(fd)?,
        stats: sys::program_stats(fd)?,
        maps: sys::program_maps(fd)?,
        memory: sys::memory(fd)?.0,
    })
}

/// Everything of a kind. What goes meanwhile, or is not there yet, is passed over.
fn all<T>(
    what: &'static str,
    most: usize,
    next: impl Fn(u32) -> std::io::Result<Option<u32>>,
    open: impl Fn(u32) -> std::io::Result<T>,
) -> Result<Vec<T>, Error> {
    let failed = |source| Error::List { what, source };
    let (mut found, mut id) = (Vec::new(), 0);
    while found.len() < most
        && let Some(there) = next(id).map_err(failed)?
    {
        id = there;
        match open(id) {
            Ok(known) => found.push(known),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(found)
}

/// The pins of maps and programs below a bpffs, at most so many. What cannot be looked at is left
/// out: pins of others who keep them to themselves, and links.
pub fn pins(bpffs: BorrowedFd<'_>, most: usize) -> HostPins {
    let (mut pins, mut left) = (HostPins::default(), most);
    look_through(bpffs, "", DEPTH, &mut left, &mut pins);
    pins
}

fn look_through(
    root: BorrowedFd<'_>,
    below: &str,
    depth: usize,
    left: &mut usize,
    pins: &mut HostPins,
) {
    let Some(entries) = open_directory(root, below).and_then(|open| Dir::read_from(open).ok())
    else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if *left == 0 || matches!(name, "." | "..") {
            continue;
        }
        *left -= 1;
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        match entry.file_type() {
            FileType::Directory if depth > 0 => look_through(root, &path, depth - 1, left, pins),
            FileType::RegularFile => note(root, path, pins),
            _ => {}
        }
    }
}

fn note(root: BorrowedFd<'_>, path: String, pins: &mut HostPins) {
    let found = sys::open_beneath(root, &path).and_then(|pin| sys::obj_get_any(pin.as_fd()));
    let (by_id, id) = match found {
        Ok(sys::Pinned::Map(map)) => (&mut pins.maps, map.info().id),
        Ok(sys::Pinned::Program(fd)) => match sys::program_info(fd.as_fd()) {
            Ok(info) => (&mut pins.programs, info.id),
            Err(_) => return,
        },
        Err(_) => return,
    };
    by_id.entry(id).or_default().push(path);
}

fn open_directory(root: BorrowedFd<'_>, path: &str) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { "." } else { path };
    openat2(root, path, flags, Mode::empty(), resolve).ok()
}
