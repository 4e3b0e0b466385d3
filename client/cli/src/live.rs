//! The in-place table of a watch: the busiest counters that fit the terminal, redrawn where they
//! stand. The last picture stays when the watch ends.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use terminal_size::{Height, Width};

use crate::board::{Board, Counter};
use crate::human;
use crate::render::printable;

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_LINE_END: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// When the terminal does not tell its size.
const DEFAULT_SIZE: (usize, usize) = (80, 24);
/// Cells that a sparkline has at most.
const SPARK_CELLS: usize = 30;
/// A key longer than this is cut, so that the numbers stay in sight.
const KEY_CELLS: usize = 40;

/// The table. Dropping it gives the terminal back as it was.
pub(crate) struct Live<W: Write> {
    out: W,
    styles: Styles,
    bars: &'static [char],
    started: Instant,
    interval: Duration,
    show_idle: bool,
    /// Lines of the last picture, above which the next one starts.
    lines: usize,
    /// Widths only grow: a table that breathes cannot be read.
    widths: Widths,
}

#[derive(Clone, Copy)]
struct Styles {
    title: Style,
    heading: Style,
    moved: Style,
    idle: Style,
    spark: Style,
}

#[derive(Clone, Copy, Default)]
struct Widths {
    key: usize,
    field: usize,
    value: usize,
    rate: usize,
}

impl<W: Write> Live<W> {
    pub(crate) fn new(
        mut out: W,
        colour: bool,
        interval: Duration,
        show_idle: bool,
    ) -> io::Result<Self> {
        write!(out, "{HIDE_CURSOR}")?;
        let styles = if colour { Styles::colourful() } else { Styles::plain() };
        let bars = if utf8() { &BLOCKS[..] } else { &ASCII_BARS[..] };
        let widths = Widths { key: 3, field: 5, value: 5, rate: 8 };
        Ok(Self {
            out,
            styles,
            bars,
            started: Instant::now(),
            interval,
            show_idle,
            lines: 0,
            widths,
        })
    }

    /// Redraws. `notes` are the newest things to say, below the table.
    pub(crate) fn draw(&mut self, board: &Board, notes: &[String]) -> io::Result<()> {
        let (width, height) = terminal_size::terminal_size()
            .map_or(DEFAULT_SIZE, |(Width(w), Height(h))| (w.into(), h.into()));
        // The last line stays free: writing to its end would scroll.
        let picture = self.picture(board, notes, width, height.saturating_sub(1));
        // One write, so that no half of a picture is ever seen.
        let up = format!("\x1b[{}A", self.lines);
        let mut frame = if self.lines > 0 { up } else { String::new() };
        for line in &picture {
            frame.push_str(line);
            frame.push_str(CLEAR_LINE_END);
            frame.push('\n');
        }
        frame.push_str(CLEAR_BELOW);
        self.lines = picture.len();
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }

    fn picture(
        &mut self,
        board: &Board,
        notes: &[String],
        width: usize,
        height: usize,
    ) -> Vec<String> {
        let sections = sections(board, self.show_idle);
        let hidden = board.counters().filter(|c| !self.show_idle && c.is_idle()).count();
        for counter in sections.values().flatten().flatten() {
            self.widths.fit(counter);
        }
        let mut lines = vec![self.title(board, hidden, width)];
        if sections.is_empty() {
            lines.push(cut("  nothing counted yet", width));
        }
        let notes: Vec<_> = notes.iter().rev().take(3).rev().collect();
        let used = lines.len() + notes.len() + 2 * sections.len() + 1;
        let shares = share(&sections, height.saturating_sub(used));
        for ((map, groups), share) in sections.iter().zip(shares) {
            lines.push(String::new());
            lines.push(self.heading(map, width));
            let rows: Vec<_> = groups.iter().flat_map(|group| rows_of(group)).collect();
            // Saying that others are left out takes a line too.
            let say_more = rows.len() > share && share > 1;
            let shown = share.min(rows.len()) - usize::from(say_more);
            for (key, counter) in &rows[..shown] {
                lines.push(self.row(key, counter, width));
            }
            if say_more {
                let more = format!("  … {} more", rows.len() - shown);
                lines.push(styled(self.styles.idle, &cut(&more, width)));
            }
        }
        lines.extend(notes.into_iter().map(|note| cut(&printable(note), width)));
        lines
    }

    fn title(&self, board: &Board, hidden: usize, width: usize) -> String {
        let series = board.counters().count();
        let seconds = self.started.elapsed().as_secs();
        let interval = self.interval;
        let idle = if hidden > 0 { format!(", {hidden} at zero not shown") } else { String::new() };
        let clock = format!("{:02}:{:02}", seconds / 60, seconds % 60);
        let text = format!("every {interval:?}, {clock}, ^C ends; {series} counters{idle}");
        styled(self.styles.title, &cut(&text, width))
    }

