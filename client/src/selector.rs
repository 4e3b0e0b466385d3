//! Selectors as people write them: `MAP-GLOB[{CONDITION,…}][:field,…]`.

use bpfgate_proto::name::{MapGlob, MapRef, NameError};
use bpfgate_proto::v1::CounterSelector;

use crate::condition::{WrittenConditionError, parse_conditions};

/// Why a selector was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// The pattern in front is no pattern for map names.
    #[error(transparent)]
    Map(#[from] NameError),
    /// `{` without `}`, or something else than `:` behind it.
    #[error("selector {0:?} must be written MAP{{label=value,…}}:field,…")]
    Shape(String),
    /// A condition within the braces.
    #[error(transparent)]
    Condition(#[from] WrittenConditionError),
    /// A `:` with nothing behind it, or two commas.
    #[error("selector {0:?} has an empty field name")]
    EmptyField(String),
}

/// Parses `MAP-GLOB[{CONDITION,…}][:field,field]`; a condition is what [`crate::parse_condition`]
/// takes. In place of the pattern may stand `id:7` or `pin:PATH`, a path without colons.
///
/// ```
/// use bpfgate_client::parse_selector;
///
/// let selector = parse_selector("proto-counters/*{key=6|17}:packets").unwrap();
/// assert_eq!(selector.map, "proto-counters/*");
/// assert_eq!(selector.labels[0].values, ["6", "17"]);
/// assert_eq!(selector.fields, ["packets"]);
/// ```
///
/// # Errors
///
/// [`SelectorError`] says which part of the text makes no sense.
pub fn parse_selector(text: &str) -> Result<CounterSelector, SelectorError> {
    let number = |rest: &str| {
        let id = rest.split(['{', ':']).next().unwrap_or_default();
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
    };
    // Its colon is none in front of fields.
    let prefix = ["id:", "pin:"].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| *prefix == "pin:" || number(rest))
    });
    let from = prefix.map_or(0, str::len);
    let end = text[from..].find(['{', ':']).map_or(text.len(), |end| from + end);
    let map = if prefix.is_some() {
        text[..end].parse::<MapRef>()?.to_string()
    } else {
        text[..end].parse::<MapGlob>()?.to_string()
    };
    let mut rest = &text[end..];
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        // The last one: a label's value may hold a brace.
        let shape = || SelectorError::Shape(text.to_owned());
        let (conditions, behind) = inside.rsplit_once('}').ok_or_else(shape)?;
        labels = parse_conditions(conditions)?;
        rest = behind;
    }
    let fields = match rest.strip_prefix(':') {
        Some(fields) => fields.split(',').map(|field| field.trim().to_owned()).collect(),
        None if rest.is_empty() => Vec::new(),
        None => return Err(SelectorError::Shape(text.to_owned())),
    };
    if fields.iter().any(String::is_empty) {
        return Err(SelectorError::EmptyField(text.to_owned()));
    }
    Ok(CounterSelector { map, labels, fields })
}

#[cfg(test)]
mod tests {
    use bpfgate_proto::v1::label_matcher::Op;

    use super::*;

    #[test]
    fn every_part_is_optional_but_the_map() {
        let bare = parse_selector("o/m").unwrap();
        assert_eq!((bare.map.as_str(), bare.labels.len(), bare.fields.len()), ("o/m", 0, 0));
        let fields = parse_selector("m:rx.bytes, tx.bytes").unwrap();
        assert_eq!(fields.fields, ["rx.bytes", "tx.bytes"]);
        let full = parse_selector(r#"*/m{ port="443", saddr!=::1 }:bytes"#).unwrap();
        let [port, saddr] = &full.labels[..] else { panic!("{:?}", full.labels) };
        assert_eq!(
            (port.label.as_str(), port.op(), &port.values[..]),
            ("port", Op::In, &["443".into()][..])
        );
        assert_eq!((saddr.label.as_str(), saddr.op()), ("saddr", Op::NotIn));
        assert_eq!(saddr.values, ["::1"]);
    }

    #[test]
    fn a_map_may_be_an_id_or_a_pin() {
        let id = parse_selector("id:7{key=1}:bytes").unwrap();
        assert_eq!(
            (id.map.as_str(), id.labels.len(), &id.fields[..]),
            ("id:7", 1, &["bytes".into()][..])
        );
        assert_eq!(parse_selector("id:7").unwrap().map, "id:7");
        let pin = parse_selector("pin:a/b:packets").unwrap();
        assert_eq!((pin.map.as_str(), &pin.fields[..]), ("pin:a/b", &["packets".into()][..]));
        // A map may be called so.
        let field = parse_selector("id:bytes").unwrap();
        assert_eq!((field.map.as_str(), &field.fields[..]), ("id", &["bytes".into()][..]));
    }

    #[test]
    fn bad_selectors_say_what_to_write() {
        for (text, part) in [
            ("", "empty"),
            ("a b", "' '"),
            ("m{x", "must be written"),
            ("m{x}", "FIELD=VALUE"),
            ("m{=x}", "FIELD=VALUE"),
            ("m{a=b}c", "must be written"),
            ("m:", "empty field"),
            ("m:a,,b", "empty field"),
            ("id:99999999999", "99999999999"),
            ("pin:", "pin path is empty"),
        ] {
            let said = parse_selector(text).unwrap_err().to_string();
            assert!(said.contains(part), "{text:?}: {said}");
        }
    }
}
