//! `bpfgate watch events`.

use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use bpfgate_client::v1::EventLoss;
use bpfgate_client::v1::event_loss::Source;
use bpfgate_client::value::{Field, Kind, Type};
use bpfgate_client::{EventBatch, EventNews, EventOptions, Events, Record};
use prost_types::Timestamp;
use serde_json::Value as Json;

use crate::args::{EventsArgs, From};
use crate::commands::Answer;
use crate::context::Context;
use crate::end::End;
use crate::exit::Failure;
use crate::human::Zone;
use crate::render::{Cell, Column, Format, Printer, left, right};
use crate::say::say;

/// The most often that losses are told.
const TELL: Duration = Duration::from_secs(1);

pub(super) async fn run(context: &Context, args: EventsArgs) -> Answer {
    let options = EventOptions {
        record_type: args.record_type.unwrap_or_default(),
        filters: args.filters,
        queue_bytes: args.queue_bytes.unwrap_or(0),
        from_now: args.from == From::Now,
        ..EventOptions::default()
    };
    let name = args.map.to_string();
    let mut events = match context.client.maps().watch_events(&name, options).await {
        Ok(events) => events,
        Err(error) => return Err(context.no_such_map(error, &args.map).await),
    };
    let mut end = End::new(args.duration)?;
    let mut losses = Losses::default();
    let mut left = args.count.unwrap_or(u64::MAX);
    // Whether there are CPUs is known with the first batch.
    let mut sheet: Option<(Form, Printer<_>)> = None;
    while left > 0 {
        let news = tokio::select! {
            () = end.come() => break,
            news = events.next_news() => news?,
        };
        match news {
            Some(EventNews::Batch(batch)) => {
                let (form, printer) = sheet.get_or_insert_with(|| {
                    let form = Form::of(&events, context.format, batch.cpu().is_some());
                    let printer = context.printer(form.columns());
                    (form, printer)
                });
                left -= print(printer, form, &events, &batch, left)?;
            }
            Some(EventNews::Loss(loss)) => losses.add(&loss, &context.zone),
            Some(EventNews::Renamed(map)) => say(&format!("map {} is {} now", map.from, map.to)),
            None => {
                say(&format!("map {} is gone", events.header().map));
                break;
            }
        }
    }
    losses.tell();
    let nothing = || context.printer(Form::of(&events, context.format, false).columns());
    Ok(sheet.map_or_else(nothing, |(_, printer)| printer).finish().map(|()| None)?)
}

/// Prints a batch up to so many records; how many that were.
fn print(
    printer: &mut Printer<impl Write>,
    form: &Form,
    events: &Events,
    batch: &EventBatch,
    most: u64,
) -> Result<u64, Failure> {
    let mut shown = 0;
    for record in batch.iter() {
        if shown == most {
            break;
        }
        let written_at = events.written_at(batch, &record);
        let mut row = form.head(batch, &record, written_at);
        form.fields(events, record.bytes, &mut row);
        printer.row(row)?;
        shown += 1;
    }
    // Whoever reads a watch wants to see it now.
    printer.flush()?;
    Ok(shown)
}

/// Which columns there are.
struct Form {
    /// For people: no dates, nothing that is there once in a thousand records.
    table: bool,
    /// Of a perf buffer, whose records are padded and have a time and a CPU.
    perf: bool,
    /// Names of the record's fields; one without a name for a record that is no struct, or of
    /// which nothing is known.
    fields: Vec<String>,
    typed: bool,
}

impl Form {
    fn of(events: &Events, format: Format, perf: bool) -> Self {
        let record_type = events.header().record_type.clone();
        let record_type = record_type.and_then(|ty| Type::try_from(ty).ok());
        let typed = events.plan().is_some();
        let fields = match record_type.map(|ty| ty.kind) {
            Some(Kind::Record { fields, .. }) if typed => names(&fields),
            _ => vec![String::new()],
        };
        Self { table: format.is_table(), perf, fields, typed }
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![left("time")];
        if self.perf {
            columns.push(right("cpu"));
        }
        if self.perf && !self.table {
            columns.push(right("monotonic_ns"));
        }
        let name = |name: &String| match name.as_str() {
            "" if self.typed => left("value"),
            "" => left("record"),
            name => left(name),
        };
        columns.extend(self.fields.iter().map(name));
        if self.has_rest() {
            columns.push(left("rest"));
        }
        columns
    }

