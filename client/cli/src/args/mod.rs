//! The command line as types. Whatever is accepted here can be carried out or refused by the
//! agent; nothing is parsed again further in.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts")]

mod agent;
mod link;
mod map;
mod object;
mod program;
mod top;
mod watch;

use std::time::Duration;

use bpfgate_client::{DEFAULT_ENDPOINT, Endpoint};
use clap::{Parser, Subcommand};

use crate::complete::Shell;
use crate::exit::{self, Failure};
use crate::render::Format;
use crate::values::duration;

pub(crate) use agent::AgentCommand;
pub(crate) use link::LinkCommand;
pub(crate) use map::{
    CreateArgs, DumpArgs, FieldArgs, LookupArgs, MapCommand, MapsArg, RestoreArgs, ShownArgs,
    UpdateArgs,
};
pub(crate) use object::{LoadArgs, ObjectCommand};
pub(crate) use program::ProgramCommand;
pub(crate) use top::TopArgs;
pub(crate) use watch::{CountersArgs, EventsArgs, From, WatchCommand};

/// Read, write and watch eBPF maps through a bpfgate agent, without a capability.
#[derive(Debug, Parser)]
#[command(name = "bpfgate", version, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where the agent listens: unix:PATH or http://HOST:PORT [env: BPFGATE_ENDPOINT] [default:
    /// unix:/run/bpfgate/bpfgate.sock]
    // Not clap's `env`, which has every usage line name what the environment gives.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) endpoint: Option<Endpoint>,
    /// How to print; wide is a table with more columns; in JSON 64-bit numbers out of maps are strings
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    #[arg(value_name = "FORMAT", help_heading = "Global options")]
    pub(crate) output: Format,
    /// How long to wait for an answer: 500ms, 10s, 2m
    #[arg(long, global = true, default_value = "10s", value_parser = duration)]
    #[arg(value_name = "DURATION", help_heading = "Global options")]
    pub(crate) timeout: Duration,
    /// Leave out the line of headings in tables and CSV
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) no_headers: bool,
    /// Times in tables in UTC, as other formats have them, not in the zone of this host or TZ
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) utc: bool,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

impl Cli {
    /// From the command line, or else the environment.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Failure> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let set = std::env::var("BPFGATE_ENDPOINT").ok().filter(|set| !set.is_empty());
        let endpoint = set.as_deref().unwrap_or(DEFAULT_ENDPOINT).parse();
        endpoint
            .map_err(|error| Failure::new(exit::Exit::Usage, format!("BPFGATE_ENDPOINT: {error}")))
    }
}

const COMPLETIONS_HELP: &str = "\
For the shell you are in:
  source <(bpfgate completions bash)
  source <(bpfgate completions zsh)
  bpfgate completions fish | source
and the same line in ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish for every one to come.";

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Maps and their entries
    #[command(subcommand)]
    Map(MapCommand),
    /// Loaded ELF files: their programs and maps
    #[command(subcommand)]
    Object(ObjectCommand),
    /// Programs in the kernel: the agent's and others'
    #[command(subcommand)]
    Program(ProgramCommand),
    /// Where programs are attached
    #[command(subcommand)]
    Link(LinkCommand),
    /// Numbers in maps as they change, records as they are written
    #[command(subcommand)]
    Watch(WatchCommand),
    /// Maps, programs, links and the fastest counters on a full screen
    Top(TopArgs),
    /// The agent, and who you are to it
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Print what a shell needs to complete names of maps, objects and links
    #[command(after_help = COMPLETIONS_HELP)]
    Completions { shell: Shell },
}
