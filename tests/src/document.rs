//! Documents as tests: the commands of their `console` blocks, and what is printed below each.
//!
//! A block has lines that begin with `$ ` (a user without rights) or `# ` (root), each followed by
//! what its command prints. `…` in a line stands for any text, alone in a line for any lines. What
//! differs with every run is not compared: times, and table columns such as ids and sizes.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// A document that was read.
#[derive(Debug)]
pub struct Document {
    /// Where it is.
    pub path: PathBuf,
    /// Commands of its `console` blocks, in order.
    pub steps: Vec<Step>,
    /// Its `c` blocks that begin with a comment with a name, as files: `/* fw.bpf.c */`.
    pub files: Vec<(String, String)>,
    lines: Vec<String>,
}

/// A command and what it is said to print.
#[derive(Debug)]
pub struct Step {
    /// Whether it is for root.
    pub root: bool,
    /// The command, for a shell.
    pub command: String,
    /// Counted from 1.
    pub line: usize,
    /// Lines of the document.
    output: Range<usize>,
}

impl Document {
    /// Reads one.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let mut document =
            Self { path: path.to_owned(), steps: Vec::new(), files: Vec::new(), lines };
        let mut fence: Option<(String, usize)> = None;
        for at in 0..document.lines.len() {
            let Some(language) = document.lines[at].strip_prefix("```").map(str::to_owned) else {
                continue;
            };
            match fence.take() {
                None => fence = Some((language, at + 1)),
                Some((language, begin)) if language == "console" => document.console(begin..at),
                Some((language, begin)) if language == "c" => document.file(begin..at),
                Some(_) => {}
            }
        }
        assert!(fence.is_none(), "{}: a block without an end", path.display());
        document
    }

    fn console(&mut self, block: Range<usize>) {
        for at in block.clone() {
            let line = &self.lines[at];
            let step = line.strip_prefix("$ ").map(|command| (false, command));
            let step = step.or_else(|| line.strip_prefix("# ").map(|command| (true, command)));
            let output = at + 1..at + 1;
            if let Some((root, command)) = step {
                let command = command.to_owned();
                self.steps.push(Step { root, command, line: at + 1, output });
            } else {
                assert!(at > block.start, "{}: output before a command", self.path.display());
                self.steps.last_mut().expect("a command").output.end = at + 1;
            }
        }
    }

    fn file(&mut self, block: Range<usize>) {
        let name = self.lines[block.start].strip_prefix("/* ");
        let name = name.and_then(|rest| rest.strip_suffix(" */"));
        let is_c = |name: &str| Path::new(name).extension().is_some_and(|kind| kind == "c");
        if let Some(name) = name.filter(|name| is_c(name) && !name.contains(' ')) {
            self.files.push((name.to_owned(), self.lines[block].join("\n") + "\n"));
        }
    }

    /// What the document says that a step prints.
    pub fn expected(&self, step: &Step) -> &[String] {
        &self.lines[step.output.clone()]
    }

    /// Whether that is what it printed.
    pub fn agrees(&self, step: &Step, printed: &str) -> bool {
        let printed: Vec<&str> = printed.lines().collect();
        let table = printed.first().filter(|_| printed.len() > 1).and_then(|line| Table::of(line));
        matches(self.expected(step), &printed, table.as_ref())
    }

    /// The document with what its steps printed, where that is something else than it says.
    pub fn with(&self, printed: &[String]) -> String {
        let mut lines = self.lines.clone();
        for (step, printed) in self.steps.iter().zip(printed).rev() {
            if !self.agrees(step, printed) {
                lines.splice(step.output.clone(), printed.lines().map(str::to_owned));
            }
        }
        lines.join("\n") + "\n"
    }
}

fn matches(expected: &[String], printed: &[&str], table: Option<&Table>) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((line, rest)), _) if line == "…" => {
            (0..=printed.len()).any(|skip| matches(rest, &printed[skip..], table))
        }
        (Some((line, rest)), Some((said, more))) => {
            same(line, said, table) && matches(rest, more, table)
        }
        _ => false,
    }
}

fn same(expected: &str, printed: &str, table: Option<&Table>) -> bool {
    glob(&steady(expected), &steady(printed))
        || table.is_some_and(|table| table.same_row(expected, printed))
}

/// The line with one blank between words, and without what differs with every run.
fn steady(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let zone = words.last().is_some_and(|before| before == "TIME") && is_zone(word);
        if !zone {
            words.push(without_times(word));
        }
    }
    words.join(" ")
}

/// `UTC`, `CEST`, `+02:00`.
fn is_zone(word: &str) -> bool {
    let name = (2..=5).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_uppercase());
    name || word.strip_prefix(['+', '-']).is_some_and(|rest| rest.len() >= 2 && all_in(rest, ":"))
}

fn all_in(text: &str, others: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || others.contains(c))
}

/// With the times in a word told as such: `2026-11-22`, `18:38:27.229`, both with a `T` between.
fn without_times(word: &str) -> String {
    let parts = word.split(',').map(|part| {
        let bare = part.trim_end_matches(['Z', '"']).trim_start_matches('"');
        let (date, time) = bare.split_once('T').unwrap_or((bare, bare));
        if part != bare && bare.contains('T') && is_date(date) && is_time(time) {
            return "INSTANT";
        }
        if bare == part && is_date(bare) {
            return "DATE";
        }
        if bare == part && is_time(bare) { "TIME" } else { part }
    });
    parts.collect::<Vec<_>>().join(",")
}

