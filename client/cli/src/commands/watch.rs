//! `bpfgate watch`.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, SystemTime};

use bpfgate_client::v1::watch_loss::Source;
use bpfgate_client::v1::{CounterSelector, WatchLoss};
use bpfgate_client::{Change, CpuMode, Reconnect, Watch, WatchEvent, WatchOptions};
use tokio::time::{MissedTickBehavior, interval};

use super::Answer;
use crate::args::{CountersArgs, WatchCommand};
use crate::board::{Board, Filter, Row, Sort, key_text};
use crate::context::Context;
use crate::describe::counter_kind;
use crate::end::End;
use crate::exit::Failure;
use crate::human;
use crate::live::{self, Live, Look};
use crate::render::{Cell, Column, Format, Printer, Sheet, left, printable, right};
use crate::spark::Bars;

/// How often the live table's clock moves, and the most often that it is redrawn.
const REDRAW: Duration = Duration::from_millis(250);

pub(super) async fn run(context: &Context, command: WatchCommand) -> Answer {
    match command {
        WatchCommand::Counters(args) => counters(context, args).await,
        WatchCommand::Events(args) => super::events::run(context, args).await,
    }
}

async fn counters(context: &Context, args: CountersArgs) -> Answer {
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
    if watch.header().maps.is_empty() {
        let then = if args.once { "" } else { "; one that appears later will join" };
        eprintln!("bpfgate: no map matches yet{then}; `bpfgate map list` shows what there is");
    }
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
    let mut read_end = None;
    while let Some(event) = watch.next_event().await? {
        say(&event);
        if let Change::Swept(sweep) = board.apply(&event)? {
            read_end = sweep.read_end.or(read_end);
        }
    }
    let sections = live::sections(&board, args.sort.unwrap_or(Sort::Name), args.top, args.all);
    let shown = sections.values().flatten().flatten().filter(|row| args.all || !row.is_idle());
    let rows = shown.map(|row| cells(format, true, row, read_end)).collect();
    Ok(Sheet::of(columns(format, true), rows))
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
    loop {
        let event = tokio::select! {
            () = end.come() => break,
            event = watch.next_event() => event?,
        };
        let Some(event) = event else { break };
        say(&event);
        let Change::Swept(sweep) = board.apply(&event)? else { continue };
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
        top: args.top,
    };
    let mut table = Live::new(io::stdout(), look)?;
    let mut notes = Vec::new();
    let mut synced = false;
    let mut redraw = interval(REDRAW);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = end.come() => break,
            _ = redraw.tick() => if synced { table.draw(&board, &notes)? },
            event = watch.next_event() => {
                let Some(event) = event? else { break };
                let at = SystemTime::now().into();
                notes.extend(news(&event).map(|news| format!("{} {news}", human::clock(&at))));
                // Only the newest are shown, and a watch may last for months.
                notes.drain(..notes.len().saturating_sub(8));
                synced |= matches!(board.apply(&event)?, Change::Synced(_));
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
    let kind = (format != Format::Table).then(|| [left("kind"), left("unit"), left("buckets")]);
    let all = start.into_iter().chain([key]).chain(value).chain(rate);
    all.chain(kind.into_iter().flatten()).collect()
}

fn cells(format: Format, once: bool, row: &Row<'_>, read_end: Option<SystemTime>) -> Vec<Cell> {
    let (series, key) = (row.counter.series(), row.counter.key());
    let field = Cell::Text(key.field.clone());
    let map = Cell::Text(key.map.clone());
    let read_end = read_end.map(Into::into);
    if format == Format::Table {
        let start = [
            Cell::Text(read_end.as_ref().map(human::clock).unwrap_or_default()),
            map,
            Cell::Text(key_text(key)),
            field,
            Cell::Text(live::value(row)),
        ];
        let rate = row.counter.rate().map(|rate| Cell::Text(human::rate(rate, &series.unit)));
        let rate = (!once).then(|| rate.unwrap_or(Cell::Missing));
        return start.into_iter().chain(rate).collect();
    }
    let labels = key.labels.iter().cloned().collect();
    // Exact, as 64-bit numbers in JSON are only as text.
    let value = Cell::Text(row.counter.value().to_string());
    let start = [Cell::Time(read_end), map, Cell::Labels(labels), field, value];
    let rate = row.counter.rate().map_or(Cell::Missing, |rate| Cell::Json(rate.into()));
    let kind = Cell::Text(counter_kind(series.kind()).to_owned());
    let unit = Cell::Text(series.unit.clone());
    let rest = [kind, unit, buckets(row)];
    start.into_iter().chain((!once).then_some(rate)).chain(rest).collect()
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

fn say(event: &WatchEvent) {
    if let Some(news) = news(event) {
        eprintln!("bpfgate: {}", printable(&news));
    }
}

/// What people should know of besides the numbers.
pub(crate) fn news(event: &WatchEvent) -> Option<String> {
    match event {
        WatchEvent::Loss(loss) => Some(loss_text(loss)),
        WatchEvent::Interrupted(gap) => {
            Some(format!("{}; trying again in {:.1?}", gap.why, gap.retry_in))
        }
        WatchEvent::Resumed(_) => Some("the agent is back; the watch goes on".to_owned()),
        _ => None,
    }
}

fn loss_text(loss: &WatchLoss) -> String {
    let WatchLoss { count, map, detail, .. } = loss;
    let what = match loss.source() {
        Source::ReadError => format!("{map} could not be read"),
        Source::Limit => format!("{count} series beyond the limit are left out"),
        Source::SlowClient => format!("{count} sweeps came faster than they could be shown"),
        Source::Unspecified => format!("{count} series are missing"),
    };
    if detail.is_empty() { what } else { format!("{what}: {detail}") }
}
