//! YAML in block style, out of what JSON has. Text is always in double quotes, where YAML takes
//! JSON's escapes; so no text is ever read as a number or as `no`.

use std::io::{self, Write};

use serde_json::Value as Json;

/// Words that a reader may take for something else than text.
const ODD: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// `NAME: value` a line, each behind `indent` blanks; the first behind `lead` in their place.
pub(crate) fn members<'m>(
    out: &mut impl Write,
    members: impl IntoIterator<Item = (&'m str, &'m Json)>,
    lead: &str,
    indent: usize,
) -> io::Result<()> {
    let mut first = true;
    for (name, value) in members {
        if first {
            out.write_all(lead.as_bytes())?;
        } else {
            write!(out, "{:indent$}", "")?;
        }
        first = false;
        write!(out, "{}:", key(name))?;
        behind(out, value, indent)?;
    }
    if first { writeln!(out, "{lead}{{}}") } else { Ok(()) }
}

/// What stands behind `NAME:`.
fn behind(out: &mut impl Write, value: &Json, indent: usize) -> io::Result<()> {
    match value {
        Json::Array(items) if !items.is_empty() => {
            out.write_all(b"\n")?;
            items.iter().try_for_each(|one| item(out, one, indent + 2))
        }
        Json::Object(object) if !object.is_empty() => {
            out.write_all(b"\n")?;
            let lead = " ".repeat(indent + 2);
            let pairs = object.iter().map(|(name, value)| (name.as_str(), value));
            members(out, pairs, &lead, indent + 2)
        }
        flat => writeln!(out, " {}", scalar(flat)),
    }
}

/// One item of a list, behind so many blanks.
fn item(out: &mut impl Write, value: &Json, indent: usize) -> io::Result<()> {
    let lead = format!("{:indent$}- ", "");
    match value {
        Json::Object(object) if !object.is_empty() => {
            let pairs = object.iter().map(|(name, value)| (name.as_str(), value));
            members(out, pairs, &lead, indent + 2)
        }
        Json::Array(items) if !items.is_empty() => {
            writeln!(out, "{:indent$}-", "")?;
            items.iter().try_for_each(|one| item(out, one, indent + 2))
        }
        flat => writeln!(out, "{lead}{}", scalar(flat)),
    }
}

fn key(name: &str) -> String {
    let letter = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(letter)
        && !ODD.contains(&name.to_lowercase().as_str());
    if plain { name.to_owned() } else { quoted(name) }
}

fn scalar(value: &Json) -> String {
    match value {
        Json::String(text) => quoted(text),
        Json::Number(number) => {
            let text = number.to_string();
            // Older readers take a number for one only with a dot and a sign.
            match text.split_once('e') {
                Some((digits, power)) => {
                    let dot = if digits.contains('.') { "" } else { ".0" };
                    let sign = if power.starts_with(['-', '+']) { "" } else { "+" };
                    format!("{digits}{dot}e{sign}{power}")
                }
                None => text,
            }
        }
        Json::Array(_) => "[]".to_owned(),
        Json::Object(_) => "{}".to_owned(),
        flat => flat.to_string(),
    }
}

fn quoted(text: &str) -> String {
    // What JSON leaves as it is and YAML does not take.
    let odd = |c: char| {
        c == '\x7f' || ('\u{80}'..='\u{9f}').contains(&c) || "\u{2028}\u{2029}\u{feff}".contains(c)
    };
    let json = Json::from(text).to_string();
    if !json.contains(odd) {
        return json;
    }
    let escaped = |c: char| {
        if odd(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }
    };
    json.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: &Json) -> String {
        let mut out = Vec::new();
        item(&mut out, value, 0).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lists_and_objects_are_blocks() {
        let value = json!({"a": 1, "b": [], "c": {"x": ["no", {"w": null}], "z": {}}, "no": true});
        let block = "- a: 1\n  b: []\n  c:\n    x:\n      - \"no\"\n      - w: null\n    z: {}\n";
        assert_eq!(text(&value).replace("  \"no\": true\n", ""), block);
        assert!(text(&value).contains("\"no\": true"));
        assert_eq!(text(&json!([[1, 2], 3])), "-\n  -\n    - 1\n    - 2\n  - 3\n");
    }

    #[test]
    fn text_is_text_and_numbers_are_numbers() {
        assert_eq!(text(&json!("a\n\"\u{85}é")), "- \"a\\n\\\"\\u0085é\"\n");
        assert_eq!(text(&json!(1e21)), "- 1.0e+21\n");
        assert_eq!(text(&json!(-0.5)), "- -0.5\n");
    }
}
