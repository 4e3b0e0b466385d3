//! A map to be made.

use bpfgate_proto::v1;
use bpfgate_proto::value::{Encoding, Type};

use crate::Plain;

/// A map to be made by [`Maps::create`](crate::Maps::create): a hash for 1,024 entries with keys of
/// 4 bytes and values of 8, unless told otherwise. Whatever is not told is left to the agent.
///
/// ```
/// use bpfgate_client::v1::{CounterKind, MapType};
/// use bpfgate_client::{NewMap, types};
///
/// let hits = NewMap::new("hits", MapType::LruHash)
///     .key(types::ipv4())
///     .value(types::unsigned(8))
///     .max_entries(65_536)
///     .counter("", CounterKind::Monotonic, "packets")
///     .label("team", "edge");
/// # let request: bpfgate_client::v1::CreateMapRequest = hits.into();
/// # assert_eq!(request.spec.unwrap().key_size, 4);
/// ```
#[derive(Debug, Clone)]
#[must_use = "it is made by `Maps::create`"]
pub struct NewMap {
    request: v1::CreateMapRequest,
}

/// Memory as entries come, not all at the start.
const BPF_F_NO_PREALLOC: u32 = 1;

impl NewMap {
    /// A map of that name, 1 to 15 of `[A-Za-z0-9_.]`, and type.
    pub fn new(name: impl Into<String>, kind: v1::MapType) -> Self {
        let mut spec = v1::MapSpec {
            r#type: kind.into(),
            key_size: 4,
            value_size: 8,
            max_entries: 1024,
            ..v1::MapSpec::default()
        };
        match kind {
            // The kernel takes no other.
            v1::MapType::LpmTrie => (spec.key_size, spec.flags) = (8, BPF_F_NO_PREALLOC),
            v1::MapType::Queue | v1::MapType::Stack | v1::MapType::BloomFilter => spec.key_size = 0,
            v1::MapType::Ringbuf | v1::MapType::UserRingbuf | v1::MapType::Arena => {
                (spec.key_size, spec.value_size) = (0, 0);
            }
            _ => {}
        }
        let (name, spec) = (name.into(), Some(spec));
        Self { request: v1::CreateMapRequest { name, spec, ..v1::CreateMapRequest::default() } }
    }

    /// With keys and values of so many bytes, of which nothing is known.
    pub fn sizes(mut self, key: u32, value: u32) -> Self {
        (self.spec().key_size, self.spec().value_size) = (key, value);
        self
    }

    /// With keys and values as large as these Rust types, of which nothing is known.
    pub fn sizes_of<K: Plain, V: Plain>(self) -> Self {
        let size = |size| u32::try_from(size).unwrap_or(u32::MAX);
        self.sizes(size(size_of::<K>()), size(size_of::<V>()))
    }

    /// With keys of this type, and its size.
    pub fn key(mut self, ty: Type) -> Self {
        self.spec().key_size = ty.size;
        self.layout().key = Some(ty.into());
        self
    }

    /// With values of this type, and its size.
    pub fn value(mut self, ty: Type) -> Self {
        self.spec().value_size = ty.size;
        self.layout().value = Some(ty.into());
        self
    }

    /// With records of this type: for ring buffers and `perf_event_array`s.
    pub fn record_type(mut self, ty: Type) -> Self {
        self.request.record_type = Some(ty.into());
        self
    }

    /// With room for so many entries; of a ring buffer, bytes.
    pub fn max_entries(mut self, most: u32) -> Self {
        self.spec().max_entries = most;
        self
    }

    /// With these `BPF_F_*` of `linux/bpf.h`, instead of those that the type asks for.
    pub fn flags(mut self, flags: u32) -> Self {
        self.spec().flags = flags;
        self
    }

    /// With its memory on that node.
    pub fn numa_node(mut self, node: u32) -> Self {
        self.spec().numa_node = Some(node);
        self
    }

    /// With this `map_extra`, whose meaning depends on the type: hash functions of a bloom filter,
    /// address of an arena.
    pub fn map_extra(mut self, extra: u64) -> Self {
        self.spec().map_extra = extra;
        self
    }

    /// Whose values are maps like this one; only its spec counts.
    pub fn inner(mut self, inner: impl Into<v1::CreateMapRequest>) -> Self {
        self.spec().inner = inner.into().spec.map(Box::new);
        self
    }

