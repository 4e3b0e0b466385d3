//! `bpfgate`: read, write and watch eBPF maps through an agent.
//!
//! - [`args`]: the command line as types; [`values`], [`scalar`], [`target`]: what its flags take
//! - [`context`]: the connection, and names made forgiving
//! - [`commands`]: one file a noun; a command returns rows
//! - [`render`]: rows as a table, JSON or CSV; [`yaml`]: as YAML; [`cell`]: one field of a row; [`entries`]: a map's
//!   entries, as they come
//! - [`board`]: counters over time; [`live`]: these as a table that redraws itself; [`spark`]:
//!   small bars
//! - [`complete`]: completion in shells
//! - [`top`]: the full screen
//! - [`describe`], [`human`]: types and numbers in words
//! - [`restore`]: entries read back from what was printed
//! - [`progress`], [`interrupt`]: for what takes long; [`end`]: what ends a watch
//! - [`exit`]: how it ends; [`field`]: refused fields as flags; [`mod@say`]: what people are told besides

#![forbid(unsafe_code)]

mod args;
mod board;
mod cell;
mod commands;
mod complete;
mod context;
mod describe;
mod end;
mod entries;
mod exit;
mod field;
mod human;
mod interrupt;
mod live;
mod progress;
mod render;
mod restore;
mod say;
mod scalar;
mod shown;
mod spark;
mod target;
mod top;
mod values;
mod yaml;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;

use crate::args::{Cli, Noun};
use crate::context::Context;
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    complete::answer();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match run(cli) {
        Ok(()) => Exit::Success.into(),
        Err(failure) => {
            failure.tell();
            failure.exit.into()
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(cli: Cli) -> Result<(), Failure> {
    if let Noun::Completions { shell } = cli.noun {
        return complete::print(shell);
    }
    let context = Context::connect(&cli).await?;
    commands::run(&context, cli.noun).await
}

/// Help that was asked for goes to standard output, everything else to standard error.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        say::plain(&format!("bpfgate: {}", text.strip_prefix("error: ").unwrap_or(&text)));
    }
    if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() }
}
