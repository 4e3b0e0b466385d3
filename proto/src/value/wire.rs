//! [`Schema`] to and from its messages: the one place that knows both.

use super::schema::{Display, Encoding, EnumValue, Field, Kind, Schema, SchemaSource, Type};
use crate::v1;
use v1::integer_type::Encoding as WireEncoding;
use v1::r#type::Kind as WireKind;

/// Deepest tree that is taken in. A type three messages deep for each level of the tree stays
/// within what protobuf decoders accept.
pub(super) const MAX_DEPTH: usize = 32;
/// Most types, fields and named enum values in one tree.
pub(super) const MAX_NODES: usize = 65_536;

/// Why a schema that came over the wire was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Types within types without end.
    #[error("the type is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Too many of everything.
    #[error("the type has more than {MAX_NODES} parts")]
    TooLarge,
    /// A message that must be there is not.
    #[error("{what} of type {ty:?} is missing")]
    Missing {
        /// The type's name.
        ty: String,
        /// What it lacks.
        what: &'static str,
    },
    /// An enum's number that this version does not know, or none.
    #[error("{what} {number} is not one that this version knows")]
    Unknown {
        /// Which enum.
        what: &'static str,
        /// The number on the wire.
        number: i32,
    },
}

impl From<Schema> for v1::Schema {
    fn from(schema: Schema) -> Self {
        let Schema { key, value, source } = schema;
        Self {
            key: key.map(Into::into),
            value: value.map(Into::into),
            source: v1::SchemaSource::from(source).into(),
        }
    }
}

impl TryFrom<v1::Schema> for Schema {
    type Error = SchemaError;

    fn try_from(wire: v1::Schema) -> Result<Self, SchemaError> {
        let v1::Schema { key, value, source } = wire;
        Ok(Self {
            key: key.map(Type::try_from).transpose()?,
            value: value.map(Type::try_from).transpose()?,
            source: match v1::SchemaSource::try_from(source) {
                Ok(v1::SchemaSource::Btf) => SchemaSource::Btf,
                // What a caller sends is declared by that.
                Ok(v1::SchemaSource::Declared | v1::SchemaSource::Unspecified) => {
                    SchemaSource::Declared
                }
                Err(_) => {
                    return Err(SchemaError::Unknown { what: "schema source", number: source });
                }
            },
        })
    }
}

impl From<SchemaSource> for v1::SchemaSource {
    fn from(source: SchemaSource) -> Self {
        match source {
            SchemaSource::Btf => Self::Btf,
            SchemaSource::Declared => Self::Declared,
        }
    }
}

impl From<Type> for v1::Type {
    fn from(ty: Type) -> Self {
        let Type { name, size, kind } = ty;
        let kind = match kind {
            Kind::Integer { encoding, big_endian, display } => WireKind::Integer(v1::IntegerType {
                encoding: WireEncoding::from(encoding).into(),
                big_endian,
                display: v1::DisplayHint::from(display).into(),
            }),
            Kind::Float => WireKind::Float(v1::FloatType {}),
            Kind::Enum { signed, values } => WireKind::Enumeration(v1::EnumType {
                signed,
                values: values
                    .into_iter()
                    .map(|EnumValue { name, value }| v1::EnumValue { name, value })
                    .collect(),
            }),
            Kind::Record { is_union, fields } => WireKind::Record(v1::RecordType {
                is_union,
                fields: fields.into_iter().map(Into::into).collect(),
            }),
            Kind::Array { element, length, display } => WireKind::Array(Box::new(v1::ArrayType {
                element: Some(Box::new((*element).into())),
                length,
                display: v1::DisplayHint::from(display).into(),
            })),
            Kind::Pointer => WireKind::Pointer(v1::PointerType {}),
            Kind::Opaque { display } => {
                WireKind::Opaque(v1::OpaqueType { display: v1::DisplayHint::from(display).into() })
            }
        };
        Self { name, size, kind: Some(kind) }
    }
}

