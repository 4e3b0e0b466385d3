//! Known traffic: sends an exact number of packets and says what a counter on that link should
//! have seen. The demo and the end-to-end tests compare the kernel's counts with it.
//!
//! ```text
//! bpfgate-traffic udp  --to 127.0.0.1 --count 100 --payload 64
//! bpfgate-traffic tcp  --to ::1 --bytes 100000
//! bpfgate-traffic ping --to 127.0.0.1 --count 10
//! bpfgate-traffic frame --interface veth0 --hex '33:33:00:00:00:01 …'
//! ```
//!
//! Each prints one line of JSON, a [`report::Report`]. Two more commands call bpf(2) themselves:
//! `bpf-attempt` ends with 0 if it was refused, 3 if it was let through; `bpf-ids` lists what is
//! loaded, to see that nothing was left behind.

mod bpf;
mod frame;
mod netns;
mod ping;
mod report;
mod tcp;
mod udp;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde::Serialize;

/// Sends known traffic and prints what a counter on the link should have seen.
#[derive(Parser)]
#[command(name = "bpfgate-traffic")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// UDP datagrams to a receiver of its own.
    Udp(udp::Args),
    /// One TCP connection to a listener of its own.
    Tcp(tcp::Args),
    /// ICMP or `ICMPv6` echo requests, each answered. Needs root.
    Ping(ping::Args),
    /// A frame as given, past the whole network stack. Needs root.
    Frame(frame::Args),
    /// Calls bpf(2) directly; ends with 0 if the kernel refused, 3 if it did not.
    BpfAttempt,
    /// Ids of all programs, maps and links on this host. Needs root.
    BpfIds,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bpfgate-traffic: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Udp(args) => print(&udp::send(&args)?),
        Command::Tcp(args) => print(&tcp::send(&args)?),
        Command::Ping(args) => print(&ping::send(&args)?),
        Command::Frame(args) => print(&frame::send(&args)?),
        Command::BpfIds => print(&bpf::ids()?),
        Command::BpfAttempt => bpf::attempt(),
    }
}

fn print(result: &impl Serialize) -> Result<ExitCode> {
    println!("{}", serde_json::to_string(result)?);
    Ok(ExitCode::SUCCESS)
}
