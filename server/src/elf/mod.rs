//! From an untrusted eBPF object file to plain data.
//!
//! The library that parses object files panics and aborts on hostile ones, so it runs in a process
//! of its own with nothing to lose: [`Parser`] starts one for each file, [`child_main`] is what it
//! runs, an [`ObjectPlan`] comes back. The agent trusts the plan no more than it trusts the file:
//! [`validate`] checks it before anybody else sees it.
//!
//! What they need to know of the [`host`] that process learns before it confines itself.
//! The file goes through [`prepare`] (what is each section for), [`rewrite`] (a copy that the library
//! can read), the library itself, then [`globals`], [`maps`] and [`programs`].

mod btf;
mod child;
mod globals;
mod host;
mod image;
mod maps;
mod parser;
mod plan;
mod prepare;
mod programs;
mod rewrite;
mod sections;
mod validate;

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ledger::Exhausted;

pub use self::child::child_main;
pub use self::parser::{CHILD_ARGUMENT, ParseLimits, Parser};
pub use self::plan::{
    AutoAttach, Direction, GlobalValue, MapPlan, ObjectPlan, ParseRequest, ProgramKind, ProgramPlan,
};
pub use self::validate::bind_maps;

/// Why there is no plan.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ElfError {
    /// The file is broken, or asks for what does not exist here.
    #[error("not a valid BPF object: {reason}")]
    Invalid {
        /// A clause about the file, "it …".
        reason: String,
    },
    /// A section's name says nothing, or something that the agent cannot do.
    #[error("program {program} is in section {section:?}, which {reason}")]
    UnsupportedSection {
        /// As the file has it.
        section: String,
        /// The first program in it.
        program: String,
        /// A clause about the section.
        reason: String,
    },
    /// A global variable that is not there or does not take the value.
    #[error("global variable {name:?}: {reason}")]
    Global {
        /// As the caller wrote it.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Sound, but this kernel lacks what it needs.
    #[error("the object does not fit this kernel: {reason}")]
    Kernel {
        /// What is missing.
        reason: String,
    },
    /// The parser gave up on it in a way that only hostile or damaged files cause.
    #[serde(skip)]
    #[error("not a valid BPF object: the parser broke on it")]
    Crashed,
    /// It needs more memory than allowed.
    #[serde(skip)]
    #[error("parsing the object takes more than {limit} bytes of memory")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// It takes more time than allowed.
    #[serde(skip)]
    #[error("parsing the object takes longer than {limit:?}")]
    TooSlow {
        /// Of the clock on the wall.
        limit: Duration,
    },
    /// Its plan needs more of the agent's memory than its caller may take.
    #[serde(skip)]
    #[error(transparent)]
    Memory(Exhausted),
    /// The parsing process could not be started or spoken to: not the file's fault.
    #[serde(skip)]
    #[error("could not run the parsing process")]
    Spawn(#[source] io::Error),
}

impl From<image::Malformed> for ElfError {
    fn from(image::Malformed(reason): image::Malformed) -> Self {
        Self::Invalid { reason }
    }
}
