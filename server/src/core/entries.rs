//! Entries of a map, one at a time. Each is one system call of about a microsecond on a
//! descriptor that the agent holds, so they run where the request runs.

use std::io;

use super::kind::{is_indexed, is_sockmap, removes_blindly, type_name};
use super::{Error, Map, Operation, mapped};
use crate::sys::{ENOTSUPP, UpdateFlags};

/// What to do with the values of a per-CPU map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuMode {
    /// One for every possible CPU.
    Each,
    /// Their sum.
    Sum,
}

/// What an update does about an entry that is or is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// Make it or replace it.
    Any,
    /// Make it.
    NoExist,
    /// Replace it.
    Exist,
}

/// What to do about a spin lock in the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// Take it where there is one, so that nobody sees half of a value.
    IfAny,
    /// Leave it alone.
    Unlocked,
}

impl Map {
    /// The value of a key: one, or one for each CPU at [`Map::cpu_stride`].
    pub fn lookup(&self, key: &[u8], cpu: CpuMode, locking: Locking) -> Result<Vec<u8>, Error> {
        self.check_keys_are_bytes()?;
        self.value_of(key, cpu, locking)
    }

    /// [`Map::lookup`] for keys of any kind.
    pub(super) fn value_of(
        &self,
        key: &[u8],
        cpu: CpuMode,
        locking: Locking,
    ) -> Result<Vec<u8>, Error> {
        self.check_operation(Operation::Lookup)?;
        self.check_key(key)?;
        let mut value = vec![0; self.sys().value_len()];
        retrying(|| self.read(key, &mut value, locking))
            .map_err(|source| self.entry_error("look up an entry of", key, source))?;
        match cpu {
            CpuMode::Each => Ok(value),
            CpuMode::Sum => Ok(self.sum(value)),
        }
    }

    /// The value of a key, in the lengths of the kernel.
    pub(super) fn read(&self, key: &[u8], value: &mut [u8], locking: Locking) -> io::Result<()> {
        if let Some(mapping) = self.mapped_at_once() {
            mapped::read(mapping, key, value)
        } else if self.locks(locking) {
            self.sys().lookup_locked(key, value)
        } else {
            self.sys().lookup(key, value)
        }
    }

    /// Writes an entry. For a per-CPU map `value` is one for all CPUs, or one for each at
    /// [`Map::cpu_stride`].
    pub fn update(
        &self,
        key: &[u8],
        value: &[u8],
        mode: UpdateMode,
        locking: Locking,
    ) -> Result<(), Error> {
        self.check_keys_are_bytes()?;
        self.check_values_are_bytes()?;
        self.write(key, value, mode, locking)
    }

    /// [`Map::update`] for entries of any kind.
    pub(super) fn write(
        &self,
        key: &[u8],
        value: &[u8],
        mode: UpdateMode,
        locking: Locking,
    ) -> Result<(), Error> {
        self.try_write(key, value, mode, locking)?
            .map_err(|source| self.entry_error("update an entry of", key, source))
    }

    /// [`Map::write`] with the kernel's own answer.
    pub(super) fn try_write(
        &self,
        key: &[u8],
        value: &[u8],
        mode: UpdateMode,
        locking: Locking,
    ) -> Result<io::Result<()>, Error> {
        self.check_operation(Operation::Update)?;
        self.check_key(key)?;
        let spread;
        let value = if self.is_for_one_cpu(value) {
            spread = self.spread(value);
            &spread
        } else {
            value
        };
        if value.len() != self.sys().value_len() {
            return Err(self.bad_length("value", value.len(), self.value_lengths()));
        }
        let flags = self.update_flags(mode, locking);
        Ok(retrying(|| self.sys().update(key, value, flags)))
    }

    /// Removes an entry.
    pub fn delete(&self, key: &[u8]) -> Result<(), Error> {
        self.check_keys_are_bytes()?;
        self.remove(key)
    }

    /// [`Map::delete`] for keys of any kind.
    pub(super) fn remove(&self, key: &[u8]) -> Result<(), Error> {
        self.check_operation(Operation::Delete)?;
        self.check_key(key)?;
        if removes_blindly(self.sys().info().map_type) {
            self.value_of(key, CpuMode::Each, Locking::Unlocked)?;
        }
        retrying(|| self.sys().delete(key)).map_err(|source| self.delete_error(key, source))
    }

