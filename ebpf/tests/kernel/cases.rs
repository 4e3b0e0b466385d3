//! Frames, and which protocol a program must see in each, down to every length it can be cut to.

use std::collections::BTreeMap;

use crate::bpftool::Stats;
use crate::frame::*;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) frame: Vec<u8>,
    /// From which length on which protocol is known. Rising; none below the first.
    known: Vec<(usize, u8)>,
}

impl Case {
    /// The protocol that the first `length` bytes tell.
    pub(crate) fn protocol(&self, length: usize) -> Option<u8> {
        let known = self.known.iter().rev().find(|(from, _)| *from <= length);
        known.map(|(_, protocol)| *protocol)
    }

    /// Bytes of tag that the kernel takes out of a received frame before anyone sees it.
    pub(crate) fn stripped_tag(&self) -> usize {
        let tpid = u16::from_be_bytes([self.frame[12], self.frame[13]]);
        if matches!(tpid, DOT1Q | DOT1AD) { TAG } else { 0 }
    }
}

/// Packets and bytes by protocol (`None`: no IP protocol), as a test expects them.
#[derive(Default)]
pub(crate) struct Expected(BTreeMap<Option<u8>, Stats>);

impl Expected {
    pub(crate) fn add(&mut self, protocol: Option<u8>, bytes: usize) {
        let stats = self.0.entry(protocol).or_default();
        *stats = (stats.0 + 1, stats.1 + bytes as u64);
    }

    /// With the map's keys for protocols; those without a key are left out.
    pub(crate) fn by(&self, key: impl Fn(Option<u8>) -> Option<String>) -> BTreeMap<String, Stats> {
        let keyed = self.0.iter().map(|(protocol, stats)| Some((key(*protocol)?, *stats)));
        keyed.flatten().collect()
    }
}

