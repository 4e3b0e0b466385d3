//! Maps to test with, and what a refusal must say.

use bpfgate_client::v1::{
    self, CounterKind, CounterSpec, CreateMapRequest, MapSpec, MapType, Schema,
};
use bpfgate_client::value::Type;
use bpfgate_client::{Client, Code, Error, RpcError};

/// Memory as entries come, not all at the start.
pub const BPF_F_NO_PREALLOC: u32 = 1;

/// A map that is to be made: 16 entries with keys of 4 bytes and values of 8 unless told
/// otherwise.
#[derive(Debug, Clone)]
pub struct NewMap {
    request: CreateMapRequest,
}

impl NewMap {
    /// A map of that type.
    pub fn new(name: &str, kind: MapType) -> Self {
        let spec = MapSpec {
            r#type: kind.into(),
            key_size: 4,
            value_size: 8,
            max_entries: 16,
            ..MapSpec::default()
        };
        let mut request = CreateMapRequest { name: name.to_owned(), ..Default::default() };
        request.spec = Some(spec);
        let map = Self { request };
        // The kernel has no other.
        if kind == MapType::LpmTrie { map.flags(BPF_F_NO_PREALLOC).sizes(8, 8) } else { map }
    }

    /// A hash.
    pub fn hash(name: &str) -> Self {
        Self::new(name, MapType::Hash)
    }

    /// An array.
    pub fn array(name: &str) -> Self {
        Self::new(name, MapType::Array)
    }

    /// With keys and values of so many bytes.
    #[must_use]
    pub fn sizes(mut self, key: u32, value: u32) -> Self {
        self.spec().key_size = key;
        self.spec().value_size = value;
        self
    }

    /// With room for so many entries.
    #[must_use]
    pub fn entries(mut self, max: u32) -> Self {
        self.spec().max_entries = max;
        self
    }

    /// With these `BPF_F_*`.
    #[must_use]
    pub fn flags(mut self, flags: u32) -> Self {
        self.spec().flags = flags;
        self
    }

    /// Whose values are maps like this one.
    #[must_use]
    pub fn inner(mut self, inner: MapSpec) -> Self {
        self.spec().inner = Some(Box::new(inner));
        self
    }

    /// With this `map_extra`, whose meaning depends on the type.
    #[must_use]
    pub fn extra(mut self, extra: u64) -> Self {
        self.spec().map_extra = extra;
        self
    }

    /// With its memory there.
    #[must_use]
    pub fn numa_node(mut self, node: u32) -> Self {
        self.spec().numa_node = Some(node);
        self
    }

    /// With keys of this type.
    #[must_use]
    pub fn key(mut self, ty: Type) -> Self {
        self.spec().key_size = ty.size;
        self.layout().key = Some(ty.into());
        self
    }

    /// With values of this type.
    #[must_use]
    pub fn value(mut self, ty: Type) -> Self {
        self.spec().value_size = ty.size;
        self.layout().value = Some(ty.into());
        self
    }

    /// With a number that only grows in this field of the value.
    #[must_use]
    pub fn counter(mut self, field: &str, unit: &str) -> Self {
        let (field, unit) = (field.to_owned(), unit.to_owned());
        let kind = CounterKind::Monotonic.into();
        self.request.counters.push(CounterSpec { field, kind, unit });
        self
    }

    /// With a note.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.request.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The request, for tests that spoil it.
    pub fn request(self) -> CreateMapRequest {
        self.request
    }

    /// Makes it.
    pub async fn make(self, client: &Client) -> v1::Map {
        let name = self.request.name.clone();
        let made = client.maps().create(self.request).await;
        made.unwrap_or_else(|error| panic!("could not make {name}: {error}"))
    }

    fn spec(&mut self) -> &mut MapSpec {
        self.request.spec.get_or_insert_default()
    }

    fn layout(&mut self) -> &mut Schema {
        self.request.layout.get_or_insert_default()
    }
}

pub use bpfgate_client::types::{ipv4, signed, unsigned};

/// A struct of these fields, back to back: the caller sees to their alignment.
pub fn record(name: &str, fields: &[(&str, Type)]) -> Type {
    bpfgate_client::types::record(name, fields.iter().cloned())
}

/// The agent's refusal, after a check of its code and that its message has all of `parts`.
pub fn refused<T: std::fmt::Debug>(
    result: Result<T, Error>,
    code: Code,
    parts: &[&str],
) -> RpcError {
    let error = result.expect_err("a refusal");
    let Error::Rpc(error) = error else { panic!("no refusal by the agent: {error:?}") };
    assert_eq!(error.code, code, "{error:#?}");
    for part in parts {
        assert!(error.message.contains(part), "{part:?} is not in {:?}", error.message);
    }
    assert!(error.reason.is_some(), "{error:#?}");
    *error
}
