//! The attribute blocks of bpf(2), one struct for each shape of command.
//!
//! Each is the head of the kernel's `union bpf_attr` up to the last field used here; the kernel
//! takes the rest as zero. Padding is spelled out.

#![allow(clippy::struct_field_names, reason = "fields are named as in the kernel's header")]

use super::Attr;

/// A name as the kernel keeps it: at most 15 bytes of `[A-Za-z0-9_.]` and a NUL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct ObjName([u8; 16]);

impl ObjName {
    /// The first 15 bytes, anything that the kernel refuses as `_`.
    pub fn new(name: &str) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
            *to = if from.is_ascii_alphanumeric() || from == b'.' { from } else { b'_' };
        }
        Self(bytes)
    }

    /// As the kernel gave it.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Up to the NUL.
    pub fn to_text(self) -> String {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(self.0.len());
        String::from_utf8_lossy(&self.0[..end]).into_owned()
    }
}

macro_rules! attrs {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $type,)* }

        // SAFETY: repr(C) in the kernel's order, and the sum check rules padding out.
        unsafe impl Attr for $name {}
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*);
    )*};
}

attrs! {
    /// `BPF_MAP_CREATE`.
    MapCreate {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
        numa_node: u32,
        map_name: ObjName,
        map_ifindex: u32,
        btf_fd: u32,
        btf_key_type_id: u32,
        btf_value_type_id: u32,
        btf_vmlinux_value_type_id: u32,
        map_extra: u64,
    }
    /// `BPF_MAP_*_ELEM`, `BPF_MAP_GET_NEXT_KEY`.
    Element {
        map_fd: u32,
        pad: u32,
        key: u64,
        value_or_next_key: u64,
        flags: u64,
    }
    /// `BPF_MAP_FREEZE`.
    Freeze {
        map_fd: u32,
    }
    /// `BPF_MAP_*_BATCH`.
    Batch {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map_fd: u32,
        elem_flags: u64,
        flags: u64,
    }
    /// `BPF_PROG_LOAD`.
    ProgLoad {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: ObjName,
        prog_ifindex: u32,
        expected_attach_type: u32,
        prog_btf_fd: u32,
        func_info_rec_size: u32,
        func_info: u64,
        func_info_cnt: u32,
        line_info_rec_size: u32,
        line_info: u64,
        line_info_cnt: u32,
        attach_btf_id: u32,
        attach_prog_fd: u32,
        core_relo_cnt: u32,
    }
    /// `BPF_OBJ_PIN`, `BPF_OBJ_GET`.
    Object {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    /// `BPF_*_GET_FD_BY_ID`.
    ById {
        id: u32,
        next_id: u32,
        open_flags: u32,
    }
    /// `BPF_OBJ_GET_INFO_BY_FD`.
    Info {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    /// `BPF_RAW_TRACEPOINT_OPEN`.
    RawTracepoint {
        name: u64,
        prog_fd: u32,
        pad: u32,
    }
    /// `BPF_BTF_LOAD`.
    BtfLoad {
        btf: u64,
        log_buf: u64,
        btf_size: u32,
        log_size: u32,
        log_level: u32,
        log_true_size: u32,
    }
    /// `BPF_ENABLE_STATS`.
    EnableStats {
        stats_type: u32,
    }
    /// `BPF_LINK_CREATE`. What `extra` means depends on the attach type.
    LinkCreate {
        prog_fd: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
        extra: [u64; 2],
    }
}
