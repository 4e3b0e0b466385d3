//! bpfgated: load the configuration, start the agent, wait for the signal, drain with a bound.

use std::env;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use bpfgate_server::agent::Agent;
use bpfgate_server::config::{self, Args, Command, Config};
use bpfgate_server::{elf, sys};
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // The same file, started again to parse an object that nobody trusts.
    if env::args_os().nth(1).is_some_and(|arg| arg == elf::CHILD_ARGUMENT) {
        return elf::child_main();
    }
    sys::configure_heap();
    let args = Args::parse();
    if let Some(Command::Config) = args.command {
        return print(&config::sample());
    }
    init_log();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bpfgated: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads may stop reading.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(config));
    // Blocking calls that the drain did not wait for end with the process.
    runtime.shutdown_background();
    served
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let agent = Agent::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    agent.stop().await
}

fn init_log() {
    let filter = EnvFilter::try_from_env("BPFGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
}
