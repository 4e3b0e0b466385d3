//! JSON as gRPC carries it: `google.protobuf.Value`, whose only number is a double.

use serde_json::{Number, Value as Json};

use super::EncodedValue;

/// Integers up to here are exact as a double.
pub(super) const EXACT: u64 = 1 << 53;

/// JSON to a protobuf value. An integer that a double cannot carry becomes a string.
#[allow(clippy::needless_pass_by_value, reason = "callers have made it for this")]
pub fn json_to_value(json: Json) -> EncodedValue {
    EncodedValue::from_json(&json)
}

/// A protobuf value to JSON; `null` for bytes that are none, which only a broken agent sends.
/// [`EncodedValue::to_json`] tells one from the other.
pub fn value_to_json(value: &EncodedValue) -> Json {
    value.to_json().unwrap_or_default()
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(super) fn float_to_json(number: f64) -> Json {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0
        && number.abs() <= LIMIT
        && !(number == 0.0 && number.is_sign_negative())
    {
        return Json::from(number as i64);
    }
    Number::from_f64(number).map_or_else(|| Json::from(special(number)), Json::Number)
}

/// The name in proto3 JSON of a double that JSON has no number for.
pub(super) fn special(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_survives_the_round_trip() {
        let json = json!({
            "null": null, "true": true, "n": -3, "half": 0.5, "large": 9_007_199_254_740_992_u64,
            "text": "é", "list": [1, [], {}], "record": {"a": {"b": []}},
        });
        assert_eq!(value_to_json(&json_to_value(json.clone())), json);
    }

    #[test]
    fn numbers_that_a_double_cannot_carry_become_text() {
        for number in [u64::MAX, (1 << 53) + 1] {
            assert_eq!(value_to_json(&json_to_value(json!(number))), json!(number.to_string()));
        }
        assert_eq!(value_to_json(&json_to_value(json!(i64::MIN))), json!(i64::MIN.to_string()));
    }

    #[test]
    fn doubles_that_json_cannot_carry_become_text() {
        let number = |number: f64| {
            let mut bytes = vec![0x11];
            bytes.extend(number.to_le_bytes());
            EncodedValue::from_bytes(bytes.into())
        };
        assert_eq!(value_to_json(&number(f64::NAN)), json!("NaN"));
        assert_eq!(value_to_json(&number(f64::INFINITY)), json!("Infinity"));
        assert_eq!(value_to_json(&number(f64::NEG_INFINITY)), json!("-Infinity"));
        assert_eq!(value_to_json(&number(6.0)).to_string(), "6");
        assert_eq!(value_to_json(&number(-0.0)).to_string(), "-0.0");
        assert_eq!(value_to_json(&number(1e300)), json!(1e300));
        assert_eq!(value_to_json(&EncodedValue::default()), json!(null));
    }
}
