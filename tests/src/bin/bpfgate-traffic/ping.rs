//! ICMP echo: requests from a raw socket, each waited for, so that request and reply both count.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};
use rustix::net::{recv, sendto, socket_with};

use crate::report::{Report, ensure_unfragmented, headers};

const ECHO_HEADER: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Who answers.
    #[arg(long, default_value = "127.0.0.1")]
    to: IpAddr,
    /// Requests to send; as many replies come back.
    #[arg(long, default_value_t = 1)]
    count: u16,
    /// Bytes in each, behind the ICMP header.
    #[arg(long, default_value_t = 56)]
    payload: u16,
}

pub(crate) fn send(args: &Args) -> Result<Report> {
    let payload = u64::from(args.payload);
    ensure_unfragmented(args.to, ECHO_HEADER + payload)?;

    let socket = open(args.to).context("could not open a raw ICMP socket (needs root)")?;
    // The kernel takes no port for a raw socket.
    let to = SocketAddr::new(args.to, 0);
    for sequence in 0..args.count {
        let echo = Echo { identifier: identifier(), sequence };
        sendto(&socket, &echo.request(args.to, args.payload), SendFlags::empty(), &to)
            .with_context(|| format!("could not send echo request {sequence} to {}", args.to))?;
        wait_for_reply(&socket, args.to, &echo)?;
    }

    let packets = 2 * u64::from(args.count);
    Ok(Report {
        protocol: if args.to.is_ipv4() { "icmp" } else { "icmpv6" },
        packets,
        bytes: packets * (headers(args.to) + ECHO_HEADER + payload),
        exact: true,
        payload_bytes: u64::from(args.count) * payload,
    })
}

fn open(to: IpAddr) -> rustix::io::Result<OwnedFd> {
    let (family, protocol) = match to {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

/// A raw socket sees every ICMP packet of the namespace, our own requests on loopback among them:
/// skip what is not the reply.
fn wait_for_reply(socket: impl AsFd, to: IpAddr, echo: &Echo) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut packet = [0; 2048];
    while Instant::now() < deadline {
        let (_, length) = recv(&socket, &mut packet, RecvFlags::empty())
            .with_context(|| format!("no reply from {to} to echo request {}", echo.sequence))?;
        if echo.is_answered_by(to, &packet[..length]) {
            return Ok(());
        }
    }
    bail!("no reply from {to} to echo request {}, only other ICMP packets", echo.sequence)
}

/// One request and its reply.
struct Echo {
    identifier: u16,
    sequence: u16,
}

impl Echo {
    fn request(&self, to: IpAddr, payload: u16) -> Vec<u8> {
        let kind = if to.is_ipv4() { 8 } else { 128 };
        let mut packet = vec![kind, 0, 0, 0];
        packet.extend(self.identifier.to_be_bytes());
        packet.extend(self.sequence.to_be_bytes());
        packet.resize(packet.len() + usize::from(payload), 0x55);
        // The kernel fills in ICMPv6's checksum, which covers addresses we have not chosen.
        if to.is_ipv4() {
            let sum = checksum(&packet);
            packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        packet
    }

    fn is_answered_by(&self, to: IpAddr, received: &[u8]) -> bool {
        // Only raw IPv4 sockets hand out the IP header.
        let (kind, icmp) = match to {
            IpAddr::V4(_) => {
                let header = received.first().map_or(0, |byte| usize::from(byte & 0x0f) * 4);
                (0, received.get(header..).unwrap_or_default())
            }
            IpAddr::V6(_) => (129, received),
        };
        let [id_high, id_low] = self.identifier.to_be_bytes();
        let [sequence_high, sequence_low] = self.sequence.to_be_bytes();
        icmp.len() >= 8
            && icmp[..2] == [kind, 0]
            && icmp[4..8] == [id_high, id_low, sequence_high, sequence_low]
    }
}

/// Ours among other pings on the same host.
fn identifier() -> u16 {
    let [.., high, low] = std::process::id().to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_packet_with_its_checksum_is_zero() {
        let echo = Echo { identifier: 0x1234, sequence: 7 };
        for payload in [0, 1, 56, 57] {
            let packet = echo.request("127.0.0.1".parse().unwrap(), payload);
            assert_eq!(checksum(&packet), 0, "payload of {payload} bytes");
        }
    }

    #[test]
    fn a_request_is_not_taken_for_its_reply() {
        let to = "::1".parse().unwrap();
        let echo = Echo { identifier: 1, sequence: 2 };
        let mut packet = echo.request(to, 8);
        assert!(!echo.is_answered_by(to, &packet));
        packet[0] = 129;
        assert!(echo.is_answered_by(to, &packet));
        assert!(!echo.is_answered_by(to, &packet[..7]));
    }
}
