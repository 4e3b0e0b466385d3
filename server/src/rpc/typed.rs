//! Keys and values of requests and answers: raw bytes, or typed by the map's schema.

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::{EncodedValue, Plan};
use bytes::Bytes;
use tonic::Status;

use super::status::invalid;
use crate::core::{CpuMode, Error, Map};

/// A key or value as a request gives it.
pub(super) enum Given {
    Raw(Bytes),
    Typed(EncodedValue),
    Reference,
}

const NO_REFERENCES: &str = "the entries of this map refer to nothing else";

/// The messages' oneofs, which are alike and yet types of their own.
macro_rules! given {
    ($($oneof:path { $raw:ident, $typed:ident $(, $reference:ident)? })*) => {$(
        impl From<$oneof> for Given {
            fn from(wire: $oneof) -> Self {
                type Wire = $oneof;
                match wire {
                    Wire::$raw(bytes) => Self::Raw(bytes),
                    Wire::$typed(value) => Self::Typed(value),
                    $(Wire::$reference(_) => Self::Reference,)?
                }
            }
        }
    )*};
}

given! {
    pb::lookup_request::Key { RawKey, TypedKey, KeyReference }
    pb::update_request::Key { RawKey, TypedKey, KeyReference }
    pb::update_request::Value { RawValue, TypedValue, Reference }
    pb::delete_request::Key { RawKey, TypedKey, KeyReference }
    pb::lookup_and_delete_request::Key { RawKey, TypedKey }
    pb::push_request::Value { RawValue, TypedValue }
    pb::peek_request::Value { RawValue, TypedValue }
}

/// The bytes of a key.
pub(super) fn key_bytes(map: &Map, wire: Option<impl Into<Given>>) -> Result<Bytes, Status> {
    match wire.map(Into::into) {
        Some(Given::Raw(bytes)) => Ok(bytes),
        Some(Given::Typed(typed)) => Ok(typed_key_bytes(map, &typed)?.into()),
        Some(Given::Reference) => Err(invalid("key_reference", NO_REFERENCES)),
        None => Err(invalid("key", "is missing: give raw_key or typed_key")),
    }
}

/// The bytes of a value. For a per-CPU map a list has one for each CPU.
pub(super) fn value_bytes(map: &Map, wire: Option<impl Into<Given>>) -> Result<Bytes, Status> {
    let typed = match wire.map(Into::into) {
        Some(Given::Raw(bytes)) => return Ok(bytes),
        Some(Given::Typed(typed)) => {
            map.check_values_are_bytes()?;
            typed
        }
        Some(Given::Reference) => return Err(invalid("reference", NO_REFERENCES)),
        None => return Err(invalid("value", "is missing: give raw_value or typed_value")),
    };
    Ok(typed_value_bytes(map, &typed)?.into())
}

/// The bytes of a typed key.
pub(super) fn typed_key_bytes(map: &Map, typed: &EncodedValue) -> Result<Vec<u8>, Error> {
    // Before anything is said of a schema.
    map.check_keys_are_bytes()?;
    encode(map, "key", map.key_plan(), typed)
}

/// The bytes of a typed value. For a per-CPU map a list has one for each CPU.
fn typed_value_bytes(map: &Map, typed: &EncodedValue) -> Result<Vec<u8>, Error> {
    let each = map.sys().cpus().and_then(|cpus| typed.items().filter(|each| each.len() == cpus));
    let Some(each) = each else { return encode(map, "value", map.value_plan(), typed) };
    let mut bytes = Vec::with_capacity(map.sys().value_len());
    for one in each {
        bytes.extend(encode(map, "value", map.value_plan(), &one)?);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    Ok(bytes)
}

/// The bytes of a typed entry, the value as the kernel takes it: for every CPU.
pub(super) fn typed_entry_bytes(
    map: &Map,
    entry: &pb::TypedEntry,
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let missing = |field| Error::Invalid { field, problem: "is missing".to_owned() };
    let pb::TypedEntry { key, value } = entry;
    let key = typed_key_bytes(map, key.as_ref().ok_or_else(|| missing("key"))?)?;
    let value = typed_value_bytes(map, value.as_ref().ok_or_else(|| missing("value"))?)?;
    Ok((key, map.for_every_cpu(value)))
}

fn encode(
    map: &Map,
    what: &'static str,
    plan: Option<&Plan>,
    typed: &EncodedValue,
) -> Result<Vec<u8>, Error> {
    let map = map.text().to_owned();
    let Some(plan) = plan else { return Err(Error::NoSchema { map, what }) };
    let json = typed
        .to_json()
        .map_err(|problem| Error::Invalid { field: what, problem: problem.to_string() })?;
    let encoded = plan.encode(&json);
    encoded.map_err(|source| Error::Typed { map, what, source: Box::new(source) })
}

/// An entry, or a half of one, as [`Map::lookup`] and [`crate::core::Reader`] give it, typed.
pub(super) fn typed_entry(
    map: &Map,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    cpu: CpuMode,
) -> Result<pb::TypedEntry, Error> {
    let key = key.map(|key| Ok::<_, Error>(decode(plan(map, "key", map.key_plan())?, key)));
    let value = value.map(|value| typed_value(map, value, cpu));
    Ok(pb::TypedEntry { key: key.transpose()?, value: value.transpose()? })
}

/// A value as [`Map::lookup`] gave it, typed.
pub(super) fn typed_value(map: &Map, bytes: &[u8], cpu: CpuMode) -> Result<EncodedValue, Error> {
    let plan = plan(map, "value", map.value_plan())?;
    if cpu == CpuMode::Sum || map.sys().cpus().is_none() {
        return Ok(decode(plan, bytes));
    }
    let each = bytes.chunks(map.cpu_stride()).map(|bytes| decode(plan, bytes));
    Ok(EncodedValue::list(each))
}

fn plan<'m>(map: &Map, what: &'static str, plan: Option<&'m Plan>) -> Result<&'m Plan, Error> {
    plan.ok_or_else(|| Error::NoSchema { map: map.text().to_owned(), what })
}

/// The kernel's padding is no part of the type.
fn decode(plan: &Plan, bytes: &[u8]) -> EncodedValue {
    plan.decode_protobuf(&bytes[..plan.size()]).expect("bytes were cut to the plan's size")
}
