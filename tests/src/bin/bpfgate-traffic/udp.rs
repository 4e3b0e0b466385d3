//! UDP: a receiver of its own, so that no ICMP "port unreachable" joins the count, and each
//! datagram taken from it before the next one leaves, so that none is lost on the way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns;
use crate::report::{Report, ensure_unfragmented, headers};

const UDP_HEADER: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address of the receiver: one of this host's, or of the namespace below.
    #[arg(long, default_value = "127.0.0.1")]
    to: IpAddr,
    /// The receiver's port; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The sender's address; the route's if not given.
    #[arg(long)]
    from: Option<IpAddr>,
    /// Datagrams to send.
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Bytes in each, behind the UDP header.
    #[arg(long, default_value_t = 64)]
    payload: u16,
    /// Pause between two, in milliseconds.
    #[arg(long, default_value_t = 0)]
    every_ms: u64,
    /// Network namespace (as in `ip netns`) that the receiver is in.
    #[arg(long)]
    receiver_netns: Option<String>,
}

pub(crate) fn send(args: &Args) -> Result<Report> {
    let payload = u64::from(args.payload);
    ensure_unfragmented(args.to, UDP_HEADER + payload)?;

    let receiver = netns::within(args.receiver_netns.as_deref(), || {
        UdpSocket::bind((args.to, args.port))
            .with_context(|| format!("could not receive on {}", args.to))
    })?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let to = receiver.local_addr()?;
    let from = args.from.unwrap_or(unspecified(args.to));
    let sender = UdpSocket::bind((from, 0)).with_context(|| format!("could not bind {from}"))?;
    sender.connect(to).with_context(|| format!("no way to {to}"))?;

    let datagram = vec![0x55; usize::from(args.payload)];
    let mut buffer = vec![0; datagram.len() + 1];
    for n in 1..=args.count {
        sender.send(&datagram).with_context(|| format!("could not send datagram {n} to {to}"))?;
        let length = receiver
            .recv(&mut buffer)
            .with_context(|| format!("datagram {n} did not arrive at {to}"))?;
        ensure!(length == datagram.len(), "datagram {n} arrived with {length} bytes");
        if args.every_ms > 0 && n < args.count {
            thread::sleep(Duration::from_millis(args.every_ms));
        }
    }

    let packets = u64::from(args.count);
    Ok(Report {
        protocol: "udp",
        packets,
        bytes: packets * (headers(args.to) + UDP_HEADER + payload),
        exact: true,
        payload_bytes: packets * payload,
    })
}

fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
