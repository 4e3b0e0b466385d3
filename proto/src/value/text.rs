//! Keys and values as people read and write them on one line.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::address::{HEX, Hex};
use super::decode;
use super::error::{EncodeError, Problem, shorten};
use super::form::JsonTree;
use super::json::JsonText;
use super::number::Whole;
use super::plan::{Plan, Shape, Step, fields};
use super::scalar::{Meaning, Scalar};

impl Plan {
    /// What people write for a key or value to bytes: `6`, `-1`, `0x1f`, `true`, the name of an
    /// enum's value, text, `10.0.0.1`, `fe80::1`, `aa:bb:cc:dd:ee:ff`, JSON, or `hex:0a0b`. A
    /// record with a single field takes that field's value bare.
    pub fn parse(&self, text: &str) -> Result<Vec<u8>, EncodeError> {
        self.read(text)
            .and_then(|json| self.encode(&json))
            .map_err(|error| error.with_example(self.example()))
    }

    /// The same as JSON for [`Plan::encode`], which may yet not take it.
    pub fn read_json(&self, text: &str) -> Result<Json, EncodeError> {
        self.read(text)
    }

    /// Compact, for tables and log lines, and such that `parse` takes it back. Scalars are bare;
    /// all else is JSON, in which integers of 64 bits are bare too. Bytes of another length than
    /// the type's are shown as such.
    pub fn show(&self, bytes: &[u8]) -> String {
        if self.check(bytes).is_err() {
            return Hex(bytes).to_string();
        }
        if let Shape::Scalar(scalar) = &self.steps[0].shape {
            return match (&scalar.meaning, scalar.render(bytes, &mut JsonTree)) {
                // A bare digit is a number.
                (Meaning::Char, json) => json.to_string(),
                (_, Json::String(text)) if is_plain(&text) => text,
                (_, json) => json.to_string(),
            };
        }
        let mut out = Vec::new();
        decode::part(&self.steps, 0, bytes, &mut JsonText { out: &mut out, quote_large: false });
        String::from_utf8(out).unwrap_or_else(|_| Hex(bytes).to_string())
    }

    /// A value that `parse` takes, with made-up contents: for help and error messages. Cut short
    /// if the type is long.
    pub fn example(&self) -> String {
        const LONGEST: usize = 240;
        let text = if let Shape::Scalar(scalar) = &self.steps[0].shape {
            sample(scalar).trim_matches('"').to_owned()
        } else {
            let mut text = String::new();
            example(&self.steps, 0, &mut text, LONGEST);
            text
        };
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    fn read(&self, text: &str) -> Result<Json, EncodeError> {
        let trimmed = text.trim();
        if text.starts_with(HEX) {
            return Ok(Json::from(trimmed));
        }
        let json = || {
            serde_json::from_str::<Json>(trimmed).map_err(|error| {
                let (got, why) = (shorten(trimmed), error.to_string());
                EncodeError::new("", Problem::Syntax { got, why })
            })
        };
        let quoted = trimmed.starts_with('"');
        let object_or_list = trimmed.starts_with(['{', '[']);
        match (&self.steps[0].shape, single(&self.steps)) {
            (Shape::Scalar(scalar), _) => match scalar.meaning {
                // The quotes may belong to the text.
                Meaning::Text if quoted => Ok(json().unwrap_or_else(|_| Json::from(text))),
                Meaning::Text => Ok(Json::from(text)),
                _ if quoted => json(),
                _ => Ok(bare_json(scalar, trimmed)),
            },
            _ if object_or_list => json(),
            (Shape::Record { .. }, Some((names, scalar))) => {
                let value = if quoted { json()? } else { bare_json(scalar, trimmed) };
                Ok(names.into_iter().rev().fold(value, |value, name| {
                    Json::Object(Map::from_iter([(name.to_owned(), value)]))
                }))
            }
            _ if quoted => json(),
            // An address, or the encoder's complaint.
            _ => Ok(Json::from(trimmed)),
        }
    }
}

/// Appends the scalar's value without quotes.
pub(super) fn append_bare(scalar: &Scalar, at: &[u8], out: &mut String) {
    if let Some(name) = name(scalar, at) {
        return out.push_str(name);
    }
    // Most labels are one of these. Writing to a string does not fail.
    let written = match scalar.meaning {
        Meaning::Unsigned if scalar.load.bits() <= 64 => write!(out, "{}", scalar.number(at)),
        Meaning::Signed if scalar.load.bits() <= 64 => {
            write!(out, "{}", scalar.number(at).cast_signed())
        }
        Meaning::Opaque => {
            write!(out, "{}", Hex(at.get(..scalar.load.bytes()).unwrap_or_default()))
        }
        _ => match scalar.render(at, &mut JsonTree) {
            Json::String(text) => return out.push_str(&text),
            json => write!(out, "{json}"),
        },
    };
    written.unwrap_or_default();
}

/// What that is at most, in bytes.
pub(super) fn bare_bytes(scalar: &Scalar, at: &[u8]) -> usize {
    /// More than any number, address or truth has.
    const NUMBER: usize = 64;
    let hex = HEX.len() + 2 * scalar.load.bytes();
    match scalar.meaning {
        Meaning::Enum(_) => name(scalar, at).map_or(NUMBER, str::len),
        Meaning::Text => scalar.text(at).map_or(hex, str::len),
        Meaning::Opaque => hex,
        _ => NUMBER,
    }
}

fn name<'a>(scalar: &'a Scalar, at: &[u8]) -> Option<&'a str> {
    match &scalar.meaning {
        Meaning::Enum(names) => names.name(scalar.number(at)),
        _ => None,
    }
}

