//! A counter as a row. docs/counters.md has the columns of what programs read: a new one goes
//! behind those that are there.

use std::time::SystemTime;

use bpfgate_client::Bucket;

use crate::board::{Row, key_text};
use crate::describe::counter_kind;
use crate::human;
use crate::live;
use crate::render::{Cell, Column, Format, left, right};

/// Which columns there are. People want the key in one piece, programs want its parts.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) format: Format,
    /// A snapshot by one sweep has no rates.
    pub(super) rates: bool,
    /// More rows come, which may be wider.
    pub(super) grows: bool,
    /// Labels that have a column each, in the place of one for all.
    pub(super) wide: Option<Vec<String>>,
}

/// What a label's column cannot be called.
const TAKEN: [&str; 9] =
    ["time", "map", "field", "value", "rate", "kind", "unit", "start_time", "buckets"];

impl Form {
    pub(super) fn columns(&self) -> Vec<Column> {
        let start = [left("time"), left("map")];
        let key = || vec![left(if self.format.is_table() { "key" } else { "labels" })];
        let label = |label: &String| {
            let taken = TAKEN.contains(&label.as_str());
            left(if taken { format!("label.{label}") } else { label.clone() })
        };
        let keys = self.wide.as_ref().map_or_else(key, |it| it.iter().map(label).collect());
        // Counters grow: the first ones do not tell how wide.
        let room = if self.grows { 15 } else { 0 };
        let value = [left("field"), right("value").at_least(room)];
        let rate = self.rates.then(|| right("rate").at_least(10));
        let kind = [left("kind"), left("unit"), left("start_time")].map(Column::wide);
        let buckets = (!self.format.is_table()).then(|| left("buckets"));
        let all = start.into_iter().chain(keys).chain(value).chain(rate);
        all.chain(kind).chain(buckets).collect()
    }

    /// A label of the row that has no column.
    pub(super) fn missing<'r>(&self, row: &Row<'r>) -> Option<&'r str> {
        let wide = self.wide.as_ref()?;
        let mut labels = row.counter.key().labels.iter().map(|(name, _)| name.as_str());
        labels.find(|label| !wide.iter().any(|known| known == label))
    }

    pub(super) fn cells(&self, row: &Row<'_>, read_end: Option<SystemTime>) -> Vec<Cell> {
        cells(self, row, read_end)
    }
}

/// The labels of these rows, in the order in which they come.
pub(super) fn labels<'b>(rows: impl Iterator<Item = Row<'b>>) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for row in rows {
        for (name, _) in &row.counter.key().labels {
            if !labels.contains(name) {
                labels.push(name.clone());
            }
        }
    }
    labels
}

fn cells(form: &Form, row: &Row<'_>, read_end: Option<SystemTime>) -> Vec<Cell> {
    let (format, rates) = (form.format, form.rates);
    let (series, key) = (row.counter.series(), row.counter.key());
    let field = Cell::Text(key.field.clone());
    let map = Cell::Text(key.map.clone());
    let read_end = read_end.map(Into::into);
    let kind = [
        Cell::Text(counter_kind(series.kind()).to_owned()),
        Cell::Text(series.unit.clone()),
        Cell::Time(series.start_time),
    ];
    if format.is_table() {
        let start = [
            read_end.map_or(Cell::Text(String::new()), Cell::Clock),
            map,
            Cell::Text(key_text(key)),
            field,
            Cell::Text(live::value(row)),
        ];
        let rate = row.counter.rate().map(|rate| Cell::Text(human::rate(rate, &series.unit)));
        let rate = rates.then(|| rate.unwrap_or(Cell::Missing));
        return start.into_iter().chain(rate).chain(kind).collect();
    }
    let labels = match &form.wide {
        None => vec![Cell::Labels(key.labels.iter().cloned().collect())],
        Some(wide) => {
            let cell = |label: &String| {
                let value = key.label(label);
                value.map_or(Cell::Missing, |value| Cell::Text(value.to_owned()))
            };
            wide.iter().map(cell).collect()
        }
    };
    // Exact, as 64-bit numbers in JSON are only as text.
    let value = Cell::Text(row.counter.value().to_string());
    let start = [Cell::Time(read_end), map].into_iter().chain(labels).chain([field, value]);
    let rate = row.counter.rate().map_or(Cell::Missing, |rate| Cell::Json(rate.into()));
    start.chain(rates.then_some(rate)).chain(kind).chain([buckets(row)]).collect()
}

/// What stands under a histogram in a table of what there is: a line for each slot that has
/// counted something.
pub(super) fn slots(row: &Row<'_>, rates: bool) -> Vec<Vec<Cell>> {
    let used = row.counter.buckets().filter(|bucket| bucket.count > 0);
    let line = |bucket: Bucket| {
        let end = bucket.below.map_or_else(String::new, |below| below.to_string());
        let slot = format!("{}[{},{end})", row.counter.key().field, bucket.at_least);
        let count = human::grouped(bucket.count.into());
        let wide = ["", "", ""];
        let cells = ["", "", "", &slot, &count].into_iter().chain(rates.then_some("")).chain(wide);
        cells.map(|text| Cell::Text(text.to_owned())).collect()
    };
    used.map(line).collect()
}

/// The slots of a histogram that have counted something.
fn buckets(row: &Row<'_>) -> Cell {
    let all: Vec<_> = row.counter.buckets().collect();
    if all.is_empty() {
        return Cell::Missing;
    }
    let used = all.iter().filter(|bucket| bucket.count > 0);
    let json = used.map(|bucket| {
        serde_json::json!({
            "at_least": bucket.at_least.to_string(),
            "below": bucket.below.map(|below| below.to_string()),
            "count": bucket.count.to_string(),
        })
    });
    Cell::Json(json.collect())
}
