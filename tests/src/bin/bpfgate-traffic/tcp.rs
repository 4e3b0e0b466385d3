//! TCP: one connection to a listener of its own, all bytes one way, closed by both ends.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns;
use crate::report::{Report, headers};

const TCP_HEADER: u64 = 20;
/// Three to open, at least one with data, two to close where they are merged as far as they can be.
const LEAST_PACKETS: u64 = 6;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address of the listener: one of this host's, or of the namespace below.
    #[arg(long, default_value = "127.0.0.1")]
    to: IpAddr,
    /// Bytes to send over the connection.
    #[arg(long, default_value_t = 10_000)]
    bytes: u64,
    /// Network namespace (as in `ip netns`) that the listener is in.
    #[arg(long)]
    receiver_netns: Option<String>,
}

pub(crate) fn send(args: &Args) -> Result<Report> {
    let listener = netns::within(args.receiver_netns.as_deref(), || {
        TcpListener::bind((args.to, 0)).with_context(|| format!("could not listen on {}", args.to))
    })?;
    let to = listener.local_addr()?;
    let receiver = thread::spawn(move || -> io::Result<u64> {
        let (mut connection, _) = listener.accept()?;
        connection.set_read_timeout(Some(PATIENCE))?;
        io::copy(&mut connection, &mut io::sink())
    });

    let mut sender = TcpStream::connect_timeout(&to, PATIENCE)
        .with_context(|| format!("could not connect to {to}"))?;
    io::copy(&mut io::repeat(0x55).take(args.bytes), &mut sender)
        .with_context(|| format!("could not send to {to}"))?;
    sender.flush()?;
    sender.shutdown(Shutdown::Write)?;
    // Wait for the other end's FIN: the connection is over when this returns, not some time after.
    sender.set_read_timeout(Some(PATIENCE))?;
    sender.read_to_end(&mut Vec::new())?;

    let arrived = receiver.join().expect("the receiver does not panic")?;
    ensure!(arrived == args.bytes, "{arrived} of {} bytes arrived at {to}", args.bytes);
    Ok(Report {
        protocol: "tcp",
        packets: LEAST_PACKETS,
        bytes: args.bytes + LEAST_PACKETS * (headers(args.to) + TCP_HEADER),
        exact: false,
        payload_bytes: args.bytes,
    })
}
