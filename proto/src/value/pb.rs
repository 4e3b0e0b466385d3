//! JSON as gRPC carries it: `google.protobuf.Value`, whose only number is a double.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value as Protobuf};
use serde_json::{Number, Value as Json};

/// Integers up to here are exact as a double.
const EXACT: u64 = 1 << 53;

/// JSON to a protobuf value. An integer that a double cannot carry becomes a string.
pub fn json_to_value(json: Json) -> Protobuf {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(truth),
        Json::Number(number) => number_kind(&number),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => {
            Kind::ListValue(ListValue { values: items.into_iter().map(json_to_value).collect() })
        }
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(name, value)| (name, json_to_value(value))).collect(),
        }),
    };
    Protobuf { kind: Some(kind) }
}

/// A protobuf value to JSON. A whole number is an integer; NaN and the infinities, which JSON
/// lacks, are the strings of proto3 JSON.
pub fn value_to_json(value: &Protobuf) -> Json {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(truth)) => Json::Bool(*truth),
        Some(Kind::NumberValue(number)) => float_to_json(*number),
        Some(Kind::StringValue(text)) => Json::String(text.clone()),
        Some(Kind::ListValue(list)) => Json::Array(list.values.iter().map(value_to_json).collect()),
        Some(Kind::StructValue(record)) => Json::Object(
            record
                .fields
                .iter()
                .map(|(name, value)| (name.clone(), value_to_json(value)))
                .collect(),
        ),
    }
}

fn number_kind(number: &Number) -> Kind {
    let exact = match (number.as_u64(), number.as_i64()) {
        (Some(whole), _) => whole <= EXACT,
        (None, Some(negative)) => negative.unsigned_abs() <= EXACT,
        (None, None) => true,
    };
    match number.as_f64() {
        Some(double) if exact => Kind::NumberValue(double),
        _ => Kind::StringValue(number.to_string()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
fn float_to_json(number: f64) -> Json {
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
        let number = |number| Protobuf { kind: Some(Kind::NumberValue(number)) };
        assert_eq!(value_to_json(&number(f64::NAN)), json!("NaN"));
        assert_eq!(value_to_json(&number(f64::INFINITY)), json!("Infinity"));
        assert_eq!(value_to_json(&number(f64::NEG_INFINITY)), json!("-Infinity"));
        assert_eq!(value_to_json(&number(6.0)).to_string(), "6");
        assert_eq!(value_to_json(&number(-0.0)).to_string(), "-0.0");
        assert_eq!(value_to_json(&number(1e300)), json!(1e300));
        assert_eq!(value_to_json(&Protobuf { kind: None }), json!(null));
    }
}
