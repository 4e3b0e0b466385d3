//! Sockets of a host, by their addresses or numbers.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::{ReferenceError, bad};

/// A socket of the agent's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketRef {
    /// The one with these addresses in the agent's network namespace.
    Address {
        /// TCP or UDP.
        protocol: Protocol,
        /// Its own address.
        local: SocketAddr,
        /// The other end's; without one, a socket that listens or is not connected comes first.
        remote: Option<SocketAddr>,
    },
    /// The one with that inode, as `ss -e` shows it and /proc/PID/fd has it.
    Inode(u64),
    /// The one with that cookie, as the kernel tells of a map's slot.
    Cookie(u64),
}

/// What a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As the text form has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl FromStr for SocketRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        const RULE: &str = "write tcp:LOCAL, tcp:LOCAL-REMOTE, udp:…, inode:N or cookie:N, with \
            addresses as in 127.0.0.1:80 and [::1]:80";
        let bad = || bad("socket", text, RULE);
        let (scheme, rest) = text.split_once(':').ok_or_else(bad)?;
        let protocol = match scheme {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "inode" => {
                let inode = rest.parse().ok().filter(|&inode| inode > 0).ok_or_else(bad)?;
                return Ok(Self::Inode(inode));
            }
            "cookie" => {
                let cookie = rest.parse().ok().filter(|&cookie| cookie > 0).ok_or_else(bad)?;
                return Ok(Self::Cookie(cookie));
            }
            _ => return Err(bad()),
        };
        let address = |text: &str| text.parse::<SocketAddr>().map_err(|_| bad());
        let (local, remote) = match rest.split_once('-') {
            Some((local, remote)) => (address(local)?, Some(address(remote)?)),
            None => (address(rest)?, None),
        };
        Ok(Self::Address { protocol, local, remote })
    }
}

impl fmt::Display for SocketRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, local, remote } => {
                write!(f, "{}:{local}", protocol.as_str())?;
                remote.map_or(Ok(()), |remote| write!(f, "-{remote}"))
            }
            Self::Inode(inode) => write!(f, "inode:{inode}"),
            Self::Cookie(cookie) => write!(f, "cookie:{cookie}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_named_by_address_or_inode() {
        let socket: SocketRef = "tcp:127.0.0.1:80-10.0.0.1:4000".parse().unwrap();
        let expected = SocketRef::Address {
            protocol: Protocol::Tcp,
            local: "127.0.0.1:80".parse().unwrap(),
            remote: Some("10.0.0.1:4000".parse().unwrap()),
        };
        assert_eq!(socket, expected);
        assert_eq!("inode:7".parse(), Ok(SocketRef::Inode(7)));
        assert_eq!("cookie:7".parse(), Ok(SocketRef::Cookie(7)));
        assert_eq!(SocketRef::Cookie(7).to_string(), "cookie:7");
        for wrong in ["", "tcp", "tcp:", "tcp:1.2.3.4", "tcp:::1:80", "inode:0", "unix:/run/a"] {
            assert!(wrong.parse::<SocketRef>().is_err(), "{wrong}");
        }
        for wrong in ["udp:1.2.3.4:5-", "udp:1.2.3.4:5-6", "cookie:0", "tcp:[::1]:99999"] {
            assert!(wrong.parse::<SocketRef>().is_err(), "{wrong}");
        }
    }
}
