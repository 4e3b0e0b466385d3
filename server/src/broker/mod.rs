//! Privileged acts: the only caller of commands that make a kernel object.
//!
//! The interface is plain data in, descriptors out, so that the broker can live in a process of
//! its own. It knows no map names, owners or limits; those are `core`'s.

mod attach;
mod create;
mod holders;
mod host;
mod inventory;
mod load;
mod open;
mod output;
mod pin;
mod privileges;
mod sockets;
mod specimen;
mod stats;
mod stop;
mod target;
mod uprobe;

use std::io;

pub use attach::{Attachment, attach};
pub use create::{MapRequest, OwnBtf, create_described, create_map};
pub use holders::{Holder, Holders, holders};
pub use host::{cgroup, file, ifindex, ifname, kernel_is_before, process};
pub use inventory::{HostMap, HostPins, HostProgram, maps, pins, program, programs};
pub use load::{Loaded, LoadedProgram, PROGRAM_TYPES, load, map_request, program_type_name};
pub use open::{btf_of, map_exists, open_id, open_pin};
pub use output::Outputs;
pub use pin::{host_path, pin, remove_directory, unpin};
pub use privileges::{MissingPrivilege, missing_privileges};
pub use sockets::socket;
pub use specimen::{Specimen, specimen};
pub use stats::enable_stats;
pub use stop::Stop;
pub use target::{Rate, Target, XdpMode};

pub use crate::elf::Direction;

/// An act that failed, naming the attempt. The source is the kernel's answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel made no map.
    #[error("could not create map {name}")]
    CreateMap {
        /// The map's name within its object.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The first contents of a map, or its freeze, were refused.
    #[error("could not fill map {name}")]
    FillMap {
        /// The map's name within its object.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel did not take the object's BTF.
    #[error("could not load the object's BTF")]
    LoadBtf(#[source] io::Error),
    /// The verifier said no.
    #[error("the verifier rejects program {program}: {reason}")]
    Rejected {
        /// The C function's name.
        program: String,
        /// The log's last telling line.
        reason: String,
        /// What the verifier wrote.
        log: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel did not take the program, and not because of its instructions.
    #[error("could not load program {program}")]
    LoadProgram {
        /// The C function's name.
        program: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A map could not be opened.
    #[error("could not open {reference}")]
    OpenMap {
        /// `id:7`, `pin:a/b`.
        reference: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel does not say what it has.
    #[error("could not list the kernel's {what}")]
    List {
        /// "maps", "programs".
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pin was not made or not removed.
    #[error("could not pin or unpin {path}")]
    Pin {
        /// Below the bpffs.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Programs cannot be given perf buffers to write to.
    #[error("could not put perf buffers into map {map}")]
    OpenOutputs {
        /// The kernel's name of the map.
        map: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pin that leads elsewhere, or to something else.
    #[error("{reference} {problem}")]
    BadPin {
        /// `pin:a/b`.
        reference: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What to attach to is not there.
    #[error("there is no {what} {name}")]
    NoTarget {
        /// "interface", "tracepoint", …
        what: &'static str,
        /// As the caller wrote it.
        name: String,
    },
    /// The target's name cannot be one.
    #[error("{what} {name:?} is not valid: {rule}")]
    BadTarget {
        /// "interface", "tracepoint", …
        what: &'static str,
        /// As the caller wrote it.
        name: String,
        /// What would be right.
        rule: &'static str,
    },
    /// It is there, but cannot be had.
    #[error("could not open {what} {name}")]
    Open {
        /// "socket", "file", …
        what: &'static str,
        /// As the caller wrote it.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A program of this type goes elsewhere.
    #[error(
        "a program of type {program_type} cannot be attached to {target}; it goes to {goes_to}"
    )]
    WrongTarget {
        /// As bpftool names it.
        program_type: &'static str,
        /// What was asked for.
        target: &'static str,
        /// What would be right.
        goes_to: &'static str,
    },
    /// The kernel did not attach it.
    #[error("could not attach to {target}")]
    Attach {
        /// What was asked for.
        target: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody else is where the program was to be attached.
    #[error("could not attach to {target}: {by}")]
    Occupied {
        /// What was asked for.
        target: String,
        /// What is there, and what to do.
        by: String,
    },
    /// The kernel does not count programs' runs.
    #[error("could not turn the kernel's statistics of programs on")]
    EnableStats(#[source] io::Error),
    /// Nobody waits for it any more.
    #[error("the load was given up")]
    GivenUp,
    /// The kernel is too old, or the hardware cannot.
    #[error("{0}")]
    Incapable(String),
    /// The host lacks something that the act needs.
    #[error("{0}")]
    Host(String),
}
