//! Which line an entry came from, when the agent refuses it long after it was read.

/// Past these the lines of further entries are not kept: only who writes an entry on one line and
/// the next on two has so many.
const MOST: usize = 100_000;

/// The lines of entries, as runs in which each follows at the same distance.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Lines {
    runs: Vec<Run>,
    entries: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Run {
    first_entry: u64,
    first_line: u64,
    entries: u64,
    /// From one entry's line to the next one's.
    stride: u64,
}

impl Lines {
    /// The next entry's line.
    pub(crate) fn push(&mut self, line: u64) {
        let entry = self.entries;
        self.entries += 1;
        if let Some(run) = self.runs.last_mut()
            && run.first_entry + run.entries == entry
        {
            if run.entries == 1 && line >= run.first_line {
                (run.stride, run.entries) = (line - run.first_line, 2);
                return;
            }
            if run.first_line + run.stride * run.entries == line {
                run.entries += 1;
                return;
            }
        }
        if self.runs.len() < MOST {
            self.runs.push(Run { first_entry: entry, first_line: line, entries: 1, stride: 0 });
        }
    }

    /// Those of the entries that follow.
    pub(crate) fn append(&mut self, more: &Self) {
        for run in &more.runs {
            let first_entry = self.entries + run.first_entry;
            let room = self.runs.len() < MOST;
            match self.runs.last_mut() {
                Some(last)
                    if last.first_entry + last.entries == first_entry
                        && last.first_line + last.stride * last.entries == run.first_line
                        && (run.entries == 1 || run.stride == last.stride) =>
                {
                    last.entries += run.entries;
                }
                _ if room => self.runs.push(Run { first_entry, ..*run }),
                _ => {}
            }
        }
        self.entries += more.entries;
    }

    /// Of the entry, counted from 0.
    pub(crate) fn of(&self, entry: u64) -> Option<u64> {
        let at = self.runs.partition_point(|run| run.first_entry <= entry).checked_sub(1)?;
        let run = &self.runs[at];
        let step = entry - run.first_entry;
        (step < run.entries).then(|| run.first_line + run.stride * step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_has_its_line() {
        let lines = [1, 2, 3, 4, 8, 9, 10, 12, 14, 16, 16, 16, 17];
        for split in 0..lines.len() {
            let (mut all, mut rest) = (Lines::default(), Lines::default());
            lines[..split].iter().for_each(|&line| all.push(line));
            lines[split..].iter().for_each(|&line| rest.push(line));
            all.append(&rest);
            let found: Vec<_> = (0..lines.len() as u64).map(|at| all.of(at).unwrap()).collect();
            assert_eq!(found, lines, "{split}");
            assert_eq!(all.of(lines.len() as u64), None);
        }
    }

    #[test]
    fn a_million_lines_in_order_take_no_room() {
        let mut lines = Lines::default();
        (0..1_000_000).for_each(|line| lines.push(2 * line + 7));
        assert_eq!(lines.runs.len(), 1);
        assert_eq!(lines.of(999_999), Some(2_000_005));
        let mut wild = Lines::default();
        (0..1_000_000).for_each(|line: u64| wild.push(line * line));
        assert!(wild.runs.len() <= MOST);
    }
}
