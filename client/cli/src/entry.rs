//! A map's entries as rows: for people and CSV a column for each number or text in them, for JSON
//! the key and the value as they are.

use std::collections::HashSet;
use std::io::Write as _;

use bpfgate_client::Layout;
use bpfgate_client::value::{Leaf, Plan};

use crate::render::{Cell, Column, Format, left, right};

/// A table with more columns than this for one half of an entry is no longer read but searched;
/// such a half is one compact column.
const TABLE_LEAVES: usize = 8;

/// How the entries of one map are shown.
pub(crate) struct EntryView<'l> {
    key: Option<Half<'l>>,
    value: Option<Half<'l>>,
    each_cpu: bool,
}

/// A key or a value.
struct Half<'l> {
    name: &'static str,
    plan: &'l Plan,
    shape: Shape,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Json,
    Leaves,
    Compact,
}

impl<'l> EntryView<'l> {
    pub(crate) fn new(layout: &'l Layout, format: Format) -> Self {
        let half = |name, plan: &'l Plan| {
            let shape = match format {
                Format::Json | Format::Jsonl => Shape::Json,
                Format::Table if plan.leaves().len() > TABLE_LEAVES => Shape::Compact,
                _ if plan.leaves().is_empty() => Shape::Compact,
                Format::Table | Format::Csv => Shape::Leaves,
            };
            Some(Half { name, plan, shape })
        };
        Self { key: half("key", &layout.key), value: half("value", &layout.value), each_cpu: false }
    }

    pub(crate) fn keys_only(mut self) -> Self {
        self.value = None;
        self
    }

    pub(crate) fn values_only(mut self) -> Self {
        self.key = None;
        self
    }

    /// A row for each CPU, which says of which.
    pub(crate) fn each_cpu(mut self, each: bool) -> Self {
        self.each_cpu = each;
        self
    }

    pub(crate) fn columns(&self) -> Vec<Column> {
        let keys: HashSet<_> = self.key.iter().flat_map(Half::names).collect();
        let values: HashSet<_> = self.value.iter().flat_map(Half::names).collect();
        let shared: HashSet<_> = keys.intersection(&values).cloned().collect();
        let half =
            |half: &Option<Half>| half.as_ref().map(|h| h.columns(&shared)).unwrap_or_default();
        let cpu = self.each_cpu.then(|| right("cpu"));
        half(&self.key).into_iter().chain(cpu).chain(half(&self.value)).collect()
    }

    /// Whether `write_json` says the same as `cells`.
    pub(crate) fn is_json(&self) -> bool {
        self.key.iter().chain(&self.value).all(|half| half.shape == Shape::Json)
    }

    /// Appends the entry's JSON object: without trees, for maps with a million entries.
    pub(crate) fn write_json(&self, key: &[u8], cpu: usize, value: &[u8], out: &mut Vec<u8>) {
        let mut before = b'{';
        if let Some(half) = &self.key {
            out.push(before);
            before = b',';
            half.write_json(key, out);
        }
        if self.each_cpu {
            out.push(before);
            before = b',';
            // A Vec takes everything.
            let _ = write!(out, "\"cpu\":{cpu}");
        }
        if let Some(half) = &self.value {
            out.push(before);
            half.write_json(value, out);
        }
        out.push(b'}');
    }

    /// One entry, or one CPU's part of it. A half that is not shown is not looked at.
    pub(crate) fn cells(&self, key: &[u8], cpu: usize, value: &[u8]) -> Vec<Cell> {
        let half = |half: &Option<Half>, bytes| {
            half.as_ref().map(|half| half.cells(bytes)).unwrap_or_default()
        };
        let cpu = self.each_cpu.then_some(Cell::Number(cpu as u64));
        half(&self.key, key).into_iter().chain(cpu).chain(half(&self.value, value)).collect()
    }
}

impl Half<'_> {
    fn name(&self, leaf: &Leaf) -> String {
        if leaf.path().is_empty() { self.name.to_owned() } else { leaf.path().to_owned() }
    }

    fn names(&self) -> Vec<String> {
        match self.shape {
            Shape::Leaves => self.plan.leaves().iter().map(|leaf| self.name(leaf)).collect(),
            Shape::Json | Shape::Compact => vec![self.name.to_owned()],
        }
    }

    fn columns(&self, shared: &HashSet<String>) -> Vec<Column> {
        if self.shape != Shape::Leaves {
            return vec![left(self.name)];
        }
        let column = |leaf: &Leaf| {
            let mut name = self.name(leaf);
            if shared.contains(&name) {
                name = format!("{}.{name}", self.name);
            }
            if leaf.is_number() { right(name) } else { left(name) }
        };
        self.plan.leaves().iter().map(column).collect()
    }

    fn write_json(&self, bytes: &[u8], out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b"\":");
        if self.plan.write_json(bytes, out).is_err() {
            out.extend_from_slice(b"null");
        }
    }

    fn cells(&self, bytes: &[u8]) -> Vec<Cell> {
        match self.shape {
            Shape::Leaves => {
                self.plan.leaves().iter().map(|leaf| Cell::Text(leaf.text(bytes))).collect()
            }
            Shape::Compact => vec![Cell::Text(self.plan.show(bytes))],
            Shape::Json => {
                vec![self.plan.decode(bytes).map_or(Cell::Missing, Cell::Json)]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bpfgate_client::v1;

    use super::*;
    use crate::render::Printer;

    #[test]
    fn entries_written_at_once_are_those_written_cell_by_cell() {
        let spec = v1::MapSpec { key_size: 2, value_size: 3, ..v1::MapSpec::default() };
        let map = v1::Map { spec: Some(spec), ..v1::Map::default() };
        let layout = Layout::of(&map).unwrap();
        for format in [Format::Json, Format::Jsonl] {
            for view in [
                EntryView::new(&layout, format),
                EntryView::new(&layout, format).keys_only(),
                EntryView::new(&layout, format).values_only(),
                EntryView::new(&layout, format).each_cpu(true),
            ] {
                assert!(view.is_json());
                let print = |at_once: bool| {
                    let mut out = Vec::new();
                    let style = anstyle::Style::new();
                    let mut printer = Printer::new(&mut out, format, style, view.columns());
                    let mut object = Vec::new();
                    for cpu in 0..2 {
                        // A value of the wrong length is nobody's.
                        let (key, value) = (&[1, 2][..], &[3, 4, 5][cpu..]);
                        if at_once {
                            object.clear();
                            view.write_json(key, cpu, value, &mut object);
                            printer.object(&object).unwrap();
                        } else {
                            printer.row(view.cells(key, cpu, value)).unwrap();
                        }
                    }
                    printer.finish().unwrap();
                    String::from_utf8(out).unwrap()
                };
                assert_eq!(print(true), print(false));
            }
        }
        assert!(!EntryView::new(&layout, Format::Csv).is_json());
    }
}
