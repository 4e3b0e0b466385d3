//! Rows in, text out: the only place that knows tables, JSON and CSV.

use std::io::{self, Write};

use anstyle::Style;
use clap::ValueEnum;
use serde_json::Value as Json;

use crate::cell::{json, plain_text, table_text, words};
use crate::human::{self, Zone};
use crate::yaml;

pub(crate) use crate::cell::{Cell, Column, left, printable, right};

/// How many rows of a table are measured before the first is printed. A longer cell further down
/// pushes its line out of shape, which is better than to hold a million rows in memory.
const MEASURED_ROWS: usize = 1000;
const GAP: &str = "  ";

/// What the output is for. (Comments on the values would make every `--help` twice as long.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    // A table with more columns.
    Wide,
    // One document.
    Json,
    // An object a line.
    Jsonl,
    // With a header line.
    Csv,
    Yaml,
    // As `bpftool --json` prints maps and their entries.
    Bpftool,
}

impl Format {
    /// For people.
    pub(crate) fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// How to print.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) format: Format,
    /// What headings look like.
    pub(crate) heading: Style,
    /// Whether tables and CSV have them.
    pub(crate) headings: bool,
    /// Of the times in tables.
    pub(crate) zone: Zone,
}

/// What a command returns.
#[derive(Debug)]
pub(crate) struct Sheet {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// Any number of things.
    Many,
    /// One thing: in JSON the object itself instead of a list of it.
    Row,
    /// One thing with so many sides that a table of it lists them under each other.
    Properties,
}

impl Sheet {
    /// Any number of things. A row is as wide as the header: one array length says so.
    pub(crate) fn many<const N: usize>(
        columns: [Column; N],
        rows: impl IntoIterator<Item = [Cell; N]>,
    ) -> Self {
        let rows = rows.into_iter().map(Vec::from).collect();
        Self { columns: columns.into(), rows, shape: Shape::Many }
    }

    /// One thing.
    pub(crate) fn one<'n>(properties: impl IntoIterator<Item = (&'n str, Cell)>) -> Self {
        let (columns, row) = properties.into_iter().map(|(name, cell)| (left(name), cell)).unzip();
        Self { columns, rows: vec![row], shape: Shape::Properties }
    }

    /// Rows whose columns the map's schema gives.
    pub(crate) fn of(columns: Vec<Column>, rows: Vec<Vec<Cell>>) -> Self {
        Self { columns, rows, shape: Shape::Many }
    }

    /// The command is about the one thing that is in it.
    pub(crate) fn only(mut self) -> Self {
        self.shape = Shape::Row;
        self
    }

    /// Writes it out.
    pub(crate) fn print(self, out: impl Write, output: Output) -> io::Result<()> {
        let Self { columns, rows, shape } = self;
        if shape == Shape::Properties && output.format.is_table() {
            return print_properties(out, &output, &columns, &rows);
        }
        let mut printer = Printer::new(out, output, columns);
        printer.unwrapped = shape != Shape::Many;
        for row in rows {
            printer.row(row)?;
        }
        printer.finish()
    }
}

/// `NAME  value`, a list's items under each other.
fn print_properties(
    mut out: impl Write,
    Output { heading, zone, .. }: &Output,
    columns: &[Column],
    rows: &[Vec<Cell>],
) -> io::Result<()> {
    let width = columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
    for (column, cell) in rows.iter().flat_map(|row| columns.iter().zip(row)) {
        let lines = match cell {
            Cell::List(items) if !items.is_empty() => items.iter().map(|i| printable(i)).collect(),
            Cell::Items(items) if !items.is_empty() => {
                words(items).iter().map(|words| printable(words)).collect()
            }
            other => vec![table_text(other, zone)],
        };
        let mut title = column.title();
        for line in lines {
            writeln!(out, "{heading}{title:width$}{heading:#}{GAP}{line}")?;
            title.clear();
        }
    }
    out.flush()
}

/// Prints rows as they come.
pub(crate) struct Printer<W: Write> {
    out: W,
    output: Output,
    columns: Vec<Column>,
    /// Those of a table, with their places among all.
    shown: Vec<(usize, Column)>,
    /// Rows that wait for the table's widths; empty once these are known.
    held: Vec<Vec<Cell>>,
    widths: Option<Vec<usize>>,
    rows: u64,
    /// In JSON, the row itself instead of a list of it.
    unwrapped: bool,
}

impl<W: Write> Printer<W> {
    pub(crate) fn new(out: W, output: Output, columns: Vec<Column>) -> Self {
        let (held, widths) = (Vec::new(), None);
        let all = output.format == Format::Wide;
        let shown = columns.iter().cloned().enumerate();
        let shown = shown.filter(|(_, column)| all || !column.wide).collect();
        Self { out, output, columns, shown, held, widths, rows: 0, unwrapped: false }
    }

    /// One row, which is then no list.
    pub(crate) fn single(mut self) -> Self {
        self.unwrapped = true;
        self
    }