/// One frame of every kind. At most two tags.
pub(crate) fn cases() -> Vec<Case> {
    let case = |name, frame, known: &[(usize, u8)]| Case { name, frame, known: known.into() };
    // Where each protocol becomes known: behind the IP header, behind the first 4 bytes of an
    // extension.
    let v4 = ETHERNET + 20;
    let v6 = ETHERNET + 40;
    let body = [0; 8];

    let last = options(UDP, 0, &body);
    let authenticated = authentication(DESTINATION, &last);
    let fragments = fragment(AH, 0, &authenticated);
    let chain = options(ROUTING, 0, &options(FRAGMENT, 1, &fragments));
    let eight = (0..8).fold(body.to_vec(), |inner, depth| {
        options(if depth == 0 { TCP } else { DESTINATION }, 0, &inner)
    });
    let nine = options(DESTINATION, 0, &eight);
    let mut version_5 = ipv4(TCP, &body);
    version_5[0] = 0x55;
    let mut header_of_16 = ipv4(TCP, &body);
    header_of_16[0] = 0x44;

    vec![
        case("IPv4 TCP", ethernet(&[], IPV4, &ipv4(TCP, &body)), &[(v4, TCP)]),
        case("IPv4 UDP", ethernet(&[], IPV4, &ipv4(UDP, &body)), &[(v4, UDP)]),
        case("IPv4 ICMP", ethernet(&[], IPV4, &ipv4(ICMP, &body)), &[(v4, ICMP)]),
        case("IPv4 AH", ethernet(&[], IPV4, &ipv4(AH, &body)), &[(v4, AH)]),
        case("IPv4 protocol 255", ethernet(&[], IPV4, &ipv4(255, &body)), &[(v4, 255)]),
        case("IPv4 options", ethernet(&[], IPV4, &ipv4_with_options(TCP, &body)), &[(v4, TCP)]),
        case("IPv4 fragment", ethernet(&[], IPV4, &ipv4_fragment(UDP, &body)), &[(v4, UDP)]),
        case("IPv4 of version 5", ethernet(&[], IPV4, &version_5), &[]),
        case("IPv4 header of 16 bytes", ethernet(&[], IPV4, &header_of_16), &[]),
        case("ARP", ethernet(&[], ARP, &[0; 28]), &[]),
        case("IPv6 TCP", ethernet(&[], IPV6, &ipv6(TCP, &body)), &[(v6, TCP)]),
        case("IPv6 ICMP", ethernet(&[], IPV6, &ipv6(ICMPV6, &body)), &[(v6, ICMPV6)]),
        case("IPv6 ESP", ethernet(&[], IPV6, &ipv6(ESP, &body)), &[(v6, ESP)]),
        case(
            "IPv6 and nothing",
            ethernet(&[], IPV6, &ipv6(NO_NEXT_HEADER, &[])),
            &[(v6, NO_NEXT_HEADER)],
        ),
        case("IPv6 of version 4", ethernet(&[], IPV6, &ipv4(TCP, &[0; 40])), &[]),
        case(
            "IPv6 every extension",
            ethernet(&[], IPV6, &ipv6(HOP_BY_HOP, &chain)),
            &[
                (v6, HOP_BY_HOP),
                (v6 + 4, ROUTING),
                (v6 + 8 + 4, FRAGMENT),
                (v6 + 8 + 16 + 4, AH),
                (v6 + 8 + 16 + 8 + 4, DESTINATION),
                (v6 + 8 + 16 + 8 + 24 + 4, UDP),
            ],
        ),
        case(
            "IPv6 later fragment",
            ethernet(&[], IPV6, &ipv6(FRAGMENT, &fragment(UDP, 185, &body))),
            &[(v6, FRAGMENT), (v6 + 4, UDP)],
        ),
        case(
            // What looks like destination options is the middle of something.
            "IPv6 later fragment of an extension",
            ethernet(&[], IPV6, &ipv6(FRAGMENT, &fragment(DESTINATION, 185, &last))),
            &[(v6, FRAGMENT), (v6 + 4, DESTINATION)],
        ),
        case(
            "IPv6 long extension",
            ethernet(
                &[],
                IPV6,
                &ipv6(DESTINATION, &options(HOP_BY_HOP, 135, &options(TCP, 0, &body))),
            ),
            &[(v6, DESTINATION), (v6 + 4, HOP_BY_HOP), (v6 + 8 * 136 + 4, TCP)],
        ),
        case(
            "IPv6 eight extensions",
            ethernet(&[], IPV6, &ipv6(DESTINATION, &eight)),
            &[(v6, DESTINATION), (v6 + 7 * 8 + 4, TCP)],
        ),
        case(
            "IPv6 nine extensions",
            ethernet(&[], IPV6, &ipv6(DESTINATION, &nine)),
            &[(v6, DESTINATION)],
        ),
        case("802.1Q IPv4", ethernet(&[DOT1Q], IPV4, &ipv4(TCP, &body)), &[(v4 + TAG, TCP)]),
        case("802.1ad IPv6", ethernet(&[DOT1AD], IPV6, &ipv6(UDP, &body)), &[(v6 + TAG, UDP)]),
        case(
            "802.1ad, 802.1Q, IPv4",
            ethernet(&[DOT1AD, DOT1Q], IPV4, &ipv4(ICMP, &body)),
            &[(v4 + 2 * TAG, ICMP)],
        ),
        case(
            "802.1Q, 802.1Q, IPv6 extension",
            ethernet(&[DOT1Q, DOT1Q], IPV6, &ipv6(HOP_BY_HOP, &options(ICMPV6, 0, &body))),
            &[(v6 + 2 * TAG, HOP_BY_HOP), (v6 + 2 * TAG + 4, ICMPV6)],
        ),
        case("802.1Q ARP", ethernet(&[DOT1Q], ARP, &[0; 28]), &[]),
    ]
}

/// Frames longer than a page. A packet socket then puts only the Ethernet header into the buffer's
/// linear part, as some drivers do.
pub(crate) fn jumbo_cases() -> Vec<Case> {
    let with_payload = |mut case: Case| {
        case.frame.resize(8000, 0);
        case
    };
    cases().into_iter().map(with_payload).collect()
}