    pub(super) fn delete_error(&self, key: &[u8], source: io::Error) -> Error {
        let source = match source.raw_os_error() {
            // What a map of sockets says of a slot that holds none.
            Some(libc::EINVAL) if is_sockmap(self.sys().info().map_type) => {
                io::Error::from_raw_os_error(libc::ENOENT)
            }
            _ => source,
        };
        self.entry_error("delete an entry of", key, source)
    }

    /// The value of a key, which is removed. Nothing is removed if the answer could not be given.
    pub fn lookup_and_delete(
        &self,
        key: &[u8],
        cpu: CpuMode,
        locking: Locking,
    ) -> Result<Vec<u8>, Error> {
        self.check_operation(Operation::LookupAndDelete)?;
        self.check_keys_are_bytes()?;
        self.check_key(key)?;
        let mut value = vec![0; self.sys().value_len()];
        let locked = self.locks(locking);
        retrying(|| self.sys().lookup_and_delete(key, &mut value, locked))
            .map_err(|source| self.entry_error("take an entry out of", key, source))?;
        match cpu {
            CpuMode::Each => Ok(value),
            CpuMode::Sum => Ok(self.sum(value)),
        }
    }

    /// Forbids writes through bpf(2) for good, the agent's own too.
    pub fn freeze(&self) -> Result<(), Error> {
        self.require_writable()?;
        self.require(self.capabilities().freeze, "freeze")?;
        retrying(|| self.sys().freeze()).map_err(|source| match source.raw_os_error() {
            Some(libc::EBUSY) => Error::InUse {
                what: "map",
                name: self.text().to_owned(),
                by: "it is being written to, or mapped into a process for writing".to_owned(),
            },
            _ => self.entry_error("freeze", &[], source),
        })
    }

    pub(super) fn update_flags(&self, mode: UpdateMode, locking: Locking) -> UpdateFlags {
        let flags = match mode {
            UpdateMode::Any => UpdateFlags::ANY,
            UpdateMode::NoExist => UpdateFlags::NOEXIST,
            UpdateMode::Exist => UpdateFlags::EXIST,
        };
        if self.locks(locking) { flags.locked() } else { flags }
    }

    /// Whether reads and writes take the value's lock.
    pub(super) fn locks(&self, locking: Locking) -> bool {
        locking == Locking::IfAny && self.capabilities().lock
    }

    /// A value as the kernel takes it: one for all CPUs is repeated for each.
    pub fn for_every_cpu(&self, value: Vec<u8>) -> Vec<u8> {
        if self.is_for_one_cpu(&value) { self.spread(&value) } else { value }
    }

    fn is_for_one_cpu(&self, value: &[u8]) -> bool {
        self.sys().cpus().is_some() && value.len() == self.value_size()
    }

    /// Values for one CPU each, back to back, as the kernel takes them for all CPUs.
    pub(super) fn spread(&self, values: &[u8]) -> Vec<u8> {
        let cpus = self.sys().cpus().unwrap_or(1);
        let padding = self.cpu_stride() - self.value_size();
        let mut all = Vec::with_capacity(values.len() / self.value_size() * self.sys().value_len());
        for one in values.chunks_exact(self.value_size()) {
            for _ in 0..cpus {
                all.extend_from_slice(one);
                all.extend(std::iter::repeat_n(0, padding));
            }
        }
        all
    }

    /// Bytes of one value, on one CPU.
    pub fn value_size(&self) -> usize {
        self.sys().info().value_size as usize
    }

    /// Fails for a map whose numbers cannot be followed.
    pub fn require_counters(&self) -> Result<(), Error> {
        self.require(self.capabilities().watch_counters, "counters to watch")
    }

    pub(super) fn require(&self, has: bool, operation: &'static str) -> Result<(), Error> {
        if has {
            return Ok(());
        }
        Err(Error::Unsupported {
            map: self.text().to_owned(),
            map_type: type_name(self.sys().info().map_type),
            operation,
            has: self.capabilities().list(),
        })
    }

    pub(super) fn require_writable(&self) -> Result<(), Error> {
        if self.name().is_some() {
            return Ok(());
        }
        Err(Error::ReadOnly { map: self.text().to_owned() })
    }

    /// That a key has the map's size.
    pub(super) fn check_key(&self, key: &[u8]) -> Result<(), Error> {
        let want = self.sys().key_len();
        if key.len() == want {
            return Ok(());
        }
        Err(self.bad_length("key", key.len(), want.to_string()))
    }

    pub(super) fn bad_length(&self, what: &'static str, got: usize, want: String) -> Error {
        Error::Length { map: self.text().to_owned(), what, got, want }
    }