impl From<Field> for v1::Field {
    fn from(field: Field) -> Self {
        let Field { name, ty, bit_offset, bit_size } = field;
        Self { name, r#type: Some(ty.into()), bit_offset, bit_size }
    }
}

impl From<Encoding> for WireEncoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::Unsigned => Self::Unsigned,
            Encoding::Signed => Self::Signed,
            Encoding::Bool => Self::Bool,
            Encoding::Char => Self::Char,
        }
    }
}

impl From<Display> for v1::DisplayHint {
    fn from(display: Display) -> Self {
        match display {
            Display::Plain => Self::Unspecified,
            Display::Ipv4 => Self::Ipv4,
            Display::Ipv6 => Self::Ipv6,
            Display::Mac => Self::Mac,
            Display::Hex => Self::Hex,
        }
    }
}

impl TryFrom<v1::Type> for Type {
    type Error = SchemaError;

    /// A kind that this version does not know is opaque bytes, a hint that it does not know no
    /// hint: a newer agent's schema still reads.
    fn try_from(wire: v1::Type) -> Result<Self, SchemaError> {
        Intake { nodes: 0 }.ty(wire, 1)
    }
}

/// Counts what it has taken in: the tree's size is the sender's choice.
struct Intake {
    nodes: usize,
}

impl Intake {
    fn count(&mut self, nodes: usize) -> Result<(), SchemaError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES { Err(SchemaError::TooLarge) } else { Ok(()) }
    }

    fn ty(&mut self, wire: v1::Type, depth: usize) -> Result<Type, SchemaError> {
        if depth > MAX_DEPTH {
            return Err(SchemaError::TooDeep);
        }
        self.count(1)?;
        let v1::Type { name, size, kind } = wire;
        let kind = match kind {
            Some(WireKind::Integer(v1::IntegerType { encoding, big_endian, display })) => {
                Kind::Integer {
                    encoding: encoding_from(encoding)?,
                    big_endian,
                    display: display_from(display),
                }
            }
            Some(WireKind::Float(v1::FloatType {})) => Kind::Float,
            Some(WireKind::Enumeration(v1::EnumType { signed, values })) => {
                self.count(values.len())?;
                let values = values
                    .into_iter()
                    .map(|v1::EnumValue { name, value }| EnumValue { name, value })
                    .collect();
                Kind::Enum { signed, values }
            }
            Some(WireKind::Record(v1::RecordType { is_union, fields })) => {
                let fields = fields
                    .into_iter()
                    .map(|field| self.field(field, &name, depth))
                    .collect::<Result<_, _>>()?;
                Kind::Record { is_union, fields }
            }
            Some(WireKind::Array(array)) => {
                let v1::ArrayType { element, length, display } = *array;
                let element = element.ok_or_else(|| SchemaError::Missing {
                    ty: name.clone(),
                    what: "the element",
                })?;
                Kind::Array {
                    element: Box::new(self.ty(*element, depth + 1)?),
                    length,
                    display: display_from(display),
                }
            }
            Some(WireKind::Pointer(v1::PointerType {})) => Kind::Pointer,
            Some(WireKind::Opaque(v1::OpaqueType { display })) => {
                Kind::Opaque { display: display_from(display) }
            }
            None => Kind::Opaque { display: Display::Plain },
        };
        Ok(Type { name, size, kind })
    }

    fn field(&mut self, wire: v1::Field, record: &str, depth: usize) -> Result<Field, SchemaError> {
        let v1::Field { name, r#type, bit_offset, bit_size } = wire;
        let ty = r#type.ok_or_else(|| SchemaError::Missing {
            ty: record.to_owned(),
            what: "the type of a field",
        })?;
        Ok(Field { name, ty: self.ty(ty, depth + 1)?, bit_offset, bit_size })
    }
}

fn encoding_from(number: i32) -> Result<Encoding, SchemaError> {
    match WireEncoding::try_from(number) {
        Ok(WireEncoding::Unsigned) => Ok(Encoding::Unsigned),
        Ok(WireEncoding::Signed) => Ok(Encoding::Signed),
        Ok(WireEncoding::Bool) => Ok(Encoding::Bool),
        Ok(WireEncoding::Char) => Ok(Encoding::Char),
        Ok(WireEncoding::Unspecified) | Err(_) => {
            Err(SchemaError::Unknown { what: "integer encoding", number })
        }
    }
}

