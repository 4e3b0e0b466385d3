//! From a connection to a principal and its other names.

use std::ffi::CString;
use std::fmt;
use std::net::SocketAddr;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::ledger::CallerKey;

/// The other end of a connection, as the kernel knew it when it was made.
#[derive(Debug, Clone)]
pub enum Peer {
    /// On a Unix socket.
    Unix {
        /// Effective user of whoever connected.
        uid: u32,
        /// Effective group.
        gid: u32,
    },
    /// On TCP without TLS: anybody on the host.
    Tcp(SocketAddr),
}

impl Peer {
    /// Whose account it is.
    pub fn key(&self) -> CallerKey {
        match self {
            Self::Unix { uid, .. } => CallerKey::Uid(*uid),
            Self::Tcp(address) => CallerKey::Address(address.ip()),
        }
    }
}

/// Who is calling, in the words of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// `uid:1000`
    Uid(u32),
    /// `user:alice`
    User(String),
    /// `group:ops`
    Group(String),
    /// Nobody knows.
    Anonymous,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

/// A principal with its other names.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What it is.
    pub principal: Principal,
    /// What else it is called.
    pub aliases: Vec<Principal>,
    /// "unix" or "tcp".
    pub transport: &'static str,
}

impl Caller {
    /// Looks the names up. Blocking: they may come from the network.
    pub fn of(peer: &Peer) -> Self {
        match *peer {
            Peer::Tcp(_) => {
                Self { principal: Principal::Anonymous, aliases: Vec::new(), transport: "tcp" }
            }
            Peer::Unix { uid, gid } => Self {
                principal: Principal::Uid(uid),
                aliases: aliases(Uid::from_raw(uid), Gid::from_raw(gid)),
                transport: "unix",
            },
        }
    }
}

fn aliases(uid: Uid, gid: Gid) -> Vec<Principal> {
    let user = User::from_uid(uid).ok().flatten();
    let groups = user
        .as_ref()
        .and_then(|user| CString::new(user.name.as_str()).ok())
        .and_then(|name| getgrouplist(&name, gid).ok())
        .unwrap_or_else(|| vec![gid]);
    let groups = groups.into_iter().filter_map(|gid| Group::from_gid(gid).ok().flatten());
    let groups = groups.map(|group| Principal::Group(group.name));
    user.map(|user| Principal::User(user.name)).into_iter().chain(groups).collect()
}
