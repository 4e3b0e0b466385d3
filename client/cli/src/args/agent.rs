//! `bpfgate agent`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Show the agent's version, host, limits and built-in programs
    Show,
    /// Show who the agent takes you for
    Whoami,
}
