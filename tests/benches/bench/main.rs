//! `make bench`: the performance contract, measured.
//!
//! Every bar that is a ratio is taken in one run on one machine, the two sides by turns in several
//! rounds, so that whatever else the machine does hits both. Prints a table and writes
//! `bench/report.json` into the target directory.
//!
//! - [`lookup`]: one entry at a time, beside a bare tonic server ([`echo`])
//! - [`iterate`]: a whole map, beside the raw system call and bpftool
//! - [`codec`]: bytes to JSON, and a whole map as JSON beside bpftool
//! - [`update`]: many entries into a map, beside the raw system call
//! - [`watch`]: many watchers of one map, and ([`shared`]) what they cost beside one;
//!   of a large map alone ([`snapshot`]): how soon it is there and what it takes
//! - [`events`]: records of a ring buffer, beside a reader that has it to itself
//! - [`memory`]: what an idle agent and idle watchers take
//!
//! `make bench ARGS='-- lookup watch'` measures these groups only.

#![forbid(unsafe_code)]

mod agent;
mod codec;
mod echo;
mod events;
mod iterate;
mod lookup;
mod memory;
mod process;
mod report;
mod rounds;
mod shared;
mod snapshot;
mod update;
mod watch;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use report::Report;

const GROUPS: [&str; 7] = ["memory", "lookup", "iterate", "codec", "update", "watch", "events"];

fn main() -> ExitCode {
    let done = match env::args_os().nth(1) {
        // The same file, started again as the other side of a comparison.
        Some(role) if role == echo::ROLE => echo::main(),
        _ => measure(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the agent needs root: run `make bench`");
    }
    // cargo says --bench.
    let groups: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(unknown) = groups.iter().find(|group| !GROUPS.contains(&group.as_str())) {
        bail!("there is no group {unknown:?}: {}", GROUPS.join(", "));
    }
    let wanted = |group: &str| groups.is_empty() || groups.iter().any(|wanted| wanted == group);

    let runtime = tokio::runtime::Runtime::new()?;
    let mut report = Report::default();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // However it ends, what was started ends with it.
        tokio::select! {
            measured = run(&mut report, wanted) => measured,
            _ = terminate.recv() => bail!("terminated"),
            _ = interrupt.recv() => bail!("interrupted"),
        }
    })?;
    report.print();
    // target/release/deps/bench-…
    let executable = env::current_exe()?;
    let target = executable.ancestors().nth(3).unwrap_or(Path::new("target"));
    report.write(&target.join("bench/report.json"))
}

async fn run(report: &mut Report, wanted: impl Fn(&str) -> bool) -> Result<()> {
    if wanted("memory") {
        memory::measure(report).await.context("memory")?;
    }
    if wanted("lookup") {
        lookup::measure(report).await.context("lookup")?;
    }
    if wanted("iterate") {
        iterate::measure(report).await.context("iterate")?;
    }
    if wanted("codec") {
        codec::measure(report).await.context("codec")?;
    }
    if wanted("update") {
        update::measure(report).await.context("update")?;
    }
    if wanted("watch") {
        watch::measure(report).await.context("watch")?;
        snapshot::measure(report).await.context("snapshot")?;
    }
    if wanted("events") {
        events::measure(report).await.context("events")?;
    }
    Ok(())
}
