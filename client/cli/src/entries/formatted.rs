//! What bytes mean, as bpftool writes it: the `formatted` half of its JSON.
//!
//! bpftool's notation is kept where it is valid and loses nothing, odd as it is: numbers of any
//! width are numbers, `__be32` is read in the host's order, characters are numbers unless an array
//! of `char` ends with a NUL, bitfields and 128-bit integers are text in hexadecimal, members
//! without a name are named "". Where it is not, this differs:
//!
//! | what | bpftool 7.1 | here |
//! |---|---|---|
//! | float, double | `(unsupported-kind`, and the rest of the entry is missing | the number; "NaN", "Infinity" |
//! | signed bitfield below zero | its bits without the sign: "0x1e" | "-0x2" |
//! | backslash in text | a line's end: `\n` | `\\` |
//! | enum of 1 or 2 bytes, or ENUM64 of less than 8 | names are missed, or bytes behind it are read | the name |

use std::io::Write as _;

use bpfgate_client::value::{Encoding, EnumValue, Field, Kind, Type};

/// Appends the value of that type which `bytes` start with; missing bytes are zero.
pub(super) fn write(ty: &Type, bytes: &[u8], out: &mut Vec<u8>) {
    let size = ty.size as usize;
    match &ty.kind {
        Kind::Integer { encoding: Encoding::Bool, .. } => {
            let truth = number(bytes, size) != 0;
            out.extend_from_slice(if truth { b"true" } else { b"false" });
        }
        Kind::Integer { encoding, .. } => integer(*encoding, bytes, size, out),
        Kind::Float => float(bytes, size, out),
        Kind::Enum { values, .. } => enumeration(values, bytes, size, out),
        Kind::Record { fields, .. } if ty.name.starts_with('.') => {
            section(&ty.name, fields, bytes, out);
        }
        Kind::Record { fields, .. } => record(fields, bytes, out),
        Kind::Array { element, length, .. } => array(element, *length, bytes, out),
        Kind::Pointer => {
            let _ = write!(out, "{}", number(bytes, size));
        }
        // In BTF these are arrays of bytes.
        Kind::Opaque { .. } => list(bytes.get(..size).unwrap_or_default(), out),
    }
}

fn integer(encoding: Encoding, bytes: &[u8], size: usize, out: &mut Vec<u8>) {
    let number = number(bytes, size);
    let _ = match (size, encoding) {
        (1 | 2 | 4 | 8, Encoding::Unsigned) => write!(out, "{number}"),
        // A plain char has a sign on x86, and in every eBPF program.
        (1 | 2 | 4 | 8, _) => write!(out, "{}", signed(number, size)),
        _ => write!(out, "\"{number:#x}\""),
    };
}

#[expect(clippy::cast_possible_truncation, reason = "4 bytes have 32 bits, 8 have 64")]
fn float(bytes: &[u8], size: usize, out: &mut Vec<u8>) {
    let raw = number(bytes, size);
    // An f32's shortest decimal, not that of the f64 next to it.
    let (text, finite) = if size == 4 {
        let single = f32::from_bits(raw as u32);
        (single.to_string(), single.is_finite())
    } else {
        let double = f64::from_bits(raw as u64);
        (double.to_string(), double.is_finite())
    };
    let _ = match text.as_str() {
        _ if finite => write!(out, "{text}"),
        "inf" => write!(out, "\"Infinity\""),
        "-inf" => write!(out, "\"-Infinity\""),
        _ => write!(out, "\"NaN\""),
    };
}

fn enumeration(values: &[EnumValue], bytes: &[u8], size: usize, out: &mut Vec<u8>) {
    let number = signed(number(bytes, size), size);
    let named = values.iter().find(|value| signed(value.value.into(), size) == number);
    match named {
        Some(value) => string(&value.name, out),
        None => {
            let _ = write!(out, "{number}");
        }
    }
}

