//! bpf(2) called directly: what the kernel lets this process do without the agent, and, as root,
//! what of anybody's is loaded.

use std::io;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use bpfgate_tests::kernel::{self, Kind};
use serde::Serialize;

/// Tries what no process without rights may do and prints a line about each. 0 if the kernel
/// refused all, 3 if it let one through. `unprivileged_bpf_disabled = 0` lets the first one through,
/// nothing the second.
pub(crate) fn attempt() -> Result<ExitCode> {
    let created = describe("BPF_MAP_CREATE", kernel::create_array())?;
    let looked = describe("BPF_MAP_GET_NEXT_ID", kernel::next(Kind::Map, 0))?;
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
    let all = |kind, what| {
        let ids = kernel::all(kind);
        ids.with_context(|| format!("could not list the kernel's {what} (needs root)"))
    };
    Ok(Ids {
        programs: all(Kind::Program, "programs")?,
        maps: all(Kind::Map, "maps")?,
        links: all(Kind::Link, "links")?,
    })
}
