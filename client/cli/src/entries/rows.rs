//! A map's entries as rows, for people and CSV: a column for each number or text in them. In JSON
//! the key and the value are one cell each.

use std::collections::HashSet;

use bpfgate_client::Layout;
use bpfgate_client::value::{Leaf, Plan};
use serde_json::Value as Json;

use crate::render::{Cell, Column, Format, left, right};

/// A table with more columns than this for one half of an entry is no longer read but searched;
/// such a half is one compact column.
const TABLE_LEAVES: usize = 8;

/// How the entries of one map are shown.
pub(crate) struct EntryView<'l> {
    key: Option<Half<'l>>,
    value: Option<Half<'l>>,
    each_cpu: bool,
    /// Values are names of what they lead to.
    named: bool,
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
    /// Values are what those of all CPUs are together, or with `each_cpu` one CPU's in each row,
    /// which says of which.
    pub(crate) fn new(layout: &'l Layout, format: Format, each_cpu: bool) -> Self {
        let half = |name, plan: &'l Plan| {
            let shape = match format {
                Format::Json | Format::Jsonl | Format::Yaml | Format::Bpftool => Shape::Json,
                Format::Table | Format::Wide if plan.leaves().len() > TABLE_LEAVES => {
                    Shape::Compact
                }
                _ if plan.leaves().is_empty() => Shape::Compact,
                Format::Table | Format::Wide | Format::Csv => Shape::Leaves,
            };
            Some(Half { name, plan, shape })
        };
        let value = if each_cpu { &layout.value } else { &layout.sum };
        Self { key: half("key", &layout.key), value: half("value", value), each_cpu, named: false }
    }

    pub(crate) fn keys_only(mut self) -> Self {
        self.value = None;
        self
    }

    pub(crate) fn values_only(mut self) -> Self {
        self.key = None;
        self
    }

    /// A value is the name of what it leads to: see [`Self::named_cells`].
    pub(crate) fn named(mut self, named: bool) -> Self {
        self.named = named;
        self
    }

    pub(crate) fn columns(&self) -> Vec<Column> {
        let keys: HashSet<_> = self.key.iter().flat_map(Half::names).collect();
        let value = self.value.as_ref().filter(|_| !self.named);
        let name = self.value.as_ref().filter(|_| self.named).map(|_| left("value"));
        let values: HashSet<_> = value.into_iter().flat_map(Half::names).collect();
        let shared: HashSet<_> = keys.intersection(&values).cloned().collect();
        let half = |half: Option<&Half>| half.map(|half| half.columns(&shared)).unwrap_or_default();
        let cpu = self.each_cpu.then(|| right("cpu"));
        let key = half(self.key.as_ref()).into_iter();
        key.chain(cpu).chain(half(value)).chain(name).collect()
    }

    /// One entry, or one CPU's part of it, as the agent tells it by the map's schema.
    pub(crate) fn typed_cells(&self, key: &Json, cpu: usize, value: &Json) -> Vec<Cell> {
        let half = |half: &Option<Half>, json| {
            half.as_ref().map(|half| half.typed_cells(json)).unwrap_or_default()
        };
        let cpu = self.each_cpu.then_some(Cell::Number(cpu as u64));
        half(&self.key, key).into_iter().chain(cpu).chain(half(&self.value, value)).collect()
    }

    /// One entry, whose value is told by name.
    pub(crate) fn named_cells(&self, key: &[u8], value: &str) -> Vec<Cell> {
        let key = self.key.as_ref().map(|half| half.cells(key)).unwrap_or_default();
        let value = self.value.as_ref().map(|_| Cell::Text(value.to_owned()));
        key.into_iter().chain(value).collect()
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

    fn typed_cells(&self, json: &Json) -> Vec<Cell> {
        match self.shape {
            Shape::Leaves => {
                self.plan.leaves().iter().map(|leaf| bare(at(json, leaf.path()))).collect()
            }
            Shape::Compact => vec![bare(Some(json))],
            Shape::Json => vec![Cell::Json(json.clone())],
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

/// The part at a leaf's path: `rx.slots[3]`.
fn at<'j>(json: &'j Json, path: &str) -> Option<&'j Json> {
    let mut parts = path.split(['.', '[']).filter(|part| !part.is_empty());
    parts.try_fold(json, |at, part| match part.strip_suffix(']') {
        Some(index) => at.get(index.parse::<usize>().ok()?),
        None => at.get(part),
    })
}

/// Text without quotes.
fn bare(json: Option<&Json>) -> Cell {
    match json {
        None => Cell::Missing,
        Some(Json::String(text)) => Cell::Text(text.clone()),
        Some(other) => Cell::Text(other.to_string()),
    }
}
