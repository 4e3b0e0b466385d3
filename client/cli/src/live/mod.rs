//! The in-place table of a watch: the busiest counters that fit the terminal, redrawn where they
//! stand. The last picture stays when the watch ends.
//!
//! [`picture`] says what is in it, [`mod@sections`] which rows of which maps; here is the terminal.

mod picture;
mod sections;

use std::io::{self, Write};

use terminal_size::{Height, Width};

use crate::board::Board;

use picture::Picture;

pub(crate) use sections::sections;

pub(crate) use picture::{Look, rate, trend, value};

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR_LINE_END: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_ALL: &str = "\x1b[H\x1b[2J";
/// When the terminal does not tell its size.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// The table. Dropping it gives the terminal back as it was.
pub(crate) struct Live<W: Write> {
    out: W,
    picture: Picture,
    /// Lines of the last picture, above which the next one starts.
    lines: usize,
    /// Columns and lines of the terminal at that time.
    size: (usize, usize),
}

impl<W: Write> Live<W> {
    pub(crate) fn new(out: W, look: Look) -> io::Result<Self> {
        let mut table = Self { out, picture: Picture::new(look), lines: 0, size: terminal() };
        table.take()?;
        Ok(table)
    }

    /// The next picture starts where the cursor is.
    pub(crate) fn take(&mut self) -> io::Result<()> {
        self.lines = 0;
        write!(self.out, "{HIDE_CURSOR}")
    }

    /// The terminal is somebody else's until [`Live::take`].
    pub(crate) fn give_back(&mut self) -> io::Result<()> {
        write!(self.out, "{SHOW_CURSOR}")?;
        self.out.flush()
    }

    /// Redraws. `notes` are the newest things to say, below the table.
    pub(crate) fn draw(&mut self, board: &Board, notes: &[String]) -> io::Result<()> {
        let frame = self.frame(board, notes, terminal());
        // One write, so that no half of a picture is ever seen.
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }

    fn frame(&mut self, board: &Board, notes: &[String], size: (usize, usize)) -> String {
        let resized = std::mem::replace(&mut self.size, size) != size;
        let (width, height) = size;
        // The last line stays free: writing to its end would scroll.
        let picture = self.picture.lines(board, notes, width, height.saturating_sub(1));
        let mut frame = match self.lines {
            0 => String::new(),
            // The terminal may have broken lines or joined them: where they stand is not known.
            _ if resized => CLEAR_ALL.to_owned(),
            lines => format!("\x1b[{lines}A\r"),
        };
        for line in &picture {
            frame.push_str(line);
            frame.push_str(CLEAR_LINE_END);
            frame.push('\n');
        }
        frame.push_str(CLEAR_BELOW);
        self.lines = picture.len();
        frame
    }
}

impl<W: Write> Drop for Live<W> {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that has gone.
        let _ = self.give_back();
    }
}

fn terminal() -> (usize, usize) {
    terminal_size::terminal_size()
        .map_or(DEFAULT_SIZE, |(Width(width), Height(height))| (width.into(), height.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tests::board;

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let mut shown = Vec::new();
        let drawn = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _table = Live::new(&mut shown, Look::default()).unwrap();
            std::panic::resume_unwind(Box::new("a broken invariant"));
        }));
        assert!(drawn.is_err());
        assert_eq!(String::from_utf8(shown).unwrap(), format!("{HIDE_CURSOR}{SHOW_CURSOR}"));
    }

    #[test]
    fn a_picture_takes_the_place_of_the_last_one_and_a_resize_clears() {
        let board = board(&[("m", 1)], |_| 1);
        let mut live = Live::new(Vec::new(), Look::default()).unwrap();
        let first = live.frame(&board, &[], (80, 24));
        assert!(!first.contains("\x1b[H"), "{first:?}");
        let lines = first.matches('\n').count();
        let next = live.frame(&board, &[], (80, 24));
        assert!(next.starts_with(&format!("\x1b[{lines}A\r")), "{next:?}");
        let smaller = live.frame(&board, &[], (40, 10));
        assert!(smaller.starts_with(CLEAR_ALL), "{smaller:?}");
    }
}
