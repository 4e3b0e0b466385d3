//! From the agent's errors to gRPC's: the only such match. No wildcard, so that a new error has to
//! choose its code here.
//!
//! Every status carries a `google.rpc.ErrorInfo` of domain `bpfgate` whose reason is stable;
//! refused fields are named in a `BadRequest`, the verifier's log is in a `DebugInfo`.

mod kernel;
mod limits;
mod words;

use std::collections::HashMap;
use std::io;

use bpfgate_proto::ERROR_DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use self::kernel::{broker_shape, elf_shape, kernel_shape, reference_shape};
use self::limits::{call_shape, late, memory_shape, room_shape, seat_shape, too_large};
use crate::core::Error;
use crate::ledger::Exhausted;
use crate::watch::WatchError;

/// The kernel refused the agent, which lacks a capability.
const MISSING_PRIVILEGE: &str = "MISSING_PRIVILEGE";

/// Trailers are headers, and clients take 8 KiB of them at least: what is left for a log.
const LOG_BYTES: usize = 4096;

/// What a client sees of an error.
struct Shape {
    code: Code,
    reason: &'static str,
    /// The field that was wrong.
    field: Option<&'static str>,
    metadata: Vec<(&'static str, String)>,
    log: Option<String>,
}

impl Shape {
    fn new(code: Code, reason: &'static str) -> Self {
        Self { code, reason, field: None, metadata: Vec::new(), log: None }
    }

    fn field(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    #[allow(clippy::needless_pass_by_value, reason = "callers hand over what they took apart")]
    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.metadata.push((name, value.to_string()));
        self
    }

