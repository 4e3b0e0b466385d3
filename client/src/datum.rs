//! A key or a value as a request carries it.

use bpfgate_proto::v1::Reference;
use bpfgate_proto::value::json_to_value;
use bytes::Bytes;

/// A key or a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// The kernel's bytes, in the agent's byte order and of exactly the map's size.
    Raw(Bytes),
    /// By the map's schema; the agent converts it. Integers beyond 2^53 as strings.
    Typed(serde_json::Value),
}

impl From<Bytes> for Datum {
    fn from(bytes: Bytes) -> Self {
        Self::Raw(bytes)
    }
}

impl From<Vec<u8>> for Datum {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Raw(bytes.into())
    }
}

impl From<&[u8]> for Datum {
    fn from(bytes: &[u8]) -> Self {
        Self::Raw(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<[u8; N]> for Datum {
    fn from(bytes: [u8; N]) -> Self {
        Self::from(&bytes[..])
    }
}

impl From<serde_json::Value> for Datum {
    fn from(json: serde_json::Value) -> Self {
        Self::Typed(json)
    }
}

/// A key or a value of a map of any type: as bytes or typed, or by what it stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// Bytes, or by the map's schema.
    Datum(Datum),
    /// By name, for maps whose keys or values stand for something else: programs, maps, devices,
    /// sockets, …
    Reference(Reference),
}

impl From<Reference> for Operand {
    fn from(reference: Reference) -> Self {
        Self::Reference(reference)
    }
}

macro_rules! operands {
    ($($datum:ty $(: $size:ident)?),+ $(,)?) => {$(
        impl $(<const $size: usize>)? From<$datum> for Operand {
            fn from(datum: $datum) -> Self {
                Self::Datum(datum.into())
            }
        }
    )+};
}

operands! { Datum, Bytes, Vec<u8>, &[u8], [u8; N]: N, serde_json::Value }

/// The `oneof`s of the requests differ in type only.
macro_rules! into_oneof {
    ($($oneof:path { $raw:ident, $typed:ident $(, $reference:ident)? }),+ $(,)?) => {$(
        impl From<Datum> for $oneof {
            fn from(datum: Datum) -> Self {
                match datum {
                    Datum::Raw(bytes) => Self::$raw(bytes),
                    Datum::Typed(json) => Self::$typed(json_to_value(json)),
                }
            }
        }

        $(impl From<Operand> for $oneof {
            fn from(operand: Operand) -> Self {
                match operand {
                    Operand::Datum(datum) => datum.into(),
                    Operand::Reference(reference) => Self::$reference(reference),
                }
            }
        })?
    )+};
}

into_oneof! {
    bpfgate_proto::v1::lookup_request::Key { RawKey, TypedKey, KeyReference },
    bpfgate_proto::v1::read_value_request::Key { RawKey, TypedKey, KeyReference },
    bpfgate_proto::v1::update_request::Key { RawKey, TypedKey, KeyReference },
    bpfgate_proto::v1::delete_request::Key { RawKey, TypedKey, KeyReference },
    bpfgate_proto::v1::lookup_and_delete_request::Key { RawKey, TypedKey },
    bpfgate_proto::v1::update_request::Value { RawValue, TypedValue, Reference },
    bpfgate_proto::v1::push_request::Value { RawValue, TypedValue },
    bpfgate_proto::v1::peek_request::Value { RawValue, TypedValue },
}
