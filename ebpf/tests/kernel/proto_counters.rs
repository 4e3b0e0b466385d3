//! `proto-counters`: each frame once, under its protocol, with its bytes.

use std::net::UdpSocket;

use crate::bpftool::Object;
use crate::cases::{Expected, cases, jumbo_cases};
use crate::frame::{
    DESTINATION, DOT1AD, DOT1Q, ETHERNET, IPV4, IPV6, TAG, TCP, UDP, ethernet, ipv4, ipv6, options,
};
use crate::sandbox::{self, Veth, eventually};
use crate::sys::{self, PacketSocket};

const LOOPBACK: u32 = 1;
const PROGRAM: &str = "count_protocols";

/// The keys in bpftool's words; frames without a protocol are not counted.
fn key(protocol: Option<u8>) -> Option<String> {
    protocol.map(|protocol| protocol.to_string())
}

fn filter(object: &Object, ifindex: u32) -> PacketSocket {
    let program = sys::open_pin(&object.program_path(PROGRAM)).expect("the pinned program");
    PacketSocket::filter(ifindex, &program).expect("a packet socket with the program")
}

/// Both maps must say the same.
fn expect(object: &Object, what: &str, expected: &Expected) {
    let expected = expected.by(key);
    eventually(what, || object.stats("stats"), &expected);
    let bytes = object.numbers("by_proto").into_iter();
    let bytes: Vec<_> = bytes.map(|(protocol, bytes)| (protocol.to_string(), bytes)).collect();
    let mut expected: Vec<_> = expected.into_iter().map(|(key, (_, bytes))| (key, bytes)).collect();
    expected.sort_by_key(|(protocol, _)| protocol.parse::<u8>().expect("a protocol"));
    assert_eq!(bytes, expected, "{what}");
}

#[test]
fn keys_and_values_are_typed() {
    sandbox::run(|sandbox| {
        let object = sandbox.load("proto-counters");
        let by_proto = object.dump("by_proto");
        assert_eq!(by_proto.len(), 256);
        assert_eq!(by_proto[6], serde_json::json!({ "key": 6, "value": 0 }));
        let stats = object.dump("stats");
        assert_eq!(stats.len(), 256);
        assert_eq!(
            stats[255]["values"][0],
            serde_json::json!({ "cpu": 0, "value": { "packets": 0, "bytes": 0 } })
        );
    });
}

#[test]
fn received_frames_count_at_every_length() {
    sandbox::run(|sandbox| {
        let object = sandbox.load("proto-counters");
        let veth = Veth::new(sandbox);
        let sender = PacketSocket::sender(veth.sender).expect("a sender");
        let filter = filter(&object, veth.receiver);
        let mut expected = Expected::default();
        for case in cases() {
            let tag = case.stripped_tag();
            // The kernel drops a tag without the ethertype and two bytes behind it.
            let shortest = if tag == 0 { ETHERNET } else { ETHERNET + TAG + 2 };
            for length in ETHERNET..=case.frame.len() {
                sender.send(&case.frame[..length]);
                if length >= shortest {
                    expected.add(case.protocol(length), length - tag);
                }
            }
            expect(&object, case.name, &expected);
        }
        assert!(!filter.has_received(), "the socket must queue nothing");
    });
}

#[test]
fn sent_frames_count_at_every_length() {
    sandbox::run(|sandbox| {
        let object = sandbox.load("proto-counters");
        let veth = Veth::new(sandbox);
        let sender = PacketSocket::sender(veth.sender).expect("a sender");
        let _filter = filter(&object, veth.sender);
        let mut expected = Expected::default();
        for case in cases() {
            for length in ETHERNET..=case.frame.len() {
                sender.send(&case.frame[..length]);
                expected.add(case.protocol(length), length);
            }
            expect(&object, case.name, &expected);
        }
    });
}

#[test]
fn headers_in_page_fragments_are_read() {
    sandbox::run(|sandbox| {
        let object = sandbox.load("proto-counters");
        let veth = Veth::new(sandbox).with_jumbo_frames();
        let sender = PacketSocket::sender(veth.sender).expect("a sender");
        let _filters = [veth.sender, veth.receiver].map(|end| filter(&object, end));
        let mut expected = Expected::default();
        for case in jumbo_cases() {
            let length = case.frame.len();
            sender.send(&case.frame);
            expected.add(case.protocol(length), length);
            expected.add(case.protocol(length), length - case.stripped_tag());
            expect(&object, case.name, &expected);
        }
    });
}

#[test]
fn a_tag_beside_the_packet_leaves_room_for_two_within() {
    sandbox::run(|sandbox| {
        let object = sandbox.load("proto-counters");
        let veth = Veth::new(sandbox);
        let sender = PacketSocket::sender(veth.sender).expect("a sender");
        let _filter = filter(&object, veth.receiver);
        let three = ethernet(&[DOT1AD, DOT1Q, DOT1Q], IPV4, &ipv4(UDP, &[0; 8]));
        let four = ethernet(&[DOT1AD, DOT1AD, DOT1Q, DOT1Q], IPV4, &ipv4(TCP, &[0; 8]));
        sender.send(&four);
        sender.send(&three);
        let mut expected = Expected::default();
        expected.add(Some(UDP), three.len() - TAG);
        expect(&object, "three tags count, four do not", &expected);
    });
}

#[test]
fn loopback_packets_count_once() {
    const PACKETS: usize = 100;
    const PAYLOAD: [u8; 32] = [0; 32];
    sandbox::run(|sandbox| {
        let object = sandbox.load("proto-counters");
        let _filter = filter(&object, LOOPBACK);
        let mut expected = Expected::default();
        for (address, ip) in [("127.0.0.1:0", 20), ("[::1]:0", 40)] {
            let receiver = UdpSocket::bind(address).expect("a receiver");
            let sender = UdpSocket::bind(address).expect("a sender");
            let to = receiver.local_addr().expect("an address");
            for _ in 0..PACKETS {
                sender.send_to(&PAYLOAD, to).expect("send");
                expected.add(Some(UDP), ETHERNET + ip + 8 + PAYLOAD.len());
            }
            expect(&object, address, &expected);
        }
    });
}

#[test]
fn test_run_agrees_and_always_drops() {
    sandbox::run(|sandbox| {
        let object = sandbox.load("proto-counters");
        let mut expected = Expected::default();
        let longest = options(TCP, 255, &[0; 8]);
        let longest = ethernet(&[], IPV6, &ipv6(DESTINATION, &longest));
        // There the packet that a socket filter sees begins behind the Ethernet header.
        for case in cases() {
            assert_eq!(object.test_run(PROGRAM, &case.frame), 0, "{}", case.name);
            expected.add(case.protocol(case.frame.len()), case.frame.len() - ETHERNET);
        }
        assert_eq!(object.test_run(PROGRAM, &longest), 0);
        expected.add(Some(TCP), longest.len() - ETHERNET);
        expect(&object, "all cases", &expected);
    });
}
