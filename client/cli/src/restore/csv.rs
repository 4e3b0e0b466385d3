//! A line of CSV to an entry: the columns are those that `-o csv` prints.

use std::io::{BufRead, Read as _};

use bpfgate_client::Layout;
use bpfgate_client::value::Plan;
use serde_json::{Map, Value as Json};

use super::packer::Packer;
use super::{Problem, unreadable};
use crate::entries::EntryView;
use crate::render::Format;

/// Packs every entry of the text.
pub(super) fn read(
    mut input: impl BufRead,
    mut line: u64,
    limit: usize,
    layout: &Layout,
    packer: &mut Packer<'_>,
) -> Result<(), Problem> {
    let wrong = |line, why| Problem { line, why };
    let Some(header) = record(&mut input, &mut line, limit)? else { return Ok(()) };
    let columns = |each_cpu| -> Vec<String> {
        let view = EntryView::new(layout, Format::Csv, each_cpu).named(packer.takes_names());
        view.columns().into_iter().map(|column| column.name).collect()
    };
    let each_cpu = layout.per_cpu && header.1 == columns(true);
    if !each_cpu && header.1 != columns(false) {
        let columns = columns(layout.per_cpu).join(",");
        return Err(wrong(header.0, format!("neither JSON nor CSV with the columns {columns}")));
    }
    let value = if each_cpu { &layout.value } else { &layout.sum };
    let (key, value) = (Half::new(&layout.key, "KEY"), Half::new(value, "VALUE"));
    while let Some((line, fields)) = record(&mut input, &mut line, limit)? {
        if fields.len() != header.1.len() {
            let (got, want) = (fields.len(), header.1.len());
            return Err(wrong(line, format!("{got} fields where there must be {want}")));
        }
        let (keys, rest) = fields.split_at(key.columns());
        let (cpu, values) = if each_cpu { (rest.first(), &rest[1..]) } else { (None, rest) };
        let cpu = cpu.map(|cpu| cpu.parse().map_err(|_| wrong(line, format!("CPU {cpu:?}"))));
        let problem = |why| wrong(line, why);
        let key = key.bytes(keys).map_err(problem)?;
        if let (true, [name]) = (packer.takes_names(), values) {
            if !packer.add_named(line, &key, name)? {
                break;
            }
            continue;
        }
        let value = value.bytes(values).map_err(problem)?;
        if !packer.add(line, &key, cpu.transpose()?, &value)? {
            break;
        }
    }
    Ok(())
}

/// A key or value in its columns.
struct Half<'l> {
    plan: &'l Plan,
    part: &'static str,
    /// Where in the JSON each column goes; none if the half is one column of its own.
    paths: Vec<Vec<Step>>,
}

enum Step {
    Field(String),
    Element(usize),
}

impl<'l> Half<'l> {
    fn new(plan: &'l Plan, part: &'static str) -> Self {
        let paths = plan.leaves().iter().map(|leaf| steps(leaf.path())).collect();
        Self { plan, part, paths }
    }

    fn columns(&self) -> usize {
        self.paths.len().max(1)
    }

    fn bytes(&self, fields: &[String]) -> Result<Vec<u8>, String> {
        let misfit = |error| format!("{}: {error}", self.part);
        if let (true, [one]) = (self.paths.is_empty(), fields) {
            return self.plan.parse(one).map_err(misfit);
        }
        let mut json = Json::Null;
        for (path, field) in self.paths.iter().zip(fields) {
            put(&mut json, path, field.clone());
        }
        self.plan.encode(&json).map_err(misfit)
    }
}

/// `rx.slots[3]`.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split(['.', '[']).filter(|part| !part.is_empty()) {
        steps.push(match part.strip_suffix(']').and_then(|index| index.parse().ok()) {
            Some(index) => Step::Element(index),
            None => Step::Field(part.to_owned()),
        });
    }
    steps
}

/// Columns come in order of declaration, so that elements come in theirs.
fn put(json: &mut Json, path: &[Step], text: String) {
    let Some((first, rest)) = path.split_first() else { return *json = Json::String(text) };
    match first {
        Step::Field(name) => {
            if !json.is_object() {
                *json = Json::Object(Map::new());
            }
            if let Json::Object(fields) = json {
                put(fields.entry(name.clone()).or_insert(Json::Null), rest, text);
            }
        }
        Step::Element(index) => {
            if !json.is_array() {
                *json = Json::Array(Vec::new());
            }
            if let Json::Array(items) = json {
                if items.len() <= *index {
                    items.resize(index + 1, Json::Null);
                }
                put(&mut items[*index], rest, text);
            }
        }
    }
}

/// The fields of the next record, and the line that it begins on. Blank lines are none.
fn record(
    input: &mut impl BufRead,
    line: &mut u64,
    limit: usize,
) -> Result<Option<(u64, Vec<String>)>, Problem> {
    loop {
        let (start, mut text) = (*line, String::new());
        // A quoted field may hold the ends of lines.
        loop {
            let room = (limit.saturating_sub(text.len()) + 1) as u64;
            let read = input.by_ref().take(room).read_line(&mut text);
            let read = read.map_err(|error| unreadable(*line, &error))?;
            let why = if read as u64 == room && !text.ends_with('\n') {
                format!("the entry is longer than {limit} bytes")
            } else if text.bytes().filter(|&byte| byte == b'"').count().is_multiple_of(2) {
                break;
            } else if read == 0 {
                "a quoted field is not closed".to_owned()
            } else {
                *line += 1;
                continue;
            };
            return Err(Problem { line: start, why });
        }
        *line += 1;
        if text.is_empty() {
            return Ok(None);
        }
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            return Ok(Some((start, fields(text))));
        }
    }
}

/// RFC 4180.
fn fields(text: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quotes_and_lines_within_fields_are_kept() {
        assert_eq!(fields("a,\"b,\"\"c\"\"\",,"), ["a", "b,\"c\"", "", ""]);
        let (mut input, mut line) = (&b"a,\"x\ny\"\r\n\nb\n"[..], 1);
        let mut next = || record(&mut input, &mut line, 100).unwrap();
        assert_eq!(next(), Some((1, vec!["a".to_owned(), "x\ny".to_owned()])));
        assert_eq!(next(), Some((4, vec!["b".to_owned()])));
        assert_eq!(next(), None);
    }

    #[test]
    fn columns_go_where_their_names_say() {
        let mut json = Json::Null;
        for (path, text) in [("a", "1"), ("b.c", "2"), ("b.d[0]", "3"), ("b.d[1].e", "4")] {
            put(&mut json, &steps(path), text.to_owned());
        }
        assert_eq!(json, json!({"a": "1", "b": {"c": "2", "d": ["3", {"e": "4"}]}}));
        put(&mut json, &steps(""), "5".to_owned());
        assert_eq!(json, json!("5"));
    }
}
