//! `if-counters`: each frame once, under its interface, direction and protocol.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use crate::bpftool::{Object, Stats};
use crate::cases::{Case, Expected, cases, jumbo_cases};
use crate::frame::{ETHERNET, TAG};
use crate::sandbox::{self, Sandbox, Veth, command, eventually};
use crate::sys::{self, PacketSocket};

const XDP_PASS: i32 = 2;
const TCX_NEXT: i32 = -1;
const MAX_ENTRIES: u32 = 4096;
/// Where frames without an IP protocol are counted.
const NO_IP_PROTOCOL: u16 = 256;

/// The keys as bpftool writes them.
fn expectation(expected: &Expected, ifindex: u32, direction: &str) -> BTreeMap<String, Stats> {
    expected.by(|protocol| {
        let protocol = protocol.map_or(NO_IP_PROTOCOL, u16::from);
        let key = serde_json::json!({
            "ifindex": ifindex, "direction": direction, "protocol": protocol,
        });
        Some(key.to_string())
    })
}

/// Sends every case cut to every length; `seen` says with how many bytes a hook sees it.
fn send_all(veth: &Veth, seen: impl Fn(&Case, usize) -> Option<usize>) -> Expected {
    let sender = PacketSocket::sender(veth.sender).expect("a sender");
    let mut expected = Expected::default();
    for case in cases() {
        for length in ETHERNET..=case.frame.len() {
            sender.send(&case.frame[..length]);
            if let Some(bytes) = seen(&case, length) {
                expected.add(case.protocol(length), bytes);
            }
        }
    }
    expected
}

fn expect(object: &Object, expected: &BTreeMap<String, Stats>) {
    eventually("if_counters", || object.stats("if_counters"), expected);
    assert_eq!(object.numbers("if_missed"), BTreeMap::new());
}

fn load(sandbox: &Sandbox) -> (Object, Veth) {
    (sandbox.load("if-counters"), Veth::new(sandbox))
}

#[test]
fn xdp_counts_frames_at_every_length() {
    sandbox::run(|sandbox| {
        let (object, veth) = load(sandbox);
        let program = object.program_path("xdp_count");
        for mode in ["xdpdrv", "xdpgeneric"] {
            command("ip", &format!("link set dev receiver {mode} pinned {program}"));
            // XDP comes before the kernel takes a tag out, or drops a short one.
            let expected = send_all(&veth, |_, length| Some(length));
            expect(&object, &expectation(&expected, veth.receiver, "INGRESS"));
            command("ip", &format!("link set dev receiver {mode} off"));
            for key in object.dump("if_counters") {
                let bytes = key_bytes(&key["key"]);
                let map = object.map_path("if_counters");
                command("bpftool", &format!("map delete pinned {map} key hex {bytes}"));
            }
        }
    });
}

/// A key as bpftool takes it.
fn key_bytes(key: &serde_json::Value) -> String {
    let number = |field: &str| u32::try_from(key[field].as_u64().expect(field)).expect(field);
    assert_eq!(key["direction"], "INGRESS");
    let words = [number("ifindex"), 0, number("protocol")];
    let bytes = words.iter().flat_map(|word| word.to_ne_bytes());
    bytes.map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn tcx_counts_received_frames_at_every_length() {
    sandbox::run(|sandbox| {
        let (object, veth) = load(sandbox);
        let program = sys::open_pin(&object.program_path("tcx_ingress")).expect("the program");
        let _link = sys::attach_tcx(&program, veth.receiver, sys::TCX_INGRESS).expect("a link");
        let expected = send_all(&veth, |case, length| {
            // The kernel has taken the outer tag out, and dropped one that is cut short.
            let tag = case.stripped_tag();
            (tag == 0 || length >= ETHERNET + TAG + 2).then_some(length - tag)
        });
        expect(&object, &expectation(&expected, veth.receiver, "INGRESS"));
    });
}

#[test]
fn tcx_counts_sent_frames_at_every_length() {
    sandbox::run(|sandbox| {
        let (object, veth) = load(sandbox);
        let program = sys::open_pin(&object.program_path("tcx_egress")).expect("the program");
        let _link = sys::attach_tcx(&program, veth.sender, sys::TCX_EGRESS).expect("a link");
        let expected = send_all(&veth, |_, length| Some(length));
        expect(&object, &expectation(&expected, veth.sender, "EGRESS"));
    });
}

#[test]
fn tcx_reads_headers_in_page_fragments() {
    sandbox::run(|sandbox| {
        let (object, veth) = load(sandbox);
        let veth = veth.with_jumbo_frames();
        let open = |program| sys::open_pin(&object.program_path(program)).expect("the program");
        let (ingress, egress) = (open("tcx_ingress"), open("tcx_egress"));
        let _in = sys::attach_tcx(&ingress, veth.receiver, sys::TCX_INGRESS).expect("a link");
        let _out = sys::attach_tcx(&egress, veth.sender, sys::TCX_EGRESS).expect("a link");
        let sender = PacketSocket::sender(veth.sender).expect("a sender");
        let (mut received, mut sent) = (Expected::default(), Expected::default());
        for case in jumbo_cases() {
            let length = case.frame.len();
            sender.send(&case.frame);
            received.add(case.protocol(length), length - case.stripped_tag());
            sent.add(case.protocol(length), length);
        }
        let mut expected = expectation(&received, veth.receiver, "INGRESS");
        expected.extend(expectation(&sent, veth.sender, "EGRESS"));
        expect(&object, &expected);
    });
}

#[test]
fn every_program_lets_the_packet_pass() {
    const LOOPBACK: u32 = 1;
    sandbox::run(|sandbox| {
        let object = sandbox.load("if-counters");
        let mut all = BTreeMap::new();
        for (programs, verdicts, direction) in [
            (&["xdp_count", "tcx_ingress"][..], &[XDP_PASS, TCX_NEXT][..], "INGRESS"),
            (&["tcx_egress"], &[TCX_NEXT], "EGRESS"),
        ] {
            let mut expected = Expected::default();
            for case in cases() {
                let length = case.frame.len();
                for (program, verdict) in programs.iter().zip(verdicts) {
                    let returned = object.test_run(program, &case.frame);
                    assert_eq!(returned, *verdict, "{program}: {}", case.name);
                    expected.add(case.protocol(length), length);
                }
            }
            all.extend(expectation(&expected, LOOPBACK, direction));
        }
        expect(&object, &all);
    });
}

#[test]
fn a_full_table_counts_what_it_misses() {
    sandbox::run(|sandbox| {
        let (object, veth) = load(sandbox);
        let map = object.map_path("if_counters");
        let mut batch = String::new();
        let zeros = "0 ".repeat(16);
        for other in 0..MAX_ENTRIES {
            let [a, b, ..] = other.to_le_bytes();
            let key = format!("{a} {b} 0 255 0 0 0 0 0 0 0 0");
            writeln!(batch, "map update pinned {map} key {key} value {zeros}").expect("text");
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), batch).expect("the commands");
        command("bpftool", &format!("batch file {}", file.path().display()));

        let program = sys::open_pin(&object.program_path("tcx_egress")).expect("the program");
        let _link = sys::attach_tcx(&program, veth.sender, sys::TCX_EGRESS).expect("a link");
        let sender = PacketSocket::sender(veth.sender).expect("a sender");
        for _ in 0..7 {
            sender.send(&cases()[0].frame);
        }
        eventually("missed", || object.numbers("if_missed"), &BTreeMap::from([(0, 7)]));
        assert_eq!(object.stats("if_counters"), BTreeMap::new());
    });
}
