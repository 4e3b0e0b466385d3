//! What a BPF object file asks for, as plain data.
//!
//! The parsing process makes an [`ObjectPlan`], [`validate`](super::validate) checks it as it would a
//! stranger's, the broker carries it out. Nothing here has touched the kernel yet.

use std::collections::BTreeMap;

use aya_obj::generated::bpf_map_type as Type;
use serde::{Deserialize, Serialize};

/// A file to parse and the global variables to set in it.
#[derive(Debug, Clone, Default)]
pub struct ParseRequest {
    /// The ELF file.
    pub elf: bytes::Bytes,
    /// New contents of variables in `.rodata`, `.data` and `.bss`, by name.
    pub globals: BTreeMap<String, GlobalValue>,
}

/// What a global variable is to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GlobalValue {
    /// Exactly the variable's bytes.
    Raw(Vec<u8>),
    /// JSON text, read by the variable's BTF type.
    Typed(String),
}

/// Everything that an object file wants in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectPlan {
    /// What the programs say about their licence; empty if the file says nothing.
    pub license: String,
    /// The BTF blob, ready for `BPF_BTF_LOAD`.
    #[serde(with = "blob::option")]
    pub btf: Option<Vec<u8>>,
    /// In order of name. Map references in instructions are positions in this list.
    pub maps: Vec<MapPlan>,
    /// In the file's order.
    pub programs: Vec<ProgramPlan>,
    /// What will be done differently from what the file asks for, a sentence each.
    pub warnings: Vec<String>,
}

/// One map to create.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapPlan {
    /// As the file has it: up to 127 of `[A-Za-z0-9_.]`, so it may need cutting for the kernel.
    pub name: String,
    /// `enum bpf_map_type`.
    pub map_type: u32,
    /// In bytes.
    pub key_size: u32,
    /// In bytes.
    pub value_size: u32,
    /// Entries; for ring buffers bytes, already rounded as the kernel wants them.
    pub max_entries: u32,
    /// `BPF_F_*` of map creation.
    pub flags: u32,
    /// Depends on the type; 0 for most.
    pub map_extra: u64,
    /// The key's type in [`ObjectPlan::btf`]; 0 if unknown.
    pub btf_key_type_id: u32,
    /// The value's type in [`ObjectPlan::btf`]; 0 if unknown.
    pub btf_value_type_id: u32,
    /// The template of the maps that a map of maps holds.
    #[serde(with = "one_level")]
    pub inner: Option<Box<MapPlan>>,
    /// The value of key 0 before any program runs: contents of a data section.
    #[serde(with = "blob::option")]
    pub initial: Option<Vec<u8>>,
    /// Constants: freeze after writing [`MapPlan::initial`].
    pub read_only: bool,
    /// The file asks for a pin under the map's name (`LIBBPF_PIN_BY_NAME`).
    pub pin_by_name: bool,
}

impl MapPlan {
    /// Whether its values are maps.
    pub fn is_map_of_maps(&self) -> bool {
        [Type::BPF_MAP_TYPE_ARRAY_OF_MAPS, Type::BPF_MAP_TYPE_HASH_OF_MAPS]
            .iter()
            .any(|&kind| kind as u32 == self.map_type)
    }

    /// Key and value type ids to create the map with. The kernel refuses ids for several map types
    /// (libbpf leaves them out for the same), where they still say what the bytes mean.
    pub fn kernel_btf_ids(&self) -> Option<(u32, u32)> {
        const WITHOUT: [Type; 17] = [
            Type::BPF_MAP_TYPE_PROG_ARRAY,
            Type::BPF_MAP_TYPE_PERF_EVENT_ARRAY,
            Type::BPF_MAP_TYPE_CGROUP_ARRAY,
            Type::BPF_MAP_TYPE_STACK_TRACE,
            Type::BPF_MAP_TYPE_ARRAY_OF_MAPS,
            Type::BPF_MAP_TYPE_HASH_OF_MAPS,
            Type::BPF_MAP_TYPE_DEVMAP,
            Type::BPF_MAP_TYPE_DEVMAP_HASH,
            Type::BPF_MAP_TYPE_CPUMAP,
            Type::BPF_MAP_TYPE_XSKMAP,
            Type::BPF_MAP_TYPE_SOCKMAP,
            Type::BPF_MAP_TYPE_SOCKHASH,
            Type::BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
            Type::BPF_MAP_TYPE_QUEUE,
            Type::BPF_MAP_TYPE_STACK,
            Type::BPF_MAP_TYPE_RINGBUF,
            Type::BPF_MAP_TYPE_USER_RINGBUF,
        ];
        let refused = WITHOUT.iter().any(|&kind| kind as u32 == self.map_type);
        let ids = (self.btf_key_type_id, self.btf_value_type_id);
        // A key without a type goes only with data sections and with maps that have no keys.
        let keyless =
            self.initial.is_some() || self.map_type == Type::BPF_MAP_TYPE_BLOOM_FILTER as u32;
        (!refused && ids.1 != 0 && (ids.0 != 0 || keyless)).then_some(ids)
    }
}

