//! Maps made with BTF of their own, so that everybody sees what their bytes mean, locks in their
//! values are locks, and storage maps, which the kernel makes no other way, can be made at all.

use aya_obj::generated::bpf_map_type as types;
use bpfgate_proto::value::{Display, Encoding, Field, Kind, Schema, Type};

use super::footprint::btf_bytes;
use super::kernel_memory::KernelCharge;
use super::kind::{keys_are_descriptors, type_name};
use super::{Error, shape};
use crate::broker::{self, MapRequest, OwnBtf};
use crate::{btf, sys};

/// Makes a map of that layout, whose own memory is charged; that of its BTF is added.
pub(super) fn make(
    request: &MapRequest,
    layout: Option<&Schema>,
    charge: &mut KernelCharge,
) -> Result<sys::Map, Error> {
    shape::check(request)?;
    let is_storage = keys_are_descriptors(request.map_type);
    let has_lock = layout.and_then(|layout| layout.value.as_ref()).is_some_and(has_lock);
    if has_lock {
        check_lock(request)?;
    }
    let written = write(request, layout);
    let needed = is_storage || has_lock;
    let Some(btf) = written.map(|btf::Written { blob, key_type_id, value_type_id }| OwnBtf {
        blob,
        types: (key_type_id, value_type_id),
        needed,
    }) else {
        if needed {
            let problem = "is more than BTF can say, which this map cannot do without".into();
            return Err(Error::Invalid { field: "layout", problem });
        }
        return broker::create_map(request, None).map_err(|error| unknown_type(request, error));
    };
    charge.grow(|| format!("the BTF of map {}", request.name), btf_bytes(btf.blob.len()))?;
    broker::create_described(request, &btf).map_err(|error| {
        let errno = match &error {
            broker::Error::CreateMap { source, .. } => source.raw_os_error(),
            _ => None,
        };
        if is_storage && errno == Some(libc::EINVAL) && broker::specimen(request.map_type).is_err()
        {
            let option = match storage(request.map_type) {
                Some(types::BPF_MAP_TYPE_INODE_STORAGE) => "CONFIG_BPF_LSM",
                Some(types::BPF_MAP_TYPE_CGRP_STORAGE) => "CONFIG_CGROUPS",
                _ => "CONFIG_BPF_SYSCALL",
            };
            let map_type = type_name(request.map_type);
            return broker::Error::Host(format!(
                "this kernel makes no {map_type} maps ({option}, and a kernel that knows the type)"
            ))
            .into();
        }
        unknown_type(request, error)
    })
}

/// A kernel older than a type says EINVAL to it, as to everything else.
fn unknown_type(request: &MapRequest, error: broker::Error) -> Error {
    const SINCE: [(types, (u32, u32)); 5] = [
        (types::BPF_MAP_TYPE_RINGBUF, (5, 8)),
        (types::BPF_MAP_TYPE_BLOOM_FILTER, (5, 16)),
        (types::BPF_MAP_TYPE_USER_RINGBUF, (6, 1)),
        (types::BPF_MAP_TYPE_CGRP_STORAGE, (6, 2)),
        (types::BPF_MAP_TYPE_ARENA, (6, 9)),
    ];
    let since = SINCE.iter().find(|(kind, _)| *kind as u32 == request.map_type);
    match (&error, since) {
        (broker::Error::CreateMap { source, .. }, Some(&(_, since @ (major, minor))))
            if matches!(source.raw_os_error(), Some(libc::EINVAL | libc::E2BIG))
                && broker::kernel_is_before(since) =>
        {
            let map_type = type_name(request.map_type);
            let lacks = format!(
                "this kernel has no maps of type {map_type}, which came with Linux {major}.{minor}"
            );
            broker::Error::Incapable(lacks).into()
        }
        _ => error.into(),
    }
}

/// The types of key and value; what the layout leaves out is plain. `None` if there is nothing to
/// say, or more than BTF can.
fn write(request: &MapRequest, layout: Option<&Schema>) -> Option<btf::Written> {
    let is_storage = keys_are_descriptors(request.map_type);
    let (key, value) =
        layout.map_or((None, None), |layout| (layout.key.clone(), layout.value.clone()));
    if key.is_none() && value.is_none() && !is_storage || request.value_size == 0 {
        return None;
    }
    // The kernel takes nothing else: this key is a descriptor.
    let key = if is_storage { Some(integer("int", 4, Encoding::Signed)) } else { key };
    let key = match request.key_size {
        0 => None,
        size => Some(key.unwrap_or_else(|| plain_key(request.map_type, size))),
    };
    let value = value.unwrap_or_else(|| Type::opaque(request.value_size));
    btf::write(key.as_ref(), &value)
}

/// A key of which nothing is known, in the form that the kernel wants of the type.
fn plain_key(map_type: u32, size: u32) -> Type {
    if map_type == types::BPF_MAP_TYPE_LPM_TRIE as u32 && size > 4 {
        let field = |name: &str, ty, bit_offset| Field {
            name: name.to_owned(),
            ty,
            bit_offset,
            bit_size: 0,
        };
        let fields = vec![
            field("prefixlen", integer("__u32", 4, Encoding::Unsigned), 0),
            field("data", Type::opaque(size - 4), 32),
        ];
        let kind = Kind::Record { is_union: false, fields };
        return Type { name: "struct bpf_lpm_trie_key".into(), size, kind };
    }
    match size {
        4 | 8 => integer(&format!("__u{}", size * 8), size, Encoding::Unsigned),
        _ => Type::opaque(size),
    }
}

fn integer(name: &str, size: u32, encoding: Encoding) -> Type {
    let kind = Kind::Integer { encoding, big_endian: false, display: Display::Plain };
    Type { name: name.to_owned(), size, kind }
}

fn storage(map_type: u32) -> Option<types> {
    let all = [
        types::BPF_MAP_TYPE_SK_STORAGE,
        types::BPF_MAP_TYPE_INODE_STORAGE,
        types::BPF_MAP_TYPE_TASK_STORAGE,
        types::BPF_MAP_TYPE_CGRP_STORAGE,
    ];
    all.into_iter().find(|&kind| kind as u32 == map_type)
}

/// Without its BTF such a map would be made without the lock.
fn check_lock(request: &MapRequest) -> Result<(), Error> {
    const LOCKED: [types; 7] = [
        types::BPF_MAP_TYPE_HASH,
        types::BPF_MAP_TYPE_ARRAY,
        types::BPF_MAP_TYPE_CGROUP_STORAGE,
        types::BPF_MAP_TYPE_SK_STORAGE,
        types::BPF_MAP_TYPE_INODE_STORAGE,
        types::BPF_MAP_TYPE_TASK_STORAGE,
        types::BPF_MAP_TYPE_CGRP_STORAGE,
    ];
    if LOCKED.iter().any(|&kind| kind as u32 == request.map_type) {
        return Ok(());
    }
    let map_type = type_name(request.map_type);
    let problem = format!("the values of a {map_type} cannot have a lock");
    Err(Error::Invalid { field: "layout.value", problem })
}

/// Whether the kernel finds a lock of its own in it.
fn has_lock(ty: &Type) -> bool {
    match &ty.kind {
        Kind::Record { fields, .. } => {
            ty.name == "struct bpf_spin_lock" || fields.iter().any(|field| has_lock(&field.ty))
        }
        Kind::Array { element, .. } => has_lock(element),
        Kind::Integer { .. }
        | Kind::Float
        | Kind::Enum { .. }
        | Kind::Pointer
        | Kind::Opaque { .. } => false,
    }
}
