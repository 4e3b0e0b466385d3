//! A map's entries, printed as they come.
//!
//! - [`EntryWriter`]: entries in any format
//! - [`rows`]: as rows, for tables and CSV
//! - [`slots`]: the slots that bpftool shows as errors
//! - [`bpftool`]: as `bpftool --json` prints them; [`formatted`]: its typed half

mod bpftool;
mod formatted;
mod rows;
mod slots;

use std::io::{self, BufWriter, StdoutLock, Write as _};

use bpfgate_client::value::Plan;
use bpfgate_client::{EntryParts, Layout, v1};
use serde_json::Value as Json;

use self::bpftool::Bpftool;
use crate::context::Context;
use crate::render::{Format, Printer};

pub(crate) use self::rows::EntryView;
pub(crate) use self::slots::Slots;

/// Text that is gathered before it goes out.
const BUFFER: usize = 64 << 10;

/// Writes entries of one map as they come.
pub(crate) struct EntryWriter<'l> {
    layout: &'l Layout,
    parts: EntryParts,
    /// The values that come are of all CPUs, one behind the other.
    each_cpu: bool,
    style: Style<'l>,
}

enum Style<'l> {
    /// Tables, CSV and YAML.
    Rows { printer: Printer<BufWriter<StdoutLock<'static>>>, view: EntryView<'l> },
    /// JSON: an entry is on one line, and never a tree.
    Text { text: Text, form: Form },
}

enum Form {
    /// With a line for each CPU, or what they are together.
    Own,
    Bpftool(Box<Bpftool>),
}

/// JSON that grows.
struct Text {
    out: StdoutLock<'static>,
    buffer: Vec<u8>,
    /// Before the first entry, between two, and behind the last.
    frame: [&'static str; 3],
    entries: u64,
}

/// What to print of a map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Selection {
    pub(crate) parts: EntryParts,
    /// Each CPU's value by itself; the values that come are then of all CPUs.
    pub(crate) each_cpu: bool,
    /// The one entry that was asked for, not a list of it.
    pub(crate) single: bool,
    /// Values are told by the names of what they lead to: [`EntryWriter::named`].
    pub(crate) named: bool,
}

impl<'l> EntryWriter<'l> {
    pub(crate) fn new(
        context: &Context,
        map: &v1::Map,
        layout: &'l Layout,
        selection: Selection,
    ) -> Self {
        let Selection { parts, each_cpu, single, named } = selection;
        let style = match context.format {
            Format::Table | Format::Wide | Format::Csv | Format::Yaml => {
                let view = EntryView::new(layout, context.format, each_cpu).named(named);
                let view = match parts {
                    EntryParts::Keys => view.keys_only(),
                    EntryParts::Values => view.values_only(),
                    EntryParts::Both | EntryParts::Unspecified => view,
                };
                let printer = context.printer(view.columns());
                let printer = if single && !each_cpu { printer.single() } else { printer };
                Style::Rows { printer, view }
            }
            Format::Json if single && !each_cpu => {
                Style::Text { text: Text::new(["", "", "\n"]), form: Form::Own }
            }
            Format::Json => {
                let frame = ["[\n", ",\n", "\n]\n"];
                Style::Text { text: Text::new(frame), form: Form::Own }
            }
            Format::Jsonl => Style::Text { text: Text::new(["", "\n", "\n"]), form: Form::Own },
            Format::Bpftool => {
                let frame = if single { ["", "", "\n"] } else { ["[", ",", "]\n"] };
                let form = Form::Bpftool(Box::new(Bpftool::new(map)));
                Style::Text { text: Text::new(frame), form }
            }
        };
        Self { layout, parts, each_cpu, style }
    }

