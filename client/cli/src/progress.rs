//! How far a long command is: one line on standard error that redraws itself, on a terminal only.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::human;

/// A command that is done by then shows nothing.
const QUIET: Duration = Duration::from_millis(400);
const REDRAW: Duration = Duration::from_millis(100);
/// Columns where the terminal does not tell.
const WIDTH: usize = 80;
/// Columns of the bar.
const BAR: usize = 24;

/// How far it is; silent off a terminal.
pub(crate) struct Progress {
    verb: &'static str,
    shown: bool,
    started: Instant,
    next: Instant,
    drawn: bool,
}

impl Progress {
    /// `verb`: "read". For a command whose rows go to standard output: on a terminal these show
    /// themselves how far they are.
    pub(crate) fn beside_rows(verb: &'static str) -> Self {
        Self { shown: is_terminal() && !io::stdout().is_terminal(), ..Self::new(verb) }
    }

    /// `verb`: "written".
    pub(crate) fn new(verb: &'static str) -> Self {
        let started = Instant::now();
        Self { verb, shown: is_terminal(), started, next: started + QUIET, drawn: false }
    }

    /// So many entries so far; `share` of the work is done, if that is known.
    pub(crate) fn update(&mut self, entries: u64, share: Option<f64>) {
        let now = Instant::now();
        if !self.shown || now < self.next {
            return;
        }
        self.next = now + REDRAW;
        self.drawn = true;
        let seconds = self.started.elapsed().as_secs_f64();
        let mut line = text(self.verb, entries, seconds, share);
        let width = terminal_size::terminal_size_of(io::stderr());
        let width = width.map_or(WIDTH, |(width, _)| width.0.into());
        line = line.chars().take(width.saturating_sub(1)).collect();
        // Nothing depends on it.
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }

    /// Takes the line away, so that what follows has it.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn is_terminal() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stderr().is_terminal() && !dumb
}

/// `[#####-------------------]  21 %  1,234,567 entries read, 1.2 M/s, 4 s left`
fn text(verb: &str, entries: u64, seconds: f64, share: Option<f64>) -> String {
    let rate = human::rate(per_second(entries, seconds), "");
    let count = format!("{} entries {verb}, {rate}", human::grouped(entries.into()));
    let Some(share) = share.map(|share| share.clamp(0.0, 1.0)) else {
        return format!("{count}, {seconds:.0} s");
    };
    let done = whole(share * whole_columns());
    let left = if share > 0.01 {
        format!(", {:.0} s left", seconds / share - seconds)
    } else {
        String::new()
    };
    let bar = format!("{}{}", "#".repeat(done), "-".repeat(BAR - done));
    format!("[{bar}] {:3.0} %  {count}{left}", share * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
fn per_second(entries: u64, seconds: f64) -> f64 {
    entries as f64 / seconds.max(1e-3)
}

#[expect(clippy::cast_precision_loss, reason = "it is two digits")]
fn whole_columns() -> f64 {
    BAR as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bar")]
fn whole(columns: f64) -> usize {
    (columns as usize).min(BAR)
}

/// What of `all` is done.
#[expect(clippy::cast_precision_loss, reason = "a bar has 24 columns")]
pub(crate) fn share(done: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| done as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        assert_eq!(text("read", 1_200_000, 1.0, None), "1,200,000 entries read, 1.2 M/s, 1 s");
        assert_eq!(
            text("written", 500, 1.0, Some(0.25)),
            "[######------------------]  25 %  500 entries written, 500/s, 3 s left"
        );
        assert!(text("read", 0, 0.0, Some(7.0)).starts_with("[########################] 100 %"));
        assert_eq!(share(1, 0), None);
    }
}
