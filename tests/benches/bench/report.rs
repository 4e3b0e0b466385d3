//! What was measured: a table for people, a file for programs.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use crate::rounds::{Rounds, median};

/// What the contract asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// No bar: to be read beside another row.
    Beside(&'static str),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bar) => write!(f, "≥ {bar}"),
            Self::AtMost(bar) => write!(f, "≤ {bar}"),
            Self::Beside(row) => write!(f, "beside {row}"),
        }
    }
}

struct Row {
    name: &'static str,
    value: f64,
    unit: &'static str,
    goal: Goal,
    /// The lowest and highest round.
    range: Option<(f64, f64)>,
}

impl Row {
    /// As printed is as judged.
    fn met(&self) -> Option<bool> {
        match self.goal {
            Goal::AtLeast(bar) => Some(self.value >= bar),
            Goal::AtMost(bar) => Some(self.value <= bar),
            Goal::Beside(_) => None,
        }
    }
}

/// All rows, in the order they were measured.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn add(&mut self, name: &'static str, value: f64, unit: &'static str, goal: Goal) {
        self.push(Row { name, value: hundredths(value), unit, goal, range: None });
    }

    /// The median of the rounds' ratios.
    pub(crate) fn add_ratio(&mut self, name: &'static str, rounds: &Rounds, goal: Goal) {
        self.add_median(name, &rounds.ratios(), "ratio", goal);
    }

    pub(crate) fn add_median(
        &mut self,
        name: &'static str,
        rounds: &[f64],
        unit: &'static str,
        goal: Goal,
    ) {
        let value = hundredths(median(rounds));
        let low = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let high = rounds.iter().copied().fold(0.0, f64::max);
        self.push(Row { name, value, unit, goal, range: Some((low, high)) });
    }

    fn push(&mut self, row: Row) {
        let Row { name, value, unit, .. } = &row;
        eprintln!("{name}: {value:.2} {unit}");
        self.rows.push(row);
    }

    pub(crate) fn print(&self) {
        const HEAD: [&str; 6] = ["NAME", "VALUE", "UNIT", "ROUNDS", "GOAL", "MET"];
        let cells = |row: &Row| -> [String; HEAD.len()] {
            [
                row.name.to_owned(),
                format!("{:.2}", row.value),
                row.unit.to_owned(),
                row.range.map_or_else(String::new, |(low, high)| format!("{low:.2}–{high:.2}")),
                row.goal.to_string(),
                row.met().map_or("", |met| if met { "yes" } else { "NO" }).to_owned(),
            ]
        };
        let lines: Vec<_> =
            std::iter::once(HEAD.map(str::to_owned)).chain(self.rows.iter().map(cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths: Vec<usize> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
        println!();
        for line in &lines {
            let mut text = String::new();
            for ((at, cell), width) in line.iter().enumerate().zip(&widths) {
                // Numbers to the right.
                let cell =
                    if at == 1 { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                text.push_str(&cell);
                text.push_str("  ");
            }
            println!("{}", text.trim_end());
        }
    }

    /// `{"name": {"value": 0.0, "unit": "…", "goal": "…"}}`
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let rows: Map<String, Value> = self.rows.iter().map(Row::json).collect();
        let attempt = || format!("could not write {}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(path)).with_context(attempt)?;
        let text = serde_json::to_string_pretty(&rows)? + "\n";
        fs::write(path, text).with_context(attempt)?;
        println!("\nAlso in {}", path.display());
        Ok(())
    }
}

impl Row {
    fn json(&self) -> (String, Value) {
        let Self { name, value, unit, goal, range: _ } = self;
        ((*name).to_owned(), json!({"value": value, "unit": unit, "goal": goal.to_string()}))
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    kibibytes(bytes) / 1024.0
}

#[allow(clippy::cast_precision_loss, reason = "the memory of a process in KiB")]
pub(crate) fn kibibytes(bytes: u64) -> f64 {
    (bytes / 1024) as f64
}
