//! Frames as given, sent past the network stack: VLAN tags, truncated headers, any protocol number.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, netdevice::name_to_index, sendto,
    socket_with,
};

use crate::report::Report;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Interface to send on.
    #[arg(long)]
    interface: String,
    /// The frame from its destination address on, as hex; blanks and colons are skipped.
    #[arg(long, required_unless_present = "file")]
    hex: Option<String>,
    /// The same as a file of raw bytes.
    #[arg(long, conflicts_with = "hex")]
    file: Option<PathBuf>,
    /// How often to send it.
    #[arg(long, default_value_t = 1)]
    count: u32,
}

pub(crate) fn send(args: &Args) -> Result<Report> {
    let frame = match (&args.hex, &args.file) {
        (Some(hex), _) => parse_hex(hex)?,
        (None, Some(file)) => {
            std::fs::read(file).with_context(|| format!("could not read {}", file.display()))?
        }
        (None, None) => unreachable!("clap asks for one of them"),
    };

    let flags = SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)
        .context("could not open a packet socket (needs root)")?;
    let to = LinkAddress::of(&socket, &args.interface)?;
    for n in 1..=args.count {
        sendto(&socket, &frame, SendFlags::empty(), &to)
            .with_context(|| format!("could not send frame {n} on {}", args.interface))?;
    }

    let length = u64::try_from(frame.len())?;
    let packets = u64::from(args.count);
    Ok(Report {
        protocol: "frame",
        packets,
        bytes: packets * length,
        exact: true,
        payload_bytes: packets * length,
    })
}

fn parse_hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != ':')
        .map(|c| c.to_digit(16).with_context(|| format!("{c:?} is no hex digit")))
        .collect::<Result<_>>()?;
    ensure!(digits.len().is_multiple_of(2), "an odd number of hex digits");
    Ok(digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).expect("8 bits")).collect())
}

/// An interface as a packet socket's destination; rustix has no type for it.
struct LinkAddress(libc::sockaddr_ll);

impl LinkAddress {
    fn of(socket: &OwnedFd, interface: &str) -> Result<LinkAddress> {
        let index = name_to_index(socket, interface)
            .with_context(|| format!("no interface {interface}"))?;
        // The kernel takes the EtherType from here, not from the frame; `ETH_P_ALL` lets it look.
        let protocol = u16::try_from(libc::ETH_P_ALL)?.to_be();
        Ok(LinkAddress(libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET)?,
            sll_protocol: protocol,
            sll_ifindex: i32::try_from(index)?,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0; 8],
        }))
    }
}

// SAFETY: the pointer is to a whole `sockaddr_ll`, which packet sockets take as their address, and
// the length is its size; both live as long as `self`.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        let length = u32::try_from(size_of::<libc::sockaddr_ll>()).expect("a few bytes");
        f((&raw const self.0).cast(), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_with_blanks_and_colons() {
        assert_eq!(parse_hex("00:1b aA\nff").unwrap(), [0x00, 0x1b, 0xaa, 0xff]);
        assert!(parse_hex("001").unwrap_err().to_string().contains("odd"));
        assert!(parse_hex("0g").unwrap_err().to_string().contains("'g'"));
    }
}