    pub(super) fn value_lengths(&self) -> String {
        let size = self.value_size();
        match self.sys().cpus() {
            None => size.to_string(),
            Some(cpus) => {
                let stride = self.cpu_stride();
                format!("{size}, or {} for {cpus} CPUs of {stride} each", stride * cpus)
            }
        }
    }

    /// What an errno means depends on the map's type (a full hash and an index past the end of an
    /// array are both E2BIG).
    pub(super) fn entry_error(
        &self,
        attempt: &'static str,
        key: &[u8],
        source: io::Error,
    ) -> Error {
        let map = self.text().to_owned();
        let info = self.sys().info();
        let max_entries = info.max_entries;
        if is_indexed(info.map_type)
            && let Ok(index) = key.try_into().map(u32::from_ne_bytes)
            && index >= max_entries
        {
            return Error::OutOfRange { map, index, max_entries };
        }
        if is_contention(&source) {
            return Error::Busy { map };
        }
        match source.raw_os_error() {
            Some(libc::ENOENT) => Error::NoKey { map },
            Some(libc::EEXIST) => Error::KeyExists { map },
            // A full hash map answers E2BIG, an LPM trie ENOSPC.
            Some(libc::E2BIG | libc::ENOSPC) => Error::Full { map, max_entries },
            Some(libc::EPERM) => Error::Frozen { map },
            Some(ENOTSUPP | libc::EOPNOTSUPP) => Error::Unsupported {
                map,
                map_type: type_name(info.map_type),
                operation: attempt,
                has: self.capabilities().list(),
            },
            _ => Error::Kernel { attempt, map, source },
        }
    }
}

pub(super) fn is_contention(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EDEADLK | libc::ETIMEDOUT))
}

/// How often an entry is tried that the kernel is busy with.
pub(super) const TRIES: u32 = 8;

/// A bucket's lock can be taken by a program that this call interrupted.
pub(super) fn retrying(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..TRIES {
        match attempt() {
            Err(error) if is_contention(&error) => std::thread::yield_now(),
            done => return done,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker;

    type Expected = fn(&Error) -> bool;

    #[test]
    fn an_errno_means_what_it_means_for_the_type() {
        const HASH: u32 = 1;
        const ARRAY: u32 = 2;
        const TRIE: u32 = 11;
        let map = |map_type| {
            let sys = broker::specimen(map_type).unwrap().map;
            Map::bare(sys)
        };
        let (inside, past) = ([0; 4], 7_u32.to_ne_bytes());
        let cases: [(u32, [u8; 4], i32, Expected); 10] = [
            (HASH, inside, libc::ENOENT, |e| matches!(e, Error::NoKey { .. })),
            (HASH, inside, libc::EEXIST, |e| matches!(e, Error::KeyExists { .. })),
            (HASH, inside, libc::E2BIG, |e| matches!(e, Error::Full { max_entries: 1, .. })),
            (TRIE, inside, libc::ENOSPC, |e| matches!(e, Error::Full { .. })),
            (ARRAY, past, libc::E2BIG, |e| matches!(e, Error::OutOfRange { index: 7, .. })),
            (ARRAY, past, libc::ENOENT, |e| matches!(e, Error::OutOfRange { .. })),
            (HASH, inside, libc::EPERM, |e| matches!(e, Error::Frozen { .. })),
            // What a lock says that was not to be had after many tries.
            (HASH, inside, libc::EBUSY, |e| matches!(e, Error::Busy { .. })),
            (HASH, inside, libc::EDEADLK, |e| matches!(e, Error::Busy { .. })),
            (HASH, inside, ENOTSUPP, |e| matches!(e, Error::Unsupported { .. })),
        ];
        for (map_type, key, errno, expected) in cases {
            let error = map(map_type).entry_error("try", &key, io::Error::from_raw_os_error(errno));
            assert!(expected(&error), "{map_type} {errno}: {error:?}");
        }
    }

    #[test]
    fn contention_is_waited_out_for_a_while() {
        let busy = || Err(io::Error::from_raw_os_error(libc::EBUSY));
        let mut tries = 0;
        let fourth = retrying(|| {
            tries += 1;
            if tries < 4 { busy() } else { Ok(()) }
        });
        assert!(fourth.is_ok() && tries == 4);
        let mut tries = 0;
        let never = retrying(|| {
            tries += 1;
            busy()
        });
        assert!(never.is_err_and(|error| is_contention(&error)) && tries > 4);
    }
}
