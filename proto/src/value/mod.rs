//! What the bytes of keys and values mean.
//!
//! - [`Schema`], [`Type`]: the types of a map's key and value, as BTF or a declared layout has them
//! - [`Plan`]: a type compiled once into flat steps, which turn bytes into JSON and back
//! - [`Leaf`]: one number or text of a type, read without a look at the rest
//! - [`json_to_value`], [`value_to_json`]: JSON as gRPC carries it

mod pb;
mod plan;
mod schema;
mod wire;

pub use pb::{json_to_value, value_to_json};
pub use plan::{EncodeError, Leaf, LengthError, NotSummable, Plan, PlanError};
pub use schema::{Display, Encoding, EnumValue, Field, Kind, Schema, SchemaSource, Type};
pub use wire::SchemaError;