    /// An entry; a half that is not asked for is not looked at.
    pub(crate) fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let Self { layout, parts, each_cpu, style } = self;
        let with_value = *parts != EntryParts::Keys;
        let each = each_cpu.then(|| layout.values(value)).into_iter().flatten();
        let values = each.chain((!*each_cpu).then_some(value));
        match style {
            Style::Rows { printer, view } if with_value => {
                for (cpu, value) in values.enumerate() {
                    printer.row(view.cells(key, cpu, value))?;
                }
                Ok(())
            }
            Style::Rows { printer, view } => printer.row(view.cells(key, 0, &[])),
            Style::Text { text, form: Form::Bpftool(form) } => {
                form.entry(key, values, text.next());
                text.spill()
            }
            Style::Text { text, form: Form::Own } => {
                let key = (*parts != EntryParts::Values).then_some((&layout.key, key));
                if !with_value {
                    object(text.next(), key, None, None);
                }
                let plan = if *each_cpu { &layout.value } else { &layout.sum };
                for (cpu, value) in values.enumerate().filter(|_| with_value) {
                    let cpu = each_cpu.then_some(cpu);
                    object(text.next(), key, cpu, Some((plan, value)));
                }
                text.spill()
            }
        }
    }

    /// An entry as the agent tells it by the map's schema, with names in the place of numbers.
    pub(crate) fn typed(&mut self, key: &Json, value: &Json) -> io::Result<()> {
        let Self { layout: _, parts, each_cpu, style } = self;
        let values = match value {
            Json::Array(each) if *each_cpu => &each[..],
            one => std::slice::from_ref(one),
        };
        for (cpu, value) in values.iter().enumerate() {
            match style {
                Style::Rows { printer, view } => printer.row(view.typed_cells(key, cpu, value))?,
                Style::Text { text, .. } => {
                    let key = (*parts != EntryParts::Values).then(|| format!("\"key\":{key}"));
                    let cpu = each_cpu.then(|| format!("\"cpu\":{cpu}"));
                    let value = (*parts != EntryParts::Keys).then(|| format!("\"value\":{value}"));
                    let members: Vec<_> = key.into_iter().chain(cpu).chain(value).collect();
                    let _ = write!(text.next(), "{{{}}}", members.join(","));
                    text.spill()?;
                }
            }
        }
        Ok(())
    }

    /// An entry whose value leads to something, by its name.
    pub(crate) fn named(&mut self, key: &[u8], value: &str) -> io::Result<()> {
        let Self { layout, parts, each_cpu: _, style } = self;
        match style {
            Style::Rows { printer, view } => printer.row(view.named_cells(key, value)),
            Style::Text { text, .. } => {
                let key = (*parts != EntryParts::Values).then_some((&layout.key, key));
                let out = text.next();
                object(out, key, None, None);
                out.pop();
                if key.is_some() {
                    out.push(b',');
                }
                let value = serde_json::Value::from(value);
                let _ = write!(out, "\"value\":{value}}}");
                text.spill()
            }
        }
    }

    /// An entry that cannot be read, as bpftool prints it. Other formats have none.
    pub(crate) fn unreadable(&mut self, key: &[u8], why: &str) -> io::Result<()> {
        match &mut self.style {
            Style::Text { text, form: Form::Bpftool(_) } => {
                bpftool::unreadable(key, why, text.next());
                text.spill()
            }
            Style::Text { .. } | Style::Rows { .. } => Ok(()),
        }
    }

    /// There are no more.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self.style {
            Style::Rows { printer, .. } => printer.finish(),
            Style::Text { text, .. } => text.finish(),
        }
    }

    /// There would be more: what was written is whole lines, but no whole document.
    pub(crate) fn cut(self) -> io::Result<()> {
        match self.style {
            Style::Rows { mut printer, .. } => printer.flush(),
            Style::Text { text, .. } => text.cut(),
        }
    }
}

/// `{"key":…,"cpu":…,"value":…}`, less what is not there.
fn object(
    out: &mut Vec<u8>,
    key: Option<(&Plan, &[u8])>,
    cpu: Option<usize>,
    value: Option<(&Plan, &[u8])>,
) {
    let start = out.len();
    if let Some((plan, bytes)) = key {
        out.extend_from_slice(b",\"key\":");
        json(plan, bytes, out);
    }
    if let Some(cpu) = cpu {
        out.extend_from_slice(b",\"cpu\":");
        out.extend_from_slice(cpu.to_string().as_bytes());
    }
    if let Some((plan, bytes)) = value {
        out.extend_from_slice(b",\"value\":");
        json(plan, bytes, out);
    }
    if out.len() > start {
        out[start] = b'{';
    } else {
        out.push(b'{');
    }
    out.push(b'}');
}

fn json(plan: &Plan, bytes: &[u8], out: &mut Vec<u8>) {
    if plan.write_json(bytes, out).is_err() {
        // Not met: sizes are checked before the first entry.
        out.extend_from_slice(b"null");
    }
}

impl Text {
    fn new(frame: [&'static str; 3]) -> Self {
        // Not Rust's own buffer, which flushes at every line's end.
        let buffer = Vec::with_capacity(2 * BUFFER);
        Self { out: io::stdout().lock(), buffer, frame, entries: 0 }
    }

    /// Where the next entry goes.
    fn next(&mut self) -> &mut Vec<u8> {
        let [open, between, _] = self.frame;
        let before = if self.entries == 0 { open } else { between };
        self.buffer.extend_from_slice(before.as_bytes());
        self.entries += 1;
        &mut self.buffer
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() < BUFFER { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        let [open, _, close] = self.frame;
        match self.entries {
            0 if open.is_empty() => {}
            0 => self.buffer.extend_from_slice(b"[]\n"),
            _ => self.buffer.extend_from_slice(close.as_bytes()),
        }
        self.write()?;
        self.out.flush()
    }

    fn cut(mut self) -> io::Result<()> {
        if self.entries > 0 {
            self.buffer.push(b'\n');
        }
        self.write()?;
        self.out.flush()
    }
}
