//! What the kernel, the parser and the host answered.

use std::io;

use tonic::Code;

use super::limits::memory_shape;
use super::{MISSING_PRIVILEGE, Shape, words};
use crate::broker;
use crate::core::ReferenceProblem;
use crate::elf::ElfError;
use crate::sys::ENOTSUPP;

pub(super) fn reference_shape(problem: ReferenceProblem) -> Shape {
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

pub(super) fn broker_shape(error: broker::Error) -> Shape {
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
        broker::Error::List { what, source } => kernel_shape(&source).with("what", what),
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
        broker::Error::Occupied { target, by: _ } => {
            Shape::new(C::FailedPrecondition, "OCCUPIED").with("target", target)
        }
        broker::Error::Attach { target, source } => kernel_shape(&source).with("target", target),
        broker::Error::GivenUp => Shape::new(C::Cancelled, "GIVEN_UP"),
        broker::Error::EnableStats(source) => kernel_shape(&source),
        broker::Error::Incapable(_) => Shape::new(C::Unimplemented, "KERNEL_UNSUPPORTED"),
        broker::Error::Host(_) => Shape::new(C::FailedPrecondition, "HOST_LACKS"),
    }
}

pub(super) fn elf_shape(error: ElfError) -> Shape {
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
pub(super) fn kernel_shape(source: &io::Error) -> Shape {
    let (code, reason) = match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if words::missing().is_some() => {
            (Code::FailedPrecondition, MISSING_PRIVILEGE)
        }
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
