//! Entries as `bpftool --json map dump` and `map lookup` print them (version 7.1).
//!
//! A map with BTF has every entry twice: its bytes, and under `formatted` what they mean.

use std::io::Write as _;

use bpfgate_client::v1::{self, MapType};
use bpfgate_client::value::{Display, Encoding, Field, Kind, Schema, SchemaSource, Type};

use super::formatted;

/// How bpftool prints the entries of one map.
#[derive(Debug)]
pub(super) struct Bpftool {
    per_cpu: bool,
    /// What it knows from BTF: nothing, unless the value's type is known.
    types: Option<Types>,
}

#[derive(Debug)]
struct Types {
    key: Option<Type>,
    value: Type,
}

impl Bpftool {
    pub(super) fn new(map: &v1::Map) -> Self {
        let schema = map.schema.clone().and_then(|schema| Schema::try_from(schema).ok());
        // It reads the BTF that the kernel keeps with the map.
        let schema = schema.filter(|_| map.btf_value_type_id != 0);
        let types = schema.and_then(|Schema { key, value, source }| match source {
            SchemaSource::Btf => Some(Types { key, value: value? }),
            SchemaSource::Declared => Some(declared(map, key, value)),
        });
        let types = types.map(|Types { key, value }| Types {
            key: key.filter(|_| map.btf_key_type_id != 0),
            value,
        });
        Self { per_cpu: map.per_cpu, types }
    }

    /// Appends an entry; `values` are one, or one for each CPU.
    pub(super) fn entry<'v>(
        &self,
        key: &[u8],
        values: impl Iterator<Item = &'v [u8]> + Clone,
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"{\"key\":");
        hex(key, out);
        out.push(b',');
        self.values(values.clone(), out, hex);
        if let Some(types) = &self.types {
            out.extend_from_slice(b",\"formatted\":{");
            if let Some(ty) = &types.key {
                out.extend_from_slice(b"\"key\":");
                formatted::write(ty, key, out);
                out.push(b',');
            }
            self.values(values, out, |value, out| formatted::write(&types.value, value, out));
            out.push(b'}');
        }
        out.push(b'}');
    }

    /// `"value":…` or `"values":[{"cpu":0,"value":…},…]`.
    fn values<'v>(
        &self,
        mut values: impl Iterator<Item = &'v [u8]>,
        out: &mut Vec<u8>,
        one: impl Fn(&[u8], &mut Vec<u8>),
    ) {
        if !self.per_cpu {
            out.extend_from_slice(b"\"value\":");
            return one(values.next().unwrap_or_default(), out);
        }
        out.extend_from_slice(b"\"values\":[");
        for (cpu, value) in values.enumerate() {
            let comma = if cpu == 0 { "" } else { "," };
            let _ = write!(out, "{comma}{{\"cpu\":{cpu},\"value\":");
            one(value, out);
            out.push(b'}');
        }
        out.push(b']');
    }
}

/// The agent makes a map with BTF of its declared layout, in which what is not declared is a number
/// or plain bytes.
fn declared(map: &v1::Map, key: Option<Type>, value: Option<Type>) -> Types {
    let spec = map.spec.clone().unwrap_or_default();
    let key = key.unwrap_or_else(|| match (spec.r#type(), spec.key_size) {
        (MapType::LpmTrie, size) if size > 4 => {
            let field = |name: &str, ty, bit_offset| Field {
                name: name.to_owned(),
                ty,
                bit_offset,
                bit_size: 0,
            };
            let fields =
                vec![field("prefixlen", unsigned(4), 0), field("data", Type::opaque(size - 4), 32)];
            let kind = Kind::Record { is_union: false, fields };
            Type { name: "struct bpf_lpm_trie_key".to_owned(), size, kind }
        }
        (_, size @ (4 | 8)) => unsigned(size),
        (_, size) => Type::opaque(size),
    });
    let value = value.unwrap_or_else(|| Type::opaque(spec.value_size));
    Types { key: Some(key), value }
}

fn unsigned(size: u32) -> Type {
    let (encoding, display) = (Encoding::Unsigned, Display::Plain);
    let kind = Kind::Integer { encoding, big_endian: false, display };
    Type { name: format!("__u{}", size * 8), size, kind }
}

/// Appends an entry that could not be read.
pub(super) fn unreadable(key: &[u8], why: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":");
    hex(key, out);
    let _ = write!(out, ",\"value\":{{\"error\":\"{why}\"}}}}");
}

/// `["0x0a","0x00"]`.
fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut before: &[u8] = b"[\"0x";
    for byte in bytes {
        out.extend_from_slice(before);
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
        before = b"\",\"0x";
    }
    out.extend_from_slice(if bytes.is_empty() { b"[]" } else { b"\"]" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(form: &Bpftool, values: &[&[u8]]) -> String {
        let mut out = Vec::new();
        form.entry(&[1, 0xab], values.iter().copied(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn bytes_are_lists_of_hexadecimal_text() {
        let form = Bpftool { per_cpu: false, types: None };
        assert_eq!(entry(&form, &[&[2]]), r#"{"key":["0x01","0xab"],"value":["0x02"]}"#);
        let form = Bpftool { per_cpu: true, types: None };
        let each = r#""values":[{"cpu":0,"value":["0x02"]},{"cpu":1,"value":[]}]}"#;
        assert!(entry(&form, &[&[2], &[]]).ends_with(each));
    }

    #[test]
    fn types_are_shown_beside_the_bytes() {
        let types = Types { key: None, value: Type::opaque(1) };
        let form = Bpftool { per_cpu: false, types: Some(types) };
        let text = entry(&form, &[&[2]]);
        assert!(text.ends_with(r#""value":["0x02"],"formatted":{"value":[2]}}"#), "{text}");
    }
}
