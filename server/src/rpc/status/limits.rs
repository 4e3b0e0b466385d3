//! Refusals by limits and deadlines.

use tonic::Code;

use super::Shape;
use crate::core::{CallError, NoRoom};
use crate::ledger::{Exhausted, NoSeat};

pub(super) fn seat_shape(NoSeat { kind, share, limit, total: _ }: &NoSeat) -> Shape {
    let shape = Shape::new(Code::ResourceExhausted, "LIMIT_REACHED").with("what", kind);
    shape.with("limit", limit).with("whose", share).with("name", kind.limit_name())
}

pub(super) fn call_shape(error: CallError) -> Shape {
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

pub(super) fn late(reason: &'static str, seconds: u64) -> Shape {
    Shape::new(Code::DeadlineExceeded, reason).with("seconds", seconds)
}

pub(super) fn memory_shape(exhausted: Exhausted) -> Shape {
    let Exhausted { share, asked, used, limit, total } = exhausted;
    let shape = Shape::new(Code::ResourceExhausted, "MEMORY_LIMIT").with("whose", share);
    shape
        .with("name", "max_memory_bytes")
        .with("asked", asked)
        .with("used", used)
        .with("limit", limit)
        .with("total", total)
}

pub(super) fn room_shape(problem: NoRoom) -> Shape {
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

/// Something larger than the agent takes or gives.
pub(super) fn too_large(what: impl ToString, asked: u64, limit: u64) -> Shape {
    let shape = Shape::new(Code::ResourceExhausted, "TOO_LARGE").with("what", what);
    shape.with("asked", asked).with("limit", limit)
}
