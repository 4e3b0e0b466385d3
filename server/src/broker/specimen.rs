//! A map of any type to try operations on that nobody else ever sees: an update has no dry run,
//! so what a type can do is learnt here rather than on somebody's data.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use aya_obj::generated::bpf_map_type as types;

use super::create::{MapRequest, create_map};
use super::{Error, create};
use crate::sys;

/// A map of its own with an entry that its type may take.
#[derive(Debug)]
pub struct Specimen {
    /// The map.
    pub map: sys::Map,
    /// A key of the right form; empty for types without keys.
    pub key: Vec<u8>,
    /// A value of the right form. The kernel takes it, or says why not with an error that it has
    /// for values only.
    pub value: Vec<u8>,
    /// What the value leads to.
    _socket: Option<(UnixStream, UnixStream)>,
}

/// No process has a descriptor of this number.
const NO_FD: i32 = i32::MAX;

/// A specimen of a type; an error for a type that cannot be made without more.
pub fn specimen(map_type: u32) -> Result<Specimen, Error> {
    let is = |kinds: &[types]| kinds.iter().any(|&kind| kind as u32 == map_type);
    let name = || "specimen".to_owned();
    let failed = |source| Error::CreateMap { name: name(), source };

    let storage = is(&[
        types::BPF_MAP_TYPE_SK_STORAGE,
        types::BPF_MAP_TYPE_INODE_STORAGE,
        types::BPF_MAP_TYPE_TASK_STORAGE,
        types::BPF_MAP_TYPE_CGRP_STORAGE,
    ]);
    let mut request = MapRequest { name: name(), map_type, ..shape(map_type, storage) };
    let btf = if storage { Some(two_integers().map_err(failed)?) } else { None };
    if btf.is_some() {
        request.btf_types = Some((1, 2));
    }
    let map = create_map(&request, btf.as_ref().map(OwnedFd::as_fd))?;

    let mut key = vec![0; map.key_len()];
    if storage {
        key.copy_from_slice(&NO_FD.to_ne_bytes());
    }
    let mut value = vec![0; map.value_len()];
    let mut socket = None;
    if is(&[types::BPF_MAP_TYPE_SOCKMAP, types::BPF_MAP_TYPE_SOCKHASH]) {
        // These answer EINVAL to a removal of nothing, so something has to be in there.
        let pair = UnixStream::pair().map_err(failed)?;
        value.copy_from_slice(&i64::from(pair.0.as_raw_fd()).to_ne_bytes());
        socket = Some(pair);
    } else if is(&[types::BPF_MAP_TYPE_DEVMAP, types::BPF_MAP_TYPE_DEVMAP_HASH]) {
        // The loopback interface of every network namespace.
        value.copy_from_slice(&1_u32.to_ne_bytes());
    } else if holds_descriptors(map_type) {
        value[..4].copy_from_slice(&NO_FD.to_ne_bytes());
    }
    Ok(Specimen { map, key, value, _socket: socket })
}

/// Whether an update takes the number of a descriptor as value.
fn holds_descriptors(map_type: u32) -> bool {
    const KINDS: [types; 7] = [
        types::BPF_MAP_TYPE_PROG_ARRAY,
        types::BPF_MAP_TYPE_PERF_EVENT_ARRAY,
        types::BPF_MAP_TYPE_CGROUP_ARRAY,
        types::BPF_MAP_TYPE_ARRAY_OF_MAPS,
        types::BPF_MAP_TYPE_HASH_OF_MAPS,
        types::BPF_MAP_TYPE_XSKMAP,
        types::BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
    ];
    KINDS.iter().any(|&kind| kind as u32 == map_type)
}

/// The smallest map of a type.
fn shape(map_type: u32, storage: bool) -> MapRequest {
    let is = |kinds: &[types]| kinds.iter().any(|&kind| kind as u32 == map_type);
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    let sizes = |key_size, value_size, max_entries, flags| MapRequest {
        key_size,
        value_size,
        max_entries,
        flags,
        ..MapRequest::default()
    };
    if storage {
        sizes(4, 8, 0, create::BPF_F_NO_PREALLOC)
    } else if is(&[types::BPF_MAP_TYPE_LPM_TRIE]) {
        sizes(8, 8, 1, create::BPF_F_NO_PREALLOC)
    } else if is(&[types::BPF_MAP_TYPE_CGROUP_STORAGE, types::BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE]) {
        sizes(8, 8, 0, 0)
    } else if is(&[
        types::BPF_MAP_TYPE_QUEUE,
        types::BPF_MAP_TYPE_STACK,
        types::BPF_MAP_TYPE_BLOOM_FILTER,
    ]) {
        sizes(0, 8, 1, 0)
    } else if is(&[types::BPF_MAP_TYPE_RINGBUF, types::BPF_MAP_TYPE_USER_RINGBUF]) {
        sizes(0, 0, page, 0)
    } else if is(&[types::BPF_MAP_TYPE_ARENA]) {
        sizes(0, 0, 1, create::BPF_F_MMAPABLE)
    } else if is(&[types::BPF_MAP_TYPE_ARRAY_OF_MAPS, types::BPF_MAP_TYPE_HASH_OF_MAPS]) {
        let array = MapRequest {
            name: "specimen.in".to_owned(),
            map_type: types::BPF_MAP_TYPE_ARRAY as u32,
            ..sizes(4, 8, 1, 0)
        };
        MapRequest { inner: Some(Box::new(array)), ..sizes(4, 4, 1, 0) }
    } else if is(&[
        types::BPF_MAP_TYPE_PROG_ARRAY,
        types::BPF_MAP_TYPE_PERF_EVENT_ARRAY,
        types::BPF_MAP_TYPE_CGROUP_ARRAY,
        types::BPF_MAP_TYPE_DEVMAP,
        types::BPF_MAP_TYPE_DEVMAP_HASH,
        types::BPF_MAP_TYPE_CPUMAP,
        types::BPF_MAP_TYPE_XSKMAP,
    ]) {
        sizes(4, 4, 1, 0)
    } else {
        sizes(4, 8, 1, 0)
    }
}

/// BTF with the types that storage maps insist on: 1 is `int`, 2 is a value of 8 bytes.
fn two_integers() -> std::io::Result<OwnedFd> {
    const STRINGS: &[u8] = b"\0int\0u64\0";
    const INTEGER: u32 = 1 << 24;
    const SIGNED: u32 = 1 << 24;
    // Name, kind, bytes, encoding with bits.
    let types: [u32; 8] = [1, INTEGER, 4, SIGNED | 32, 5, INTEGER, 8, 64];
    let types_len = 32_u32;
    let strings_len = u32::try_from(STRINGS.len()).unwrap_or(0);
    let mut blob = Vec::with_capacity(24 + 32 + STRINGS.len());
    blob.extend(0xeb9f_u16.to_ne_bytes());
    blob.extend([1, 0]);
    let header = [24, 0, types_len, types_len, strings_len];
    blob.extend(header.iter().chain(&types).flat_map(|word| word.to_ne_bytes()));
    blob.extend(STRINGS);
    sys::btf_load(&blob)
}
