//! Bytes to labels and numbers, with and without a schema.

use bpfgate_proto::value::{Display, Encoding, Field, Kind, Schema, SchemaSource, Type};

use super::fake::FakeMap;
use crate::watch::layout::Layout;
use crate::watch::{CounterKind, CounterSpec, CpuMode};

fn integer(size: u32, encoding: Encoding) -> Type {
    let kind = Kind::Integer { encoding, big_endian: false, display: Display::Plain };
    Type { name: String::new(), size, kind }
}

fn array(element: Type, length: u32, display: Display) -> Type {
    let size = element.size * length;
    let kind = Kind::Array { element: Box::new(element), length, display };
    Type { name: String::new(), size, kind }
}

fn record(size: u32, fields: Vec<(&str, u32, Type)>) -> Type {
    let field = |(name, offset, ty): (&str, u32, Type)| Field {
        name: name.to_owned(),
        ty,
        bit_offset: offset * 8,
        bit_size: 0,
    };
    let fields = fields.into_iter().map(field).collect();
    Type { name: String::new(), size, kind: Kind::Record { is_union: false, fields } }
}

fn map(key: Type, value: Type) -> FakeMap {
    FakeMap {
        key_size: key.size as usize,
        value_size: value.size as usize,
        schema: Some(Schema { key: Some(key), value: Some(value), source: SchemaSource::Btf }),
        ..FakeMap::hash("m")
    }
}

fn labels(map: &FakeMap, key: &[u8]) -> Vec<String> {
    let layout = Layout::of(map).unwrap();
    let label = |label: usize| {
        let mut text = format!("{}=", layout.label_name(label));
        let name = text.len();
        layout.append_label(label, key, &mut text);
        assert!(text.len() - name <= layout.label_bytes(label, key));
        text
    };
    (0..layout.labels()).map(label).collect()
}

/// A slot that has one number.
fn read(layout: &Layout, mode: CpuMode, slot: usize, bytes: &[u8]) -> u64 {
    let all: Vec<u64> = layout.read(mode, slot, bytes).collect();
    assert_eq!(all.len(), 1);
    all[0]
}

fn u8s(length: u32, display: Display) -> Type {
    array(integer(1, Encoding::Unsigned), length, display)
}

fn u64s() -> Type {
    integer(8, Encoding::Unsigned)
}

#[test]
fn key_fields_become_labels() {
    let text = array(integer(1, Encoding::Char), 4, Display::Plain);
    let port = integer(2, Encoding::Unsigned);
    let ends = record(4, vec![("src", 0, port.clone()), ("dst", 2, port)]);
    let key =
        record(12, vec![("saddr", 0, u8s(4, Display::Ipv4)), ("port", 4, ends), ("comm", 8, text)]);
    let mut bytes = vec![10, 0, 0, 1];
    bytes.extend([80_u16.to_ne_bytes(), 443_u16.to_ne_bytes()].concat());
    bytes.extend(b"sh\0\0");
    let said = labels(&map(key, u64s()), &bytes);
    assert_eq!(said, ["saddr=10.0.0.1", "port.src=80", "port.dst=443", "comm=sh"]);

    let scalar = map(integer(4, Encoding::Signed), u64s());
    assert_eq!(labels(&scalar, &(-1_i32).to_ne_bytes()), ["key=-1"]);
}

#[test]
fn a_key_that_nothing_is_known_of_is_one_label() {
    assert_eq!(labels(&FakeMap::hash("m"), &[1, 0, 0xab, 0]), ["key=hex:0100ab00"]);
    assert_eq!(labels(&FakeMap::array("m", 1), &9_u32.to_ne_bytes()), ["key=9"]);
    let wide = map(u8s(65, Display::Plain), u64s());
    assert_eq!(labels(&wide, &[0; 65]), [format!("key=hex:{}", "00".repeat(65))]);
    // A schema for other sizes than the map's is none.
    let odd = FakeMap { key_size: 2, ..map(integer(4, Encoding::Unsigned), u64s()) };
    assert_eq!(labels(&odd, &[1, 2]), ["key=hex:0102"]);
}