/// Fits on a line without quotes, and cannot be taken for anything else.
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && !text.starts_with('"')
        && !text.chars().any(char::is_control)
}

fn bare_json(scalar: &Scalar, text: &str) -> Json {
    match scalar.meaning {
        Meaning::Char if Whole::from_text(text).is_some() => {
            serde_json::from_str(text).unwrap_or_else(|_| Json::from(text))
        }
        _ => Json::from(text),
    }
}

/// The names that lead to the only scalar of a record, and that scalar.
fn single(steps: &[Step]) -> Option<(Vec<&str>, &Scalar)> {
    let mut names = Vec::new();
    let mut at = 0;
    loop {
        match &steps[at].shape {
            Shape::Scalar(scalar) => return Some((names, scalar)),
            Shape::Array { .. } => return None,
            Shape::Record { .. } => {
                let mut fields = fields(steps, at);
                let (field, None) = (fields.next()?, fields.next()) else { return None };
                names.push(field.name.as_str());
                at = steps.iter().position(|step| std::ptr::eq(step, field))?;
            }
        }
    }
}

/// Appends an example until it is long enough.
fn example(steps: &[Step], at: usize, text: &mut String, longest: usize) {
    /// Elements shown of an array.
    const SHOWN: usize = 4;
    let step = &steps[at];
    if text.len() > longest {
        return;
    }
    match &step.shape {
        Shape::Scalar(scalar) => text.push_str(&sample(scalar)),
        Shape::Record { .. } => {
            text.push('{');
            example_fields(steps, at, text, longest);
            text.push('}');
        }
        Shape::Array { length, .. } => {
            text.push('[');
            for index in 0..if *length > SHOWN { 1 } else { *length } {
                if index > 0 {
                    text.push(',');
                }
                example(steps, at + 1, text, longest);
            }
            if *length > SHOWN {
                let _ = write!(text, ",… {length} in all");
            }
            text.push(']');
        }
    }
}

