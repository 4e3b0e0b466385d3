//! One number or text from JSON: its bytes, or what would have been right.

use serde_json::Value as Json;

use super::error::{Problem, candidates, shorten};
use super::names::Names;
use super::number::{Range, Whole, describe};
use super::scalar::{Meaning, Scalar};

/// The scalar's bytes, and which of their bits are its own.
pub(super) fn scalar_bytes(scalar: &Scalar, json: &Json) -> Result<(Vec<u8>, Vec<u8>), Problem> {
    let bits = scalar.load.bits();
    let number = match &scalar.meaning {
        Meaning::Unsigned | Meaning::Pointer => integer(json, bits, Range::Unsigned)?,
        Meaning::Signed => integer(json, bits, Range::Signed)?,
        Meaning::HexNumber => integer(json, bits, Range::Both)?,
        Meaning::Bool => match json {
            Json::Bool(truth) => (*truth).into(),
            Json::String(text) if text == "true" => 1,
            Json::String(text) if text == "false" => 0,
            _ => whole(json, "true or false")?.bits(bits, Range::Unsigned)?,
        },
        Meaning::Char => match json {
            Json::String(text) if text.len() == 1 => text.as_bytes()[0].into(),
            _ => whole(json, "one character or its number")?.bits(bits, Range::Both)?,
        },
        Meaning::Enum(names) => named(names, json, bits)?,
        Meaning::Float => float(json, bits)?,
        Meaning::Text => return text_bytes(json, scalar.load.bytes()),
        Meaning::Prefix => {
            return Err(expected("a prefix such as \"10.0.0.0/8\" or \"2001:db8::/32\"", json));
        }
        Meaning::Ipv4 | Meaning::Ipv6 | Meaning::Mac | Meaning::Opaque => {
            let (what, numeric) = match scalar.meaning {
                Meaning::Ipv4 => ("an IPv4 address such as \"10.0.0.1\"", true),
                Meaning::Ipv6 => ("an IPv6 address such as \"fe80::1\"", true),
                Meaning::Mac => ("an Ethernet address such as \"02:00:00:00:00:01\"", true),
                _ => ("\"hex:\" with two digits for each byte", false),
            };
            match whole(json, what) {
                Ok(whole) if numeric && bits > 0 => whole.bits(bits, Range::Unsigned)?,
                _ => return Err(expected(what, json)),
            }
        }
    };
    let (bytes, span) = scalar.load.place(number);
    let (own, _) = scalar.load.place(u128::MAX);
    Ok((bytes[..span].to_vec(), own[..span].to_vec()))
}

fn expected(what: &str, json: &Json) -> Problem {
    Problem::Expected { expected: what.to_owned(), got: describe(json) }
}

fn whole(json: &Json, what: &str) -> Result<Whole, Problem> {
    Whole::from_json(json).ok_or_else(|| expected(what, json))
}

fn integer(json: &Json, bits: u32, range: Range) -> Result<u128, Problem> {
    let what = match json {
        Json::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            "an integer this large as a string"
        }
        _ => "an integer",
    };
    whole(json, what)?.bits(bits, range)
}

fn named(names: &Names, json: &Json, bits: u32) -> Result<u128, Problem> {
    let range = if names.signed { Range::Signed } else { Range::Unsigned };
    if let Json::String(name) = json
        && let Some(number) = names.number(name)
    {
        let number = if names.signed {
            let number = number.cast_signed();
            Whole { negative: number < 0, magnitude: number.unsigned_abs().into() }
        } else {
            Whole { negative: false, magnitude: number.into() }
        };
        return number.bits(bits, range);
    }
    match (Whole::from_json(json), json) {
        (Some(number), _) => number.bits(bits, range),
        (None, Json::String(name)) => {
            let known: Vec<_> = names.names().collect();
            let known = candidates(name, known.into_iter());
            Err(Problem::UnknownName { name: shorten(name), known })
        }
        (None, _) => Err(expected("a name of the enum or a number", json)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn float(json: &Json, bits: u32) -> Result<u128, Problem> {
    let number = match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.parse::<f64>().ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| expected("a number, \"NaN\" or \"Infinity\"", json))?;
    if bits == 64 {
        return Ok(number.to_bits().into());
    }
    let single = number as f32;
    if single.is_infinite() && number.is_finite() {
        return Err(Problem::OutOfRange {
            value: number.to_string(),
            min: format!("{:e}", f32::MIN),
            max: format!("{:e}", f32::MAX),
        });
    }
    Ok(single.to_bits().into())
}

fn text_bytes(json: &Json, max: usize) -> Result<(Vec<u8>, Vec<u8>), Problem> {
    let text = match json {
        Json::String(text) if !text.contains('\0') => text,
        _ => return Err(expected("text without NULs", json)),
    };
    if text.len() > max {
        return Err(Problem::TextTooLong { got: text.len(), max });
    }
    let mut bytes = text.clone().into_bytes();
    bytes.resize(max, 0);
    Ok((bytes, vec![0xff; max]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::plan::Plan;
    use super::super::samples::{
        array, big_endian, boolean, character, enumeration, float, pointer, shown, signed, unsigned,
    };
    use super::super::schema::{ByteOrder, Display, Type};

    #[test]
    fn every_notation_of_a_scalar_is_taken() {
        let colors = enumeration(4, true, &[("RED", -1)]);
        for (ty, json, bytes) in [
            (unsigned(2), json!(258), &[2, 1][..]),
            (unsigned(2), json!("258"), &[2, 1]),
            (unsigned(2), json!("0x102"), &[2, 1]),
            (unsigned(2), json!("hex:0102"), &[1, 2]),
            (unsigned(2), json!(258.0), &[2, 1]),
            (signed(2), json!(-2), &[254, 255]),
            (big_endian(2), json!(443), &[1, 187]),
            (unsigned(8), json!("18446744073709551615"), &[255; 8]),
            (signed(16), json!("-1"), &[255; 16]),
            (boolean(), json!(true), &[1]),
            (boolean(), json!("false"), &[0]),
            (boolean(), json!(2), &[2]),
            (character(), json!("a"), &[97]),
            (character(), json!(-1), &[255]),
            (array(character(), 3), json!("ab"), b"ab\0"),
            (array(character(), 3), json!("abc"), b"abc"),
            (array(character(), 3), json!("hex:ff0000"), &[255, 0, 0]),
            (colors.clone(), json!("RED"), &[255; 4]),
            (colors.clone(), json!(7), &[7, 0, 0, 0]),
            (colors, json!("0x7"), &[7, 0, 0, 0]),
            (float(4), json!(0.5), &0.5_f32.to_le_bytes()),
            (float(8), json!("-Infinity"), &f64::NEG_INFINITY.to_le_bytes()),
            (float(8), json!(3), &3.0_f64.to_le_bytes()),
            (pointer(), json!("0x10"), &[16, 0, 0, 0, 0, 0, 0, 0]),
            (shown(2, false, Display::Hex), json!(-1), &[255, 255]),
            (Type::opaque(2), json!("hex:0aFF"), &[10, 255]),
        ] {
            let plan = Plan::compile_for(&ty, ByteOrder::Little).unwrap();
            assert_eq!(plan.encode(&json), Ok(bytes.to_vec()), "{json}");
        }
    }
}