#[test]
fn the_label_cpu_belongs_to_per_cpu_series() {
    let key = record(4, vec![("cpu", 0, integer(4, Encoding::Unsigned))]);
    let plain = map(key, u64s());
    assert_eq!(labels(&plain, &2_u32.to_ne_bytes()), ["cpu=2"]);
    let per_cpu = FakeMap { cpus: Some(2), ..plain };
    assert_eq!(labels(&per_cpu, &2_u32.to_ne_bytes()), ["key.cpu=2"]);
}

#[test]
fn value_fields_become_numbers_with_the_closest_declaration() {
    let value = record(
        32,
        vec![
            ("packets", 0, u64s()),
            ("ratio", 8, Type { name: String::new(), size: 8, kind: Kind::Float }),
            ("delta", 16, integer(4, Encoding::Signed)),
            ("slots", 20, array(integer(4, Encoding::Unsigned), 2, Display::Plain)),
        ],
    );
    let spec = |field: &str, kind, unit: &str| CounterSpec {
        field: field.to_owned(),
        kind,
        unit: unit.to_owned(),
    };
    let counters = vec![
        spec("slots", CounterKind::Gauge, "ns"),
        spec("slots[1]", CounterKind::Monotonic, "overflows"),
        spec("packets", CounterKind::Monotonic, "packets"),
    ];
    let map = FakeMap { counters, cpus: Some(2), ..map(integer(4, Encoding::Unsigned), value) };
    let layout = Layout::of(&map).unwrap();
    assert_eq!(layout.paths(), ["packets", "delta", "slots[0]", "slots[1]"]);
    let numbers = (0..4).map(|slot| layout.slot(CpuMode::Sum, slot).0);
    let said = numbers.map(|it| (it.kind, &*it.unit, it.kind_undeclared, it.signed));
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            (CounterKind::Monotonic, "packets", false, false),
            (CounterKind::Gauge, "", true, true),
            (CounterKind::Gauge, "ns", false, false),
            (CounterKind::Monotonic, "overflows", false, false),
        ]
    );

    let mut bytes = vec![0; layout.value_bytes()];
    assert_eq!(bytes.len(), 64);
    bytes[..8].copy_from_slice(&(1_u64 << 53 | 1).to_ne_bytes());
    bytes[32..40].copy_from_slice(&1_u64.to_ne_bytes());
    bytes[16..20].copy_from_slice(&(-5_i32).to_ne_bytes());
    bytes[48..52].copy_from_slice(&3_i32.to_ne_bytes());
    bytes[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
    bytes[52..56].copy_from_slice(&1_u32.to_ne_bytes());
    let sums: Vec<u64> = (0..4).map(|slot| read(&layout, CpuMode::Sum, slot, &bytes)).collect();
    let minus_two = (-2_i64).cast_unsigned();
    assert_eq!(sums, [(1 << 53) + 2, minus_two, 1 << 32, 0], "as u64, not as the field's width");
    assert_eq!(layout.slots(CpuMode::Each), 8);
    assert_eq!(read(&layout, CpuMode::Each, 3, &bytes), 3, "delta on CPU 1");
}

#[test]
fn values_without_a_schema_are_words() {
    let of = |value_size| Layout::of(&FakeMap { value_size, ..FakeMap::hash("m") });
    for size in [1, 2, 4, 8] {
        let layout = of(size).unwrap();
        assert_eq!(layout.paths(), [""]);
        let mut bytes = vec![0; size];
        bytes[if cfg!(target_endian = "little") { 0 } else { size - 1 }] = 200;
        assert_eq!(read(&layout, CpuMode::Sum, 0, &bytes), 200, "unsigned");
    }
    assert_eq!(of(24).unwrap().paths(), ["0", "1", "2"]);
    assert!(of(12).is_err());
    let text = array(integer(1, Encoding::Char), 16, Display::Plain);
    let why = Layout::of(&map(integer(4, Encoding::Unsigned), text)).err().unwrap();
    assert_eq!(why, "no field of its value is an integer");
}