    fn heading(&self, map: &str, width: usize) -> String {
        let Widths { key, field, value, rate } = self.widths;
        let map = printable(map);
        // The map's name takes the place of a heading for its keys.
        let names = key + 2 + field;
        let value = (names + 2 + value).saturating_sub(human::width(&map)).max(7);
        let text = format!("{map}{:>value$}  {:>rate$}  TREND", "VALUE", "RATE");
        styled(self.styles.heading, &cut(&text, width))
    }

    fn row(&self, key: &str, counter: &Counter, width: usize) -> String {
        let widths = self.widths;
        let key = clip(key, widths.key);
        let field = printable(&counter.series.field);
        let value = human::grouped(counter.value, counter.series.signed);
        let rate = rate(counter);
        let text = format!(
            "{}{}  {field:<fw$}{value:>vw$}  {rate:>rw$}  ",
            key,
            " ".repeat(widths.key.saturating_sub(human::width(&key))),
            fw = widths.field,
            vw = widths.value + 2,
            rw = widths.rate,
        );
        let room = width.saturating_sub(human::width(&text)).min(SPARK_CELLS);
        let spark = sparkline(&counter.history, room, self.bars);
        let busy = counter.rate.is_some_and(|rate| rate != 0.0);
        let style = match (counter.moved, busy) {
            (true, _) => self.styles.moved,
            (false, true) => Style::new(),
            (false, false) => self.styles.idle,
        };
        let spark = styled(if busy { self.styles.spark } else { self.styles.idle }, &spark);
        format!("{}{spark}", styled(style, &cut(&text, width)))
    }
}

impl<W: Write> Drop for Live<W> {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone.
        let _ = write!(self.out, "{SHOW_CURSOR}");
        let _ = self.out.flush();
    }
}

impl Styles {
    fn plain() -> Self {
        let plain = Style::new();
        Self { title: plain, heading: plain, moved: plain, idle: plain, spark: plain }
    }

    fn colourful() -> Self {
        Self {
            title: Style::new().dimmed(),
            heading: Style::new().bold(),
            moved: Style::new().bold(),
            idle: Style::new().dimmed(),
            spark: AnsiColor::Green.on_default(),
        }
    }
}

impl Widths {
    fn fit(&mut self, counter: &Counter) {
        let value = human::grouped(counter.value, counter.series.signed);
        self.key = self.key.max(human::width(&printable(&counter.key())).min(KEY_CELLS));
        self.field = self.field.max(human::width(&counter.series.field));
        self.value = self.value.max(value.len());
        self.rate = self.rate.max(rate(counter).len());
    }
}

/// The counters of one key, field by field.
type Group<'b> = Vec<&'b Counter>;

/// By map; in each the busiest keys first. The fields of a key stay together.
fn sections(board: &Board, show_idle: bool) -> BTreeMap<&str, Vec<Group<'_>>> {
    let mut maps: BTreeMap<&str, BTreeMap<String, Group>> = BTreeMap::new();
    for counter in board.counters() {
        let keys = maps.entry(&counter.series.map).or_default();
        keys.entry(counter.key()).or_default().push(counter);
    }
    let mut sections = BTreeMap::new();
    for (map, keys) in maps {
        let mut groups: Vec<Group> = keys.into_values().collect();
        groups.retain(|group| show_idle || group.iter().any(|counter| !counter.is_idle()));
        for group in &mut groups {
            // Refs are given out in the order of the value's fields.
            group.sort_by_key(|counter| counter.series.r#ref);
        }
        let weight = |group: &Group| group.first().map_or(0.0, |counter| counter.weight());
        let value = |group: &Group| group.first().map_or(0, |counter| counter.value);
        // The sort is stable: keys that stand still keep their order.
        groups
            .sort_by(|a, b| weight(b).total_cmp(&weight(a)).then_with(|| value(b).cmp(&value(a))));
        if !groups.is_empty() {
            sections.insert(map, groups);
        }
    }
    sections
}

/// The key stands at the first of its rows only.
fn rows_of<'b>(group: &Group<'b>) -> Vec<(String, &'b Counter)> {
    let key =
        |at, counter: &Counter| if at == 0 { printable(&counter.key()) } else { String::new() };
    group.iter().enumerate().map(|(at, counter)| (key(at, counter), *counter)).collect()
}

/// How many rows each section gets: all it has, or what is left when the small ones have theirs.
fn share(sections: &BTreeMap<&str, Vec<Group<'_>>>, rows: usize) -> Vec<usize> {
    let wants: Vec<usize> =
        sections.values().map(|groups| groups.iter().map(Vec::len).sum()).collect();
    let mut shares = vec![0; wants.len()];
    let mut order: Vec<_> = (0..wants.len()).collect();
    order.sort_by_key(|&at| wants[at]);
    let mut left = rows;
    for (done, &at) in order.iter().enumerate() {
        shares[at] = wants[at].min(left / (order.len() - done));
        left -= shares[at];
    }
    shares
}

