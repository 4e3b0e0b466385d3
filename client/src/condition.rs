//! Conditions as people write them, the same for labels of counters and fields of records:
//! `FIELD OP VALUE[|VALUE…]`.

use bpfgate_proto::v1::LabelMatcher;
use bpfgate_proto::v1::label_matcher::Op;
use bpfgate_proto::value::{ConditionError, Network};

/// Why the text of a condition was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrittenConditionError {
    /// No operator, or nothing before it.
    #[error(
        "condition {0:?} must be FIELD=VALUE, or with !=, <, <=, > or >=; 'a|b' for one of two, \
         'abc*' for a beginning, '10.0.0.0/8' for a network, '\"a,b\"' for a text as it is"
    )]
    Shape(String),
    /// A quote without its other half, or something around a quoted value.
    #[error("condition {0:?} has a quoted value that does not end, or something beside it")]
    Quote(String),
    /// What is compared cannot be so.
    #[error("condition {text:?}: {source}")]
    Cannot {
        /// All of it.
        text: String,
        /// Why not.
        source: ConditionError,
    },
}

/// Parses `FIELD OP VALUE[|VALUE…]`, where OP is one of `=`, `!=`, `<`, `<=`, `>` and `>=`. A VALUE
/// is written as everywhere: `443`, `0x1bb`, `ICMP`, `eth0`, `10.0.0.1`, a text. `abc*` takes what
/// begins so and `10.0.0.0/8` the addresses of a network; what is in quotes is taken as it is, with
/// `\"` and `\\` for these two.
///
/// ```
/// use bpfgate_client::parse_condition;
///
/// let condition = parse_condition(r#"comm = ba*|"a|b""#).unwrap();
/// assert_eq!((condition.label.as_str(), &condition.prefixes[..]), ("comm", &["ba".into()][..]));
/// assert_eq!(condition.values, ["a|b"]);
/// ```
///
/// # Errors
///
/// [`WrittenConditionError`] says which part of the text is missing or makes no sense.
pub fn parse_condition(text: &str) -> Result<LabelMatcher, WrittenConditionError> {
    let shape = || WrittenConditionError::Shape(text.to_owned());
    let at = text.find(['=', '!', '<', '>']).ok_or_else(shape)?;
    let (label, rest) = (text[..at].trim(), &text[at..]);
    let ops = [
        ("!=", Op::NotIn),
        ("<=", Op::AtMost),
        (">=", Op::AtLeast),
        ("=", Op::In),
        ("<", Op::Less),
        (">", Op::Greater),
    ];
    let found = ops.iter().find_map(|(sign, op)| Some((*op, rest.strip_prefix(sign)?)));
    let (op, rest) = found.ok_or_else(shape)?;
    if label.is_empty() {
        return Err(shape());
    }
    let (values, prefixes, networks) = Default::default();
    let mut matcher =
        LabelMatcher { label: label.to_owned(), op: op.into(), values, prefixes, networks };
    for part in split(rest, '|').ok_or_else(|| WrittenConditionError::Quote(text.to_owned()))? {
        take(part.trim(), text, &mut matcher)?;
    }
    let several = matcher.values.len() != 1 || !matcher.prefixes.is_empty();
    if !matches!(op, Op::In | Op::NotIn) && (several || !matcher.networks.is_empty()) {
        let source = ConditionError::NotOneValue;
        return Err(WrittenConditionError::Cannot { text: text.to_owned(), source });
    }
    Ok(matcher)
}

/// Parses conditions that are apart by commas.
pub(crate) fn parse_conditions(text: &str) -> Result<Vec<LabelMatcher>, WrittenConditionError> {
    let parts = split(text, ',').ok_or_else(|| WrittenConditionError::Quote(text.to_owned()))?;
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    parts.map(parse_condition).collect()
}

