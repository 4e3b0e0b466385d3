//! What a host has, by name: interfaces, cgroups, processes, files.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::netdevice;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Error;

/// The index of an interface in the agent's network namespace.
pub fn ifindex(name: &str) -> Result<u32, Error> {
    const IFNAMSIZ: usize = 16;
    let valid = !name.is_empty() && name.len() < IFNAMSIZ && !name.contains(['/', '\0', ' ']);
    if !valid {
        let rule = "give an interface's name, 1 to 15 bytes, as `ip link` shows it";
        let name = name.chars().take(80).collect();
        return Err(Error::BadTarget { what: "interface", name, rule });
    }
    let index = any_socket().and_then(|socket| netdevice::name_to_index(socket, name));
    index.map_err(|_| Error::NoTarget { what: "interface", name: name.to_owned() })
}

/// The name of an interface in the agent's network namespace; `None` if it has gone.
pub fn ifname(index: u32) -> Option<String> {
    netdevice::index_to_name(any_socket().ok()?, index).ok()
}

/// Its network namespace is what counts.
fn any_socket() -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

/// Whether the running kernel is older than that version of Linux.
pub fn kernel_is_before(version: (u32, u32)) -> bool {
    let uname = rustix::system::uname();
    release(&uname.release().to_string_lossy()).is_some_and(|running| running < version)
}

/// `6.1.0-13-amd64`.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A directory of the cgroup file system.
pub fn cgroup(path: &str) -> Result<OwnedFd, Error> {
    const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;
    let what = "cgroup";
    let bad = || {
        let rule = "give the absolute path of a directory in a cgroup2 mount";
        Error::BadTarget { what, name: path.chars().take(255).collect(), rule }
    };
    if !Path::new(path).is_absolute() || path.contains('\0') {
        return Err(bad());
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty())
        .map_err(|_| Error::NoTarget { what, name: path.to_owned() })?;
    match rustix::fs::fstatfs(&directory) {
        Ok(stat) if stat.f_type == CGROUP2_SUPER_MAGIC => Ok(directory),
        _ => Err(bad()),
    }
}

/// A process.
pub fn process(id: u32) -> Result<OwnedFd, Error> {
    let (what, name) = ("process", id.to_string());
    let rule = "give the id of a process, from 1";
    let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) else {
        return Err(Error::BadTarget { what, name, rule });
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(fd),
        // ENOENT or EINVAL: a thread's id that is not its process's.
        Err(Errno::SRCH | Errno::NOENT | Errno::INVAL) => Err(Error::NoTarget { what, name }),
        Err(error) => Err(Error::Open { what, name, source: error.into() }),
    }
}

/// A file of any kind, without opening what is behind it.
pub fn file(path: &str) -> Result<OwnedFd, Error> {
    let what = "file";
    let name = || path.chars().take(255).collect();
    let text = CString::new(path).ok().filter(|_| Path::new(path).is_absolute());
    let Some(text) = text else {
        let rule = "give an absolute path";
        return Err(Error::BadTarget { what, name: name(), rule });
    };
    match open(text, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Ok(fd),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Error::NoTarget { what, name: name() }),
        Err(error) => Err(Error::Open { what, name: name(), source: io::Error::from(error) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_have_an_order() {
        assert_eq!(release("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(release("5.10"), Some((5, 10)));
        assert_eq!(release("odd"), None);
        assert!(!kernel_is_before((2, 6)) && kernel_is_before((1000, 0)));
    }
}
