//! Ethernet frames by hand. Payloads are zeros and checksums wrong: no program looks at them.

pub(crate) const ARP: u16 = 0x0806;
pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const DOT1Q: u16 = 0x8100;
pub(crate) const DOT1AD: u16 = 0x88a8;

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const ESP: u8 = 50;
pub(crate) const AH: u8 = 51;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const NO_NEXT_HEADER: u8 = 59;
pub(crate) const DESTINATION: u8 = 60;

/// Length of an Ethernet header, and of a tag that comes behind it.
pub(crate) const ETHERNET: usize = 14;
pub(crate) const TAG: usize = 4;

/// A frame from nobody to nobody, so that no host answers it. `tags` are TPIDs, outermost first.
pub(crate) fn ethernet(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 0xbb, 2, 0, 0, 0, 0, 0xaa];
    for (vlan, tpid) in (100u16..).zip(tags) {
        frame.extend(tpid.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 header of 20 bytes before the payload.
pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("fits a packet");
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, protocol, 0, 0]);
    packet.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend(payload);
    packet
}

/// An IPv4 header with options, 24 bytes.
pub(crate) fn ipv4_with_options(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(protocol, &[&[1; 4], payload].concat());
    packet[0] = 0x46;
    packet
}

/// An IPv4 fragment that is not the first.
pub(crate) fn ipv4_fragment(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = ipv4(protocol, payload);
    packet[6..8].copy_from_slice(&185u16.to_be_bytes());
    packet
}

/// An IPv6 header of 40 bytes before the payload.
pub(crate) fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
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

/// A hop-by-hop, routing or destination options header of 8 bytes, and 8 for each `extra`.
pub(crate) fn options(next: u8, extra: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 8 + 8 * usize::from(extra)];
    header[..2].copy_from_slice(&[next, extra]);
    header.extend(payload);
    header
}

/// A fragment header, 8 bytes; `offset` in units of 8 bytes.
pub(crate) fn fragment(next: u8, offset: u16, payload: &[u8]) -> Vec<u8> {
    let more = 1;
    let mut header = vec![next, 0];
    header.extend((offset << 3 | more).to_be_bytes());
    header.extend([0, 0, 0, 7]);
    header.extend(payload);
    header
}

/// An authentication header of 24 bytes, whose length field counts in 4 bytes and is 2 less.
pub(crate) fn authentication(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 24];
    header[..2].copy_from_slice(&[next, 4]);
    header.extend(payload);
    header
}
