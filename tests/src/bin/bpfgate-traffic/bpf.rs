//! bpf(2) called directly, to show what the kernel lets this process do without the agent.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use anyhow::{Result, bail};

/// As much of `union bpf_attr` as the commands below read; the kernel takes the rest as zero.
#[repr(C, align(8))]
#[derive(Default)]
struct Attr {
    words: [u32; 16],
}

/// Commands that no process without rights may use. `unprivileged_bpf_disabled = 0` in the kernel
/// would allow the first one, never the second.
const ATTEMPTS: [Attempt; 2] = [
    // An array of one: map_type, key_size, value_size, max_entries.
    Attempt { name: "BPF_MAP_CREATE", command: 0, attr: &[2, 4, 8, 1], makes_fd: true },
    // The first map of the host: start_id, next_id.
    Attempt { name: "BPF_MAP_GET_NEXT_ID", command: 12, attr: &[0, 0], makes_fd: false },
];

struct Attempt {
    name: &'static str,
    command: libc::c_long,
    attr: &'static [u32],
    makes_fd: bool,
}

/// Makes each attempt and prints a line about it. 0 if the kernel refused all, 3 if it let one through.
pub(crate) fn attempt() -> Result<ExitCode> {
    let mut refused = true;
    for attempt in &ATTEMPTS {
        match attempt.call() {
            Ok(()) => {
                println!("bpf({}) = 0", attempt.name);
                refused = false;
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EPERM) => {
                    println!("bpf({}) = EPERM (operation not permitted)", attempt.name);
                }
                // It was allowed to look; there was nothing.
                Some(libc::ENOENT) if !attempt.makes_fd => {
                    println!("bpf({}) = ENOENT (there is none)", attempt.name);
                    refused = false;
                }
                _ => bail!("bpf({}): {error}", attempt.name),
            },
        }
    }
    Ok(if refused { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

impl Attempt {
    fn call(&self) -> io::Result<()> {
        let mut attr = Attr::default();
        attr.words[..self.attr.len()].copy_from_slice(self.attr);
        // SAFETY: `attr` is readable and writable for the length given, and neither command keeps
        // the pointer.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, self.command, &raw mut attr, size_of::<Attr>()) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        if self.makes_fd {
            let fd = RawFd::try_from(result).map_err(io::Error::other)?;
            // SAFETY: this command returns a new descriptor that nobody else owns.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        Ok(())
    }
}
