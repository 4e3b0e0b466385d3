//! Known traffic: sends an exact number of packets and says what a counter on that link should
//! have seen. The demo and the end-to-end tests compare the kernel's counts with it.
//!
//! ```text
//! bpfgate-traffic udp  --to 127.0.0.1 --count 100 --payload 64
//! bpfgate-traffic tcp  --to ::1 --bytes 100000
//! bpfgate-traffic ping --to 127.0.0.1 --count 10
//! bpfgate-traffic frame --interface veth0 --hex '33:33:00:00:00:01 …'
//! bpfgate-traffic bpf-attempt
//! ```
//!
//! The first four print one line of JSON, a [`report::Report`]. `bpf-attempt` calls bpf(2) itself
//! and ends with 0 if it was refused, 3 if it was let through.

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
    let report = match command {
        Command::Udp(args) => udp::send(&args)?,
        Command::Tcp(args) => tcp::send(&args)?,
        Command::Ping(args) => ping::send(&args)?,
        Command::Frame(args) => frame::send(&args)?,
        Command::BpfAttempt => return bpf::attempt(),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(ExitCode::SUCCESS)
}
