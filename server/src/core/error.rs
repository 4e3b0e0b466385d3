//! Why the agent did not do what it was asked. `rpc/status.rs` has the one match to gRPC codes.

use std::io;

use bpfgate_proto::name::{MapName, NameError, ObjectName, ProgramName};
use bpfgate_proto::value::EncodeError;

use super::{CallError, NoRoom, ReferenceProblem};
use crate::broker;
use crate::elf::ElfError;
use crate::ledger::{Exhausted, NoSeat};

/// Why the agent did not do what it was asked. Messages name the offender and, where there is
/// one, what would be right; the kernel's answer is the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name or reference that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A field of the request.
    #[error("{field}: {problem}")]
    Invalid {
        /// As in the proto file.
        field: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A map reference that leads nowhere.
    #[error("there is no map {0}")]
    NoMap(String),
    /// No such object.
    #[error("there is no object {0}")]
    NoObject(ObjectName),
    /// No such program in that object.
    #[error("there is no program {name}; {hint}")]
    NoProgram {
        /// As the caller wrote it.
        name: ProgramName,
        /// What there is.
        hint: String,
    },
    /// The kernel did not say what it counted of a program.
    #[error("could not read the statistics of program {name}")]
    ProgramStats {
        /// Its name.
        name: ProgramName,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No such link.
    #[error("there is no link {0}")]
    NoLink(u64),
    /// No such built-in.
    #[error("there is no built-in {name:?}; there are {known}")]
    NoBuiltin {
        /// As the caller wrote it.
        name: String,
        /// What there is.
        known: String,
    },
    /// Somebody has the name already.
    #[error("{what} {name} exists already")]
    NameTaken {
        /// "map", "object" or "pin".
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A key or value of the wrong length.
    #[error("{what} for map {map} has {got} bytes, it must have {want}")]
    Length {
        /// The map as the caller named it.
        map: String,
        /// "key" or "value".
        what: &'static str,
        /// Bytes given.
        got: usize,
        /// Bytes wanted.
        want: String,
    },
    /// Packed keys or values that are not as many as they should be.
    #[error("{field} for map {map}: {problem}")]
    Packed {
        /// The map as the caller named it.
        map: String,
        /// As in the proto file.
        field: &'static str,
        /// The sizes that do not agree.
        problem: String,
    },
    /// One of many entries.
    #[error("entry {index}")]
    Entry {
        /// Counted from zero, in the order of the request.
        index: u64,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A batch that stopped.
    #[error("after {applied} entries were {done}")]
    Partial {
        /// Entries that are as the caller wants them, and stay so.
        applied: u64,
        /// "written" or "removed".
        done: &'static str,
        /// Why the one behind them is not.
        source: Box<Error>,
    },
    /// A typed key or value that does not fit the schema.
    #[error("{what} does not fit map {map}: {source}")]
    Typed {
        /// The map as the caller named it.
        map: String,
        /// "key" or "value".
        what: &'static str,
        /// Which field, and why.
        source: Box<EncodeError>,
    },
    /// A typed key or value for a map of unknown types.
    #[error("map {map} has no schema for its {what}: give raw bytes")]
    NoSchema {
        /// The map as the caller named it.
        map: String,
        /// "key" or "value".
        what: &'static str,
    },
    /// Records that nobody has given a type.
    #[error("nobody says what the records of map {map} are{}", one_of(known))]
    NoRecordType {
        /// The map as the caller named it.
        map: String,
        /// The types of its object.
        known: Vec<String>,
    },
    /// What an entry was to stand for, or how that was said.
    #[error(transparent)]
    Reference(#[from] ReferenceProblem),
    /// The sum over CPUs as bytes that would be taken for one CPU's value.
    #[error(
        "the sum over the CPUs of map {map} has other bytes than a value: {field} is {what}; set \
         wide_sums and read it as Map.sum_type says, or ask for the typed value"
    )]
    WideSum {
        /// The map as the caller named it.
        map: String,
        /// The first part whose sum is larger than itself.
        field: String,
        /// What that is.
        what: &'static str,
    },
    /// The map's type lacks the operation.
    #[error("map {map} is a {map_type}, which has no {operation}; it has {has}")]
    Unsupported {
        /// The map as the caller named it.
        map: String,
        /// As bpftool names it.
        map_type: String,
        /// What was asked for.
        operation: &'static str,
        /// What there is.
        has: String,
    },
    /// No entry with that key.
    #[error("map {map} has no entry with that key")]
    NoKey {
        /// The map as the caller named it.
        map: String,
    },
    /// Nothing to take.
    #[error("map {map} is empty")]
    Empty {
        /// The map as the caller named it.
        map: String,
    },
    /// Something that a bloom filter never saw.
    #[error("map {map} certainly does not hold that value")]
    NotInFilter {
        /// The map as the caller named it.
        map: String,
    },
    /// An entry with that key, and NOEXIST.
    #[error("map {map} has an entry with that key already")]
    KeyExists {
        /// The map as the caller named it.
        map: String,
    },
    /// An array index past the end.
    #[error("index {index} is past the end of map {map}, which has {max_entries} entries")]
    OutOfRange {
        /// The map as the caller named it.
        map: String,
        /// The index.
        index: u32,
        /// How many there are.
        max_entries: u32,
    },
    /// No room for another entry.
    #[error("map {map} is full: it holds {max_entries} entries")]
    Full {
        /// The map as the caller named it.
        map: String,
        /// How many there may be.
        max_entries: u32,
    },
    /// A map that is not ours.
    #[error("map {map} is not owned by this agent and can only be read")]
    ReadOnly {
        /// The map as the caller named it.
        map: String,
    },
    /// A pin that leads to somebody else's map.
    #[error("pin {path} is one of a map that this agent does not own")]
    NotOurPin {
        /// Below the bpffs.
        path: String,
    },
    /// An event buffer that is not ours.
    #[error(
        "map {map} is not owned by this agent: to read its records is to take them from its owner"
    )]
    NotOurs {
        /// The map as the caller named it.
        map: String,
    },
    /// User space may not write it any more.
    #[error("map {map} is frozen")]
    Frozen {
        /// The map as the caller named it.
        map: String,
    },
    /// It cannot go while others use it.
    #[error("{what} {name} is in use: {by}")]
    InUse {
        /// "map" or "object".
        what: &'static str,
        /// Its name.
        name: String,
        /// By whom, and what to do.
        by: String,
    },
    /// The agent grants no more.
    #[error("the limit of {limit} {what} is reached")]
    Limit {
        /// "objects", "streams", …
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// The agent's memory that its caller may take is in use.
    #[error(transparent)]
    Memory(#[from] Exhausted),
    /// The configuration leaves no room for it.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// An uploaded file that is larger than the agent takes.
    #[error(
        "an object of {asked} bytes or more is too large, the limit is {limit} (max_object_bytes)"
    )]
    ObjectTooLarge {
        /// Bytes that came.
        asked: u64,
        /// Bytes granted.
        limit: u64,
    },
    /// A hash bucket with more than is read at a time.
    #[error(
        "a hash bucket of map {map} has {asked} bytes or more, at most {limit} are read at once"
    )]
    BucketTooLarge {
        /// Its name or reference.
        map: String,
        /// Bytes of it, at least.
        asked: u64,
        /// Bytes of the largest buffer.
        limit: u64,
    },
    /// A message would have more than one may.
    #[error("{what} would take {asked} bytes, the limit is {limit} (max_message_bytes)")]
    TooLarge {
        /// What.
        what: String,
        /// Bytes asked for, at worst.
        asked: u64,
        /// Bytes granted.
        limit: u64,
    },
    /// All seats are taken.
    #[error(transparent)]
    NoSeat(#[from] NoSeat),
    /// Between the client and the agent.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The kernel did not get done with an object.
    #[error("the object was not loaded within {seconds} s, which is the agent's load_seconds")]
    SlowLoad {
        /// How long it may take.
        seconds: u64,
    },
    /// The upload is not what its digest says.
    #[error("the object's SHA-256 is {got}, not {want} as announced")]
    Digest {
        /// Of the bytes that came.
        got: String,
        /// As announced.
        want: String,
    },
    /// A map that is to be shared differs from what the object wants.
    #[error("map {map} cannot stand in for {member}: {problem}")]
    NotShareable {
        /// The map to share.
        map: String,
        /// The object's map.
        member: String,
        /// What differs.
        problem: String,
    },
    /// A resume token of another map, another agent, or nobody's.
    #[error("resume_token is not one that this agent gave for map {map}")]
    ResumeToken {
        /// The map as the caller named it.
        map: String,
    },
    /// The kernel's own lock was taken too long.
    #[error("map {map} is busy in the kernel: try again")]
    Busy {
        /// The map as the caller named it.
        map: String,
    },
    /// The kernel refused for another reason.
    #[error("could not {attempt} map {map}")]
    Kernel {
        /// "look up an entry of", …
        attempt: &'static str,
        /// The map as the caller named it.
        map: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An object file that is none.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A privileged act failed.
    #[error(transparent)]
    Broker(#[from] broker::Error),
    /// The verifier said no, and its log is kept under that name.
    #[error("{source}")]
    Rejected {
        /// What it is called.
        log: String,
        /// What it said.
        source: Box<broker::Error>,
    },
    /// The log was read, or kept long enough.
    #[error("there is no such log: one is kept for a minute and read once")]
    NoLog,
    /// The agent is on its way out.
    #[error("the agent is stopping")]
    Stopping,
}

/// The types that could be named.
fn one_of(known: &[String]) -> String {
    match known {
        [] => ", and it belongs to no object whose types could be named".to_owned(),
        known => format!(": name a type of its object, which has {}", known.join(", ")),
    }
}

impl Error {
    /// A name that somebody has already.
    pub(super) fn map_taken(name: &MapName) -> Self {
        Self::NameTaken { what: "map", name: name.to_string() }
    }
}
