//! One field of a row, and what it looks like in each format.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use serde_json::Value as Json;

use crate::human::{self, Zone};

/// One field of one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Missing,
    /// Missing, and not even a field of an object.
    Absent,
    Text(String),
    Number(u64),
    /// A number of bytes.
    Size(u64),
    Flag(bool),
    Time(Option<Timestamp>),
    /// A time of today, or nearly so.
    Clock(Timestamp),
    List(Vec<String>),
    Labels(BTreeMap<String, String>),
    /// Each in words, and as it is in JSON.
    Items(Vec<(String, Json)>),
    /// As it is in JSON; compact elsewhere.
    Json(Json),
}

/// One column: its name in JSON and CSV, its heading in capitals.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) right: bool,
    /// In tables only where all columns were asked for.
    pub(crate) wide: bool,
    /// Of a table, when what comes may be longer than what was measured.
    pub(crate) min_width: usize,
}

/// A column of text.
pub(crate) fn left(name: impl Into<String>) -> Column {
    Column { name: name.into(), right: false, wide: false, min_width: 0 }
}

/// A column of numbers.
pub(crate) fn right(name: impl Into<String>) -> Column {
    Column { name: name.into(), right: true, wide: false, min_width: 0 }
}

impl Column {
    pub(crate) fn at_least(self, min_width: usize) -> Self {
        Self { min_width, ..self }
    }

    /// Not for tables, unless all columns were asked for.
    pub(crate) fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// For a table.
    pub(crate) fn title(&self) -> String {
        self.name.replace('_', " ").to_uppercase()
    }
}

/// As it is in JSON.
pub(crate) fn json(cell: Cell) -> Json {
    match cell {
        Cell::Missing | Cell::Absent | Cell::Time(None) => Json::Null,
        Cell::Text(text) => Json::String(text),
        Cell::Number(number) | Cell::Size(number) => Json::from(number),
        Cell::Flag(flag) => Json::Bool(flag),
        Cell::Time(Some(time)) | Cell::Clock(time) => Json::String(time.to_string()),
        Cell::List(items) => Json::from(items),
        Cell::Labels(labels) => labels.into_iter().collect(),
        Cell::Items(items) => items.into_iter().map(|(_, json)| json).collect(),
        Cell::Json(json) => json,
    }
}

/// As it is in CSV.
pub(crate) fn plain_text(cell: &Cell) -> String {
    match cell {
        Cell::Missing | Cell::Absent | Cell::Time(None) => String::new(),
        Cell::Text(text) | Cell::Json(Json::String(text)) => text.clone(),
        Cell::Number(number) | Cell::Size(number) => number.to_string(),
        Cell::Flag(flag) => flag.to_string(),
        Cell::Time(Some(time)) | Cell::Clock(time) => time.to_string(),
        Cell::List(items) => items.join(" "),
        Cell::Labels(labels) => join_labels(labels, " ", escaped),
        Cell::Items(items) => words(items).join("; "),
        Cell::Json(json) => json.to_string(),
    }
}

/// As it is in a table.
pub(crate) fn table_text(cell: &Cell, zone: &Zone) -> String {
    match cell {
        Cell::Missing | Cell::Absent | Cell::Time(None) => "-".to_owned(),
        Cell::List(items) if items.is_empty() => "-".to_owned(),
        Cell::Labels(labels) if labels.is_empty() => "-".to_owned(),
        Cell::Items(items) if items.is_empty() => "-".to_owned(),
        Cell::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Cell::Size(bytes) => human::bytes(*bytes),
        Cell::Time(Some(time)) => zone.time(time),
        Cell::Clock(time) => zone.clock(time),
        Cell::List(items) => printable(&items.join(", ")),
        Cell::Labels(labels) => printable(&join_labels(labels, ", ", str::to_owned)),
        Cell::Text(_) | Cell::Number(_) | Cell::Items(_) | Cell::Json(_) => {
            printable(&plain_text(cell))
        }
    }
}

/// For people.
pub(crate) fn words(items: &[(String, Json)]) -> Vec<String> {
    items.iter().map(|(words, _)| words.clone()).collect()
}

fn join_labels(
    labels: &BTreeMap<String, String>,
    between: &str,
    value: impl Fn(&str) -> String,
) -> String {
    let pair = |(name, it): (&String, &String)| format!("{name}={}", value(it));
    labels.iter().map(pair).collect::<Vec<_>>().join(between)
}

/// So that a blank is one between two labels.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(' ', "\\ ")
}

/// Without what a terminal would obey: a map's bytes may be anybody's.
pub(crate) fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let escaped = |c: char| -> String {
        if c.is_control() { c.escape_default().collect() } else { c.into() }
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_can_be_told_apart_in_csv() {
        let labels = [("comm", "a b\\"), ("key", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(plain_text(&Cell::Labels(labels.into())), r"comm=a\ b\\ key=1");
    }

    #[test]
    fn a_terminal_is_never_sent_somebody_elses_escapes() {
        assert_eq!(printable("a\x1b[2Jb\n\u{9b}"), "a\\u{1b}[2Jb\\n\\u{9b}");
    }
}
