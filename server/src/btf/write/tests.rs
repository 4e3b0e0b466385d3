//! What is written is what is read.

use bpfgate_proto::value::Display;

use super::*;
use crate::btf::compile_schema;

fn integer(name: &str, size: u32, encoding: Encoding, big_endian: bool) -> Type {
    let kind = Kind::Integer { encoding, big_endian, display: Display::Plain };
    Type { name: name.into(), size, kind }
}

fn unsigned(size: u32) -> Type {
    integer(&format!("__u{}", size * 8), size, Encoding::Unsigned, false)
}

fn field(name: &str, ty: Type, bit_offset: u32, bit_size: u32) -> Field {
    Field { name: name.into(), ty, bit_offset, bit_size }
}

fn record(name: &str, size: u32, is_union: bool, fields: Vec<Field>) -> Type {
    Type { name: name.into(), size, kind: Kind::Record { is_union, fields } }
}

fn array(name: &str, element: Type, length: u32) -> Type {
    let size = element.size * length;
    let kind = Kind::Array { element: Box::new(element), length, display: Display::Plain };
    Type { name: name.into(), size, kind }
}

fn value(name: &str, value: u64) -> EnumValue {
    EnumValue { name: name.into(), value }
}

fn enumeration(name: &str, size: u32, signed: bool, values: Vec<EnumValue>) -> Type {
    Type { name: name.into(), size, kind: Kind::Enum { signed, values } }
}

/// What our own reader makes of it.
fn read_back(ty: &Type) -> Type {
    let key = unsigned(4);
    let Written { blob, key_type_id, value_type_id } = write(Some(&key), ty).unwrap();
    let schema = compile_schema(&blob, key_type_id, value_type_id, 4, ty.size).unwrap();
    assert_eq!(schema.key, Some(key));
    schema.value.unwrap()
}

#[test]
fn every_type_survives_the_round_trip() {
    let int = || integer("int", 4, Encoding::Signed, false);
    let states = vec![value("DOWN", 0), value("UP", 7)];
    let below = vec![value("NONE", u64::MAX), value("SOME", 1)];
    let large = vec![value("HUGE", 1 << 40), value("LOWEST", i64::MIN.cast_unsigned())];
    let inner = record(
        "",
        8,
        true,
        vec![field("word", unsigned(4), 0, 0), field("long_word", unsigned(8), 0, 0)],
    );
    let types = [
        unsigned(1),
        unsigned(16),
        integer("unsigned int", 4, Encoding::Unsigned, false),
        integer("__s64", 8, Encoding::Signed, false),
        integer("bool", 1, Encoding::Bool, false),
        integer("char", 1, Encoding::Char, false),
        integer("__be16", 2, Encoding::Unsigned, true),
        integer("port_t", 2, Encoding::Unsigned, true),
        Type { name: "double".into(), size: 8, kind: Kind::Float },
        Type { name: "float".into(), size: 4, kind: Kind::Float },
        Type { name: String::new(), size: 8, kind: Kind::Pointer },
        Type { name: "handle_t".into(), size: 8, kind: Kind::Pointer },
        enumeration("enum state", 4, false, states.clone()),
        enumeration("state_t", 1, false, states),
        enumeration("enum signed_state", 4, true, below),
        enumeration("enum large", 8, true, large),
        array("", integer("char", 1, Encoding::Char, false), 16),
        array("mac_t", unsigned(1), 6),
        array("", array("", unsigned(4), 3), 2),
        record("struct empty", 4, false, vec![]),
        record(
            "flow_t",
            24,
            false,
            vec![
                field("at", unsigned(8), 0, 0),
                field("low", int(), 64, 3),
                field("top", unsigned(4), 67, 13),
                field("", inner, 96, 0),
                field("last", unsigned(4), 160, 0),
            ],
        ),
    ];
    for ty in types {
        assert_eq!(read_back(&ty), ty);
    }
}

#[test]
fn what_btf_cannot_say_becomes_the_nearest() {
    let bytes = array("", unsigned(1), 5);
    assert_eq!(read_back(&Type::opaque(5)), bytes);
    assert_eq!(read_back(&integer("odd", 5, Encoding::Unsigned, false)).size, 5);
    // Names that C does not have; padding; fields out of order.
    let ty = record(
        "struct a-b",
        8,
        false,
        vec![
            field("2nd field", unsigned(4), 32, 0),
            field("", unsigned(2), 16, 0),
            field("first", unsigned(2), 0, 0),
        ],
    );
    let expected = record(
        "struct _a_b",
        8,
        false,
        vec![field("first", unsigned(2), 0, 0), field("_2nd_field", unsigned(4), 32, 0)],
    );
    assert_eq!(read_back(&ty), expected);
    let nameless = integer("a\0b", 4, Encoding::Signed, false);
    assert_eq!(read_back(&nameless).name, "__s32");
}

#[test]
fn what_btf_cannot_hold_is_told() {
    let fields = |count: u32| (0..count).map(|at| field("f", unsigned(1), at * 8, 0)).collect();
    assert!(write(None, &record("struct s", 70_000, false, fields(65_535))).is_some());
    assert!(write(None, &record("struct s", 70_000, false, fields(65_536))).is_none());
    let far = vec![field("f", unsigned(1), 1 << 24, 3)];
    assert!(write(None, &record("struct s", 1 << 22, false, far)).is_none());
}

#[test]
fn a_type_that_is_used_again_is_written_once() {
    let one = write(None, &array("", unsigned(8), 4)).unwrap().blob.len();
    let fields = (0..100).map(|at| field("f", array("", unsigned(8), 4), at * 256, 0));
    let many = write(None, &record("struct s", 3200, false, fields.collect())).unwrap();
    assert!(many.blob.len() < one + 20 + 100 * 12, "{}", many.blob.len());
}

#[test]
fn how_a_value_is_shown_survives() {
    let shown = |mut ty: Type, wanted: Display| {
        match &mut ty.kind {
            Kind::Integer { display, .. }
            | Kind::Array { display, .. }
            | Kind::Opaque { display } => *display = wanted,
            other => panic!("{other:?}"),
        }
        ty
    };
    let fields = vec![
        field("source", shown(integer("__be32", 4, Encoding::Unsigned, true), Display::Ipv4), 0, 0),
        field("plain", integer("__be32", 4, Encoding::Unsigned, true), 32, 0),
        field("target", shown(Type::opaque(4), Display::Ipv4), 64, 0),
        field("mask", shown(unsigned(4), Display::Hex), 96, 0),
        field("mac", shown(array("", unsigned(1), 6), Display::Mac), 128, 0),
        field("six", shown(array("", unsigned(4), 4), Display::Ipv6), 192, 0),
        field("again", shown(unsigned(4), Display::Ipv4), 320, 0),
    ];
    let ty = record("struct hop", 44, false, fields);
    let bytes: Vec<u8> = (0..44).collect();
    let show = |ty: &Type| bpfgate_proto::value::Plan::compile(ty).unwrap().show(&bytes);
    let read = read_back(&ty);
    assert_eq!(show(&read), show(&ty));
    assert!(show(&read).contains(r#""source":"0.1.2.3","plain":67438087,"#), "{}", show(&read));
}