fn take(part: &str, text: &str, matcher: &mut LabelMatcher) -> Result<(), WrittenConditionError> {
    if part.starts_with('"') {
        let value = unquote(part).ok_or_else(|| WrittenConditionError::Quote(text.to_owned()))?;
        matcher.values.push(value);
    } else if let Some(prefix) = part.strip_suffix('*') {
        matcher.prefixes.push(prefix.to_owned());
    } else if part.split_once('/').is_some_and(|(address, _)| is_address(address)) {
        let network = part.parse::<Network>();
        let cannot = |source| WrittenConditionError::Cannot { text: text.to_owned(), source };
        matcher.networks.push(network.map_err(cannot)?.to_string());
    } else {
        matcher.values.push(part.to_owned());
    }
    Ok(())
}

fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// What is between separators that are not quoted. `None` if a quote does not end.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    let mut at_start = true;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if quoted => quoted = false,
            // Amid a value it is a character as others.
            '"' if at_start => quoted = true,
            c if c == separator && !quoted => {
                parts.push(&text[from..at]);
                from = at + c.len_utf8();
            }
            _ => {}
        }
        let begins = matches!(c, ',' | '|' | '=' | '<' | '>') || (at_start && c == ' ');
        at_start = !quoted && begins;
    }
    parts.push(&text[from..]);
    (!quoted).then_some(parts)
}

fn unquote(part: &str) -> Option<String> {
    let inside = part.strip_prefix('"')?;
    let mut value = String::new();
    let mut rest = inside.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => return rest.as_str().is_empty().then_some(value),
            '\\' => value.push(rest.next().filter(|c| matches!(c, '"' | '\\'))?),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Op, Vec<String>, Vec<String>, Vec<String>) {
        let condition = parse_condition(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let op = condition.op();
        let LabelMatcher { label, op: _, values, prefixes, networks } = condition;
        (label, op, values, prefixes, networks)
    }

    #[test]
    fn every_operator_and_kind_of_value_is_read() {
        for (text, op, values, prefixes, networks) in [
            ("port=443", Op::In, &["443"][..], &[][..], &[][..]),
            ("port != 443 | 0x50", Op::NotIn, &["443", "0x50"], &[], &[]),
            ("port<1024", Op::Less, &["1024"], &[], &[]),
            ("port<=1024", Op::AtMost, &["1024"], &[], &[]),
            ("port>-1", Op::Greater, &["-1"], &[], &[]),
            ("port >= 1", Op::AtLeast, &["1"], &[], &[]),
            ("port=a=b", Op::In, &["a=b"], &[], &[]),
            ("port=10.0.0.0/8|::1", Op::In, &["::1"], &[], &["10.0.0.0/8"]),
            ("port=eth*|lo", Op::In, &["lo"], &["eth"], &[]),
            ("port=/system.slice/a", Op::In, &["/system.slice/a"], &[], &[]),
            ("port=*", Op::In, &[], &[""], &[]),
            ("port=", Op::In, &[""], &[], &[]),
            (r#"port="a|b,c*"|"10.0.0.0/8""#, Op::In, &["a|b,c*", "10.0.0.0/8"], &[], &[]),
            (r#"port="a\"b\\""#, Op::In, &[r#"a"b\"#], &[], &[]),
            (r#"port=5""#, Op::In, &[r#"5""#], &[], &[]),
        ] {
            let owned = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect();
            let expected = ("port".to_owned(), op, owned(values), owned(prefixes), owned(networks));
            assert_eq!(parsed(text), expected, "{text}");
        }
        let all = parse_conditions(r#" a=1, b="x,y" ,c!=z,"#).unwrap();
        let values: Vec<_> = all.iter().map(|it| it.values[0].as_str()).collect();
        assert_eq!(values, ["1", "x,y", "z"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("port", "FIELD=VALUE"),
            ("=1", "FIELD=VALUE"),
            ("a!1", "FIELD=VALUE"),
            ("a=\"b", "does not end"),
            ("a=\"b\"c", "beside it"),
            (r#"a="\x""#, "quoted"),
            ("a<1|2", "one value"),
            ("a<b*", "one value"),
            ("a=10.0.0.0/33", "10.0.0.0/33"),
        ] {
            let said = parse_condition(text).unwrap_err().to_string();
            assert!(said.contains(part), "{text:?}: {said}");
        }
    }
}
