//! What the live table shows, as lines that fit.

use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use bpfgate_client::{CounterValue, Standing};

use super::sections::{rows_of, sections, share};
use crate::board::{Board, Row, Sort};
use crate::human;
use crate::render::printable;
use crate::spark::Bars;

/// Cells that a sparkline has at most.
const SPARK_CELLS: usize = 30;
/// A key longer than this is cut, so that the numbers stay in sight.
const KEY_CELLS: usize = 40;
/// Between two columns.
const GAP: &str = "  ";

/// What the user wants to see.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    pub(crate) colour: bool,
    pub(crate) bars: Bars,
    /// As granted.
    pub(crate) interval: Duration,
    pub(crate) show_idle: bool,
    pub(crate) sort: Sort,
    /// Keys of each map.
    pub(crate) top: Option<usize>,
}

/// The picture, which remembers how wide it has been.
pub(super) struct Picture {
    look: Look,
    styles: Styles,
    started: Instant,
    /// Widths only grow: a table that breathes cannot be read.
    widths: Widths,
}

#[derive(Clone, Copy)]
struct Styles {
    title: Style,
    warning: Style,
    heading: Style,
    moved: Style,
    idle: Style,
    spark: Style,
}

#[derive(Clone, Copy)]
struct Widths {
    key: usize,
    field: usize,
    value: usize,
    rate: usize,
}

impl Picture {
    pub(super) fn new(look: Look) -> Self {
        let styles = if look.colour { Styles::colourful() } else { Styles::plain() };
        let widths = Widths { key: 3, field: 5, value: 5, rate: 8 };
        Self { look, styles, started: Instant::now(), widths }
    }

    pub(super) fn lines(
        &mut self,
        board: &Board,
        notes: &[String],
        width: usize,
        height: usize,
    ) -> Vec<String> {
        let Look { sort, top, show_idle, bars, .. } = self.look;
        let mut sections = sections(board, sort, top, show_idle);
        for row in sections.values().flatten().flatten() {
            self.widths.fit(row);
        }
        let widths = self.widths.within(width);
        let mut lines = vec![self.title(board, width)];
        if sections.is_empty() {
            lines.push(cut("  nothing counted yet", width));
        }
        let notes: Vec<_> = notes.iter().rev().take((height / 4).min(3)).rev().collect();
        let room = height.saturating_sub(lines.len() + notes.len());
        // A heading and a row each; where there is room, a blank line before it.
        let airy = room >= 3 * sections.len();
        while 2 * sections.len() > room {
            sections.pop_last();
        }
        let above = if airy { 2 } else { 1 };
        let shares = share(&sections, room - above * sections.len());
        for ((map, groups), share) in sections.iter().zip(shares) {
            lines.extend(airy.then(String::new));
            lines.push(self.heading(map, widths, width));
            let rows: Vec<_> = groups.iter().flat_map(rows_of).collect();
            // Saying that others are left out takes a line too.
            let say_more = rows.len() > share && share > 1;
            let shown = share.min(rows.len()) - usize::from(say_more);
            for (key, row) in &rows[..shown] {
                lines.push(self.row(key, row, widths, width));
            }
            if say_more {
                let more = format!("  {} {} more", bars.ellipsis(), rows.len() - shown);
                lines.push(styled(self.styles.idle, &cut(&more, width)));
            }
        }
        lines.extend(notes.into_iter().map(|note| cut(&printable(note), width)));
        lines.truncate(height);
        lines
    }

    fn title(&self, board: &Board, width: usize) -> String {
        let Look { interval, show_idle, .. } = self.look;
        if board.view().standing() == Standing::Interrupted {
            let text = "connection lost: these are the last numbers; ^C ends";
            return styled(self.styles.warning, &cut(text, width));
        }
        let (all, idle) = board.rows().fold((0, 0), |(all, idle), row| {
            (all + 1, idle + usize::from(!show_idle && row.is_idle()))
        });
        let idle = if idle > 0 { format!(", {idle} at zero not shown") } else { String::new() };
        let seconds = self.started.elapsed().as_secs();
        let clock = format!("{:02}:{:02}", seconds / 60, seconds % 60);
        // A map that takes longer to read than it should is swept less often.
        let slow = board.view().maps().filter_map(|(_, progress)| progress.achieved_interval).max();
        let slow = slow.filter(|achieved| *achieved > interval * 3 / 2);
        let slow = slow.map(|achieved| format!(" (achieved {achieved:.1?})")).unwrap_or_default();
        let counters = if all == 1 { "counter" } else { "counters" };
        let only = if board.is_cut() { ", the first ones of more" } else { "" };
        let text =
            format!("every {interval:?}{slow}, {clock}, ^C ends; {all} {counters}{idle}{only}");
        styled(self.styles.title, &cut(&text, width))
    }

