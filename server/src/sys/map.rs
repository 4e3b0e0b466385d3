//! Maps and their entries, one at a time.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use aya_obj::generated::bpf_map_type as types;

use super::attr::{ById, Element, MapCreate};
use super::{Command, MapInfo, ObjName, bpf, bpf_fd, map_info, possible_cpus};

/// What to make a map of.
#[derive(Debug, Clone, Copy)]
pub struct MapAttr<'a> {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// In bytes.
    pub key_size: u32,
    /// In bytes.
    pub value_size: u32,
    /// Entries; what zero means depends on the type.
    pub max_entries: u32,
    /// `BPF_F_*`, with `BPF_F_NUMA_NODE` if `numa_node` counts.
    pub flags: u32,
    /// NUMA node.
    pub numa_node: u32,
    /// Depends on the type.
    pub map_extra: u64,
    /// The kernel's name.
    pub name: ObjName,
    /// For maps of maps: a map like every inner one.
    pub inner: Option<BorrowedFd<'a>>,
    /// Types of key and value.
    pub btf: Option<MapBtf<'a>>,
}

/// Which types of which BTF a map's keys and values have.
#[derive(Debug, Clone, Copy)]
pub struct MapBtf<'a> {
    /// The loaded BTF.
    pub fd: BorrowedFd<'a>,
    /// Type id of the key; 0 for none.
    pub key_type_id: u32,
    /// Type id of the value; 0 for none.
    pub value_type_id: u32,
}

/// `BPF_MAP_CREATE`.
pub fn map_create(attr: &MapAttr<'_>) -> io::Result<Map> {
    let mut block = MapCreate {
        map_type: attr.map_type,
        key_size: attr.key_size,
        value_size: attr.value_size,
        max_entries: attr.max_entries,
        map_flags: attr.flags,
        inner_map_fd: attr.inner.map_or(0, raw),
        numa_node: attr.numa_node,
        map_name: attr.name,
        btf_fd: attr.btf.map_or(0, |btf| raw(btf.fd)),
        btf_key_type_id: attr.btf.map_or(0, |btf| btf.key_type_id),
        btf_value_type_id: attr.btf.map_or(0, |btf| btf.value_type_id),
        map_extra: attr.map_extra,
        ..MapCreate::default()
    };
    // SAFETY: the block has no pointers; on success the command makes a descriptor.
    let fd = unsafe { bpf_fd(Command::MapCreate, &mut block)? };
    Map::new(fd)
}

/// `BPF_MAP_GET_FD_BY_ID`, read-only unless `writable`.
pub fn map_get_fd_by_id(id: u32, writable: bool) -> io::Result<Map> {
    const BPF_F_RDONLY: u32 = 1 << 3;
    let open_flags = if writable { 0 } else { BPF_F_RDONLY };
    let mut block = ById { id, next_id: 0, open_flags };
    // SAFETY: the block has no pointers; on success the command makes a descriptor.
    let fd = unsafe { bpf_fd(Command::MapGetFdById, &mut block)? };
    Map::new(fd)
}

