//! Sockets of other processes: found in procfs by address or inode, and taken by pidfd.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use bpfgate_proto::reference::{Protocol, SocketRef};
use rustix::io::Errno;
use rustix::net::sockopt::socket_cookie;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::Error;

const WHAT: &str = "socket";
/// Enough to tell a caller that there are too many.
const CANDIDATES_MAX: usize = 64;

/// A second descriptor of a socket that some process of this host has. The agent's own sockets
/// are nobody's to name.
pub fn socket(reference: &SocketRef) -> Result<OwnedFd, Error> {
    let absent = || Error::NoTarget { what: WHAT, name: reference.to_string() };
    let failed = |source| Error::Open { what: WHAT, name: reference.to_string(), source };
    let inode = match *reference {
        SocketRef::Cookie(cookie) => {
            return take(&Wanted::Cookie(cookie)).map_err(failed)?.ok_or_else(absent);
        }
        SocketRef::Inode(inode) => inode,
        SocketRef::Address { protocol, local, remote } => {
            let found = find(protocol, local, remote).map_err(failed)?;
            match found[..] {
                [] => return Err(absent()),
                [inode] => inode,
                [..] => {
                    let rule = "more than one socket has that address: add -REMOTE, or name one \
                        as inode:N, which `ss -e` shows";
                    let name = reference.to_string();
                    return Err(Error::BadTarget { what: WHAT, name, rule });
                }
            }
        }
    };
    take(&Wanted::Inode(inode)).map_err(failed)?.ok_or_else(absent)
}

/// The inodes of the sockets that fit best: without a remote address those that have none either,
/// and only if there are none of these any others.
fn find(protocol: Protocol, local: SocketAddr, remote: Option<SocketAddr>) -> io::Result<Vec<u64>> {
    let (mut alone, mut connected) = (Vec::new(), Vec::new());
    for family in ["", "6"] {
        let path = format!("/proc/self/net/{}{family}", protocol.as_str());
        let file = match File::open(path) {
            Ok(file) => file,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).lines().skip(1) {
            let Some(row) = Row::parse(&line?) else { continue };
            let fits = same(row.local, local) && remote.is_none_or(|to| same(row.remote, to));
            let list = if row.remote.port() == 0 { &mut alone } else { &mut connected };
            if fits && row.inode != 0 && list.len() < CANDIDATES_MAX {
                list.push(row.inode);
            }
        }
    }
    if remote.is_some() {
        alone.extend(connected);
    } else if alone.is_empty() {
        return Ok(connected);
    }
    Ok(alone)
}

/// An IPv6 socket that speaks IPv4 is known by its IPv4 address.
fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

/// A line of /proc/net/tcp and the like.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    /// 0 for a connection that no process has, or not yet.
    inode: u64,
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
        let mut words = line.split_ascii_whitespace().skip(1);
        let local = address(words.next()?)?;
        let remote = address(words.next()?)?;
        let inode = words.nth(6)?.parse().ok()?;
        Some(Self { local, remote, inode })
    }
}

/// Words of an address in this host's order, then the port, all in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let mut bytes = [0; 16];
            bytes.copy_from_slice(words.as_flattened());
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// By which a socket is known, whatever it speaks.
enum Wanted {
    Inode(u64),
    Cookie(u64),
}

impl Wanted {
    /// Whether a descriptor that leads there can be one of it.
    fn may_be(&self, target: &[u8]) -> bool {
        match self {
            Self::Inode(inode) => target == format!("socket:[{inode}]").as_bytes(),
            // Only the socket itself tells.
            Self::Cookie(_) => target.starts_with(b"socket:["),
        }
    }

    fn is(&self, fd: &OwnedFd) -> bool {
        match *self {
            Self::Inode(inode) => rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_ino == inode),
            Self::Cookie(cookie) => socket_cookie(fd).is_ok_and(|own| own == cookie),
        }
    }
}

/// A descriptor of that socket; `None` if no other process has one.
fn take(wanted: &Wanted) -> io::Result<Option<OwnedFd>> {
    let mut refused = None;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        if pid == std::process::id().cast_signed() {
            continue;
        }
        // It can be gone, or nobody's business, as can any of its descriptors.
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for descriptor in descriptors.flatten() {
            let target = fs::read_link(descriptor.path());
            if !target.is_ok_and(|target| wanted.may_be(target.as_os_str().as_bytes())) {
                continue;
            }
            let number = descriptor.file_name().to_str().and_then(|name| name.parse().ok());
            match number.map(|number| copy(pid, number)) {
                // Between the look and the copy the number may have become another file's.
                Some(Ok(fd)) if wanted.is(&fd) => return Ok(Some(fd)),
                Some(Err(Errno::PERM)) => refused = Some(Errno::PERM),
                Some(_) | None => {}
            }
        }
    }
    refused.map_or(Ok(None), |errno| Err(errno.into()))
}

fn copy(pid: i32, number: i32) -> Result<OwnedFd, Errno> {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    pidfd_getfd(process, number, PidfdGetfdFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_are_read_as_the_kernel_writes_them() {
        let v4 = "   0: 0100007F:0050 0200000A:0FA0 01 00000000:00000000 00:00000000 00000000     \
            0        0 31337 1 0000000000000000 100 0 0 10 0";
        let expected = Row {
            local: "127.0.0.1:80".parse().unwrap(),
            remote: "10.0.0.2:4000".parse().unwrap(),
            inode: 31337,
        };
        assert_eq!(Row::parse(v4), Some(expected));
        let loopback = address("00000000000000000000000001000000:0035");
        assert_eq!(loopback, Some("[::1]:53".parse().unwrap()));
        assert_eq!(address("0100007F"), None);
        assert_eq!(Row::parse("  sl  local_address rem_address"), None);
    }

    #[test]
    fn a_mapped_address_is_the_one_it_maps() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(same(parse("[::ffff:127.0.0.1]:80"), parse("127.0.0.1:80")));
        assert!(!same(parse("[::1]:80"), parse("127.0.0.1:80")));
        assert!(!same(parse("127.0.0.1:81"), parse("127.0.0.1:80")));
    }

    #[test]
    fn the_agents_own_sockets_are_out_of_reach() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let found = find(Protocol::Tcp, local, None).unwrap();
        assert_eq!(found.len(), 1);
        let reference = SocketRef::Address { protocol: Protocol::Tcp, local, remote: None };
        let refused = socket(&reference).unwrap_err();
        assert!(matches!(refused, Error::NoTarget { what: "socket", .. }), "{refused:?}");
    }
}
