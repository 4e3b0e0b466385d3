//! From the agent's errors to gRPC's: the only such match. No wildcard, so that a new error has to
//! choose its code here.
//!
//! Every status carries a `google.rpc.ErrorInfo` of domain `bpfgate` whose reason is stable;
//! refused fields are named in a `BadRequest`, the verifier's log is in a `DebugInfo`.

use std::collections::HashMap;
use std::io;

use bpfgate_proto::ERROR_DOMAIN;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::broker;
use crate::core::{CallError, Error, NoRoom, ReferenceProblem};
use crate::elf::ElfError;
use crate::ledger::{Exhausted, NoSeat};
use crate::sys::ENOTSUPP;
use crate::watch::WatchError;

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
        let message = chain(&error);
        shape(error).status(message)
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
        let cause_text = cause.to_string();
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
        Error::TooLarge { what, asked, limit } => Shape::new(C::ResourceExhausted, "TOO_LARGE")
            .with("what", what)
            .with("asked", asked)
            .with("limit", limit),
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
        Error::Stopping => Shape::new(C::Unavailable, "STOPPING"),
    }
}

fn seat_shape(NoSeat { kind, share, limit, total: _ }: &NoSeat) -> Shape {
    let shape = Shape::new(Code::ResourceExhausted, "LIMIT_REACHED").with("what", kind);
    shape.with("limit", limit).with("whose", share).with("name", kind.limit_name())
}

fn call_shape(error: CallError) -> Shape {
    use Code as C;
    match error {
        CallError::MessageTooLarge { bytes, limit } => {
            let shape = Shape::new(C::ResourceExhausted, "MESSAGE_TOO_LARGE");
            shape.with("asked", bytes).with("limit", limit).with("name", "max_message_bytes")
        }
        CallError::MessageCut { bytes } => {
            Shape::new(C::InvalidArgument, "MALFORMED_MESSAGE").with("bytes", bytes)
        }
        CallError::SlowRequest { seconds } => {
            let shape = Shape::new(C::DeadlineExceeded, "SLOW_REQUEST").with("seconds", seconds);
            shape.with("name", "request_seconds")
        }
        CallError::SlowAnswer { seconds } => {
            let shape = Shape::new(C::DeadlineExceeded, "SLOW_ANSWER").with("seconds", seconds);
            shape.with("name", "answer_seconds")
        }
        CallError::GivenUp => Shape::new(C::DeadlineExceeded, "GIVEN_UP"),
        CallError::SlowUpload { seconds } => {
            Shape::new(C::DeadlineExceeded, "UPLOAD_STALLED").with("seconds", seconds)
        }
        CallError::Silent { seconds } => {
            Shape::new(C::DeadlineExceeded, "STREAM_STALLED").with("seconds", seconds)
        }
        CallError::Unread { seconds } => {
            Shape::new(C::ResourceExhausted, "UNREAD").with("seconds", seconds)
        }
    }
}

fn late(reason: &'static str, seconds: u64) -> Shape {
    Shape::new(Code::DeadlineExceeded, reason).with("seconds", seconds)
}

fn memory_shape(exhausted: Exhausted) -> Shape {
    let Exhausted { share, asked, used, limit, total } = exhausted;
    let shape = Shape::new(Code::ResourceExhausted, "MEMORY_LIMIT").with("whose", share);
    shape
        .with("name", "max_memory_bytes")
        .with("asked", asked)
        .with("used", used)
        .with("limit", limit)
        .with("total", total)
}

fn room_shape(problem: NoRoom) -> Shape {
    use Code as C;
    match problem {
        NoRoom::TooMany { what, name, limit } => Shape::new(C::ResourceExhausted, "LIMIT_REACHED")
            .with("what", what)
            .with("name", name)
            .with("limit", limit),
        NoRoom::MapTooLarge { map, asked, limit } => Shape::new(C::ResourceExhausted, "TOO_LARGE")
            .with("map", map)
            .with("name", "max_map_bytes")
            .with("asked", asked)
            .with("limit", limit),
        NoRoom::KernelMemory { what, asked, used, limit } => {
            Shape::new(C::ResourceExhausted, "LIMIT_REACHED")
                .with("what", what)
                .with("name", "max_kernel_bytes")
                .with("asked", asked)
                .with("used", used)
                .with("limit", limit)
        }
    }
}

fn reference_shape(problem: ReferenceProblem) -> Shape {
    use Code as C;
    match problem {
        ReferenceProblem::Needed { map, map_type, what, form } => {
            let shape = Shape::new(C::FailedPrecondition, "NEEDS_REFERENCE").with("map", map);
            shape.with("type", map_type).with("what", what).with("form", form)
        }
        ReferenceProblem::WrongKind { map, what, given: _, form } => {
            let shape = Shape::new(C::InvalidArgument, "WRONG_REFERENCE").field(what);
            shape.with("map", map).with("form", form)
        }
        ReferenceProblem::Unfit { map, named, problem: _ } => {
            let shape = Shape::new(C::InvalidArgument, "UNFIT_REFERENCE").field("reference");
            shape.with("map", map).with("named", named)
        }
    }
}