fn record(fields: &[Field], bytes: &[u8], out: &mut Vec<u8>) {
    let mut before = b'{';
    for field in fields {
        out.push(before);
        before = b',';
        member(field, bytes, out);
    }
    out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
}

/// `"name":…`
fn member(field: &Field, bytes: &[u8], out: &mut Vec<u8>) {
    let Field { name, ty, bit_offset, bit_size } = field;
    string(name, out);
    out.push(b':');
    let own = bytes.get(*bit_offset as usize / 8..).unwrap_or_default();
    if *bit_size == 0 {
        return write(ty, own, out);
    }
    let bits = bitfield(own, bit_offset % 8, *bit_size);
    let is_signed = matches!(
        ty.kind,
        Kind::Integer { encoding: Encoding::Signed, .. } | Kind::Enum { signed: true, .. }
    );
    let magnitude = 1_u128 << ((*bit_size).clamp(1, 128) - 1);
    let _ = if is_signed && bits & magnitude != 0 {
        write!(out, "\"-{:#x}\"", (magnitude - (bits & (magnitude - 1))))
    } else {
        write!(out, "\"{bits:#x}\"")
    };
}

/// `{".data":[{"variable":…},…]}`
fn section(name: &str, variables: &[Field], bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'{');
    string(name, out);
    out.extend_from_slice(b":[");
    for (at, variable) in variables.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"{" } else { b",{" });
        member(variable, bytes, out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

fn array(element: &Type, length: u32, bytes: &[u8], out: &mut Vec<u8>) {
    if element.name == "char"
        && let Some(text) = text(bytes.get(..length as usize).unwrap_or_default())
    {
        return string(text, out);
    }
    let mut before = b'[';
    for index in 0..length as usize {
        out.push(before);
        before = b',';
        let from = index.saturating_mul(element.size as usize);
        write(element, bytes.get(from..).unwrap_or_default(), out);
    }
    out.extend_from_slice(if length == 0 { b"[]" } else { b"]" });
}

/// `[10,0,0,1]`.
fn list(bytes: &[u8], out: &mut Vec<u8>) {
    let mut before = '[';
    for byte in bytes {
        let _ = write!(out, "{before}{byte}");
        before = ',';
    }
    out.extend_from_slice(if bytes.is_empty() { b"[]" } else { b"]" });
}

/// Printable characters up to a NUL. Without one they are no text to bpftool.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    let text = &bytes[..end];
    let printable = text.iter().all(|byte| (0x20..=0x7e).contains(byte));
    std::str::from_utf8(text).ok().filter(|_| printable)
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            // Names out of BTF may hold anything.
            0..0x20 => {
                let _ = write!(out, "\\u{byte:04x}");
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Of at most 16 bytes in the host's order.
fn number(bytes: &[u8], size: usize) -> u128 {
    let mut word = [0; 16];
    let size = size.min(16);
    let own = bytes.get(..size).unwrap_or_default();
    if cfg!(target_endian = "big") {
        word[16 - own.len()..].copy_from_slice(own);
    } else {
        word[..own.len()].copy_from_slice(own);
    }
    u128::from_ne_bytes(word)
}

/// With the sign of its topmost bit.
fn signed(number: u128, size: usize) -> i128 {
    let unused = 128 - 8 * size.clamp(1, 16);
    (number << unused).cast_signed() >> unused
}

/// `size` bits, `skip` bits into the bytes.
fn bitfield(bytes: &[u8], skip: u32, size: u32) -> u128 {
    let span = (skip + size).div_ceil(8) as usize;
    let whole = number(bytes, span);
    let above = u32::try_from(span).unwrap_or(16) * 8 - (skip + size).min(128);
    let shift = if cfg!(target_endian = "big") { above } else { skip };
    let mask = u128::MAX >> (128 - size.clamp(1, 128));
    whole.checked_shr(shift).unwrap_or(0) & mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpfgate_client::value::Display;

    fn ty(name: &str, size: u32, kind: Kind) -> Type {
        Type { name: name.to_owned(), size, kind }
    }

    fn integer(name: &str, size: u32, encoding: Encoding) -> Type {
        ty(name, size, Kind::Integer { encoding, big_endian: false, display: Display::Plain })
    }

    fn array(element: Type, length: u32) -> Type {
        let size = element.size * length;
        let kind = Kind::Array { element: Box::new(element), length, display: Display::Plain };
        ty("", size, kind)
    }

    fn shown(ty: &Type, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write(ty, bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn scalars_are_as_bpftool_has_them() {
        let values = [("LOW", 200), ("HIGH", 7)]
            .map(|(name, value)| EnumValue { name: name.to_owned(), value });
        let packed = Kind::Enum { signed: false, values: values.to_vec() };
        let char = || integer("char", 1, Encoding::Char);
        for (ty, bytes, text) in [
            (integer("__u64", 8, Encoding::Unsigned), &[255; 8][..], "18446744073709551615"),
            (integer("int", 4, Encoding::Signed), &[255; 4], "-1"),
            (integer("_Bool", 1, Encoding::Bool), &[2], "true"),
            (char(), b"a", "97"),
            (char(), &[255], "-1"),
            (
                integer("__int128", 16, Encoding::Signed),
                &[255; 16],
                "\"0xffffffffffffffffffffffffffffffff\"",
            ),
            (ty("float", 4, Kind::Float), &0.1_f32.to_ne_bytes(), "0.1"),
            (ty("double", 8, Kind::Float), &f64::NAN.to_ne_bytes(), "\"NaN\""),
            (ty("double", 8, Kind::Float), &f64::NEG_INFINITY.to_ne_bytes(), "\"-Infinity\""),
            (ty("enum e", 1, packed.clone()), &[200], "\"LOW\""),
            (ty("enum e", 1, packed), &[255], "-1"),
            (ty("", 8, Kind::Pointer), &[16, 0, 0, 0, 0, 0, 0, 0], "16"),
            (array(char(), 4), b"a\"\0x", "\"a\\\"\""),
            (array(char(), 2), b"ab", "[97,98]"),
            (array(char(), 2), b"\n\0", "[10,0]"),
            (array(integer("letter", 1, Encoding::Char), 2), b"a\0", "[97,0]"),
            (array(char(), 0), b"", "[]"),
        ] {
            assert_eq!(shown(&ty, bytes), text);
        }
    }

    #[test]
    fn bitfields_are_hexadecimal_and_keep_their_sign() {
        let field = |name: &str, ty, bit_offset, bit_size| Field {
            name: name.to_owned(),
            ty,
            bit_offset,
            bit_size,
        };
        let unsigned = || integer("__u32", 4, Encoding::Unsigned);
        let fields = vec![
            field("low", unsigned(), 0, 3),
            field("minus", integer("__s32", 4, Encoding::Signed), 3, 5),
            field("", ty("union u", 1, Kind::Record { is_union: true, fields: vec![] }), 8, 0),
        ];
        let record = ty("struct s", 4, Kind::Record { is_union: false, fields });
        let said = r#"{"low":"0x5","minus":"-0x2","":{}}"#;
        assert_eq!(shown(&record, &[0b1111_0101, 0, 0, 0]), said);
        let said = r#"{"low":"0x0","minus":"-0x10","":{}}"#;
        assert_eq!(shown(&record, &[0b1000_0000, 0, 0, 0]), said);
        let data = vec![field("seen", unsigned(), 0, 0), field("x", unsigned(), 32, 0)];
        let data = ty(".data", 8, Kind::Record { is_union: false, fields: data });
        let said = r#"{".data":[{"seen":1},{"x":2}]}"#;
        assert_eq!(shown(&data, &[1, 0, 0, 0, 2, 0, 0, 0]), said);
    }
}
