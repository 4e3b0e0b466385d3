//! Every kind of value says what is wrong with what it was given, and what would be right.

use serde_json::{Value as Json, json};

use super::plan::Plan;
use super::samples::{
    array, array_shown, boolean, character, enumeration, float, pointer, shown, signed, structure,
    union, unsigned,
};
use super::schema::{Display, Type};

/// What a field of that type says to the JSON.
fn said(ty: &Type, json: &Json) -> String {
    let plan = Plan::compile(&structure(vec![("inner", structure(vec![("x", ty.clone())]))]));
    let error = plan.unwrap().encode(&json!({"inner": {"x": json}})).unwrap_err();
    assert_eq!(error.path().split('[').next(), Some("inner.x"));
    error.to_string()
}

#[test]
fn every_kind_says_what_would_be_right() {
    let states = enumeration(4, false, &[("SYN_SENT", 2), ("ESTABLISHED", 1)]);
    let signed_state = enumeration(1, true, &[("NO", -1)]);
    let mac = array_shown(unsigned(1), 6, Display::Mac);
    let six = array_shown(unsigned(1), 16, Display::Ipv6);
    for (ty, json, expected) in [
        (unsigned(1), json!(256), "256 is out of range, which is 0 to 255"),
        (unsigned(3), json!(1 << 24), "16777216 is out of range, which is 0 to 16777215"),
        (
            signed(8),
            json!("9223372036854775808"),
            "9223372036854775808 is out of range, \
            which is -9223372036854775808 to 9223372036854775807",
        ),
        (
            signed(16),
            json!("-170141183460469231731687303715884105729"),
            "-170141183460469231731687303715884105729 is out of range, \
            which is -170141183460469231731687303715884105728 to \
            170141183460469231731687303715884105727",
        ),
        (unsigned(4), json!(true), "expected an integer, got true"),
        (unsigned(4), json!("10.0.0.300"), r#"expected an integer, got "10.0.0.300""#),
        (unsigned(8), json!(1e18), "expected an integer this large as a string, got 1e+18"),
        (boolean(), json!("yes"), r#"expected true or false, got "yes""#),
        (boolean(), json!(300), "300 is out of range, which is 0 to 255"),
        (character(), json!("ab"), r#"expected one character or its number, got "ab""#),
        (character(), json!(-129), "-129 is out of range, which is -128 to 255"),
        (array(character(), 4), json!("abcde"), "the text has 5 bytes, at most 4 fit"),
        (array(character(), 4), json!(7), "expected text without NULs, got 7"),
        (
            states.clone(),
            json!("SYN_SEND"),
            r#""SYN_SEND" is not a name of the enum; there is SYN_SENT, ESTABLISHED (did you mean SYN_SENT?)"#,
        ),
        (
            states.clone(),
            json!("CLOSED"),
            r#""CLOSED" is not a name of the enum; there is SYN_SENT, ESTABLISHED"#,
        ),
        (states, json!([]), "expected a name of the enum or a number, got a list of 0"),
        (signed_state, json!(128), "128 is out of range, which is -128 to 127"),
        (float(8), json!("fast"), r#"expected a number, "NaN" or "Infinity", got "fast""#),
        (pointer(), json!(-1), "-1 is out of range, which is 0 to 18446744073709551615"),
        (
            shown(4, true, Display::Ipv4),
            json!("10.0.0.300"),
            r#"expected an IPv4 address such as "10.0.0.1", got "10.0.0.300""#,
        ),
        (
            shown(4, true, Display::Ipv4),
            json!("::1"),
            r#"expected an IPv4 address such as "10.0.0.1", got "::1""#,
        ),
        (six, json!("10.0.0.1"), r#"expected an IPv6 address such as "fe80::1", got "10.0.0.1""#),
        (
            mac,
            json!("02:00:00:00:00"),
            r#"expected an Ethernet address such as "02:00:00:00:00:01", got "02:00:00:00:00""#,
        ),
        (
            shown(2, false, Display::Hex),
            json!("0x10000"),
            "65536 is out of range, which is -32768 to 65535",
        ),
        (Type::opaque(2), json!(5), r#"expected "hex:" with two digits for each byte, got 5"#),
        (Type::opaque(2), json!("hex:00"), "hex: with 1 bytes where there must be 2"),
        (
            Type::opaque(2),
            json!("hex:000g"),
            r#""hex:000g" is not hex: with two hexadecimal digits for each byte"#,
        ),
        (array(unsigned(1), 3), json!([1, 2]), "2 elements where there must be 3"),
        (array(unsigned(1), 3), json!({}), "expected a list of 3, got an object"),
        (union(vec![("v4", unsigned(4))]), json!({}), "the union needs one of v4"),
        (
            structure(vec![("bytes", unsigned(8))]),
            json!({"byte": 1}),
            r#"there is no field "byte"; there is bytes (did you mean bytes?)"#,
        ),
        (
            structure(vec![("bytes", unsigned(8))]),
            json!([1]),
            "expected an object with bytes, got a list of 1",
        ),
    ] {
        assert_eq!(said(&ty, &json), format!("inner.x: {expected}"), "{ty:?}");
    }
    let missing = structure(vec![("a", unsigned(1)), ("b", unsigned(1))]);
    assert_eq!(
        Plan::compile(&missing).unwrap().encode(&json!({"a": 1})).unwrap_err().to_string(),
        "b: the field is missing"
    );
    let grid = array(array(unsigned(1), 2), 2);
    assert_eq!(
        said(&grid, &json!([[1, 2], [3, 400]])),
        "inner.x[1][1]: 400 is out of range, which is 0 to 255"
    );
}