/// One program to load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramPlan {
    /// The C function's name.
    pub name: String,
    /// As the file has it, a leading `?` included.
    pub section: String,
    /// What the section's name says about it.
    pub kind: ProgramKind,
    /// False for `SEC("?…")`: the file does not want it loaded unless asked.
    pub autoload: bool,
    /// The kernel function, hook or type to attach to, in the kernel's own BTF; 0 if not needed.
    pub attach_btf_id: u32,
    /// The program with all it calls, 8 bytes an instruction in host order.
    #[serde(with = "blob")]
    pub insns: Vec<u8>,
    /// `bpf_func_info` records.
    #[serde(with = "blob")]
    pub func_info: Vec<u8>,
    /// Bytes in one of them; 0 if there are none.
    pub func_info_rec_size: u32,
    /// `bpf_line_info` records.
    #[serde(with = "blob")]
    pub line_info: Vec<u8>,
    /// Bytes in one of them; 0 if there are none.
    pub line_info_rec_size: u32,
}

/// What kind of program it is, as its section's name says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramKind {
    /// `enum bpf_prog_type`.
    pub prog_type: u32,
    /// `enum bpf_attach_type`.
    pub expected_attach_type: u32,
    /// May sleep (`BPF_F_SLEEPABLE`).
    pub sleepable: bool,
    /// Takes XDP frames of several fragments (`BPF_F_XDP_HAS_FRAGS`).
    pub xdp_frags: bool,
    /// Where it attaches unless told otherwise.
    pub auto_attach: AutoAttach,
}

/// Where a section's name says that its program attaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AutoAttach {
    /// It does not say.
    None,
    /// `tp/CATEGORY/NAME`.
    Tracepoint {
        /// The subsystem.
        category: String,
        /// The event.
        name: String,
    },
    /// `raw_tp/NAME`.
    RawTracepoint {
        /// The event.
        name: String,
    },
    /// `kprobe/SYMBOL+OFFSET`, `kretprobe/SYMBOL`, `ksyscall/NAME`.
    Kprobe {
        /// The kernel function.
        symbol: String,
        /// From the symbol, in bytes.
        offset: u64,
        /// On return.
        on_return: bool,
    },
    /// `uprobe/PATH:SYMBOL+OFFSET`, `uretprobe/PATH:SYMBOL`.
    Uprobe {
        /// The ELF file to probe, as written: may be without a directory.
        path: String,
        /// Empty if the offset counts from the start of the file.
        symbol: String,
        /// In bytes.
        offset: u64,
        /// On return.
        on_return: bool,
    },
    /// `fentry/…`, `fexit/…`, `fmod_ret/…`, `lsm/…`, `tp_btf/…`: fixed when the program is loaded.
    Tracing {
        /// The function, hook or event.
        function: String,
    },
    /// `iter/TARGET`.
    Iter {
        /// What it iterates.
        target: String,
    },
    /// `tcx/ingress`, `tcx/egress`; the interface is still to be named.
    Tcx {
        /// Which of the two.
        direction: Direction,
    },
}

/// Of packets, as the interface sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Coming in.
    Ingress,
    /// Going out.
    Egress,
}

/// Byte strings as one run: as lists of numbers they cost a call for every byte.
mod blob {
    use std::fmt;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_byte_buf(Bytes)
    }

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }

    pub(super) mod option {
        use serde::{Deserialize, Deserializer, Serialize, Serializer};

        #[derive(Deserialize)]
        struct Blob(#[serde(with = "super")] Vec<u8>);

        #[derive(Serialize)]
        struct BlobRef<'a>(#[serde(serialize_with = "super::serialize")] &'a [u8]);

        #[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
        pub(crate) fn serialize<S: Serializer>(
            bytes: &Option<Vec<u8>>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            bytes.as_deref().map(BlobRef).serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<Vec<u8>>, D::Error> {
            Ok(Option::<Blob>::deserialize(from)?.map(|blob| blob.0))
        }
    }
}

/// Inner maps without inner maps: the kernel nests one level, and a forged plan that nests a
/// million would overflow the reader's stack.
mod one_level {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::MapPlan;

    #[derive(Serialize, Deserialize)]
    struct Inner {
        name: String,
        sizes: [u32; 5],
        map_extra: u64,
        btf_type_ids: [u32; 2],
    }

    #[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
    pub(super) fn serialize<S: Serializer>(
        inner: &Option<Box<MapPlan>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let inner = inner.as_ref().map(|map| Inner {
            name: map.name.clone(),
            sizes: [map.map_type, map.key_size, map.value_size, map.max_entries, map.flags],
            map_extra: map.map_extra,
            btf_type_ids: [map.btf_key_type_id, map.btf_value_type_id],
        });
        inner.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Box<MapPlan>>, D::Error> {
        let Some(Inner { name, sizes, map_extra, btf_type_ids }) = Option::deserialize(from)?
        else {
            return Ok(None);
        };
        let [map_type, key_size, value_size, max_entries, flags] = sizes;
        let [btf_key_type_id, btf_value_type_id] = btf_type_ids;
        Ok(Some(Box::new(MapPlan {
            name,
            map_type,
            key_size,
            value_size,
            max_entries,
            flags,
            map_extra,
            btf_key_type_id,
            btf_value_type_id,
            inner: None,
            initial: None,
            read_only: false,
            pin_by_name: false,
        })))
    }
}
