//! `bpfgate watch`.

use std::future::pending;
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use bpfgate_client::v1::watch_loss::Source;
use bpfgate_client::v1::{CounterBatch, CounterSelector, WatchLoss};
use bpfgate_client::{CpuMode, Watch, WatchEvent, WatchOptions};
use prost_types::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Answer;
use crate::args::{CountersArgs, WatchCommand};
use crate::board::{Board, Counter, key_text};
use crate::context::Context;
use crate::describe::counter_kind;
use crate::exit::{Exit, Failure};
use crate::human;
use crate::live::Live;
use crate::render::{Cell, Column, Format, Printer, Sheet, left, printable, right};

/// How often the live table's clock moves, and the most often that it is redrawn.
const REDRAW: Duration = Duration::from_millis(250);

pub(super) async fn run(context: &Context, command: WatchCommand) -> Answer {
    let WatchCommand::Counters(args) = command;
    let options = WatchOptions {
        once: args.once,
        interval: Some(args.interval),
        suppress_unchanged: true,
        cpu: if args.per_cpu { CpuMode::Each } else { CpuMode::Sum },
        ..WatchOptions::default()
    };
    let selectors = if args.selectors.is_empty() { everything() } else { args.selectors.clone() };
    let watch = context.client.maps().watch_counters(selectors, options).await?;
    if watch.header().maps.is_empty() {
        let then = if args.once { "" } else { "; one that appears later will join" };
        eprintln!("bpfgate: no map matches yet{then}; `bpfgate map list` shows what there is");
    }
    if args.once {
        return Ok(Some(snapshot(context.format, watch, args.all).await?));
    }
    let end = End::new(args.duration)?;
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if context.format == Format::Table && io::stdout().is_terminal() && !dumb {
        live(context, watch, end, &args).await?;
    } else {
        lines(context, watch, end, &args).await?;
    }
    Ok(None)
}

/// Made maps, and maps of objects: `*` does not cross the `/`.
fn everything() -> Vec<CounterSelector> {
    ["*", "*/*"].map(|map| CounterSelector { map: map.to_owned(), ..Default::default() }).into()
}

/// What ends a watch well: ^C, SIGTERM or the time that was asked for.
struct End {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    deadline: Option<Instant>,
}

impl End {
    fn new(duration: Option<Duration>) -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Other, format!("could not listen for signals: {error}"))
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            deadline: duration.map(|duration| Instant::now() + duration),
        })
    }

    async fn come(&mut self) {
        let deadline = self.deadline;
        let time = async {
            match deadline {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = time => {}
        }
    }
}

/// What there is now, sorted as people look for it.
async fn snapshot(format: Format, mut watch: Watch, all: bool) -> Result<Sheet, Failure> {
    let mut board = Board::default();
    let mut read_end = None;
    while let Some(event) = watch.next_event().await? {
        note_loss(&event);
        if let WatchEvent::Batch(batch) = &event {
            read_end = batch.read_end.or(read_end);
        }
        board.apply(event);
    }
    let mut counters: Vec<_> = board.counters().filter(|c| all || !c.is_idle()).collect();
    counters
        .sort_by(|a, b| a.series.map.cmp(&b.series.map).then(a.series.r#ref.cmp(&b.series.r#ref)));
    let rows = counters.into_iter().map(|counter| row(format, true, counter, read_end)).collect();
    Ok(Sheet::of(columns(format, true), rows))
}

/// A line for each change, as it comes.
async fn lines(
    context: &Context,
    mut watch: Watch,
    mut end: End,
    args: &CountersArgs,
) -> Result<(), Failure> {
    let mut board = Board::default();
    let mut printer = context.printer(columns(context.format, false));
    loop {
        let event = tokio::select! {
            () = end.come() => break,
            event = watch.next_event() => event?,
        };
        let Some(event) = event else { break };
        note_loss(&event);
        let read_end = match &event {
            WatchEvent::Batch(CounterBatch { read_end, .. }) => *read_end,
            _ => None,
        };
        let listed = board.apply(event);
        let shown = listed
            .into_iter()
            .filter_map(|series| board.counter(series))
            .filter(|counter| args.all || !counter.is_idle());
        print_rows(&mut printer, context.format, shown, read_end)?;
    }
    Ok(printer.finish()?)
}

fn print_rows<'c>(
    printer: &mut Printer<impl Write>,
    format: Format,
    counters: impl Iterator<Item = &'c Counter>,
    read_end: Option<Timestamp>,
) -> io::Result<()> {
    let mut any = false;
    for counter in counters {
        printer.row(row(format, false, counter, read_end))?;
        any = true;
    }
    // Whoever reads a watch wants to see it now.
    if any { printer.flush() } else { Ok(()) }
}

async fn live(
    context: &Context,
    mut watch: Watch,
    mut end: End,
    args: &CountersArgs,
) -> Result<(), Failure> {
    let granted = watch.header().interval.and_then(|interval| interval.try_into().ok());
    let mut table =
        Live::new(io::stdout(), context.colour, granted.unwrap_or(args.interval), args.all)?;
    let mut board = Board::default();
    let mut notes = Vec::new();
    let mut redraw = interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = end.come() => break,
            _ = redraw.tick() => if board.synced { table.draw(&board, &notes)? },
            event = watch.next_event() => {
                let Some(event) = event? else { break };
                notes.extend(loss(&event));
                board.apply(event);
            }
        }
    }
    Ok(table.draw(&board, &notes)?)
}

