//! `bpfgate watch counters`.

use std::io::{self, IsTerminal as _};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use bpfgate_client::v1::CounterSelector;
use bpfgate_client::{Change, CpuMode, Reconnect, Watch, WatchEvent, WatchOptions};
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::absent;
use super::news::News;
use super::rows::{Form, labels, slots};
use crate::args::CountersArgs;
use crate::board::{Board, Filter, Row, SCREEN_KEYS, Sort};
use crate::commands::Answer;
use crate::context::Context;
use crate::end::End;
use crate::exit::{Exit, Failure};
use crate::live::{self, Live, Look};
use crate::render::{Format, Printer, Sheet};
use crate::say::say;
use crate::spark::Bars;

/// How often the live table's clock moves, and the most often that it is redrawn.
const REDRAW: Duration = Duration::from_millis(250);

pub(super) async fn run(context: &Context, args: CountersArgs) -> Answer {
    if args.wide && context.format != Format::Csv {
        return Err(Failure::new(Exit::Usage, "--wide is for columns of -o csv"));
    }
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    let on_screen =
        !args.once && context.format == Format::Table && io::stdout().is_terminal() && !dumb;
    let top = args.top.map(NonZeroU32::get);
    let options = WatchOptions {
        once: args.once,
        interval: Some(args.interval),
        suppress_unchanged: true,
        cpu: if args.per_cpu { CpuMode::Each } else { CpuMode::Sum },
        resolve: args.resolve.clone(),
        resolve_declared: args.names,
        top: top.or(on_screen.then_some(SCREEN_KEYS)).unwrap_or(0),
        order: sort(&args).order(),
        contains: args.filter.clone(),
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
    if on_screen {
        live(context, watch, board, end, &args).await?;
    } else {
        lines(context, watch, board, end, &args).await?;
    }
    Ok(None)
}

/// What comes first if nobody says so.
fn sort(args: &CountersArgs) -> Sort {
    args.sort.unwrap_or(match (args.once, args.top) {
        (true, None) => Sort::Name,
        (true, Some(_)) => Sort::Value,
        (false, _) => Sort::Rate,
    })
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
    let sort = sort(args);
    let sections = live::sections(&board, sort, top(args), args.all);
    let shown = || {
        let rows = sections.values().flatten().flatten();
        rows.filter(|row| args.all || !row.is_idle())
    };
    let wide = args.wide.then(|| labels(shown().copied()));
    let form = Form { format, rates: sort == Sort::Rate, grows: false, wide };
    let lines = |row| {
        let line = form.cells(row, row.counter.as_of());
        let below = if format.is_table() { slots(row, form.rates) } else { Vec::new() };
        [line].into_iter().chain(below)
    };
    let rows = shown().flat_map(lines).collect();
    Ok(Sheet::of(form.columns(), rows))
}

fn top(args: &CountersArgs) -> Option<usize> {
    args.top.and_then(|top| usize::try_from(top.get()).ok())
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
    let absent = synced.then(|| absent::labels(board, &args.selectors, &args.resolve));
    let said = [news.of(event), news.of_change(change)];
    said.into_iter().flatten().chain(absent.into_iter().flatten())
}

/// A line for each change, as it comes; or, where an order is asked for, all that come first with
/// every reading.
async fn lines(
    context: &Context,
    mut watch: Watch,
    mut board: Board,
    mut end: End,
    args: &CountersArgs,
) -> Result<(), Failure> {
    let mut lines = Lines {
        context,
        args,
        ordered: args.top.is_some() || args.sort.is_some(),
        sheet: None,
        told: false,
    };
    let mut news = News::default();
    let mut synced = false;
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
        match change {
            // Which columns there are is known once everything there is has been told.
            Change::Swept(_) if args.wide && !synced => {}
            Change::Swept(sweep) if lines.ordered => {
                lines.first(&board, &sweep.map, sweep.read_end)?;
            }
            Change::Swept(sweep) => {
                let listed = sweep.listed.iter().filter_map(|id| board.row(*id));
                lines.print(&board, listed, sweep.read_end)?;
            }
            Change::Synced(_) if args.wide && !synced => {
                synced = true;
                if !lines.ordered {
                    let all: Vec<Row<'_>> = board.rows().collect();
                    for row in all {
                        lines.print(&board, [row].into_iter(), row.counter.as_of())?;
                    }
                }
            }
            _ => {}
        }
    }
    lines.finish(&board)
}

type Sheets = Printer<io::BufWriter<io::StdoutLock<'static>>>;

/// Where lines are printed.
struct Lines<'a> {
    context: &'a Context,
    args: &'a CountersArgs,
    ordered: bool,
    /// Once the first line is printed.
    sheet: Option<(Form, Sheets)>,
    /// That a label has no column was said.
    told: bool,
}

impl Lines<'_> {
    /// All keys of a map that come first, once there is what they are ordered by.
    fn first(&mut self, board: &Board, map: &str, read_end: Option<SystemTime>) -> io::Result<()> {
        let sort = sort(self.args);
        let sections = live::sections(board, sort, top(self.args), self.args.all);
        let rows = sections.get(map).into_iter().flatten().flatten().copied();
        let rows: Vec<Row<'_>> = rows.collect();
        if sort == Sort::Rate && rows.iter().all(|row| row.counter.rate().is_none()) {
            return Ok(());
        }
        self.print(board, rows.into_iter(), read_end)
    }

    fn print<'b>(
        &mut self,
        board: &'b Board,
        rows: impl Iterator<Item = Row<'b>>,
        read_end: Option<SystemTime>,
    ) -> io::Result<()> {
        let all = self.args.all;
        let mut any = false;
        for row in rows.filter(|row| all || !row.is_idle()) {
            let (form, printer) =
                self.sheet.get_or_insert_with(|| sheet(self.context, self.args, board));
            if let Some(label) = form.missing(&row).filter(|_| !self.told) {
                self.told = true;
                say(&format!("label {label:?} came later than the heading, so it has no column"));
            }
            printer.row(form.cells(&row, read_end))?;
            any = true;
        }
        match &mut self.sheet {
            // Whoever reads a watch wants to see it now.
            Some((_, printer)) if any => printer.flush(),
            _ => Ok(()),
        }
    }

    fn finish(self, board: &Board) -> Result<(), Failure> {
        let Self { context, args, sheet: sheets, .. } = self;
        let (_, printer) = sheets.unwrap_or_else(|| sheet(context, args, board));
        Ok(printer.finish()?)
    }
}

fn sheet(context: &Context, args: &CountersArgs, board: &Board) -> (Form, Sheets) {
    let wide = args.wide.then(|| labels(board.rows()));
    let form = Form { format: context.format, rates: true, grows: true, wide };
    let printer = context.printer(form.columns());
    (form, printer)
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
        sort: sort(args),
        top: top(args),
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
                let at = context.zone.clock(&SystemTime::now().into());
                let said = notes(&mut news, &event, &change, &board, args);
                noted.extend(said.map(|it| format!("{at} {it}")));
                // Only the newest are shown, and a watch may last for months.
                noted.drain(..noted.len().saturating_sub(8));
                synced |= matches!(change, Change::Synced(_));
            }
        }
    }
    Ok(table.draw(&board, &noted)?)
}