fn is_date(word: &str) -> bool {
    let parts: Vec<&str> = word.split('-').collect();
    parts.len() == 3
        && parts[0].len() == 4
        && parts.iter().all(|part| part.len() >= 2 && all_in(part, ""))
}

fn is_time(word: &str) -> bool {
    let parts: Vec<&str> = word.split(':').collect();
    parts.len() == 3
        && parts[..2].iter().all(|part| part.len() == 2 && all_in(part, ""))
        && parts[2].len() >= 2
        && all_in(parts[2], ".")
}

/// Whether a text is another with `…` for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('…') else { return pattern == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    (0..=text.len()).filter(|&at| text.is_char_boundary(at)).any(|at| glob(rest, &text[at..]))
}

/// Columns whose cells differ with every run, or with the host.
const VARY: [&str; 14] = [
    "ID",
    "KERNEL ID",
    "MAP IDS",
    "TAG",
    "INSTRUCTIONS",
    "MEMORY",
    "HOLDERS",
    "RUNS",
    "NS PER RUN",
    "RUNS PER SECOND",
    "TS NS",
    "PID",
    "PPID",
    "UID",
];

/// The heading of what a command printed.
struct Table {
    columns: Vec<String>,
}

impl Table {
    fn of(heading: &str) -> Option<Self> {
        let columns = cells(heading);
        let is_one = columns.len() > 1 && !heading.chars().any(char::is_lowercase);
        is_one.then(|| Self { columns: columns.into_iter().map(str::to_owned).collect() })
    }

    /// Rows with a cell in every column; there is no telling which one is missing in others.
    fn same_row(&self, expected: &str, printed: &str) -> bool {
        let (left, right) = (cells(expected), cells(printed));
        if left.len() != self.columns.len() || right.len() != self.columns.len() {
            return false;
        }
        self.columns.iter().zip(left.iter().zip(&right)).all(|(column, (left, right))| {
            if VARY.contains(&column.as_str()) {
                (*left == "-") == (*right == "-")
            } else {
                glob(&steady(left), &steady(right))
            }
        })
    }
}

/// What stands apart by two blanks at least.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Text
```console
$ bpfgate link list
ID  PROGRAM  ATTACHED AT
 1  pc/a     2026-11-22 13:40:56
# true
$ bpfgate x
a … c
…
z
```
```text
$ not this
```
```c
/* a.bpf.c */
int x;
```
";

    fn document() -> Document {
        Document::parse(Path::new("x.md"), TEXT)
    }

    #[test]
    fn commands_have_the_lines_below_them() {
        let document = document();
        let steps: Vec<_> = document.steps.iter().map(|s| (s.root, &*s.command, s.line)).collect();
        let expected =
            [(false, "bpfgate link list", 3), (true, "true", 6), (false, "bpfgate x", 7)];
        assert_eq!(steps, expected);
        let lines: Vec<_> = document.steps.iter().map(|s| document.expected(s).len()).collect();
        assert_eq!(lines, [2, 0, 3]);
        assert_eq!(document.files, [("a.bpf.c".to_owned(), "/* a.bpf.c */\nint x;\n".to_owned())]);
    }

    #[test]
    fn what_differs_with_every_run_is_not_compared_and_all_else_is() {
        let document = document();
        let table = |row: &str| format!("ID  PROGRAM  ATTACHED AT\n{row}\n");
        let said = |step: usize, text: &str| document.agrees(&document.steps[step], text);
        assert!(said(0, &table("123  pc/a  2027-01-02 03:04:05")));
        assert!(said(0, &table("123  pc/a  2027-01-02 03:04:05 CET")));
        assert!(!said(0, &table("123  pc/b  2027-01-02 03:04:05")));
        assert!(!said(0, &table("-  pc/a  2027-01-02 03:04:05")));
        assert!(!said(0, &table("1  pc/a  yesterday")));
        assert!(!said(0, ""));
        assert!(!said(0, "ID  PROGRAM  ATTACHED AT\n"));
        assert!(said(1, "") && !said(1, "x\n"));
        assert!(said(2, "a b c\nz\n") && said(2, "a  b c\n1\n2\nz\n") && !said(2, "a b\nz\n"));
    }

    #[test]
    fn times_are_told_from_what_looks_like_them() {
        for (word, expected) in [
            ("18:38:27", "TIME"),
            ("18:38:27.229", "TIME"),
            ("2026-11-22", "DATE"),
            ("2026-11-22T18:39:08.364847650Z,pc/stats", "INSTANT,pc/stats"),
            ("02:00:00:00:00:01", "02:00:00:00:00:01"),
            ("10.0.0.1", "10.0.0.1"),
            ("TCP,UDP", "TCP,UDP"),
            ("1:2:3", "1:2:3"),
        ] {
            assert_eq!(without_times(word), expected);
        }
    }

    #[test]
    fn a_document_takes_over_what_was_printed() {
        let document = document();
        let printed = ["ID  X\n 1  y\n", "", "a b c\nz\n"].map(str::to_owned);
        let text = document.with(&printed);
        assert!(
            text.contains("$ bpfgate link list\nID  X\n 1  y\n# true\n$ bpfgate x\na … c\n…\nz\n")
        );
        let same = ["ID  PROGRAM  ATTACHED AT\n9  pc/a  2027-01-02 03:04:05\n", "", "a b c\nz\n"];
        assert_eq!(document.with(&same.map(str::to_owned)), TEXT);
    }
}