    fn heading(&self, map: &str, widths: Widths, width: usize) -> String {
        let Widths { key, field, value, rate } = widths;
        // The map's name takes the place of a heading for its keys.
        let all = key + field + 2 * GAP.len() + value;
        let title = if value > 0 { "VALUE" } else { "" };
        let room = all.saturating_sub(GAP.len() + title.len());
        let map = clip(&printable(map), room, self.look.bars);
        let left = all.saturating_sub(human::width(&map));
        let mut text = format!("{map}{title:>left$}");
        if rate > 0 {
            text = format!("{text}{GAP}{:>rate$}{GAP}TREND", "RATE");
        }
        styled(self.styles.heading, &cut(&text, width))
    }

    fn row(&self, key: &str, row: &Row<'_>, widths: Widths, width: usize) -> String {
        let bars = self.look.bars;
        let pad = |text: String, width: usize| {
            let blanks = width.saturating_sub(human::width(&text));
            format!("{text}{:blanks$}{GAP}", "")
        };
        let key = pad(clip(key, widths.key, bars), widths.key);
        let field = printable(&row.counter.key().field);
        let field = pad(clip(&field, widths.field, bars), widths.field);
        let number = if widths.value > 0 { value(row) } else { String::new() };
        let mut text = format!("{key}{field}{number:>vw$}", vw = widths.value);
        if widths.rate > 0 {
            text = format!("{text}{GAP}{:>rw$}{GAP}", rate(row), rw = widths.rate);
        }
        let room = width.saturating_sub(human::width(&text)).min(SPARK_CELLS);
        let room = if widths.rate > 0 { room } else { 0 };
        let spark = trend(row, self.look.bars, room);
        let busy = row.counter.rate().is_some_and(|rate| rate != 0.0);
        let style = match (row.counter.moved() && !row.counter.is_stale(), busy) {
            (true, _) => self.styles.moved,
            (false, true) => Style::new(),
            (false, false) => self.styles.idle,
        };
        let spark = styled(if busy { self.styles.spark } else { self.styles.idle }, &spark);
        format!("{}{spark}", styled(style, &cut(&text, width)))
    }
}

impl Styles {
    fn plain() -> Self {
        let plain = Style::new();
        let (title, warning, heading) = (plain, plain, plain);
        Self { title, warning, heading, moved: plain, idle: plain, spark: plain }
    }

    fn colourful() -> Self {
        Self {
            title: Style::new().dimmed(),
            warning: AnsiColor::Yellow.on_default().bold(),
            heading: Style::new().bold(),
            moved: Style::new().bold(),
            idle: Style::new().dimmed(),
            spark: AnsiColor::Green.on_default(),
        }
    }
}

impl Widths {
    /// For a terminal of so many columns: names give way to numbers, then the rate to the value.
    fn within(self, width: usize) -> Self {
        let Self { mut key, mut field, mut value, mut rate } = self;
        let mut over = (key + field + value + rate + 4 * GAP.len()).saturating_sub(width);
        let mut give = |cells: &mut usize, least: usize| {
            let less = over.min(cells.saturating_sub(least));
            *cells -= less;
            over -= less;
        };
        give(&mut key, 12);
        give(&mut field, 5);
        give(&mut key, 4);
        if over > 0 {
            let room = std::mem::take(&mut rate) + 2 * GAP.len();
            let spare = room.saturating_sub(over);
            key += spare;
            over = over.saturating_sub(room);
            let less = over.min(field);
            field -= less;
            over -= less;
        }
        if over > 0 {
            // Half a number reads as another one.
            (key, field, value) = (width, 0, 0);
        }
        Self { key, field, value, rate }
    }

    fn fit(&mut self, row: &Row<'_>) {
        self.key = self.key.max(human::width(&printable(&row.key())).min(KEY_CELLS));
        self.field = self.field.max(human::width(&row.counter.key().field));
        self.value = self.value.max(value(row).len());
        self.rate = self.rate.max(rate(row).len());
    }
}

