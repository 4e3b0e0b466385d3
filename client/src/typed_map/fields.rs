//! Where a Rust struct has its fields, held against where the map's schema has them.

use bpfgate_proto::value::{Field, Kind, Type};

/// A struct that tells where its fields are; [`fields!`](crate::fields) implements it.
pub trait Fields {
    /// In order of declaration.
    const FIELDS: &'static [FieldPlace];
}

/// Where a field is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldPlace {
    /// As in Rust.
    pub name: &'static str,
    /// From the start of the struct.
    pub offset: usize,
    /// How large it is.
    pub size: usize,
}

/// For [`fields!`](crate::fields): the closure says which field's size is meant.
#[doc(hidden)]
pub const fn field_place<T, F>(name: &'static str, offset: usize, _: fn(&T) -> &F) -> FieldPlace {
    FieldPlace { name, offset, size: size_of::<F>() }
}

/// Tells where the fields of a struct are, so that
/// [`TypedMap::check_value`](crate::TypedMap::check_value) can hold them against the map's schema.
/// Names are those of the C struct; a name that Rust reserves may end in `_`.
///
/// ```
/// #[repr(C)]
/// struct Counter {
///     packets: u64,
///     bytes: u64,
/// }
/// bpfgate_client::fields!(Counter { packets, bytes });
/// # use bpfgate_client::Fields;
/// assert_eq!(Counter::FIELDS[1].offset, 8);
/// ```
#[macro_export]
macro_rules! fields {
    ($ty:ty { $($field:ident),* $(,)? }) => {
        impl $crate::Fields for $ty {
            const FIELDS: &'static [$crate::FieldPlace] = &[$(
                $crate::field_place::<$ty, _>(
                    ::core::stringify!($field),
                    ::core::mem::offset_of!($ty, $field),
                    |whole| &whole.$field,
                )
            ),*];
        }
    };
}

/// What is not where the schema has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    /// The schema has a field that the struct lacks.
    #[error("it has no field {name}, which is {size} bytes at {offset}")]
    Missing {
        /// As in the schema.
        name: String,
        /// From the start, in bytes.
        offset: usize,
        /// In bytes.
        size: usize,
    },
    /// A field is elsewhere, or of another size.
    #[error(
        "its field {name} is {got_size} bytes at {got_offset}, the map's is {size} bytes at {offset}"
    )]
    Elsewhere {
        /// Its name.
        name: String,
        /// From the start, in bytes, by the schema.
        offset: usize,
        /// In bytes, by the schema.
        size: usize,
        /// From the start, in bytes, by the struct.
        got_offset: usize,
        /// In bytes, by the struct.
        got_size: usize,
    },
    /// The struct has a field that the schema lacks, and not in its padding.
    #[error("the map has no field {name}, and {other} where that is")]
    Unknown {
        /// As in Rust.
        name: String,
        /// What the schema has there.
        other: String,
    },
    /// The schema has no fields.
    #[error("it is a struct, the map's is no struct but {ty:?}")]
    NoRecord {
        /// The schema's name for it.
        ty: String,
    },
}

/// A field of the schema.
struct Known {
    name: String,
    offset: usize,
    size: usize,
    /// Fields of unions and bitfields share their bytes: any field may lie over them.
    shared: bool,
}

/// Holds the struct's fields against those of the type. Fields of the struct that lie in the
/// type's padding are nobody's.
pub(super) fn check<T: Fields>(ty: &Type) -> Result<(), FieldsError> {
    let Kind::Record { is_union, fields } = &ty.kind else {
        // Of bytes that nobody described nothing can be said.
        if let Kind::Opaque { .. } = ty.kind {
            return Ok(());
        }
        return Err(FieldsError::NoRecord { ty: ty.name.clone() });
    };
    let mut known = Vec::new();
    collect(fields, 0, *is_union, &mut known);
    for Known { name, offset, size, .. } in known.iter().filter(|field| !field.shared) {
        let (name, offset, size) = (name.clone(), *offset, *size);
        let own = T::FIELDS.iter().find(|own| plain(own.name) == plain(&name));
        match own {
            None => return Err(FieldsError::Missing { name, offset, size }),
            Some(own) if (own.offset, own.size) != (offset, size) => {
                let (got_offset, got_size) = (own.offset, own.size);
                return Err(FieldsError::Elsewhere { name, offset, size, got_offset, got_size });
            }
            Some(_) => {}
        }
    }
    for own in T::FIELDS {
        if known.iter().any(|field| plain(&field.name) == plain(own.name)) {
            continue;
        }
        let overlaps = |field: &&Known| {
            !field.shared
                && own.offset < field.offset + field.size
                && field.offset < own.offset + own.size
        };
        if let Some(other) = known.iter().find(overlaps) {
            let (name, other) = (own.name.to_owned(), other.name.clone());
            return Err(FieldsError::Unknown { name, other });
        }
    }
    Ok(())
}

