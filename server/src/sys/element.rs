//! What only some types have of single entries: taking one out, queues, spin locks, the freeze.

use std::io;
use std::os::fd::AsFd as _;

use super::map::raw;
use super::{Command, Map, UpdateFlags, bpf};

pub(super) const BPF_F_LOCK: u64 = 1 << 2;

impl UpdateFlags {
    /// The same under the value's spin lock. `EINVAL` where the value has none.
    #[must_use]
    pub fn locked(self) -> Self {
        Self(self.0 | BPF_F_LOCK)
    }
}

/// What a descriptor lets its owner do with the map's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Read them.
    pub read: bool,
    /// Write them.
    pub write: bool,
}

impl Map {
    /// What this descriptor is good for: a map made with `BPF_F_RDONLY` is opened so.
    pub fn access(&self) -> io::Result<Access> {
        use rustix::fs::OFlags;
        let mode = rustix::fs::fcntl_getfl(self.as_fd())? & OFlags::ACCMODE;
        Ok(Access { read: mode != OFlags::WRONLY, write: mode != OFlags::RDONLY })
    }

    /// `BPF_MAP_LOOKUP_ELEM` under the value's spin lock. Panics if a length is not the map's.
    /// `EINVAL` where the value has no lock.
    pub fn lookup_locked(&self, key: &[u8], value: &mut [u8]) -> io::Result<()> {
        assert_eq!(key.len(), self.key_len(), "key length");
        assert_eq!(value.len(), self.value_len(), "value length");
        let mut block = self.element(key.as_ptr(), value.as_mut_ptr() as u64, BPF_F_LOCK);
        // SAFETY: the kernel reads key_size bytes of the key and writes value_len bytes of the
        // value; both lengths were checked.
        unsafe { bpf(Command::MapLookupElem, &mut block)? };
        Ok(())
    }

    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM` into `value`. Panics if a length is not the map's.
    pub fn lookup_and_delete(&self, key: &[u8], value: &mut [u8], locked: bool) -> io::Result<()> {
        assert_eq!(key.len(), self.key_len(), "key length");
        assert_eq!(value.len(), self.value_len(), "value length");
        let flags = if locked { BPF_F_LOCK } else { 0 };
        let mut block = self.element(key.as_ptr(), value.as_mut_ptr() as u64, flags);
        // SAFETY: as for a lookup.
        unsafe { bpf(Command::MapLookupAndDeleteElem, &mut block)? };
        Ok(())
    }

    /// `BPF_MAP_UPDATE_ELEM` of a map without keys: adds a value. `EXIST` makes room in a full
    /// queue. Panics if the map has keys or the length is not the map's.
    pub fn push(&self, value: &[u8], flags: UpdateFlags) -> io::Result<()> {
        assert_eq!(self.key_len(), 0, "key length");
        assert_eq!(value.len(), self.value_len(), "value length");
        let mut block = self.element(std::ptr::null(), value.as_ptr() as u64, flags.0);
        // SAFETY: the kernel reads no key and value_len bytes of the value.
        unsafe { bpf(Command::MapUpdateElem, &mut block)? };
        Ok(())
    }

    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM` of a map without keys. Panics if the map has keys or the
    /// length is not the map's.
    pub fn pop(&self, value: &mut [u8]) -> io::Result<()> {
        assert_eq!(self.key_len(), 0, "key length");
        assert_eq!(value.len(), self.value_len(), "value length");
        let mut block = self.element(std::ptr::null(), value.as_mut_ptr() as u64, 0);
        // SAFETY: the kernel reads no key and writes value_len bytes of the value.
        unsafe { bpf(Command::MapLookupAndDeleteElem, &mut block)? };
        Ok(())
    }

    /// `BPF_MAP_LOOKUP_ELEM` of a map without keys: what [`Map::pop`] would take; a bloom filter
    /// is asked for `value`. Panics if the map has keys or the length is not the map's.
    pub fn peek(&self, value: &mut [u8]) -> io::Result<()> {
        assert_eq!(self.key_len(), 0, "key length");
        assert_eq!(value.len(), self.value_len(), "value length");
        let mut block = self.element(std::ptr::null(), value.as_mut_ptr() as u64, 0);
        // SAFETY: the kernel reads no key and reads or writes value_len bytes of the value.
        unsafe { bpf(Command::MapLookupElem, &mut block)? };
        Ok(())
    }

    /// `BPF_MAP_FREEZE`: no more writes from user space.
    pub fn freeze(&self) -> io::Result<()> {
        let mut block = super::attr::Freeze { map_fd: raw(self.as_fd()) };
        // SAFETY: the block has no pointers.
        unsafe { bpf(Command::MapFreeze, &mut block)? };
        Ok(())
    }
}