    /// Whether what is behind a record's type has a column of its own.
    fn has_rest(&self) -> bool {
        self.typed && !self.table
    }

    /// Of a record that waited for a reader it may not be known when it was written.
    fn head(
        &self,
        batch: &EventBatch,
        record: &Record<'_>,
        written_at: Option<SystemTime>,
    ) -> Vec<Cell> {
        let mut row = Vec::with_capacity(self.fields.len() + 4);
        let written_at = written_at.map(Timestamp::from);
        row.push(match &written_at {
            Some(time) if self.table => Cell::Clock(*time),
            Some(time) => Cell::Time(Some(*time)),
            None => Cell::Missing,
        });
        if self.perf {
            row.push(batch.cpu().map_or(Cell::Missing, |cpu| Cell::Number(cpu.into())));
        }
        if self.perf && !self.table {
            // Exact, as 64-bit numbers in JSON are only as text.
            row.push(record.time.map_or(Cell::Missing, |time| Cell::Text(time.to_string())));
        }
        row
    }

    fn fields(&self, events: &Events, record: &[u8], row: &mut Vec<Cell>) {
        let (value, rest) = events.decode(record);
        match value {
            Some(Json::Object(mut object)) => row.extend(
                self.fields
                    .iter()
                    .map(|name| object.remove(name).map_or(Cell::Missing, Cell::Json)),
            ),
            Some(value) => row.push(Cell::Json(value)),
            None => {
                // In a table what there is stands where the fields would.
                let bytes = if self.has_rest() { Cell::Missing } else { hex(record) };
                row.push(bytes);
                row.extend(self.fields.iter().skip(1).map(|_| Cell::Missing));
            }
        }
        if self.has_rest() {
            // The kernel pads records in perf buffers, and does not say by how much.
            let none = rest.is_empty() || self.perf && rest.len() < 8 && rest.len() < record.len();
            row.push(if none { Cell::Missing } else { hex(rest) });
        }
    }
}

/// Those of anonymous structs belong to the struct around them.
fn names(fields: &[Field]) -> Vec<String> {
    let mut all = Vec::new();
    for field in fields {
        match &field.ty.kind {
            Kind::Record { fields, .. } if field.name.is_empty() => all.extend(names(fields)),
            _ if field.name.is_empty() => {}
            _ => all.push(field.name.clone()),
        }
    }
    all
}

fn hex(bytes: &[u8]) -> Cell {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(4 + bytes.len() * 2);
    text.push_str("hex:");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Cell::Text(text)
}

/// Losses that have not been told.
#[derive(Default)]
struct Losses {
    in_kernel: u64,
    at_agent: u64,
    told_at: Option<Instant>,
}

impl Losses {
    fn add(&mut self, loss: &EventLoss, zone: &Zone) {
        if loss.count == 0 {
            let since = loss.since.as_ref().map_or_else(String::new, |since| {
                format!("what was written after {} found no room; ", zone.clock(since))
            });
            say(&format!(
                "the buffer was full before it was read: {since}the kernel does not count it"
            ));
            return;
        }
        match loss.source() {
            Source::Kernel => self.in_kernel += loss.count,
            Source::Agent | Source::Client | Source::Unspecified => self.at_agent += loss.count,
        }
        if self.told_at.is_none_or(|told_at| told_at.elapsed() >= TELL) {
            self.tell();
        }
    }

    fn tell(&mut self) {
        if self.in_kernel > 0 {
            say(&format!("{} records had no room in the kernel's buffer", self.in_kernel));
        }
        if self.at_agent > 0 {
            say(&format!("{} records came faster than they could be shown", self.at_agent));
        }
        *self = Self { told_at: Some(Instant::now()), ..Self::default() };
    }
}
