//! Integers of up to 128 bits as JSON and people write them, and whether they fit.

use serde_json::Value as Json;

use super::error::{Problem, shorten};
use super::scalar::mask;

/// A whole number: the largest that a type can hold has 128 bits and no sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) negative: bool,
    pub(super) magnitude: u128,
}

/// Which numbers of so many bits are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    /// 0 up.
    Unsigned,
    /// Two's complement.
    Signed,
    /// Either: the bits are what counts.
    Both,
}

impl Whole {
    /// A JSON number, or a string with one in decimal or after `0x`; `None` if it is neither, or
    /// has a fraction.
    pub(super) fn from_json(json: &Json) -> Option<Self> {
        match json {
            Json::Number(number) => {
                if let Some(magnitude) = number.as_u64() {
                    return Some(Self { negative: false, magnitude: magnitude.into() });
                }
                if let Some(number) = number.as_i64() {
                    let magnitude = number.unsigned_abs().into();
                    return Some(Self { negative: number < 0, magnitude });
                }
                Self::from_double(number.as_f64()?)
            }
            Json::String(text) => Self::from_text(text),
            _ => None,
        }
    }

    /// Decimal, or hexadecimal after `0x`, with or without a sign.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (radix, digits) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
            Some(digits) => (16, digits),
            None => (10, digits),
        };
        // The parser would take a second sign.
        if !digits.starts_with(|digit: char| digit.is_ascii_hexdigit()) {
            return None;
        }
        let magnitude = u128::from_str_radix(digits, radix).ok()?;
        Some(Self { negative, magnitude })
    }

    /// Doubles are exact only so far.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and within 2^53"
    )]
    fn from_double(number: f64) -> Option<Self> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let whole = number.fract() == 0.0 && number.abs() <= EXACT;
        whole.then(|| Self { negative: number < 0.0, magnitude: number.abs() as u128 })
    }

    /// The number's two's complement, if it fits into so many bits.
    pub(super) fn bits(self, bits: u32, range: Range) -> Result<u128, Problem> {
        let Self { negative, magnitude } = self;
        let top = mask(bits);
        let half = mask(bits.saturating_sub(1));
        let (below, above) = match range {
            Range::Unsigned => (0, top),
            Range::Signed => (half + 1, half),
            Range::Both => (half + 1, top),
        };
        if magnitude > if negative { below } else { above } {
            let sign = if negative { "-" } else { "" };
            return Err(Problem::OutOfRange {
                value: format!("{sign}{magnitude}"),
                min: if below == 0 { "0".to_owned() } else { format!("-{below}") },
                max: above.to_string(),
            });
        }
        Ok(if negative { magnitude.wrapping_neg() & top } else { magnitude })
    }
}

/// What there was, for an error.
pub(super) fn describe(json: &Json) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(truth) => truth.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => format!("{:?}", shorten(text)),
        Json::Array(items) => format!("a list of {}", items.len()),
        Json::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_are_read_in_every_notation() {
        for (json, negative, magnitude) in [
            (json!(0), false, 0),
            (json!(-5), true, 5),
            (json!(u64::MAX), false, u64::MAX.into()),
            (json!(i64::MIN), true, 1 << 63),
            (json!(6.0), false, 6),
            (json!("18446744073709551616"), false, 1 << 64),
            (json!("0x1f"), false, 31),
            (json!("0XFF"), false, 255),
            (json!("-0x10"), true, 16),
            (json!("+7"), false, 7),
            (json!(u128::MAX.to_string()), false, u128::MAX),
        ] {
            assert_eq!(Whole::from_json(&json), Some(Whole { negative, magnitude }), "{json}");
        }
        for json in [
            json!(1.5),
            json!(1e300),
            json!(""),
            json!("-"),
            json!("0x"),
            json!("--1"),
            json!("+-1"),
            json!("1_000"),
            json!(" 1"),
            json!("1f"),
            json!("340282366920938463463374607431768211456"),
            json!(null),
            json!([1]),
        ] {
            assert_eq!(Whole::from_json(&json), None, "{json}");
        }
    }

    #[test]
    fn ranges_end_where_the_bits_do() {
        let fits = |number: i128, bits, range| {
            Whole { negative: number < 0, magnitude: number.unsigned_abs() }.bits(bits, range)
        };
        for (bits, range, low, high) in [
            (8, Range::Unsigned, 0, 255),
            (8, Range::Signed, -128, 127),
            (8, Range::Both, -128, 255),
            (1, Range::Signed, -1, 0),
            (3, Range::Unsigned, 0, 7),
            (64, Range::Signed, i64::MIN.into(), i64::MAX.into()),
            (64, Range::Unsigned, 0, u64::MAX.into()),
        ] {
            assert!(fits(low, bits, range).is_ok() && fits(high, bits, range).is_ok());
            assert!(fits(low - 1, bits, range).is_err(), "{bits} {range:?}");
            assert!(fits(high + 1, bits, range).is_err(), "{bits} {range:?}");
        }
        assert_eq!(fits(-1, 8, Range::Signed), Ok(0xff));
        assert_eq!(fits(i128::MIN, 128, Range::Signed), Ok(1 << 127));
        let said = fits(300, 8, Range::Unsigned).unwrap_err().to_string();
        assert_eq!(said, "300 is out of range, which is 0 to 255");
    }
}