    /// As many cells as there are columns.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        debug_assert_eq!(cells.len(), self.columns.len());
        let first = self.rows == 0;
        self.rows += 1;
        match self.output.format {
            Format::Table | Format::Wide => {
                if let Some(widths) = &self.widths {
                    let text = |cell| table_text(cell, &self.output.zone);
                    let texts = cells.iter().map(text).collect::<Vec<_>>();
                    return write_line(&mut self.out, &self.shown, widths, &texts);
                }
                self.held.push(cells);
                if self.held.len() == MEASURED_ROWS {
                    self.settle()?;
                }
                Ok(())
            }
            Format::Json | Format::Bpftool => {
                self.open(first)?;
                write_object(&mut self.out, &self.columns, cells)
            }
            Format::Jsonl => {
                write_object(&mut self.out, &self.columns, cells)?;
                self.out.write_all(b"\n")
            }
            Format::Yaml => {
                let columns = self.columns.iter().map(|column| column.name.as_str());
                let cells: Vec<_> = columns
                    .zip(cells)
                    .filter(|(_, cell)| *cell != Cell::Absent)
                    .map(|(name, cell)| (name, json(cell)))
                    .collect();
                let members = cells.iter().map(|(name, json)| (*name, json));
                let (lead, indent) = if self.unwrapped { ("", 0) } else { ("- ", 2) };
                yaml::members(&mut self.out, members, lead, indent)
            }
            Format::Csv => {
                if first {
                    self.csv_header()?;
                }
                write_csv(&mut self.out, cells.iter().map(plain_text))
            }
        }
    }

    /// What stands before an item of a JSON list.
    fn open(&mut self, first: bool) -> io::Result<()> {
        let lines = self.output.format == Format::Json;
        let open = match (first, self.unwrapped) {
            (_, true) => "",
            (true, false) if lines => "[\n",
            (false, false) if lines => ",\n",
            (true, false) => "[",
            (false, false) => ",",
        };
        self.out.write_all(open.as_bytes())
    }

    /// Shows everything so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.widths.is_none() && self.output.format.is_table() {
            self.settle()?;
        }
        self.out.flush()
    }

    /// The closing bracket, or the heading of nothing.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        match self.output.format {
            Format::Json | Format::Bpftool if self.unwrapped => self.out.write_all(b"\n")?,
            Format::Json | Format::Bpftool | Format::Yaml if self.rows == 0 => {
                self.out.write_all(b"[]\n")?;
            }
            Format::Bpftool => self.out.write_all(b"]\n")?,
            Format::Json => self.out.write_all(b"\n]\n")?,
            Format::Csv if self.rows == 0 => self.csv_header()?,
            Format::Table | Format::Wide | Format::Jsonl | Format::Csv | Format::Yaml => {}
        }
        self.flush()
    }

    /// Fixes the table's widths by the rows at hand and prints these.
    fn settle(&mut self) -> io::Result<()> {
        let Output { heading, headings, ref zone, .. } = self.output;
        let titles: Vec<_> = self.columns.iter().map(Column::title).collect();
        let held = std::mem::take(&mut self.held);
        let line = |row: &Vec<Cell>| row.iter().map(|cell| table_text(cell, zone)).collect();
        let lines: Vec<Vec<String>> = held.iter().map(line).collect();
        let width = |at: usize| {
            let cells = lines.iter().map(|line| human::width(&line[at]));
            let title = if headings { titles[at].len() } else { 0 };
            cells.chain([title, self.columns[at].min_width]).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        if headings {
            write!(self.out, "{heading}")?;
            write_cells(&mut self.out, &self.shown, &widths, &titles)?;
            writeln!(self.out, "{heading:#}")?;
        }
        for line in &lines {
            write_line(&mut self.out, &self.shown, &widths, line)?;
        }
        self.widths = Some(widths);
        Ok(())
    }

    fn csv_header(&mut self) -> io::Result<()> {
        if !self.output.headings {
            return Ok(());
        }
        write_csv(&mut self.out, self.columns.iter().map(|column| column.name.clone()))
    }
}

fn write_line(
    out: &mut impl Write,
    columns: &[(usize, Column)],
    widths: &[usize],
    texts: &[String],
) -> io::Result<()> {
    write_cells(out, columns, widths, texts)?;
    out.write_all(b"\n")
}

fn write_cells(
    out: &mut impl Write,
    columns: &[(usize, Column)],
    widths: &[usize],
    texts: &[String],
) -> io::Result<()> {
    let last = columns.len().saturating_sub(1);
    for (at, (place, column)) in columns.iter().enumerate() {
        let (width, text) = (widths[*place], &texts[*place]);
        let pad = width.saturating_sub(human::width(text));
        match (column.right, at == last) {
            (true, _) => write!(out, "{:pad$}{text}", "")?,
            // No blanks at the line's end.
            (false, true) => write!(out, "{text}")?,
            (false, false) => write!(out, "{text}{:pad$}", "")?,
        }
        if at != last {
            out.write_all(GAP.as_bytes())?;
        }
    }
    Ok(())
}

/// By hand, because `serde_json::Map` would sort the fields.
fn write_object(out: &mut impl Write, columns: &[Column], cells: Vec<Cell>) -> io::Result<()> {
    let mut before = "{";
    for (column, cell) in columns.iter().zip(cells).filter(|(_, cell)| *cell != Cell::Absent) {
        write!(out, "{before}{}:", Json::from(column.name.as_str()))?;
        serde_json::to_writer(&mut *out, &json(cell))?;
        before = ",";
    }
    out.write_all(b"}")
}

/// RFC 4180, but with the line ends of the system.
fn write_csv(out: &mut impl Write, fields: impl Iterator<Item = String>) -> io::Result<()> {
    for (at, field) in fields.enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        if field.contains([',', '"', '\n', '\r']) {
            write!(out, "\"{}\"", field.replace('"', "\"\""))?;
        } else {
            out.write_all(field.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests;
