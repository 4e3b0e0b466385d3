//! Making maps.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use super::Error;
use crate::sys::{self, MapAttr, MapBtf, ObjName};

/// Memory as entries come, not all at the start.
pub(super) const BPF_F_NO_PREALLOC: u32 = 1;
/// The values can be mapped into memory.
pub(super) const BPF_F_MMAPABLE: u32 = 1 << 10;

/// What to make a map of.
#[derive(Debug, Clone, Default)]
pub struct MapRequest {
    /// Its name; the kernel's is made of it.
    pub name: String,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// In bytes.
    pub key_size: u32,
    /// In bytes.
    pub value_size: u32,
    /// Entries.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Where the memory should be.
    pub numa_node: Option<u32>,
    /// Depends on the type.
    pub map_extra: u64,
    /// For maps of maps.
    pub inner: Option<Box<MapRequest>>,
    /// Type ids of key and value in the object's BTF.
    pub btf_types: Option<(u32, u32)>,
}

/// Makes a map, and for a map of maps first one like its inner ones, which the kernel needs only
/// to look at.
pub fn create_map(request: &MapRequest, btf: Option<BorrowedFd<'_>>) -> Result<sys::Map, Error> {
    const BPF_F_NUMA_NODE: u32 = 1 << 2;
    let inner = match &request.inner {
        Some(inner) => Some(create_map(inner, btf)?),
        None => None,
    };
    let attr = MapAttr {
        map_type: request.map_type,
        key_size: request.key_size,
        value_size: request.value_size,
        max_entries: request.max_entries,
        flags: request.flags | if request.numa_node.is_some() { BPF_F_NUMA_NODE } else { 0 },
        numa_node: request.numa_node.unwrap_or(0),
        map_extra: request.map_extra,
        name: ObjName::new(&request.name),
        inner: inner.as_ref().map(sys::Map::as_fd),
        btf: btf.zip(request.btf_types).map(|(fd, (key_type_id, value_type_id))| MapBtf {
            fd,
            key_type_id,
            value_type_id,
        }),
    };
    let failed = |source| Error::CreateMap { name: request.name.clone(), source };
    match sys::map_create(&attr) {
        // Some types take no BTF, and EINVAL does not say which: libbpf tries without, too.
        Err(_) if attr.btf.is_some() => {
            sys::map_create(&MapAttr { btf: None, ..attr }).map_err(failed)
        }
        created => created.map_err(failed),
    }
}

/// BTF that a map is to be made with, and that nothing else uses.
#[derive(Debug)]
pub struct OwnBtf {
    /// As the kernel takes it.
    pub blob: Vec<u8>,
    /// Type ids of key and value in it.
    pub types: (u32, u32),
    /// Without it the map would be another one.
    pub needed: bool,
}

/// Makes a map with BTF of its own; without, where the kernel does not take it and it is not
/// needed.
pub fn create_described(request: &MapRequest, btf: &OwnBtf) -> Result<sys::Map, Error> {
    let failed = |source| Error::CreateMap { name: request.name.clone(), source };
    let loaded = match sys::btf_load(&btf.blob) {
        Ok(loaded) => loaded,
        Err(source) if btf.needed => return Err(failed(source)),
        Err(_) => return create_map(request, None),
    };
    let request = MapRequest { btf_types: Some(btf.types), ..request.clone() };
    let map = create_map(&request, Some(loaded.as_fd()))?;
    if btf.needed && map.info().btf_value_type_id == 0 {
        // The kernel refused it with BTF and took it without.
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    Ok(map)
}