fn rate(counter: &Counter) -> String {
    counter.rate.map_or_else(String::new, |rate| human::rate(rate, &counter.series.unit))
}

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII_BARS: [char; 8] = ['_', '.', ':', '-', '=', '+', '*', '#'];

/// The newest at the right, the tallest bar the largest that is in sight.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
#[allow(clippy::cast_precision_loss, reason = "7 is exact")]
fn sparkline<'h>(
    history: impl IntoIterator<Item = &'h f64, IntoIter: ExactSizeIterator>,
    cells: usize,
    bars: &[char],
) -> String {
    let history = history.into_iter();
    let skip = history.len().saturating_sub(cells);
    let seen: Vec<f64> = history.skip(skip).map(|rate| rate.abs()).collect();
    let most = seen.iter().copied().fold(0.0, f64::max);
    let top = bars.len() - 1;
    let bar = |rate: &f64| {
        let level = if most > 0.0 { (rate / most * top as f64).ceil() as usize } else { 0 };
        bars[level.min(top)]
    };
    seen.iter().map(bar).collect()
}

fn utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    locale.is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// Cut with a sign that it was.
fn clip(text: &str, width: usize) -> String {
    if human::width(text) <= width { text.to_owned() } else { cut(text, width - 1) + "…" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpfgate_client::WatchEvent;
    use bpfgate_client::v1::{CounterBatch, Label, Series};
    use prost_types::Timestamp;

    /// Two maps: a large one, of which every third key never counts, and a small one.
    fn board() -> Board {
        let mut board = Board::default();
        let keys: Vec<_> = (0..90).map(|n| ("o/large", n)).chain([("o/small", 90)]).collect();
        for &(map, number) in &keys {
            let label = Label { name: "key".into(), value: format!("key-{number}") };
            board.apply(WatchEvent::Series(Series {
                r#ref: number,
                map: map.into(),
                labels: vec![label],
                field: "packets".into(),
                ..Series::default()
            }));
        }
        for sweep in 1..=3 {
            for map in ["o/large", "o/small"] {
                let refs: Vec<_> =
                    keys.iter().filter(|key| key.0 == map).map(|key| key.1).collect();
                let values = refs.iter().map(|n| if n % 3 == 0 { 0 } else { n * 1000 * sweep });
                board.apply(WatchEvent::Batch(CounterBatch {
                    map: map.into(),
                    sweep,
                    read_end: Some(Timestamp { seconds: 10 + sweep.cast_signed(), nanos: 0 }),
                    values: values.collect(),
                    refs,
                    ..CounterBatch::default()
                }));
            }
        }
        board.apply(WatchEvent::Sync(bpfgate_client::v1::WatchSync::default()));
        board
    }

    fn picture(width: usize, height: usize, show_idle: bool) -> Vec<String> {
        let mut live = Live::new(Vec::new(), false, Duration::from_secs(1), show_idle).unwrap();
        live.picture(&board(), &["a note".to_owned()], width, height)
    }

    #[test]
    fn the_picture_fits_every_terminal() {
        for (width, height) in [(80, 24), (40, 10), (200, 100), (20, 12)] {
            let lines = picture(width, height, true);
            assert!(lines.len() <= height, "{} lines of {height}", lines.len());
            for line in &lines {
                assert!(human::width(line) <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn the_busiest_come_first_and_the_idle_are_left_out() {
        let lines = picture(80, 24, false);
        let row = |text: &str| lines.iter().position(|line| line.starts_with(text));
        assert!(lines[0].contains("31 at zero not shown"), "{}", lines[0]);
        assert!(row("key-89").unwrap() < row("key-88").unwrap());
        assert!(row("key-0 ").is_none());
        assert!(lines[row("key-89").unwrap()].contains("267,000  89.0 k/s"), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains(" more")));
        assert_eq!(lines.last().unwrap(), "a note");
    }

    #[test]
    fn a_sparkline_shows_the_newest_and_tells_little_from_nothing() {
        let history = [9.0, 0.0, 0.1, 5.0, 10.0];
        assert_eq!(sparkline(&history, 4, &BLOCKS), "▁▂▅█");
        assert_eq!(sparkline(&[0.0, 0.0], 4, &BLOCKS), "▁▁");
        assert_eq!(sparkline(&[], 4, &BLOCKS), "");
    }

    #[test]
    fn a_small_map_is_shown_whole_beside_a_large_one() {
        let board = board();
        let sections = sections(&board, true);
        assert_eq!(share(&sections, 11), [10, 1]);
        assert_eq!(share(&sections, 200), [90, 1]);
        assert_eq!(share(&sections, 0), [0, 0]);
    }
}