/// People want the key in one piece, programs want its parts. A snapshot has no rates.
fn columns(format: Format, once: bool) -> Vec<Column> {
    let start = [left("time"), left("map")];
    let key = left(if format == Format::Table { "key" } else { "labels" });
    // Counters grow: the first ones do not tell how wide.
    let room = if once { 0 } else { 15 };
    let value = [left("field"), right("value").at_least(room)];
    let rate = (!once).then(|| right("rate").at_least(10));
    let kind = (format != Format::Table).then(|| [left("kind"), left("unit")]);
    let all = start.into_iter().chain([key]).chain(value).chain(rate);
    all.chain(kind.into_iter().flatten()).collect()
}

fn row(format: Format, once: bool, counter: &Counter, read_end: Option<Timestamp>) -> Vec<Cell> {
    let series = &counter.series;
    let field = Cell::Text(series.field.clone());
    let map = Cell::Text(series.map.clone());
    if format == Format::Table {
        let start = [
            Cell::Text(read_end.as_ref().map(human::clock).unwrap_or_default()),
            map,
            Cell::Text(key_text(series)),
            field,
            Cell::Text(human::grouped(counter.value, series.signed)),
        ];
        let rate = counter.rate.map(|rate| Cell::Text(human::rate(rate, &series.unit)));
        let rate = (!once).then(|| rate.unwrap_or(Cell::Missing));
        return start.into_iter().chain(rate).collect();
    }
    let value = if series.signed {
        counter.value.cast_signed().to_string()
    } else {
        counter.value.to_string()
    };
    let labels = series.labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect();
    // Exact, as 64-bit numbers in JSON are only as text.
    let start = [Cell::Time(read_end), map, Cell::Labels(labels), field, Cell::Text(value)];
    let rate = counter.rate.map_or(Cell::Missing, |rate| Cell::Json(rate.into()));
    let kind = Cell::Text(counter_kind(series.kind()).to_owned());
    let unit = Cell::Text(series.unit.clone());
    start.into_iter().chain((!once).then_some(rate)).chain([kind, unit]).collect()
}

fn note_loss(event: &WatchEvent) {
    if let Some(note) = loss(event) {
        eprintln!("bpfgate: {}", printable(&note));
    }
}

fn loss(event: &WatchEvent) -> Option<String> {
    let WatchEvent::Loss(loss) = event else { return None };
    let WatchLoss { count, map, detail, .. } = loss;
    let what = match loss.source() {
        Source::ReadError => format!("{map} could not be read"),
        Source::Limit => format!("{count} series beyond the limit are left out"),
        Source::SlowClient => format!("{count} sweeps came faster than they could be shown"),
        Source::Unspecified => format!("{count} series are missing"),
    };
    Some(if detail.is_empty() { what } else { format!("{what}: {detail}") })
}
