//! `bpfgate watch counters`.

use std::io::{self, IsTerminal as _, Write};
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use bpfgate_client::v1::CounterSelector;
use bpfgate_client::{Change, CpuMode, Reconnect, Watch, WatchEvent, WatchOptions};
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::absent;
use super::news::News;
use super::rows::{cells, columns, slots};
use crate::args::CountersArgs;
use crate::board::{Board, Filter, Row, Sort};
use crate::commands::Answer;
use crate::context::Context;
use crate::end::End;
use crate::exit::Failure;
use crate::human;
use crate::live::{self, Live, Look};
use crate::render::{Format, Printer, Sheet};
use crate::say::say;
use crate::spark::Bars;

/// How often the live table's clock moves, and the most often that it is redrawn.
const REDRAW: Duration = Duration::from_millis(250);

pub(super) async fn run(context: &Context, args: CountersArgs) -> Answer {
    let options = WatchOptions {
        once: args.once,
        interval: Some(args.interval),
        suppress_unchanged: true,
        cpu: if args.per_cpu { CpuMode::Each } else { CpuMode::Sum },
        resolve: args.resolve.clone(),
        resolve_declared: args.names,
        reconnect: (!args.once && !args.no_reconnect).then(Reconnect::default),
        ..WatchOptions::default()
    };
    let selectors = if args.selectors.is_empty() { everything() } else { args.selectors.clone() };
    let watch = context.client.maps().watch_counters(selectors, options).await?;
    absent::maps(context, watch.header(), &args.selectors, args.once).await?;
    let board = Board::new(watch.header(), Filter::new(&args.filter));
    if args.once {
        return Ok(Some(snapshot(context.format, watch, board, &args).await?));
    }
    let end = End::new(args.duration)?;
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if context.format == Format::Table && io::stdout().is_terminal() && !dumb {
        live(context, watch, board, end, &args).await?;
    } else {
        lines(context, watch, board, end, &args).await?;
    }
    Ok(None)
}

/// Made maps, and maps of objects: `*` does not cross the `/`.
pub(crate) fn everything() -> Vec<CounterSelector> {
    ["*", "*/*"].map(|map| CounterSelector { map: map.to_owned(), ..Default::default() }).into()
}

/// What there is now, sorted as people look for it.
async fn snapshot(
    format: Format,
    mut watch: Watch,
    mut board: Board,
    args: &CountersArgs,
) -> Result<Sheet, Failure> {
    let mut news = News::default();
    while let Some(event) = watch.next_event().await? {
        match board.apply(&event) {
            Ok(change) => {
                notes(&mut news, &event, &change, &board, args).for_each(|note| say(&note));
            }
            Err(odd) => watch.start_over(odd),
        }
    }
    let top = args.top.map(NonZeroUsize::get);
    let sections = live::sections(&board, args.sort.unwrap_or(Sort::Name), top, args.all);
    let shown = sections.values().flatten().flatten().filter(|row| args.all || !row.is_idle());
    let lines = |row| {
        let line = cells(format, true, row, row.counter.as_of());
        let below = if format == Format::Table { slots(row) } else { Vec::new() };
        [line].into_iter().chain(below)
    };
    let rows = shown.flat_map(lines).collect();
    Ok(Sheet::of(columns(format, true), rows))
}

/// What to say besides the numbers.
fn notes<'b>(
    news: &mut News,
    event: &WatchEvent,
    change: &Change,
    board: &'b Board,
    args: &'b CountersArgs,
) -> impl Iterator<Item = String> + use<'b> {
    let synced = matches!(change, Change::Synced(_));
    let absent = synced.then(|| absent::labels(board, &args.selectors, &args.resolve, args.names));
    let said = [news.of(event), news.of_change(change)];
    said.into_iter().flatten().chain(absent.into_iter().flatten())
}

/// A line for each change, as it comes.
async fn lines(
    context: &Context,
    mut watch: Watch,
    mut board: Board,
    mut end: End,
    args: &CountersArgs,
) -> Result<(), Failure> {
    let mut printer = context.printer(columns(context.format, false));
    let mut news = News::default();
    loop {
        let event = tokio::select! {
            () = end.come() => break,
            event = watch.next_event() => event?,
        };
        let Some(event) = event else { break };
        let change = match board.apply(&event) {
            Ok(change) => change,
            Err(odd) => {
                watch.start_over(odd);
                continue;
            }
        };
        notes(&mut news, &event, &change, &board, args).for_each(|note| say(&note));
        let Change::Swept(sweep) = change else { continue };
        let listed = sweep.listed.iter().filter_map(|id| board.row(*id));
        let shown = listed.filter(|row| args.all || !row.is_idle());
        print_rows(&mut printer, context.format, shown, sweep.read_end)?;
    }
    Ok(printer.finish()?)
}

fn print_rows<'b>(
    printer: &mut Printer<impl Write>,
    format: Format,
    rows: impl Iterator<Item = Row<'b>>,
    read_end: Option<SystemTime>,
) -> io::Result<()> {
    let mut any = false;
    for row in rows {
        printer.row(cells(format, false, &row, read_end))?;
        any = true;
    }
    // Whoever reads a watch wants to see it now.
    if any { printer.flush() } else { Ok(()) }
}

async fn live(
    context: &Context,
    mut watch: Watch,
    mut board: Board,
    mut end: End,
    args: &CountersArgs,
) -> Result<(), Failure> {
    let granted = watch.header().interval.and_then(|interval| interval.try_into().ok());
    let look = Look {
        colour: context.colour,
        bars: Bars::of_locale(),
        interval: granted.unwrap_or(args.interval),
        show_idle: args.all,
        sort: args.sort.unwrap_or(Sort::Rate),
        top: args.top.map(NonZeroUsize::get),
    };
    let mut table = Live::new(io::stdout(), look)?;
    let mut suspended = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
    let (mut noted, mut news) = (Vec::new(), News::default());
    let mut synced = false;
    let mut redraw = interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = end.come() => break,
            _ = suspended.recv() => {
                table.give_back()?;
                // ^Z: what a command does that does not listen for it. Goes on behind `fg`.
                kill_process(getpid(), Signal::STOP).map_err(io::Error::from)?;
                table.take()?;
            }
            _ = redraw.tick() => if synced { table.draw(&board, &noted)? },
            event = watch.next_event() => {
                let Some(event) = event? else { break };
                let change = match board.apply(&event) {
                    Ok(change) => change,
                    Err(odd) => {
                        watch.start_over(odd);
                        continue;
                    }
                };
                let at = human::clock(&SystemTime::now().into());
                let notes = notes(&mut news, &event, &change, &board, args);
                noted.extend(notes.map(|it| format!("{at} {it}")));
                // Only the newest are shown, and a watch may last for months.
                noted.drain(..noted.len().saturating_sub(8));
                synced |= matches!(change, Change::Synced(_));
            }
        }
    }
    Ok(table.draw(&board, &noted)?)
}
