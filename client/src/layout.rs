//! What the bytes of one map mean: its schema, compiled.

use bpfgate_proto::map_type::is_indexed;
use bpfgate_proto::v1::{self, CpuMode};
use bpfgate_proto::value::{Display, Encoding, Kind, Plan, PlanError, Schema, SchemaError, Type};

/// How to read and write the keys and values of one map. Made once from [`v1::Map`], which
/// [`crate::Maps::get`] returns whole.
///
/// The plans take the bytes to be in this host's order, which is the agent's unless another host
/// of another kind is at the far end: compare [`v1::GetAgentResponse::byte_order`].
#[derive(Debug, Clone)]
pub struct Layout {
    /// Of keys.
    pub key: Plan,
    /// Of one value, for one CPU.
    pub value: Plan,
    /// Of the values of all CPUs together, as [`crate::CpuMode::Sum`] with wide sums gives them.
    pub sum: Plan,
    /// Whether anything is added in these; otherwise they are lists of all CPUs' values.
    pub adds: bool,
    /// Whether there is a value for each CPU.
    pub per_cpu: bool,
    /// Bytes of one entry's value with [`crate::CpuMode::Each`].
    pub value_stride: usize,
}

/// Why a map's schema cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It has a shape that this client does not know.
    #[error("the schema of map {map} cannot be read")]
    Schema {
        /// The map's name.
        map: String,
        /// What was wrong.
        source: SchemaError,
    },
    /// A type in it makes no sense.
    #[error("the schema of map {map} cannot be used")]
    Plan {
        /// The map's name.
        map: String,
        /// What was wrong.
        source: PlanError,
    },
    /// It is for keys or values of another size.
    #[error("the schema of map {map} has {schema} bytes for a {part} of {size}")]
    Size {
        /// The map's name.
        map: String,
        /// `key` or `value`.
        part: &'static str,
        /// Bytes by the schema.
        schema: usize,
        /// Bytes by the map.
        size: usize,
    },
}

impl Layout {
    /// Compiles the map's schema. Keys and values of which nothing is known are plain bytes; but a
    /// value of 1, 2, 4 or 8 bytes is a number, as in a watch, and so is the index of an array.
    ///
    /// # Errors
    ///
    /// [`LayoutError`] for a schema that this client cannot read, or that is not of the map's
    /// sizes.
    pub fn of(map: &v1::Map) -> Result<Self, LayoutError> {
        let name = || map.name.clone();
        let unknown = |source| LayoutError::Schema { map: name(), source };
        let schema = map.schema.clone().map(Schema::try_from).transpose().map_err(unknown)?;
        let sum = map.sum_type.clone().map(Type::try_from).transpose().map_err(unknown)?;
        let spec = map.spec.clone().unwrap_or_default();
        let (key, value) = schema.map_or((None, None), |schema| (schema.key, schema.value));
        let plan = |ty: &Type| {
            Plan::compile(ty).map_err(|source| LayoutError::Plan { map: name(), source })
        };
        let compile = |part, ty: Option<&Type>, size: u32| {
            let number = match part {
                "key" => size == 4 && is_indexed(spec.r#type.cast_unsigned()),
                _ => matches!(size, 1 | 2 | 4 | 8),
            };
            let size = size as usize;
            let Some(ty) = ty else {
                return if number { plan(&unsigned(size)) } else { Ok(Plan::opaque(size)) };
            };
            let plan = plan(ty)?;
            if plan.size() == size {
                return Ok(plan);
            }
            Err(LayoutError::Size { map: name(), part, schema: plan.size(), size })
        };
        let one = compile("value", value.as_ref(), spec.value_size)?;
        let all = sum.as_ref().map_or_else(|| Ok(one.clone()), plan)?;
        let one_type = value.unwrap_or_else(|| Type::opaque(spec.value_size));
        let is_trie = spec.r#type() == v1::MapType::LpmTrie;
        let prefix = key.as_ref().filter(|_| is_trie).and_then(Plan::prefix);
        let key = compile("key", key.as_ref(), spec.key_size)?;
        Ok(Self {
            key: prefix.unwrap_or(key),
            value: one,
            sum: all,
            adds: !sum.is_some_and(|sum| is_list_of(&sum, &one_type)),
            per_cpu: map.per_cpu,
            value_stride: map.value_stride as usize,
        })
    }

    /// How to read a value as calls with that mode give it.
    pub fn plan_of_value(&self, cpu: CpuMode) -> &Plan {
        match cpu {
            CpuMode::Sum => &self.sum,
            CpuMode::Each | CpuMode::Unspecified => &self.value,
        }
    }

    /// The value of each CPU in an entry's bytes, in CPU order: one where the map is not per-CPU
    /// or its CPUs were added.
    pub fn values<'v>(&self, bytes: &'v [u8]) -> impl Iterator<Item = &'v [u8]> + Clone {
        let size = self.value.size();
        // The kernel rounds each CPU's value up to 8 bytes.
        let stride = if bytes.len() == size { size } else { size.next_multiple_of(8) };
        bytes.chunks(stride.max(1)).filter_map(move |chunk| chunk.get(..size))
    }

    /// How many CPUs an entry has a value for.
    pub fn cpus(&self) -> usize {
        if self.per_cpu {
            self.value_stride / self.value.size().next_multiple_of(8).max(1)
        } else {
            1
        }
    }
}

fn unsigned(size: usize) -> Type {
    let kind =
        Kind::Integer { encoding: Encoding::Unsigned, big_endian: false, display: Display::Plain };
    Type { name: String::new(), size: u32::try_from(size).unwrap_or(0), kind }
}

/// Whether what the values of all CPUs are together is one behind the other.
fn is_list_of(sum: &Type, value: &Type) -> bool {
    let Kind::Array { element, .. } = &sum.kind else { return false };
    // A character is a text of one there, and what is too large to be shown is plain bytes.
    let text =
        matches!(&element.kind, Kind::Array { element, length: 1, .. } if **element == *value);
    **element == *value || **element == Type::opaque(value.size) || text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value_size: u32, per_cpu: bool, value_stride: u32) -> v1::Map {
        let spec = v1::MapSpec { key_size: 4, value_size, ..Default::default() };
        v1::Map { spec: Some(spec), per_cpu, value_stride, ..Default::default() }
    }

    #[test]
    fn the_values_of_cpus_are_eight_byte_aligned() {
        let layout = Layout::of(&map(4, true, 16)).unwrap();
        assert_eq!(layout.cpus(), 2);
        let each: Vec<_> = layout.values(b"AAAA....BBBB....").collect();
        assert_eq!(each, [b"AAAA", b"BBBB"]);
        assert_eq!(layout.values(b"AAAA").collect::<Vec<_>>(), [b"AAAA"]);
    }

    #[test]
    fn a_schema_of_another_size_is_refused() {
        let mut map = map(4, false, 4);
        let value = bpfgate_proto::value::Type::opaque(8).into();
        map.schema = Some(v1::Schema { key: None, value: Some(value), source: 2 });
        let said = Layout::of(&map).unwrap_err().to_string();
        assert!(said.contains("8 bytes for a value of 4"), "{said}");
    }
}
