//! IP protocol numbers to the names that IANA lists: those that are seen on networks.

/// By number, ascending.
const NAMES: [(u8, &str); 44] = [
    (0, "HOPOPT"),
    (1, "ICMP"),
    (2, "IGMP"),
    (3, "GGP"),
    (4, "IPv4"),
    (5, "ST"),
    (6, "TCP"),
    (7, "CBT"),
    (8, "EGP"),
    (9, "IGP"),
    (17, "UDP"),
    (27, "RDP"),
    (29, "ISO-TP4"),
    (33, "DCCP"),
    (36, "XTP"),
    (41, "IPv6"),
    (43, "IPv6-Route"),
    (44, "IPv6-Frag"),
    (46, "RSVP"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (57, "SKIP"),
    (58, "IPv6-ICMP"),
    (59, "IPv6-NoNxt"),
    (60, "IPv6-Opts"),
    (88, "EIGRP"),
    (89, "OSPFIGP"),
    (94, "IPIP"),
    (97, "ETHERIP"),
    (98, "ENCAP"),
    (103, "PIM"),
    (108, "IPComp"),
    (112, "VRRP"),
    (115, "L2TP"),
    (124, "ISIS over IPv4"),
    (132, "SCTP"),
    (133, "FC"),
    (135, "Mobility Header"),
    (136, "UDPLite"),
    (137, "MPLS-in-IP"),
    (139, "HIP"),
    (142, "ROHC"),
    (143, "Ethernet"),
];

/// A protocol's name.
pub(super) fn name(number: u64) -> Option<&'static str> {
    let number = u8::try_from(number).ok()?;
    let at = NAMES.binary_search_by_key(&number, |(known, _)| *known).ok()?;
    Some(NAMES[at].1)
}

/// The protocol of a name, whatever its case: few write them as IANA does.
pub(super) fn number(name: &str) -> Option<u64> {
    let known = NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name))?;
    Some(known.0.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(NAMES.is_sorted_by_key(|(number, _)| *number));
        for (number, expected) in NAMES {
            assert_eq!(name(number.into()), Some(expected));
            assert_eq!(super::number(&expected.to_lowercase()), Some(number.into()));
        }
        assert_eq!((name(255), name(256), super::number("")), (None, None, None));
    }
}
