//! What the kernel says of maps and links, and how it is asked.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::attr::Info;
use super::map::raw;
use super::{Command, ObjName, bpf};

/// `BPF_OBJ_GET_INFO_BY_FD` into `info`.
///
/// # Safety
///
/// `T` is the head of the kernel's info struct for this kind of descriptor, any bytes are good
/// for it, and its pointers are good for the lengths beside them.
pub(super) unsafe fn object_info<T>(fd: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut block = Info {
        bpf_fd: raw(fd),
        info_len: u32::try_from(size_of::<T>()).expect("an info struct is small"),
        info: std::ptr::from_mut(info) as u64,
    };
    // SAFETY: the kernel writes at most info_len bytes; the caller vouches for what is inside.
    unsafe { bpf(Command::ObjGetInfoByFd, &mut block)? };
    Ok(())
}

/// The head of `struct bpf_map_info`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct RawMapInfo {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    name: [u8; 16],
    ifindex: u32,
    btf_vmlinux_value_type_id: u32,
    netns_dev: u64,
    netns_ino: u64,
    btf_id: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
    btf_vmlinux_id: u32,
    map_extra: u64,
}

/// What the kernel says of a map. Sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub struct MapInfo {
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// Unique as long as the map lives.
    pub id: u32,
    /// Of one key.
    pub key_size: u32,
    /// Of one value, on one CPU.
    pub value_size: u32,
    /// The most there can be.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// The kernel's name.
    pub name: ObjName,
    /// Id of the BTF that describes it; 0 for none.
    pub btf_id: u32,
    /// Type of the key in that BTF; 0 for none.
    pub btf_key_type_id: u32,
    /// Type of the value in that BTF; 0 for none.
    pub btf_value_type_id: u32,
    /// Depends on the type.
    pub map_extra: u64,
}

/// What the kernel says of a map. An error for a descriptor that is no map's.
pub fn map_info(fd: BorrowedFd<'_>) -> io::Result<MapInfo> {
    // The command answers for programs, links and BTF as well, so ask what this is first.
    let kind = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    if kind.as_os_str() != "anon_inode:bpf-map" {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a map"));
    }
    let mut info = RawMapInfo::default();
    // SAFETY: integers only.
    unsafe { object_info(fd, &mut info)? };
    Ok(MapInfo {
        map_type: info.map_type,
        id: info.id,
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.map_flags,
        name: ObjName::from_bytes(info.name),
        btf_id: info.btf_id,
        btf_key_type_id: info.btf_key_type_id,
        btf_value_type_id: info.btf_value_type_id,
        map_extra: info.map_extra,
    })
}

/// Bytes that the kernel charges for a map or program, and whether a map is frozen, from its fdinfo.
pub fn memory(fd: BorrowedFd<'_>) -> io::Result<(u64, bool)> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let field = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Ok((field("memlock:"), field("frozen:") == 1))
}

/// The head of `struct bpf_link_info`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct RawLinkInfo {
    link_type: u32,
    id: u32,
}

/// The kernel's id of a link.
pub fn link_id(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = RawLinkInfo::default();
    // SAFETY: integers only.
    unsafe { object_info(fd, &mut info)? };
    Ok(info.id)
}