    fn status(self, message: String) -> Status {
        let metadata: HashMap<String, String> =
            self.metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(self.reason, ERROR_DOMAIN, metadata);
        if let Some(field) = self.field {
            details.add_bad_request_violation(field, message.clone());
        }
        if self.code == Code::FailedPrecondition {
            details.add_precondition_failure_violation(self.reason, "bpfgate", message.clone());
        }
        if let Some(log) = self.log {
            details.set_debug_info(Vec::new(), tail(&log, LOG_BYTES));
        }
        Status::with_error_details(self.code, message, details)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut message = chain(&error);
        let shape = shape(error);
        if shape.reason == MISSING_PRIVILEGE
            && let Some(missing) = words::missing()
        {
            message = format!("{message}; {missing}");
        }
        shape.status(message)
    }
}

impl From<WatchError> for Status {
    fn from(error: WatchError) -> Self {
        let message = chain(&error);
        watch_shape(&error).status(message)
    }
}

/// A field of a request that is wrong before the agent's core has seen it.
pub(super) fn invalid(field: &'static str, problem: impl Into<String>) -> Status {
    Error::Invalid { field, problem: problem.into() }.into()
}

/// An error and its sources in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // A transparent error repeats its source's words.
        let cause_text =
            cause.downcast_ref::<io::Error>().map_or_else(|| cause.to_string(), words::of_kernel);
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn shape(error: Error) -> Shape {
    use Code as C;
    match error {
        Error::Name(_) => Shape::new(C::InvalidArgument, "BAD_NAME").field("name"),
        Error::Invalid { field, problem: _ } => {
            Shape::new(C::InvalidArgument, "BAD_FIELD").field(field)
        }
        Error::NoMap(map) => Shape::new(C::NotFound, "NO_SUCH_MAP").with("map", map),
        Error::NoObject(name) => Shape::new(C::NotFound, "NO_SUCH_OBJECT").with("object", name),
        Error::NoProgram { name, hint: _ } => {
            Shape::new(C::NotFound, "NO_SUCH_PROGRAM").with("program", name)
        }
        Error::ProgramStats { name, source } => kernel_shape(&source).with("program", name),
        Error::NoLink(id) => Shape::new(C::NotFound, "NO_SUCH_LINK").with("link", id),
        Error::NoBuiltin { name, known: _ } => {
            Shape::new(C::NotFound, "NO_SUCH_BUILTIN").with("builtin", name)
        }
        Error::NameTaken { what, name } => {
            Shape::new(C::AlreadyExists, "NAME_TAKEN").with(what, name)
        }
        Error::Length { map, what, got, want } => {
            let reason = if what == "key" { "KEY_LENGTH" } else { "VALUE_LENGTH" };
            let shape = Shape::new(C::InvalidArgument, reason).field(what);
            shape.with("map", map).with("got", got).with("want", want)
        }
        Error::Packed { map, field, problem: _ } => {
            Shape::new(C::InvalidArgument, "PACKED_LENGTH").field(field).with("map", map)
        }
        Error::Entry { index, source } => shape(*source).with("entry", index),
        Error::Partial { applied, done: _, source } => shape(*source).with("applied", applied),
        Error::Typed { map, what, source } => Shape::new(C::InvalidArgument, "BAD_TYPED_VALUE")
            .field(what)
            .with("map", map)
            .with("path", source.path()),
        Error::NoSchema { map, what: _ } | Error::NoRecordType { map, known: _ } => {
            Shape::new(C::FailedPrecondition, "NO_SCHEMA").with("map", map)
        }
        Error::Reference(problem) => reference_shape(problem),
        Error::WideSum { map, field, what: _ } => {
            Shape::new(C::FailedPrecondition, "WIDE_SUM").with("map", map).with("field", field)
        }
        Error::Unsupported { map, map_type, operation, has } => {
            let shape = Shape::new(C::Unimplemented, "UNSUPPORTED_OPERATION").with("map", map);
            shape.with("type", map_type).with("operation", operation).with("has", has)
        }
        Error::NoKey { map } => Shape::new(C::NotFound, "NO_SUCH_KEY").with("map", map),
        Error::Empty { map } => Shape::new(C::NotFound, "EMPTY").with("map", map),
        Error::NotInFilter { map } => Shape::new(C::NotFound, "NOT_IN_FILTER").with("map", map),
        Error::KeyExists { map } => Shape::new(C::AlreadyExists, "KEY_EXISTS").with("map", map),
        Error::OutOfRange { map, index, max_entries } => Shape::new(C::OutOfRange, "OUT_OF_RANGE")
            .with("map", map)
            .with("index", index)
            .with("max_entries", max_entries),
        Error::Full { map, max_entries } => Shape::new(C::ResourceExhausted, "MAP_FULL")
            .with("map", map)
            .with("max_entries", max_entries),
        Error::ReadOnly { map } => Shape::new(C::PermissionDenied, "READ_ONLY").with("map", map),
        Error::NotOurPin { path } => {
            Shape::new(C::FailedPrecondition, "NOT_OUR_PIN").with("path", path)
        }
        Error::NotOurs { map } => Shape::new(C::FailedPrecondition, "READ_ONLY").with("map", map),
        Error::Frozen { map } => Shape::new(C::FailedPrecondition, "FROZEN").with("map", map),
        Error::InUse { what, name, by: _ } => {
            Shape::new(C::FailedPrecondition, "IN_USE").with(what, name)
        }
        Error::Limit { what, limit } => Shape::new(C::ResourceExhausted, "LIMIT_REACHED")
            .with("what", what)
            .with("limit", limit),
        Error::NoRoom(problem) => room_shape(problem),
        Error::Memory(exhausted) => memory_shape(exhausted),
        Error::TooLarge { what, asked, limit } => too_large(what, asked, limit),
        Error::ObjectTooLarge { asked, limit } => too_large("the object", asked, limit),
        Error::BucketTooLarge { map, asked, limit } => {
            too_large("a hash bucket", asked, limit).with("map", map)
        }
        Error::NoSeat(no_seat) => seat_shape(&no_seat),
        Error::Call(error) => call_shape(error),
        Error::SlowLoad { seconds } => late("LOAD_TOO_SLOW", seconds),
        Error::Digest { got, want } => {
            Shape::new(C::FailedPrecondition, "DIGEST_MISMATCH").with("got", got).with("want", want)
        }
        Error::NotShareable { map, member, problem: _ } => {
            let shape = Shape::new(C::FailedPrecondition, "NOT_SHAREABLE");
            shape.with("map", map).with("member", member)
        }
        Error::ResumeToken { map } => Shape::new(C::InvalidArgument, "BAD_RESUME_TOKEN")
            .field("resume_token")
            .with("map", map),
        Error::Busy { map } => Shape::new(C::Aborted, "BUSY").with("map", map),
        Error::Kernel { attempt: _, map, source } => kernel_shape(&source).with("map", map),
        Error::Elf(error) => elf_shape(error),
        Error::Broker(error) => broker_shape(error),
        Error::Rejected { log, source } => broker_shape(*source).with("log", log),
        Error::NoLog => Shape::new(C::NotFound, "NO_SUCH_LOG"),
        Error::Stopping => Shape::new(C::Unavailable, "STOPPING"),
    }
}

fn watch_shape(error: &WatchError) -> Shape {
    use Code as C;
    match error {
        WatchError::NoSelector => Shape::new(C::InvalidArgument, "NO_SELECTOR").field("selectors"),
        WatchError::Interval { .. } => {
            Shape::new(C::InvalidArgument, "BAD_INTERVAL").field("interval")
        }
        WatchError::ZeroHeartbeat => {
            Shape::new(C::InvalidArgument, "BAD_HEARTBEAT").field("heartbeat")
        }
        WatchError::TooMany { .. } | WatchError::UnnamedLabel { .. } => {
            Shape::new(C::InvalidArgument, "BAD_SELECTOR").field("selectors")
        }
        WatchError::BadCondition { map, .. } => {
            Shape::new(C::InvalidArgument, "BAD_SELECTOR").field("selectors").with("map", map)
        }
        WatchError::NoCounters { map, .. } => {
            Shape::new(C::Unimplemented, "NO_COUNTERS").with("map", map)
        }
        WatchError::NoSuchField { map, .. } => {
            Shape::new(C::InvalidArgument, "NO_SUCH_FIELD").field("selectors").with("map", map)
        }
        WatchError::NoSuchLabel { map, .. } => {
            Shape::new(C::InvalidArgument, "NO_SUCH_LABEL").field("selectors").with("map", map)
        }
        WatchError::TooManyWatches { limit } => Shape::new(C::ResourceExhausted, "LIMIT_REACHED")
            .with("what", "watches")
            .with("limit", limit),
        WatchError::Memory(Exhausted { share, asked, used, limit, total }) => {
            Shape::new(C::ResourceExhausted, "MEMORY_LIMIT")
                .with("share", share)
                .with("asked", asked)
                .with("used", used)
                .with("limit", limit)
                .with("max_memory_bytes", total)
        }
        WatchError::UnnamedResolution => {
            Shape::new(C::InvalidArgument, "BAD_RESOLUTION").field("resolve")
        }
        WatchError::Stopping => Shape::new(C::Unavailable, "STOPPING"),
    }
}

/// The last whole lines that fit: a verifier's reason stands at the end.
fn tail(log: &str, most: usize) -> String {
    if log.len() <= most {
        return log.to_owned();
    }
    let mut from = log.len() - most;
    while !log.is_char_boundary(from) {
        from += 1;
    }
    let from = log[from..].find('\n').map_or(from, |line| from + line + 1);
    format!("… ({from} bytes before this)\n{}", &log[from..])
}

#[cfg(test)]
mod tests;
