//! Types for tests, written short.

use super::schema::{Display, Encoding, EnumValue, Field, Kind, Type};

pub(super) fn int(name: &str, size: u32, encoding: Encoding) -> Type {
    let kind = Kind::Integer { encoding, big_endian: false, display: Display::Plain };
    Type { name: name.to_owned(), size, kind }
}

pub(super) fn unsigned(size: u32) -> Type {
    int("u", size, Encoding::Unsigned)
}

pub(super) fn signed(size: u32) -> Type {
    int("s", size, Encoding::Signed)
}

pub(super) fn boolean() -> Type {
    int("_Bool", 1, Encoding::Bool)
}

pub(super) fn character() -> Type {
    int("char", 1, Encoding::Char)
}

pub(super) fn big_endian(size: u32) -> Type {
    shown(size, true, Display::Plain)
}

pub(super) fn shown(size: u32, big_endian: bool, display: Display) -> Type {
    let kind = Kind::Integer { encoding: Encoding::Unsigned, big_endian, display };
    Type { name: "shown".to_owned(), size, kind }
}

pub(super) fn float(size: u32) -> Type {
    Type { name: "float".to_owned(), size, kind: Kind::Float }
}

pub(super) fn pointer() -> Type {
    Type { name: String::new(), size: 8, kind: Kind::Pointer }
}

pub(super) fn enumeration(size: u32, signed: bool, values: &[(&str, i64)]) -> Type {
    let value = |&(name, value): &(&str, i64)| EnumValue {
        name: name.to_owned(),
        value: value.cast_unsigned(),
    };
    let kind = Kind::Enum { signed, values: values.iter().map(value).collect() };
    Type { name: "enum e".to_owned(), size, kind }
}

pub(super) fn array(element: Type, length: u32) -> Type {
    array_shown(element, length, Display::Plain)
}

pub(super) fn array_shown(element: Type, length: u32, display: Display) -> Type {
    let size = element.size.saturating_mul(length);
    let kind = Kind::Array { element: Box::new(element), length, display };
    Type { name: String::new(), size, kind }
}

pub(super) fn bitfield(name: &str, ty: Type, bit_offset: u32, bit_size: u32) -> Field {
    Field { name: name.to_owned(), ty, bit_offset, bit_size }
}

pub(super) fn record(name: &str, size: u32, is_union: bool, fields: Vec<Field>) -> Type {
    Type { name: name.to_owned(), size, kind: Kind::Record { is_union, fields } }
}

/// Laid out as C does, every type aligned to its largest number.
pub(super) fn structure(fields: Vec<(&str, Type)>) -> Type {
    let mut end = 0;
    let mut most = 1;
    let mut placed = Vec::new();
    for (name, ty) in fields {
        let align = alignment(&ty);
        most = most.max(align);
        let offset = u32::next_multiple_of(end, align);
        end = offset + ty.size;
        placed.push(bitfield(name, ty, offset * 8, 0));
    }
    record("struct s", end.next_multiple_of(most), false, placed)
}

pub(super) fn union(fields: Vec<(&str, Type)>) -> Type {
    let align = fields.iter().map(|(_, ty)| alignment(ty)).max().unwrap_or(1);
    let size = fields.iter().map(|(_, ty)| ty.size).max().unwrap_or(0);
    let fields = fields.into_iter().map(|(name, ty)| bitfield(name, ty, 0, 0)).collect();
    record("union u", size.next_multiple_of(align), true, fields)
}

fn alignment(ty: &Type) -> u32 {
    match &ty.kind {
        Kind::Record { fields, .. } => {
            fields.iter().map(|field| alignment(&field.ty)).max().unwrap_or(1)
        }
        Kind::Array { element, .. } => alignment(element),
        Kind::Opaque { .. } => 1,
        Kind::Integer { .. } | Kind::Float | Kind::Enum { .. } | Kind::Pointer => {
            ty.size.next_power_of_two()
        }
    }
}

/// One of everything.
pub(super) fn everything() -> Type {
    structure(vec![
        ("small", unsigned(1)),
        ("number", signed(4)),
        ("large", unsigned(8)),
        ("huge", signed(16)),
        ("odd", unsigned(3)),
        ("port", big_endian(2)),
        ("flag", boolean()),
        ("letter", character()),
        ("comm", array(character(), 16)),
        ("state", enumeration(4, true, &[("DOWN", -1), ("IDLE", 0), ("UP", 1)])),
        ("mask", enumeration(8, false, &[("NONE", 0), ("ALL", -1)])),
        ("single", float(4)),
        ("double", float(8)),
        ("task", pointer()),
        ("source", shown(4, true, Display::Ipv4)),
        ("six", array_shown(unsigned(1), 16, Display::Ipv6)),
        ("mac", array_shown(unsigned(1), 6, Display::Mac)),
        ("cookie", shown(8, false, Display::Hex)),
        ("blob", Type::opaque(5)),
        ("slots", array(unsigned(8), 3)),
        ("nested", structure(vec![("a", unsigned(2)), ("b", array(signed(1), 2))])),
        (
            "",
            record(
                "",
                4,
                false,
                vec![
                    bitfield("low", unsigned(4), 0, 3),
                    bitfield("middle", signed(4), 3, 11),
                    bitfield("top", boolean(), 14, 1),
                    bitfield("kind", enumeration(4, false, &[("A", 0), ("B", 1)]), 15, 4),
                ],
            ),
        ),
        ("", union(vec![("word", unsigned(4)), ("halves", array(unsigned(2), 2))])),
    ])
}
