//! What the bytes of keys and values mean.
//!
//! - [`Schema`], [`Type`]: the types of a map's key and value, as BTF or a declared layout has them
//! - [`Plan`]: a type compiled once into flat steps, which turn bytes into JSON and back
//! - [`Leaf`]: one number or text of a type, read without a look at the rest
//! - [`Summed`]: what the values of all CPUs are together
//! - [`Matcher`]: values told apart by one of these, as a [`Condition`] has it
//! - [`EncodedValue`]: a value as gRPC carries it; [`json_to_value`], [`value_to_json`]: from JSON and
//!   back

mod address;
mod bounds;
mod compile;
#[cfg(test)]
mod complaints;
mod condition;
mod decode;
mod digits;
mod encode;
mod encoded;
mod error;
mod form;
mod input;
mod json;
mod leaf;
mod matching;
mod memory;
mod names;
mod number;
mod order;
mod pb;
mod plan;
mod protobuf;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod samples;
mod scalar;
mod schema;
mod script;
mod sum;
mod text;
mod widen;
mod wire;

pub use address::parse_prefix;
pub use bounds::Bounds;
pub use condition::{Comparison, Condition, ConditionError, Network};
pub use encoded::{EncodedValue, MalformedValue};
pub use error::{EncodeError, LengthError, PlanError, WrongLength, nearest};
pub use leaf::Leaf;
pub use matching::{Matcher, Numbers};
pub use pb::{json_to_value, value_to_json};
pub use plan::Plan;
pub use schema::{
    ByteOrder, Display, Encoding, EnumValue, Field, Kind, Schema, SchemaSource, Type,
};
pub use sum::Sums;
pub use widen::Summed;
pub use wire::SchemaError;
