//! What numbers stand for on this host, and which number a name has: interfaces, cgroups, users,
//! system calls, protocols.
//!
//! Asked on the blocking pool only.

mod cgroups;
mod protocols;
mod users;

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

use self::cgroups::Cgroups;
use self::users::Users;

/// What a number stands for on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostName {
    /// An interface's index.
    Interface,
    /// A cgroup's id.
    Cgroup,
    /// A user's number.
    User,
    /// A system call's number.
    Syscall,
    /// An IP protocol's number.
    Protocol,
    /// An IP address.
    Address,
}

impl HostName {
    /// What a number stands for may change: who names it must remember what it named.
    pub fn is_kept(self) -> bool {
        match self {
            Self::Interface | Self::Cgroup | Self::User => true,
            Self::Syscall | Self::Protocol | Self::Address => false,
        }
    }
}

/// Numbers to names, as far as this host knows them.
pub struct Names {
    /// Any socket: its network namespace is what counts.
    interfaces: Option<OwnedFd>,
    cgroups: Table<Cgroups>,
    users: Table<Users>,
}

impl Names {
    /// Of the network namespace that the agent is in.
    pub fn of_this_host() -> Self {
        let flags = SocketFlags::CLOEXEC;
        Self {
            interfaces: socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None).ok(),
            cgroups: Table::default(),
            users: Table::default(),
        }
    }

    /// The name of a number that is [kept](HostName::is_kept). Blocks.
    pub fn find(&self, what: HostName, number: u64) -> Option<Arc<str>> {
        match what {
            HostName::Interface => {
                let index = u32::try_from(number).ok().filter(|index| *index > 0)?;
                let name = netdevice::index_to_name(self.interfaces.as_ref()?, index);
                Some(name.ok()?.into())
            }
            HostName::Cgroup => self.cgroups.find(number),
            HostName::User => self.users.find(number),
            HostName::Syscall | HostName::Protocol | HostName::Address => None,
        }
    }

    /// The number of a name: the other way round, with protocols in any case. `None` for addresses,
    /// which are written out, and for what this host does not know. Blocks.
    pub fn number(&self, what: HostName, name: &str) -> Option<u64> {
        match what {
            HostName::Interface => {
                let index = netdevice::name_to_index(self.interfaces.as_ref()?, name);
                Some(index.ok()?.into())
            }
            HostName::Cgroup => self.cgroups.number(name),
            HostName::User => self.users.number(name),
            HostName::Syscall => syscall_number(name),
            HostName::Protocol => protocols::number(name),
            HostName::Address => None,
        }
    }

    /// The same by what [`Names::look_up`] read. Does not block.
    pub fn known_number(&self, what: HostName, name: &str) -> Option<u64> {
        match what {
            HostName::Cgroup => self.cgroups.now().number(name),
            HostName::User => self.users.now().number(name),
            HostName::Interface | HostName::Syscall | HostName::Protocol | HostName::Address => {
                self.number(what, name)
            }
        }
    }

    /// Reads what takes a while, if that was not done just now. Blocks.
    pub fn look_up(&self) {
        self.cgroups.read_again();
        self.users.read_again();
    }

    /// Forgets what was read: nobody asks any more.
    pub fn forget(&self) {
        self.cgroups.put(Rows::default());
        self.users.put(Rows::default());
    }
}

/// The name of a number that always has the same, given as what it is and by its bytes.
pub fn derive(what: HostName, bytes: &[u8], number: u64) -> Option<Cow<'static, str>> {
    match what {
        HostName::Syscall => syscall(number).map(Cow::Borrowed),
        HostName::Protocol => protocols::name(number).map(Cow::Borrowed),
        HostName::Address => address(bytes).map(Cow::Owned),
        HostName::Interface | HostName::Cgroup | HostName::User => None,
    }
}

/// Numbers and names that are read all at once.
trait Source: Default {
    /// How they are now. What cannot be read has no names.
    fn read() -> Self;

    fn get(&self, number: u64) -> Option<Arc<str>>;

    /// Whether a name that was read is that number's still.
    fn holds(&self, number: u64, name: &str) -> bool;

    fn number(&self, name: &str) -> Option<u64>;
}

/// What was read, and when.
struct Rows<S> {
    read: Option<Instant>,
    rows: Arc<S>,
}

/// A table as it was last read. Reading it again keeps nobody from looking at it.
struct Table<S> {
    now: Mutex<Rows<S>>,
    reading: Mutex<()>,
}

/// A table is read again for a number that it does not have, but no more often than this.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// A name may come to mean another number.
const STALE: Duration = Duration::from_mins(1);