fn example_fields(steps: &[Step], at: usize, text: &mut String, longest: usize) {
    let mut field = at + 1;
    while field < steps[at].end && text.len() <= longest {
        let step = &steps[field];
        if let Shape::Record { anonymous: true, .. } = step.shape {
            example_fields(steps, field, text, longest);
        } else {
            if !text.ends_with('{') {
                text.push(',');
            }
            let _ = write!(text, "{}:", Json::from(step.name.as_str()));
            example(steps, field, text, longest);
        }
        field = step.end;
        if let Shape::Record { is_union: true, .. } = steps[at].shape {
            // One member is all that a union takes.
            return;
        }
    }
}

fn sample(scalar: &Scalar) -> String {
    let bytes = scalar.load.bytes();
    match &scalar.meaning {
        Meaning::Signed if scalar.load.bits() == 1 => "-1".to_owned(),
        Meaning::Unsigned | Meaning::Signed => "1".to_owned(),
        Meaning::HexNumber => r#""0x1""#.to_owned(),
        Meaning::Pointer => r#""0x1000""#.to_owned(),
        Meaning::Bool => "true".to_owned(),
        Meaning::Char => r#""a""#.to_owned(),
        Meaning::Enum(names) => match names.names().next() {
            Some(name) => Json::from(name).to_string(),
            None => "1".to_owned(),
        },
        Meaning::Float => "0.5".to_owned(),
        Meaning::Text => format!("{:?}", &"text"[..bytes.min(4)]),
        Meaning::Ipv4 => r#""10.0.0.1""#.to_owned(),
        Meaning::Ipv6 => r#""fe80::1""#.to_owned(),
        Meaning::Mac => r#""02:00:00:00:00:01""#.to_owned(),
        Meaning::Prefix if bytes == 8 => r#""10.0.0.0/8""#.to_owned(),
        Meaning::Prefix => r#""2001:db8::/32""#.to_owned(),
        Meaning::Opaque if bytes <= 16 => format!("\"{}\"", Hex(&vec![0; bytes])),
        Meaning::Opaque => format!("\"hex:00… {bytes} bytes in all\""),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{
        array, array_shown, boolean, character, enumeration, float, shown, signed, structure,
        union, unsigned,
    };
    use super::super::schema::{ByteOrder, Display, Type};
    use super::*;

    fn plan(ty: &Type) -> Plan {
        Plan::compile_for(ty, ByteOrder::Little).unwrap()
    }

    #[test]
    fn what_people_write_is_read_by_the_type() {
        let one = structure(vec![("inner", structure(vec![("port", unsigned(2))]))]);
        let two = structure(vec![("a", unsigned(1)), ("b", array(character(), 3))]);
        for (ty, text, bytes) in [
            (unsigned(4), "6", &[6, 0, 0, 0][..]),
            (unsigned(4), " 0x1f ", &[31, 0, 0, 0]),
            (unsigned(4), "10.0.0.1", &[10, 0, 0, 1]),
            (unsigned(4), "hex:0a000001", &[10, 0, 0, 1]),
            (unsigned(4), "\"6\"", &[6, 0, 0, 0]),
            (signed(4), "-1", &[255; 4]),
            (boolean(), "true", &[1]),
            (boolean(), "0", &[0]),
            (character(), "a", b"a"),
            (character(), "7", &[7]),
            (character(), "\"7\"", b"7"),
            (float(8), "0.5", &0.5_f64.to_le_bytes()),
            (float(8), "NaN", &f64::NAN.to_le_bytes()),
            (enumeration(1, false, &[("UP", 3)]), "UP", &[3]),
            (array(character(), 4), "ab c", b"ab c"),
            (array(character(), 4), "\"ab\"", b"ab\0\0"),
            (array(character(), 4), "\"ab", b"\"ab\0"),
            (array(character(), 4), "", b"\0\0\0\0"),
            (array(unsigned(1), 2), "[1, 2]", &[1, 2]),
            (array_shown(unsigned(1), 6, Display::Mac), "02:00:00:00:00:01", &[2, 0, 0, 0, 0, 1]),
            (array(unsigned(2), 3), "02:00:00:00:00:01", &[2, 0, 0, 0, 0, 1]),
            (array(unsigned(8), 2), "::1", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (one.clone(), "443", &[187, 1]),
            (one.clone(), "\"443\"", &[187, 1]),
            (one.clone(), "{\"inner\":{\"port\":443}}", &[187, 1]),
            (one, "hex:0102", &[1, 2]),
            (two.clone(), "{\"b\":\"xy\",\"a\":1}", b"\x01xy\0"),
            (two, "1.2.3.4", &[1, 2, 3, 4]),
            (Type::opaque(2), "hex:0102", &[1, 2]),
        ] {
            assert_eq!(plan(&ty).parse(text), Ok(bytes.to_vec()), "{text}");
        }
    }

    #[test]
    fn errors_come_with_an_example() {
        let ip = union(vec![("v4", shown(4, true, Display::Ipv4)), ("v6", unsigned(8))]);
        let key = structure(vec![
            ("ip", ip),
            ("ports", array(unsigned(2), 2)),
            ("slots", array(unsigned(1), 5)),
            ("up", boolean()),
        ]);
        let example = r#"; write it like {"ip":{"v4":"10.0.0.1"},"ports":[1,1],"slots":[1,… 5 in all],"up":true}"#;
        for (ty, text, said) in [
            (unsigned(4), "x", r#"expected an integer, got "x"; write it like 1"#),
            (unsigned(1), "256", "256 is out of range, which is 0 to 255; write it like 1"),
            (unsigned(1), "hex:0102", "hex: with 2 bytes where there must be 1; write it like 1"),
            (
                Type::opaque(2),
                "5",
                r#"expected "hex:" with two digits for each byte, got "5"; write it like hex:0000"#,
            ),
            (
                key.clone(),
                "7",
                &format!(r#"expected an object with ip, ports, slots, up, got "7"{example}"#),
            ),
            (
                key.clone(),
                "{",
                &format!(
                    r#""{{" is no JSON: EOF while parsing an object at line 1 column 1{example}"#
                ),
            ),
            (
                key,
                r#"{"ipp":1}"#,
                &format!(
                    r#"there is no field "ipp"; there is ip, ports, slots, up (did you mean ip?){example}"#
                ),
            ),
        ] {
            assert_eq!(plan(&ty).parse(text).unwrap_err().to_string(), said);
        }
        let long = plan(&array(array(array(array(unsigned(8), 4), 4), 4), 4)).example();
        assert!(long.chars().count() == 241 && long.ends_with('…'), "{long}");
    }

    #[test]
    fn what_is_shown_fits_on_a_line_and_reads_back() {
        let two = structure(vec![("a", unsigned(8)), ("b", array(character(), 2))]);
        for (ty, bytes, text) in [
            (unsigned(8), &[255; 8][..], "18446744073709551615"),
            (signed(1), &[255], "-1"),
            (array(character(), 4), b"ab\0\0", "ab"),
            (array(character(), 4), b"a\nb\0", r#""a\nb""#),
            (array(character(), 4), b"\"a\0\0", r#""\"a""#),
            (array(character(), 4), b" a\0\0", r#"" a""#),
            (array(character(), 4), b"\0\0\0\0", r#""""#),
            (character(), b"7", r#""7""#),
            (character(), &[7], "7"),
            (enumeration(1, false, &[("UP", 3)]), &[3], "UP"),
            (shown(4, true, Display::Ipv4), &[10, 0, 0, 1], "10.0.0.1"),
            (float(4), &f32::NAN.to_le_bytes(), "NaN"),
            (two, &[5, 0, 0, 0, 0, 0, 0, 0, 97, 0, 0, 0, 0, 0, 0, 0], r#"{"a":5,"b":"a"}"#),
            (Type::opaque(2), &[1, 2], "hex:0102"),
        ] {
            let plan = plan(&ty);
            assert_eq!(plan.show(bytes), text);
            assert_eq!(plan.parse(text).unwrap(), bytes, "{text}");
        }
        assert_eq!(plan(&unsigned(4)).show(&[1, 2]), "hex:0102");
    }
}
