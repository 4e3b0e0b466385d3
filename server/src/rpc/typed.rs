//! Keys and values of requests and answers: raw bytes, or typed by the map's schema.

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::{Plan, json_to_value, value_to_json};
use bytes::Bytes;
use prost_types::Value;
use tonic::Status;

use super::status::invalid;
use crate::core::{CpuMode, Error, Map};

/// A key or value as a request gives it.
pub(super) enum Given {
    Raw(Bytes),
    Typed(Value),
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
        Some(Given::Typed(typed)) => Ok(encode(map, "key", map.key_plan(), &typed)?.into()),
        Some(Given::Reference) => Err(invalid("key_reference", NO_REFERENCES)),
        None => Err(invalid("key", "is missing: give raw_key or typed_key")),
    }
}

/// The bytes of a value. For a per-CPU map a list has one for each CPU.
pub(super) fn value_bytes(map: &Map, wire: Option<impl Into<Given>>) -> Result<Bytes, Status> {
    let typed = match wire.map(Into::into) {
        Some(Given::Raw(bytes)) => return Ok(bytes),
        Some(Given::Typed(typed)) => typed,
        Some(Given::Reference) => return Err(invalid("reference", NO_REFERENCES)),
        None => return Err(invalid("value", "is missing: give raw_value or typed_value")),
    };
    let each = match (&typed.kind, map.sys().cpus()) {
        (Some(prost_types::value::Kind::ListValue(list)), Some(cpus))
            if list.values.len() == cpus =>
        {
            &list.values
        }
        _ => return Ok(encode(map, "value", map.value_plan(), &typed)?.into()),
    };
    let mut bytes = Vec::with_capacity(map.sys().value_len());
    for one in each {
        bytes.extend(encode(map, "value", map.value_plan(), one)?);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    Ok(bytes.into())
}

fn encode(
    map: &Map,
    what: &'static str,
    plan: Option<&Plan>,
    typed: &Value,
) -> Result<Vec<u8>, Status> {
    let map = map.text().to_owned();
    let Some(plan) = plan else { return Err(Error::NoSchema { map, what }.into()) };
    let encoded = plan.encode(&value_to_json(typed));
    Ok(encoded.map_err(|source| Error::Typed { map, what, source: Box::new(source) })?)
}

/// A value as [`Map::lookup`] gave it, typed.
pub(super) fn typed_value(map: &Map, bytes: &[u8], cpu: CpuMode) -> Result<Value, Status> {
    let no_schema = || Error::NoSchema { map: map.text().to_owned(), what: "value" };
    let plan = map.value_plan().ok_or_else(no_schema)?;
    let decode = |bytes: &[u8]| {
        plan.decode(&bytes[..plan.size()])
            .map_err(|error| Status::internal(format!("map {}: {error}", map.text())))
    };
    let json = match (cpu, map.sys().cpus()) {
        (CpuMode::Each, Some(_)) => {
            let each = bytes.chunks(map.cpu_stride()).map(decode);
            each.collect::<Result<Vec<_>, _>>()?.into()
        }
        _ => decode(bytes)?,
    };
    Ok(json_to_value(json))
}