impl<S: Default> Default for Rows<S> {
    fn default() -> Self {
        Self { read: None, rows: Arc::default() }
    }
}

impl<S: Default> Default for Table<S> {
    fn default() -> Self {
        Self { now: Mutex::default(), reading: Mutex::default() }
    }
}

/// A name that another number has by now is not this one's any more, however fresh the table.
impl<S: Source> Rows<S> {
    fn is_older(&self, age: Duration) -> bool {
        self.read.is_none_or(|read| read.elapsed() >= age)
    }

    fn name(&self, number: u64) -> Option<Arc<str>> {
        self.rows.get(number).filter(|name| self.rows.holds(number, name))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.rows.number(name).filter(|number| self.rows.holds(*number, name))
    }
}

impl<S: Source> Table<S> {
    fn now(&self) -> Rows<S> {
        let rows = lock(&self.now);
        Rows { read: rows.read, rows: rows.rows.clone() }
    }

    fn put(&self, rows: Rows<S>) {
        *lock(&self.now) = rows;
    }

    fn find(&self, number: u64) -> Option<Arc<str>> {
        self.ask(|rows| rows.name(number))
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.ask(|rows| rows.number(name))
    }

    fn ask<T>(&self, ask: impl Fn(&Rows<S>) -> Option<T>) -> Option<T> {
        let rows = self.now();
        let known = ask(&rows);
        if known.is_some() && !rows.is_older(STALE) {
            return known;
        }
        self.read_again();
        ask(&self.now())
    }

    fn read_again(&self) {
        let _turn = lock(&self.reading);
        if self.now().is_older(READ_AGAIN) {
            self.put(Rows { read: Some(Instant::now()), rows: Arc::new(S::read()) });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn syscall(number: u64) -> Option<&'static str> {
    #[cfg(target_arch = "aarch64")]
    use syscalls::aarch64::Sysno;
    #[cfg(target_arch = "x86_64")]
    use syscalls::x86_64::Sysno;
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return Some(Sysno::new(usize::try_from(number).ok()?)?.name());
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = number;
        None
    }
}

fn syscall_number(name: &str) -> Option<u64> {
    #[cfg(target_arch = "aarch64")]
    use syscalls::aarch64::Sysno;
    #[cfg(target_arch = "x86_64")]
    use syscalls::x86_64::Sysno;
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return u64::try_from(name.parse::<Sysno>().ok()?.id()).ok();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = name;
        None
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(what: HostName, number: u64) -> Option<String> {
        let kept = Names::of_this_host().find(what, number).map(|name| name.to_string());
        kept.or_else(|| derive(what, &[], number).map(Cow::into_owned))
    }

    #[test]
    fn what_every_host_has_is_found() {
        assert_eq!(find(HostName::Interface, 1).as_deref(), Some("lo"));
        assert_eq!(find(HostName::User, 0).as_deref(), Some("root"));
        assert_eq!(find(HostName::Protocol, 6).as_deref(), Some("TCP"));
        let read = u64::try_from(libc::SYS_read).unwrap();
        assert_eq!(find(HostName::Syscall, read).as_deref(), Some("read"));
        let bytes = [10, 0, 0, 1];
        let four = derive(HostName::Address, &bytes, 0).unwrap();
        assert_eq!(&*four, "10.0.0.1");
        let six = derive(HostName::Address, &Ipv6Addr::LOCALHOST.octets(), 0).unwrap();
        assert_eq!(&*six, "::1");
    }

    #[test]
    fn names_are_numbers_again() {
        let names = Names::of_this_host();
        let read = u64::try_from(libc::SYS_read).unwrap();
        for (what, name, expected) in [
            (HostName::Interface, "lo", Some(1)),
            (HostName::User, "root", Some(0)),
            (HostName::Protocol, "tcp", Some(6)),
            (HostName::Syscall, "read", Some(read)),
            (HostName::Interface, "none-such", None),
            (HostName::User, "none-such", None),
            (HostName::Cgroup, "/none-such", None),
            (HostName::Protocol, "none-such", None),
            (HostName::Syscall, "none-such", None),
            (HostName::Address, "10.0.0.1", None),
        ] {
            assert_eq!(names.number(what, name), expected, "{what:?} {name}");
        }
    }

    #[test]
    fn what_nobody_has_stays_a_number() {
        for what in [HostName::Interface, HostName::Cgroup, HostName::User, HostName::Syscall] {
            assert_eq!(find(what, u64::MAX), None, "{what:?}");
            assert_eq!(find(what, 0xffff_0000), None, "{what:?}");
        }
        assert_eq!(find(HostName::Protocol, 253), None);
        assert_eq!(derive(HostName::Address, &[1, 2], 0), None);
    }
}