/// `1,234`.
pub(crate) fn value(row: &Row<'_>) -> String {
    human::grouped(row.counter.value().total())
}

/// `1.2 kB/s`; nothing while there is none.
pub(crate) fn rate(row: &Row<'_>) -> String {
    let unit = &row.counter.series().unit;
    row.counter.rate().map_or_else(String::new, |rate| human::rate(rate, unit))
}

/// A counter's rates; a histogram's slots.
#[allow(clippy::cast_precision_loss, reason = "an eighth of a line is shown")]
pub(crate) fn trend(row: &Row<'_>, bars: Bars, cells: usize) -> String {
    match row.counter.value() {
        CounterValue::Histogram(counts) => {
            // Slots that nothing has reached yet say nothing.
            let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
            bars.draw(counts[..used].iter().map(|count| *count as f64), cells)
        }
        _ => bars.draw(row.history(), cells),
    }
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// Cut with a sign that it was.
fn clip(text: &str, width: usize, bars: Bars) -> String {
    match width.checked_sub(1) {
        _ if human::width(text) <= width => text.to_owned(),
        Some(before) => format!("{}{}", cut(text, before), bars.ellipsis()),
        None => String::new(),
    }
}

#[cfg(test)]
impl Default for Look {
    fn default() -> Self {
        let interval = Duration::from_secs(1);
        let (sort, top, bars) = (Sort::Rate, None, Bars::of_locale());
        Self { colour: false, bars, interval, show_idle: false, sort, top }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tests;

    /// Two maps: a large one, of which every third key never counts, and a small one.
    fn board() -> Board {
        let keys: Vec<_> = (0..90).map(|n| ("o/large", n)).chain([("o/small", 90)]).collect();
        tests::board(&keys, |n| if n % 3 == 0 { 0 } else { n * 1000 })
    }

    fn picture(width: usize, height: usize, look: Look) -> Vec<String> {
        Picture::new(look).lines(&board(), &["a note".to_owned()], width, height)
    }

    #[test]
    fn the_picture_fits_every_terminal() {
        for (width, height) in [(80, 24), (40, 10), (200, 100), (20, 12), (3, 2), (0, 0)] {
            let lines = picture(width, height, Look { show_idle: true, ..Look::default() });
            assert!(lines.len() <= height, "{} lines of {height}", lines.len());
            for line in &lines {
                assert!(human::width(line) <= width, "{width}: {line:?}");
            }
        }
    }

    #[test]
    fn names_give_way_to_whole_numbers_and_these_to_nothing() {
        let row = |width| {
            let lines = picture(width, 4, Look::default());
            lines
                .into_iter()
                .find(|line| line.starts_with("key-") || line.starts_with("ke"))
                .unwrap()
        };
        assert!(row(80).starts_with("key-89  packets  267,000  89.0 k/s  "), "{}", row(80));
        assert!(row(33).contains("267,000  89.0 k/s"), "{}", row(33));
        let narrow = row(20);
        assert!(narrow.contains("267,000") && !narrow.contains("/s"), "{narrow}");
        assert!(!row(9).contains("267"), "{}", row(9));
    }

    #[test]
    fn the_busiest_come_first_and_the_idle_are_left_out() {
        let lines = picture(80, 24, Look::default());
        let row = |text: &str| lines.iter().position(|line| line.starts_with(text));
        assert!(lines[0].contains("31 at zero not shown"), "{}", lines[0]);
        assert!(row("key-89").unwrap() < row("key-88").unwrap());
        assert!(row("key-0 ").is_none());
        assert!(lines[row("key-89").unwrap()].contains("267,000  89.0 k/s"), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains(" more")));
        assert_eq!(lines.last().unwrap(), "a note");
    }

    #[test]
    fn numbers_behind_a_lost_connection_are_the_last_ones_and_say_so() {
        use bpfgate_client::{Interruption, WatchEvent};
        let mut board = board();
        let why = "gone".to_owned();
        let lost = Interruption { why, odd: false, attempts: 0, retry_in: Duration::from_secs(1) };
        board.apply(&WatchEvent::Interrupted(lost)).unwrap();
        let lines = Picture::new(Look::default()).lines(&board, &[], 80, 24);
        assert!(lines[0].starts_with("connection lost"), "{}", lines[0]);
        assert!(lines.iter().any(|line| line.contains("267,000")), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("/s")), "{lines:#?}");
    }
}