fn display_from(number: i32) -> Display {
    match v1::DisplayHint::try_from(number) {
        Ok(v1::DisplayHint::Ipv4) => Display::Ipv4,
        Ok(v1::DisplayHint::Ipv6) => Display::Ipv6,
        Ok(v1::DisplayHint::Mac) => Display::Mac,
        Ok(v1::DisplayHint::Hex) => Display::Hex,
        Ok(v1::DisplayHint::Unspecified) | Err(_) => Display::Plain,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::samples::{array, everything, structure, unsigned};
    use super::*;

    fn nested(depth: usize) -> Type {
        (1..depth).fold(unsigned(4), |inner, _| structure(vec![("inner", inner)]))
    }

    #[test]
    fn schemas_survive_the_wire() {
        for source in [SchemaSource::Btf, SchemaSource::Declared] {
            for (key, value) in [(None, None), (Some(unsigned(4)), Some(everything()))] {
                let schema = Schema { key, value, source };
                let bytes = v1::Schema::from(schema.clone()).encode_to_vec();
                let wire = v1::Schema::decode(&*bytes).unwrap();
                assert_eq!(Schema::try_from(wire).unwrap(), schema);
            }
        }
    }

    #[test]
    fn the_deepest_tree_fits_into_a_message() {
        let schema =
            Schema { key: None, value: Some(nested(MAX_DEPTH)), source: SchemaSource::Btf };
        let map = v1::Map { schema: Some(schema.clone().into()), ..v1::Map::default() };
        let bytes = v1::GetMapResponse { map: Some(map) }.encode_to_vec();
        let map = v1::GetMapResponse::decode(&*bytes).unwrap().map.unwrap();
        assert_eq!(Schema::try_from(map.schema.unwrap()), Ok(schema));
        assert_eq!(
            Type::try_from(v1::Type::from(nested(MAX_DEPTH + 1))),
            Err(SchemaError::TooDeep)
        );
    }

    #[test]
    fn a_tree_without_end_is_refused() {
        let fields = (0..=MAX_NODES).map(|_| ("f", unsigned(1))).collect();
        let wire = v1::Type::from(structure(fields));
        assert_eq!(Type::try_from(wire), Err(SchemaError::TooLarge));
    }

    #[test]
    fn gaps_are_named() {
        let mut wire = v1::Type::from(array(unsigned(4), 2));
        let Some(WireKind::Array(array)) = &mut wire.kind else { panic!("an array") };
        array.element = None;
        let said = Type::try_from(wire).unwrap_err().to_string();
        assert_eq!(said, "the element of type \"\" is missing");

        let mut wire = v1::Type::from(structure(vec![("a", unsigned(4))]));
        let Some(WireKind::Record(record)) = &mut wire.kind else { panic!("a record") };
        record.fields[0].r#type = None;
        let said = Type::try_from(wire).unwrap_err().to_string();
        assert_eq!(said, "the type of a field of type \"struct s\" is missing");

        let mut wire = v1::Type::from(unsigned(4));
        let Some(WireKind::Integer(integer)) = &mut wire.kind else { panic!("an integer") };
        integer.encoding = 0;
        assert!(Type::try_from(wire).is_err());
        assert!(Schema::try_from(v1::Schema { source: 9, ..v1::Schema::default() }).is_err());
    }

    #[test]
    fn what_a_newer_agent_adds_is_read_as_far_as_it_goes() {
        let wire = v1::Type { name: "new".to_owned(), size: 3, kind: None };
        let ty = Type { name: "new".to_owned(), ..Type::opaque(3) };
        assert_eq!(Type::try_from(wire), Ok(ty));
        assert_eq!(display_from(77), Display::Plain);
        let declared = Schema::try_from(v1::Schema::default()).unwrap();
        assert_eq!(declared.source, SchemaSource::Declared);
    }
}