/// `BPF_MAP_GET_NEXT_ID`: the least id of a map above `id`, if there is one.
pub fn map_get_next_id(id: u32) -> io::Result<Option<u32>> {
    let mut block = ById { id, next_id: 0, open_flags: 0 };
    // SAFETY: the block has no pointers; the kernel writes the next id into it.
    match unsafe { bpf(Command::MapGetNextId, &mut block) } {
        Ok(_) => Ok(Some(block.next_id)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A descriptor as the attribute blocks carry it.
pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// A descriptor as keys and values carry it. It means something only while it is open.
pub fn fd_bytes(fd: BorrowedFd<'_>) -> [u8; 4] {
    fd.as_raw_fd().to_ne_bytes()
}

/// Which entries an update may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateFlags(pub(super) u64);

impl UpdateFlags {
    /// Make it or replace it.
    pub const ANY: Self = Self(0);
    /// Make it.
    pub const NOEXIST: Self = Self(1);
    /// Replace it.
    pub const EXIST: Self = Self(2);
}

/// A map's descriptor together with the sizes that the kernel goes by.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: MapInfo,
    value_len: usize,
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Map {
    /// Takes over a map's descriptor; an error if it is no map's.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let info = map_info(fd.as_fd())?;
        let size = info.value_size as usize;
        let per_cpu = is_per_cpu(info.map_type);
        let value_len = if per_cpu { size.next_multiple_of(8) * possible_cpus() } else { size };
        Ok(Self { fd, info, value_len })
    }

    /// What the kernel said of the map when it was opened.
    pub fn info(&self) -> &MapInfo {
        &self.info
    }

    /// Bytes of a key.
    pub fn key_len(&self) -> usize {
        self.info.key_size as usize
    }

    /// Bytes that the kernel copies for a value: for a per-CPU map, the values of all possible
    /// CPUs, each rounded up to 8.
    pub fn value_len(&self) -> usize {
        self.value_len
    }

    /// How many values a key has, if that is one for each CPU.
    pub fn cpus(&self) -> Option<usize> {
        is_per_cpu(self.info.map_type).then(possible_cpus)
    }

    /// `BPF_MAP_LOOKUP_ELEM` into `value`. Panics if a length is not the map's.
    pub fn lookup(&self, key: &[u8], value: &mut [u8]) -> io::Result<()> {
        assert_eq!(key.len(), self.key_len(), "key length");
        assert_eq!(value.len(), self.value_len, "value length");
        let mut block = self.element(key.as_ptr(), value.as_mut_ptr() as u64, 0);
        // SAFETY: the kernel reads key_size bytes of the key and writes value_len bytes of the
        // value; both lengths were checked.
        unsafe { bpf(Command::MapLookupElem, &mut block)? };
        Ok(())
    }

    /// `BPF_MAP_UPDATE_ELEM`. Panics if a length is not the map's.
    pub fn update(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> io::Result<()> {
        assert_eq!(key.len(), self.key_len(), "key length");
        assert_eq!(value.len(), self.value_len, "value length");
        let mut block = self.element(key.as_ptr(), value.as_ptr() as u64, flags.0);
        // SAFETY: the kernel reads key_size and value_len bytes; both lengths were checked.
        unsafe { bpf(Command::MapUpdateElem, &mut block)? };
        Ok(())
    }

    /// `BPF_MAP_DELETE_ELEM`. Panics if the key's length is not the map's.
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        assert_eq!(key.len(), self.key_len(), "key length");
        let mut block = self.element(key.as_ptr(), 0, 0);
        // SAFETY: the kernel reads key_size bytes, which was checked.
        unsafe { bpf(Command::MapDeleteElem, &mut block)? };
        Ok(())
    }

    /// `BPF_MAP_GET_NEXT_KEY` into `next`; the first key without `key`. Panics if a length is not
    /// the map's. False at the end.
    pub fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
        assert!(key.is_none_or(|key| key.len() == self.key_len()), "key length");
        assert_eq!(next.len(), self.key_len(), "next key length");
        let key = key.map_or(std::ptr::null(), <[u8]>::as_ptr);
        let mut block = self.element(key, next.as_mut_ptr() as u64, 0);
        // SAFETY: the kernel reads key_size bytes of a key that is not null and writes as many of
        // the next; both lengths were checked.
        match unsafe { bpf(Command::MapGetNextKey, &mut block) } {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn element(&self, key: *const u8, value_or_next_key: u64, flags: u64) -> Element {
        Element { map_fd: raw(self.fd.as_fd()), pad: 0, key: key as u64, value_or_next_key, flags }
    }
}

fn is_per_cpu(map_type: u32) -> bool {
    const PER_CPU: [types; 4] = [
        types::BPF_MAP_TYPE_PERCPU_HASH,
        types::BPF_MAP_TYPE_PERCPU_ARRAY,
        types::BPF_MAP_TYPE_LRU_PERCPU_HASH,
        types::BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
    ];
    PER_CPU.iter().any(|&kind| kind as u32 == map_type)
}
