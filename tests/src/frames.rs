//! Ethernet frames by hand. Payloads are zeros and checksums wrong: no counter looks at them.

/// ARP's number in the Ethernet header.
pub const ARP: u16 = 0x0806;
/// IPv4's number there.
pub const IPV4: u16 = 0x0800;
/// IPv6's number there.
pub const IPV6: u16 = 0x86dd;
/// The tag of a VLAN.
pub const DOT1Q: u16 = 0x8100;
/// The outer tag of two.
pub const DOT1AD: u16 = 0x88a8;

/// The IP protocol of the options that every hop looks at.
pub const HOP_BY_HOP: u8 = 0;
/// The IP protocol ICMP.
pub const ICMP: u8 = 1;
/// The IP protocol TCP.
pub const TCP: u8 = 6;
/// The IP protocol UDP.
pub const UDP: u8 = 17;
/// The IP protocol `ICMPv6`.
pub const ICMPV6: u8 = 58;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of a tag that comes behind it.
pub const TAG: usize = 4;

/// A frame from nobody to nobody, so that no host answers it. `tags` are outermost first.
pub fn ethernet(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 0xbb, 2, 0, 0, 0, 0, 0xaa];
    for (vlan, tpid) in (100_u16..).zip(tags) {
        frame.extend(tpid.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 header of 20 bytes, and that many bytes behind it.
pub fn ipv4(protocol: u8, payload: usize) -> Vec<u8> {
    let length = u16::try_from(20 + payload).expect("fits a packet");
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    packet.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    packet.resize(20 + payload, 0);
    packet
}

/// An IPv6 header of 40 bytes, and the payload behind it.
pub fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("fits a packet");
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    for host in [1, 2] {
        packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend(payload);
    packet
}

/// As the `frame` command of `bpfgate-traffic` takes it.
pub fn hex(frame: &[u8]) -> String {
    use std::fmt::Write as _;
    frame.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
