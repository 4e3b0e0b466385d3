//! The rows of each pane, as text.

use std::cmp::Ordering;

use bpfgate_client::v1;

use super::data::Data;
use super::state::View;
use crate::board::{Filter, Row};
use crate::commands::Runs;
use crate::human::{self, Zone};
use crate::live;
use crate::render::printable;
use crate::target::describe;
use crate::values::map_type_text;

/// More counters than anybody scrolls through are not made into text with every picture.
const MOST_COUNTERS: usize = 1000;
/// Cells of a counter's trend.
const SPARK_CELLS: usize = 20;

/// One table on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Counters,
    Programs,
    Maps,
    Links,
}

/// A pane's contents.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) title: String,
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<String>>,
    /// In place of rows.
    pub(super) empty: &'static str,
}

/// A column's heading, and on which side its text stands.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) heading: &'static str,
    pub(super) right: bool,
    /// It says which row this is: the last one to be left out.
    pub(super) name: bool,
}

const fn left(heading: &'static str) -> Column {
    Column { heading, right: false, name: false }
}

const fn right(heading: &'static str) -> Column {
    Column { heading, right: true, name: false }
}

const fn name(heading: &'static str) -> Column {
    Column { heading, right: false, name: true }
}

impl Pane {
    pub(super) const ALL: [Self; 4] = [Self::Counters, Self::Programs, Self::Maps, Self::Links];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Programs => "programs",
            Self::Maps => "maps",
            Self::Links => "links",
        }
    }

    /// What its rows can be sorted by, the first one at first.
    pub(super) fn orders(self) -> &'static [&'static str] {
        match self {
            Self::Counters => &["rate", "value", "name"],
            Self::Programs => &["runs/s", "ns/run", "cpu", "name"],
            Self::Maps => &["memory", "entries", "name"],
            Self::Links => &["id", "program"],
        }
    }

    fn columns(self) -> &'static [Column] {
        const COUNTERS: &[Column] = &[
            left("MAP"),
            name("KEY"),
            left("FIELD"),
            right("VALUE"),
            right("RATE"),
            left("TREND"),
        ];
        const PROGRAMS: &[Column] = &[
            name("PROGRAM"),
            left("TYPE"),
            right("ID"),
            right("RUNS"),
            right("NS/RUN"),
            right("CPU"),
        ];
        const MAPS: &[Column] =
            &[name("MAP"), left("TYPE"), right("ID"), right("MAX ENTRIES"), right("MEMORY")];
        const LINKS: &[Column] =
            &[right("ID"), name("PROGRAM"), left("TARGET"), left("ATTACHED AT")];
        match self {
            Self::Counters => COUNTERS,
            Self::Programs => PROGRAMS,
            Self::Maps => MAPS,
            Self::Links => LINKS,
        }
    }

    pub(super) fn sheet(self, data: &Data, view: &View) -> Sheet {
        let order = view.order(self);
        let filter = view.filter();
        let mut sheet = match self {
            // Reversed before it is cut.
            Self::Counters => return counters(data, view, &filter),
            Self::Programs => programs(data, order, &filter),
            Self::Maps => maps(data, order, &filter),
            Self::Links => links(data, order, &filter, &view.zone),
        };
        if view.is_reversed(self) {
            sheet.rows.reverse();
        }
        sheet
    }
}

fn counters(data: &Data, view: &View, filter: &Filter) -> Sheet {
    let sort = view.sort();
    let board = &data.board;
    let all = board.rows().filter(|row| filter.lets_counter(row.counter.key()));
    let (mut rows, idle): (Vec<_>, Vec<_>) = all.partition(|row| !row.is_idle());
    rows.sort_by(|a, b| sort.compare(a, b));
    if view.is_reversed(Pane::Counters) {
        rows.reverse();
    }
    let only = if board.is_cut() { ", the first ones of more" } else { "" };
    let number = rows.len();
    rows.truncate(MOST_COUNTERS);
    let text = |row: &Row<'_>| {
        let key = row.counter.key();
        vec![
            printable(&key.map),
            printable(&row.key()),
            printable(&key.field),
            live::value(row),
            live::rate(row),
            live::trend(row, view.bars, SPARK_CELLS),
        ]
    };
    let idle = if idle.is_empty() { String::new() } else { format!(", {} at zero", idle.len()) };
    Sheet {
        title: format!("counters ({number}{idle}{only})"),
        columns: Pane::Counters.columns(),
        rows: rows.iter().map(text).collect(),
        empty: "nothing counted yet",
    }
}

