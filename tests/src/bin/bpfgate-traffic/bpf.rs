//! bpf(2) called directly: what the kernel lets this process do without the agent, and, as root,
//! what of anybody's is loaded.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;

const MAP_CREATE: libc::c_long = 0;
const PROG_GET_NEXT_ID: libc::c_long = 11;
const MAP_GET_NEXT_ID: libc::c_long = 12;
const LINK_GET_NEXT_ID: libc::c_long = 31;

/// As much of `union bpf_attr` as these commands read; the kernel takes the rest as zero.
#[repr(C, align(8))]
#[derive(Default)]
struct Attr {
    words: [u32; 16],
}

/// Tries what no process without rights may do and prints a line about each. 0 if the kernel
/// refused all, 3 if it let one through. `unprivileged_bpf_disabled = 0` lets the first one through,
/// nothing the second.
pub(crate) fn attempt() -> Result<ExitCode> {
    let created = describe("BPF_MAP_CREATE", create_array())?;
    let looked = describe("BPF_MAP_GET_NEXT_ID", next_id(MAP_GET_NEXT_ID, 0))?;
    Ok(if created || looked { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// Whether it was let through.
fn describe<T>(command: &str, result: io::Result<T>) -> Result<bool> {
    match result {
        Ok(_) => {
            println!("bpf({command}): allowed");
            Ok(true)
        }
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            println!("bpf({command}): EPERM, operation not permitted");
            Ok(false)
        }
        Err(error) => bail!("bpf({command}): {error}"),
    }
}

/// Ids of all that is loaded on this host.
#[derive(Debug, Serialize)]
pub(crate) struct Ids {
    programs: Vec<u32>,
    maps: Vec<u32>,
    links: Vec<u32>,
}

/// Lists them. Needs root.
pub(crate) fn ids() -> Result<Ids> {
    let all = |command, what| {
        ids_of(command).with_context(|| format!("could not list the kernel's {what} (needs root)"))
    };
    Ok(Ids {
        programs: all(PROG_GET_NEXT_ID, "programs")?,
        maps: all(MAP_GET_NEXT_ID, "maps")?,
        links: all(LINK_GET_NEXT_ID, "links")?,
    })
}

fn ids_of(command: libc::c_long) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    while let Some(id) = next_id(command, ids.last().copied().unwrap_or(0))? {
        ids.push(id);
    }
    Ok(ids)
}

/// The id that follows `start`, if there is one.
fn next_id(command: libc::c_long, start: u32) -> io::Result<Option<u32>> {
    let mut attr = Attr::default();
    attr.words[0] = start;
    match bpf(command, &mut attr) {
        Ok(_) => Ok(Some(attr.words[1])),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An array of one `u64`, which goes away at once.
fn create_array() -> io::Result<()> {
    let mut attr = Attr::default();
    // map_type (array), key_size, value_size, max_entries.
    attr.words[..4].copy_from_slice(&[2, 4, 8, 1]);
    let fd = bpf(MAP_CREATE, &mut attr)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: this command returns a new descriptor that nobody else owns.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

fn bpf(command: libc::c_long, attr: &mut Attr) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is readable and writable for the length given, none of the commands above
    // keeps the pointer, and none reads a pointer out of it.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<Attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