    /// Declares what a number in the value counts: its path, `""` for a value that is one number,
    /// and its unit as in UCUM, `"By"`, `"packets"`, or `""`.
    pub fn counter(mut self, field: &str, kind: v1::CounterKind, unit: &str) -> Self {
        let (field, unit) = (field.to_owned(), unit.to_owned());
        self.request.counters.push(v1::CounterSpec { field, kind: kind.into(), unit });
        self
    }

    /// With a note of the caller's own.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.labels.insert(name.into(), value.into());
        self
    }

    fn spec(&mut self) -> &mut v1::MapSpec {
        self.request.spec.get_or_insert_default()
    }

    fn layout(&mut self) -> &mut v1::Schema {
        self.request.layout.get_or_insert_default()
    }
}

impl From<NewMap> for v1::CreateMapRequest {
    fn from(map: NewMap) -> Self {
        map.request
    }
}

/// Types of keys, values and records, as C has them.
pub mod types {
    use bpfgate_proto::value::{Display, Field, Kind};

    use super::{Encoding, Type};

    /// `__u8` to `__u64` and `unsigned __int128`: so many bytes.
    pub fn unsigned(bytes: u32) -> Type {
        integer(format!("__u{}", bytes * 8), bytes, Encoding::Unsigned)
    }

    /// `__s8` to `__s64` and `__int128`: so many bytes.
    pub fn signed(bytes: u32) -> Type {
        integer(format!("__s{}", bytes * 8), bytes, Encoding::Signed)
    }

    /// An IPv4 address: 4 bytes in network order.
    pub fn ipv4() -> Type {
        bytes_shown(4, Display::Ipv4)
    }

    /// An IPv6 address: 16 bytes in network order.
    pub fn ipv6() -> Type {
        bytes_shown(16, Display::Ipv6)
    }

    /// An Ethernet address: 6 bytes.
    pub fn mac() -> Type {
        bytes_shown(6, Display::Mac)
    }

    /// So many bytes of which nothing is known.
    pub fn bytes(bytes: u32) -> Type {
        bytes_shown(bytes, Display::Plain)
    }

    /// `char[N]`: text of so many bytes, its NUL included.
    pub fn text(bytes: u32) -> Type {
        let char = integer("char".to_owned(), 1, Encoding::Char);
        array(char, bytes)
    }

    /// So many of one type.
    pub fn array(element: Type, length: u32) -> Type {
        let (name, size) = (String::new(), element.size.saturating_mul(length));
        let element = Box::new(element);
        Type { name, size, kind: Kind::Array { element, length, display: Display::Plain } }
    }

    /// A struct of these fields back to back: name what C would put between them.
    pub fn record<'n>(name: &str, fields: impl IntoIterator<Item = (&'n str, Type)>) -> Type {
        let mut size = 0;
        let place = |(name, ty): (&str, Type)| {
            let bit_offset = size * 8;
            size += ty.size;
            Field { name: name.to_owned(), ty, bit_offset, bit_size: 0 }
        };
        let fields = fields.into_iter().map(place).collect();
        Type { name: name.to_owned(), size, kind: Kind::Record { is_union: false, fields } }
    }

    fn integer(name: String, size: u32, encoding: Encoding) -> Type {
        let (big_endian, display) = (false, Display::Plain);
        Type { name, size, kind: Kind::Integer { encoding, big_endian, display } }
    }

    fn bytes_shown(size: u32, display: Display) -> Type {
        Type { name: String::new(), size, kind: Kind::Opaque { display } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_what_it_was_told() {
        let flow =
            types::record("struct flow", [("saddr", types::ipv4()), ("dport", types::unsigned(4))]);
        let map = NewMap::new("flows", v1::MapType::LruHash).key(flow).value(types::unsigned(8));
        let inner = map.clone();
        let request = v1::CreateMapRequest::from(map.max_entries(7).flags(2).inner(inner));
        let spec = request.spec.unwrap();
        assert_eq!((spec.key_size, spec.value_size, spec.max_entries, spec.flags), (8, 8, 7, 2));
        assert_eq!(spec.inner.unwrap().max_entries, 1024);
        let key = Type::try_from(request.layout.unwrap().key.unwrap()).unwrap();
        bpfgate_proto::value::Plan::compile(&key).unwrap();
        let queue = v1::CreateMapRequest::from(NewMap::new("q", v1::MapType::Queue)).spec.unwrap();
        assert_eq!((queue.key_size, queue.value_size), (0, 8));
    }
}