fn programs(data: &Data, order: usize, filter: &Filter) -> Sheet {
    let mut rows: Vec<_> =
        data.polled.programs.iter().filter(|runs| filter.lets(&runs.stats.program)).collect();
    let by_name = |a: &&Runs, b: &&Runs| a.stats.program.cmp(&b.stats.program);
    match order {
        0 => rows.sort_by(|a, b| b.per_second.total_cmp(&a.per_second).then(by_name(a, b))),
        1 => rows.sort_by(|a, b| b.ns_per_run.cmp(&a.ns_per_run).then(by_name(a, b))),
        2 => rows.sort_by(|a, b| b.cpu_percent.total_cmp(&a.cpu_percent).then(by_name(a, b))),
        _ => rows.sort_by(by_name),
    }
    let text = |runs: &&Runs| {
        let (rate, time, cpu) = if data.polled.counting {
            let time = runs.ns_per_run.map_or_else(|| "-".into(), |ns| human::grouped(ns.into()));
            (human::rate(runs.per_second, ""), time, human::percent(runs.cpu_percent))
        } else {
            ("off".to_owned(), "off".to_owned(), "off".to_owned())
        };
        let stats = &runs.stats;
        let id = stats.id.to_string();
        vec![stats.program.clone(), stats.r#type.clone(), id, rate, time, cpu]
    };
    let off = if data.polled.counting { "" } else { ", kernel.bpf_stats_enabled is off" };
    Sheet {
        title: format!("programs ({}{off})", rows.len()),
        columns: Pane::Programs.columns(),
        rows: rows.iter().map(text).collect(),
        empty: "no programs",
    }
}

fn maps(data: &Data, order: usize, filter: &Filter) -> Sheet {
    let entries = |map: &v1::Map| map.spec.as_ref().map_or(0, |spec| spec.max_entries);
    let mut rows: Vec<_> = data.polled.maps.iter().filter(|map| filter.lets(&map.name)).collect();
    let by_name = |a: &&v1::Map, b: &&v1::Map| a.name.cmp(&b.name);
    match order {
        0 => rows.sort_by(|a, b| b.memory_bytes.cmp(&a.memory_bytes).then(by_name(a, b))),
        1 => rows.sort_by(|a, b| entries(b).cmp(&entries(a)).then(by_name(a, b))),
        _ => rows.sort_by(by_name),
    }
    let memory = rows.iter().map(|map| map.memory_bytes).fold(0, u64::saturating_add);
    let text = |map: &&v1::Map| {
        vec![
            map.name.clone(),
            map.spec.as_ref().map_or_else(String::new, |spec| map_type_text(spec.r#type)),
            map.id.to_string(),
            human::grouped(entries(map).into()),
            human::bytes(map.memory_bytes),
        ]
    };
    Sheet {
        title: format!("maps ({}, {})", rows.len(), human::bytes(memory)),
        columns: Pane::Maps.columns(),
        rows: rows.iter().map(text).collect(),
        empty: "no maps",
    }
}

fn links(data: &Data, order: usize, filter: &Filter, zone: &Zone) -> Sheet {
    let target =
        |link: &v1::Link| describe(link.target.as_ref().and_then(|target| target.target.as_ref()));
    let fits = |link: &&v1::Link| filter.lets(&format!("{} {}", link.program, target(link)));
    let mut rows: Vec<_> = data.polled.links.iter().filter(fits).collect();
    let by_id = |a: &&v1::Link, b: &&v1::Link| -> Ordering { a.id.cmp(&b.id) };
    match order {
        0 => rows.sort_by(by_id),
        _ => rows.sort_by(|a, b| a.program.cmp(&b.program).then(by_id(a, b))),
    }
    let text = |link: &&v1::Link| {
        let since = link.attached_at.as_ref().map(|at| zone.time(at)).unwrap_or_default();
        vec![link.id.to_string(), link.program.clone(), printable(&target(link)), since]
    };
    Sheet {
        title: format!("links ({})", rows.len()),
        columns: Pane::Links.columns(),
        rows: rows.iter().map(text).collect(),
        empty: "nothing attached",
    }
}
