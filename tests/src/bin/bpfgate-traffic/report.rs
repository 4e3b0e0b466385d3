//! What was sent, and the arithmetic of what that is on the wire.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde::Serialize;

const ETHERNET_HEADER: u64 = 14;
/// The smallest MTU of the links this is used on. Loopback's is larger, but a datagram that fits
/// here is never cut into fragments on any of them.
const MTU: u64 = 1500;

/// What was sent, as a counter on the link sees it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `udp`, `tcp`, `icmp`, `icmpv6` or `frame`.
    pub(crate) protocol: &'static str,
    /// Packets on the link, in both directions.
    pub(crate) packets: u64,
    /// Their bytes with the Ethernet header (loopback has one too), without preamble and checksum.
    pub(crate) bytes: u64,
    /// Whether the link saw exactly that. If not, at least that: TCP chooses its segments.
    pub(crate) exact: bool,
    /// Bytes carried inside them, one way.
    pub(crate) payload_bytes: u64,
}

/// Bytes of Ethernet and IP header in front of a packet to `to`.
pub(crate) fn headers(to: IpAddr) -> u64 {
    ETHERNET_HEADER + ip_header(to)
}

/// That a packet of `transport` bytes (its own header and payload) to `to` stays whole.
pub(crate) fn ensure_unfragmented(to: IpAddr, transport: u64) -> Result<()> {
    let room = MTU - ip_header(to);
    ensure!(
        transport <= room,
        "{transport} bytes behind the IP header would be fragmented: at most {room}"
    );
    Ok(())
}

fn ip_header(to: IpAddr) -> u64 {
    match to {
        IpAddr::V4(_) => 20,
        IpAddr::V6(_) => 40,
    }
}