fn broker_shape(error: broker::Error) -> Shape {
    use Code as C;
    match error {
        broker::Error::CreateMap { name, source } | broker::Error::FillMap { name, source } => {
            kernel_shape(&source).with("map", name)
        }
        // Whatever its number says elsewhere, here it is about the file.
        broker::Error::LoadBtf(source) => match source.raw_os_error() {
            Some(libc::EPERM | libc::ENOMEM) | None => kernel_shape(&source),
            Some(errno) => Shape::new(C::InvalidArgument, "BAD_OBJECT").with("errno", errno),
        },
        broker::Error::Rejected { program, reason: _, log, source: _ } => {
            let shape =
                Shape::new(C::InvalidArgument, "VERIFIER_REJECTED").with("program", program);
            Shape { log: Some(log), ..shape }
        }
        broker::Error::LoadProgram { program, source } => {
            kernel_shape(&source).with("program", program)
        }
        broker::Error::OpenMap { reference, source } => {
            kernel_shape(&source).with("map", reference)
        }
        broker::Error::Pin { path, source } => kernel_shape(&source).with("path", path),
        broker::Error::OpenOutputs { map, source } => kernel_shape(&source).with("map", map),
        broker::Error::BadPin { reference, problem: _ } => {
            let shape = Shape::new(C::InvalidArgument, "BAD_PIN").field("map");
            shape.with("map", reference)
        }
        broker::Error::NoTarget { what, name } => {
            Shape::new(C::NotFound, "NO_SUCH_TARGET").with("what", what).with("name", name)
        }
        broker::Error::BadTarget { what, name, rule: _ } => {
            let shape = Shape::new(C::InvalidArgument, "BAD_TARGET").field("target");
            shape.with("what", what).with("name", name)
        }
        broker::Error::Open { what, name, source } => {
            kernel_shape(&source).with("what", what).with("name", name)
        }
        broker::Error::WrongTarget { program_type, target: _, goes_to } => {
            let shape = Shape::new(C::InvalidArgument, "WRONG_TARGET").field("target");
            shape.with("program_type", program_type).with("goes_to", goes_to)
        }
        broker::Error::Attach { target, source } => kernel_shape(&source).with("target", target),
        broker::Error::GivenUp => Shape::new(C::Cancelled, "GIVEN_UP"),
        broker::Error::EnableStats(source) => kernel_shape(&source),
        broker::Error::Host(_) => Shape::new(C::FailedPrecondition, "HOST_LACKS"),
    }
}

fn elf_shape(error: ElfError) -> Shape {
    use Code as C;
    match error {
        ElfError::Invalid { .. } | ElfError::Crashed => {
            Shape::new(C::InvalidArgument, "BAD_OBJECT")
        }
        ElfError::UnsupportedSection { section, program, reason: _ } => {
            let shape = Shape::new(C::InvalidArgument, "UNSUPPORTED_SECTION");
            shape.with("section", section).with("program", program)
        }
        ElfError::Global { name, reason: _ } => {
            Shape::new(C::InvalidArgument, "BAD_GLOBAL").field("globals").with("global", name)
        }
        ElfError::Kernel { .. } => Shape::new(C::FailedPrecondition, "HOST_LACKS"),
        ElfError::TooLarge { limit } => {
            Shape::new(C::InvalidArgument, "OBJECT_TOO_COMPLEX").with("bytes", limit)
        }
        ElfError::TooSlow { limit } => {
            Shape::new(C::InvalidArgument, "OBJECT_TOO_COMPLEX").with("seconds", limit.as_secs())
        }
        ElfError::Memory(exhausted) => memory_shape(exhausted),
        ElfError::Spawn(_) => Shape::new(C::Internal, "PARSER"),
    }
}

/// What the kernel refused without anybody here knowing better.
fn kernel_shape(source: &io::Error) -> Shape {
    let (code, reason) = match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::EROFS) => {
            (Code::FailedPrecondition, "KERNEL_PERMISSION")
        }
        Some(libc::ENOENT | libc::ESRCH | libc::ENODEV | libc::ENXIO) => {
            (Code::NotFound, "KERNEL_NOT_FOUND")
        }
        Some(libc::EEXIST) => (Code::AlreadyExists, "KERNEL_EXISTS"),
        Some(libc::EINVAL | libc::E2BIG) => (Code::InvalidArgument, "KERNEL_INVALID"),
        Some(libc::ENOMEM | libc::ENOSPC | libc::EMFILE | libc::ENFILE) => {
            (Code::ResourceExhausted, "KERNEL_RESOURCES")
        }
        Some(libc::EBUSY) => (Code::FailedPrecondition, "KERNEL_BUSY"),
        Some(libc::EAGAIN) => (Code::Aborted, "KERNEL_AGAIN"),
        Some(libc::EOPNOTSUPP | ENOTSUPP | libc::ENOSYS) => {
            (Code::Unimplemented, "KERNEL_UNSUPPORTED")
        }
        _ => (Code::Internal, "KERNEL"),
    };
    let shape = Shape::new(code, reason);
    match source.raw_os_error() {
        Some(errno) => shape.with("errno", errno),
        None => shape,
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
        WatchError::TooMany { .. }
        | WatchError::UnnamedLabel { .. }
        | WatchError::NoLabelValues { .. } => {
            Shape::new(C::InvalidArgument, "BAD_SELECTOR").field("selectors")
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