/// Without what keeps a name out of Rust's own.
fn plain(name: &str) -> &str {
    name.trim_start_matches("r#").trim_end_matches('_')
}

fn collect(fields: &[Field], base: usize, shared: bool, known: &mut Vec<Known>) {
    for Field { name, ty, bit_offset, bit_size } in fields {
        let offset = base + *bit_offset as usize / 8;
        match &ty.kind {
            Kind::Record { is_union, fields } if name.is_empty() => {
                collect(fields, offset, shared || *is_union, known);
            }
            _ if name.is_empty() => {}
            _ => known.push(Known {
                name: name.clone(),
                offset,
                size: ty.size as usize,
                shared: shared || *bit_size > 0,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use bpfgate_proto::value::{Display, Encoding};

    use super::*;

    fn number(size: u32) -> Type {
        let encoding = Encoding::Unsigned;
        let kind = Kind::Integer { encoding, big_endian: false, display: Display::Plain };
        Type { name: "u".to_owned(), size, kind }
    }

    fn record(is_union: bool, size: u32, fields: &[(&str, u32, Type)]) -> Type {
        let field = |(name, offset, ty): &(&str, u32, Type)| Field {
            name: (*name).to_owned(),
            ty: ty.clone(),
            bit_offset: offset * 8,
            bit_size: 0,
        };
        let fields = fields.iter().map(field).collect();
        Type { name: "struct s".to_owned(), size, kind: Kind::Record { is_union, fields } }
    }

    struct Flow {
        address: u32,
        port: u16,
        padding: u16,
        type_: u64,
    }

    crate::fields!(Flow { address, port, padding, type_ });

    fn said(fields: &[(&str, u32, Type)]) -> String {
        check::<Flow>(&record(false, 16, fields)).unwrap_err().to_string()
    }

    #[test]
    fn fields_are_where_the_schema_has_them() {
        // Rust may order them as it likes without repr(C): take them from where they are.
        let at = |name: &str| {
            let place = Flow::FIELDS.iter().find(|place| place.name == name).unwrap();
            (u32::try_from(place.offset).unwrap(), u32::try_from(place.size).unwrap())
        };
        let field = |name: &'static str, own: &str| {
            let (offset, size) = at(own);
            (name, offset, number(size))
        };
        let good = [field("address", "address"), field("port", "port"), field("type", "type_")];
        assert_eq!(check::<Flow>(&record(false, 16, &good)), Ok(()));
        let (offset, size) = at("address");
        let members = record(true, size, &[("v4", 0, number(size)), ("word", 0, number(size))]);
        let anonymous = [("", offset, members), field("port", "port"), field("type", "type_")];
        assert_eq!(check::<Flow>(&record(false, 16, &anonymous)), Ok(()));
        assert_eq!(check::<Flow>(&Type::opaque(16)), Ok(()));

        let more = [&good[..], &[("mark", 40, number(4))]].concat();
        assert_eq!(said(&more), "it has no field mark, which is 4 bytes at 40");
        let (offset, _) = at("port");
        let mut wrong = good.clone();
        wrong[1].2 = number(1);
        let expected =
            format!("its field port is 2 bytes at {offset}, the map's is 1 bytes at {offset}");
        assert_eq!(said(&wrong), expected);
        let mut renamed = good.clone();
        renamed[0].0 = "source";
        assert!(said(&renamed).starts_with("it has no field source"));
        let over = record(false, 16, &[field("port", "port"), field("other", "address")]);
        assert!(check::<Flow>(&over).is_err());
        let scalar = check::<Flow>(&number(8)).unwrap_err().to_string();
        assert_eq!(scalar, "it is a struct, the map's is no struct but \"u\"");
    }
}
