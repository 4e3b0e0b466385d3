//! Types, counters and labels in words.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value as Json, json};

use bpfgate_client::v1::r#type::Kind;
use bpfgate_client::v1::{
    CounterKind, CounterSpec, DisplayHint, IntegerType, Type, integer_type::Encoding,
};

/// Fields of a record that are named before the rest is left out.
const FIELDS_SHOWN: usize = 12;

/// `__u32`, `struct pair { __u64 packets; __u64 bytes }`.
pub(crate) fn type_of(ty: Option<&Type>) -> Option<String> {
    ty.map(|ty| match &ty.kind {
        Some(Kind::Record(record)) => {
            let fields: Vec<_> = record.fields.iter().take(FIELDS_SHOWN).map(field).collect();
            let more = if record.fields.len() > FIELDS_SHOWN { "; …" } else { "" };
            let name = name(ty);
            format!("{name} {{ {}{more} }}", fields.join("; "))
        }
        _ => name(ty),
    })
}

fn field(field: &bpfgate_client::v1::Field) -> String {
    let Some(ty) = &field.r#type else { return field.name.clone() };
    let bits = if field.bit_size == 0 { String::new() } else { format!(":{}", field.bit_size) };
    // As C writes arrays: the length behind the name.
    if let Some(Kind::Array(array)) = &ty.kind
        && let Some(element) = &array.element
    {
        return format!("{} {}[{}]", name(element), field.name, array.length);
    }
    let text = format!("{} {}{bits}", name(ty), field.name);
    text.trim_end().to_owned()
}

fn name(ty: &Type) -> String {
    if !ty.name.is_empty() {
        return ty.name.clone();
    }
    match &ty.kind {
        Some(Kind::Integer(integer)) => integer_name(integer, ty.size),
        Some(Kind::Float(_)) => format!("f{}", ty.size * 8),
        Some(Kind::Enumeration(_)) => "enum".to_owned(),
        Some(Kind::Record(record)) => if record.is_union { "union" } else { "struct" }.to_owned(),
        Some(Kind::Array(array)) => {
            let element = array.element.as_deref().map(name).unwrap_or_default();
            format!("{element}[{}]", array.length)
        }
        Some(Kind::Pointer(_)) => "pointer".to_owned(),
        Some(Kind::Opaque(opaque)) => hint_name(opaque.display()).unwrap_or("bytes").to_owned(),
        None => "bytes".to_owned(),
    }
}

fn integer_name(integer: &IntegerType, size: u32) -> String {
    if let Some(name) = hint_name(integer.display()) {
        return name.to_owned();
    }
    let letter = match (integer.encoding(), integer.big_endian) {
        (Encoding::Bool, _) => return "bool".to_owned(),
        (Encoding::Char, _) if size == 1 => return "char".to_owned(),
        (Encoding::Unsigned | Encoding::Unspecified | Encoding::Char, false) => "u",
        (Encoding::Signed, false) => "i",
        (_, true) => "be",
    };
    format!("{letter}{}", size * 8)
}

fn hint_name(hint: DisplayHint) -> Option<&'static str> {
    match hint {
        DisplayHint::Ipv4 => Some("ipv4"),
        DisplayHint::Ipv6 => Some("ipv6"),
        DisplayHint::Mac => Some("mac"),
        DisplayHint::Hex | DisplayHint::Unspecified => None,
    }
}

/// `rx.bytes: monotonic, By`.
pub(crate) fn counter(spec: &CounterSpec) -> (String, Json) {
    let field = if spec.field.is_empty() { "value" } else { &spec.field };
    let kind = counter_kind(spec.kind());
    let unit = if spec.unit.is_empty() { String::new() } else { format!(", {}", spec.unit) };
    let json = json!({"field": spec.field, "kind": kind, "unit": spec.unit});
    (format!("{field}: {kind}{unit}"), json)
}

pub(crate) fn counter_kind(kind: CounterKind) -> &'static str {
    match kind {
        CounterKind::Monotonic => "monotonic",
        CounterKind::Gauge | CounterKind::Unspecified => "gauge",
        CounterKind::Histogram => "histogram",
    }
}

/// In order of name.
pub(crate) fn labels(labels: HashMap<String, String>) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpfgate_client::v1::{Field, OpaqueType, RecordType};

    fn u64_type(name: &str) -> Type {
        let integer = IntegerType { encoding: Encoding::Unsigned.into(), ..Default::default() };
        Type { name: name.to_owned(), size: 8, kind: Some(Kind::Integer(integer)) }
    }

    #[test]
    fn types_read_like_c() {
        let field = |name: &str, ty| Field {
            name: name.to_owned(),
            r#type: Some(ty),
            ..Default::default()
        };
        let record = RecordType {
            is_union: false,
            fields: vec![field("packets", u64_type("__u64")), field("bytes", u64_type(""))],
        };
        let ty = Type { name: "struct pair".into(), size: 16, kind: Some(Kind::Record(record)) };
        assert_eq!(type_of(Some(&ty)).unwrap(), "struct pair { __u64 packets; u64 bytes }");
        let address = OpaqueType { display: DisplayHint::Ipv4.into() };
        let ty = Type { name: String::new(), size: 4, kind: Some(Kind::Opaque(address)) };
        assert_eq!(type_of(Some(&ty)).unwrap(), "ipv4");
        assert_eq!(type_of(None), None);
    }

    #[test]
    fn counters_say_field_kind_and_unit() {
        let spec = |field: &str, unit: &str| CounterSpec {
            field: field.into(),
            kind: CounterKind::Monotonic.into(),
            unit: unit.into(),
        };
        assert_eq!(counter(&spec("rx.bytes", "By")).0, "rx.bytes: monotonic, By");
        assert_eq!(counter(&spec("", "")).0, "value: monotonic");
    }
}
