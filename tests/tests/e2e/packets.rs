//! The built-in programs against known traffic: every packet counted once, to the byte, whoever
//! reads the counters.

use std::collections::BTreeMap;
use std::process::Command;

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::{
    CounterKind, RawTracepointTarget, SocketTarget, TcxTarget, XdpTarget, tcx_target::Direction,
    xdp_target,
};
use bpfgate_client::{Client, CpuMode, WatchEvent, WatchOptions, parse_selector};
use bpfgate_tests::calls::{attach, entries, load_builtin, number};
use bpfgate_tests::frames::{
    ARP, DOT1AD, DOT1Q, ETHERNET, HOP_BY_HOP, ICMP, ICMPV6, IPV4, IPV6, TAG, TCP, UDP, ethernet,
    hex, ipv4, ipv6,
};
use bpfgate_tests::{Agent, Feature, Netns, SOON, Veth, binaries, require, run, within};
use serde_json::{Value as Json, json};

/// Packets and bytes.
type Count = (u64, u64);
/// By protocol; `None` for frames that have none.
type Counts = BTreeMap<Option<u8>, Count>;

/// What is sent, how often, and which protocol a program has to see in it.
struct Case {
    frame: Vec<u8>,
    times: u64,
    protocol: Option<u8>,
}

fn cases() -> Vec<Case> {
    let case = |times, protocol, frame| Case { frame, times, protocol };
    let cut = |frame: Vec<u8>, length: usize| frame[..length].to_vec();
    let option_header = [TCP, 0, 1, 4, 0, 0, 0, 0];
    vec![
        case(101, Some(TCP), ethernet(&[], IPV4, &ipv4(TCP, 40))),
        case(23, Some(UDP), ethernet(&[], IPV4, &ipv4(UDP, 1400))),
        case(7, Some(ICMP), ethernet(&[], IPV4, &ipv4(ICMP, 8))),
        case(5, Some(TCP), ethernet(&[], IPV6, &ipv6(TCP, &[0; 20]))),
        case(11, Some(UDP), ethernet(&[], IPV6, &ipv6(UDP, &[0; 900]))),
        case(13, Some(ICMPV6), ethernet(&[], IPV6, &ipv6(ICMPV6, &[0; 8]))),
        case(3, Some(TCP), ethernet(&[], IPV6, &ipv6(HOP_BY_HOP, &option_header))),
        case(17, Some(TCP), ethernet(&[DOT1Q], IPV4, &ipv4(TCP, 100))),
        case(19, Some(UDP), ethernet(&[DOT1AD, DOT1Q], IPV6, &ipv6(UDP, &[0; 50]))),
        case(2, None, ethernet(&[], ARP, &[0; 28])),
        // Cut short within the IP header: nothing is known of them.
        case(29, None, cut(ethernet(&[], IPV4, &ipv4(TCP, 0)), ETHERNET + 19)),
        case(31, None, cut(ethernet(&[], IPV6, &ipv6(UDP, &[])), ETHERNET + 39)),
        case(1, None, cut(ethernet(&[], IPV4, &[]), ETHERNET)),
        case(37, None, cut(ethernet(&[DOT1Q], IPV4, &ipv4(UDP, 0)), ETHERNET + TAG + 10)),
        // Behind it: the protocol is known.
        case(41, Some(UDP), cut(ethernet(&[], IPV4, &ipv4(UDP, 8)), ETHERNET + 20)),
        case(43, Some(HOP_BY_HOP), cut(ethernet(&[], IPV6, &ipv6(HOP_BY_HOP, &[])), ETHERNET + 40)),
    ]
}

/// What a program counts of the cases, of which it sees each frame without `stripped` tag bytes.
fn expected(stripped: impl Fn(&[u8]) -> usize) -> Counts {
    let mut counts = Counts::new();
    for Case { frame, times, protocol } in cases() {
        let bytes = (frame.len() - stripped(&frame)) as u64;
        let (packets, sum) = counts.entry(protocol).or_default();
        *packets += times;
        *sum += times * bytes;
    }
    counts
}

fn total(counts: &Counts) -> Count {
    counts.values().fold((0, 0), |(packets, bytes), (p, b)| (packets + p, bytes + b))
}

/// The kernel takes the outer tag out of what it receives before anyone but XDP sees it.
fn outer_tag(frame: &[u8]) -> usize {
    let tpid = u16::from_be_bytes([frame[12], frame[13]]);
    if matches!(tpid, DOT1Q | DOT1AD) { TAG } else { 0 }
}

fn whole(_: &[u8]) -> usize {
    0
}

/// An agent at one end of a cable.
struct Bench {
    client: Client,
    veth: Veth,
    agent: Agent,
    far: Netns,
}

impl Bench {
    async fn new() -> Self {
        let (near, far) = (Netns::new(), Netns::new());
        let veth = near.veth(&far);
        let agent = Agent::builder().netns(near).spawn();
        let client = agent.client().await;
        Self { client, veth, agent, far }
    }

    /// Addresses on both ends, and nobody has to ask for the other's: 10.0.0.1 here, 10.0.0.2 there.
    fn with_addresses(self) -> Self {
        let Veth { near, far } = self.veth;
        let mac = |netns: &Netns, end: &str| {
            let shown: Json =
                serde_json::from_str(&netns.ip(&["-json", "link", "show", end])).expect("JSON");
            shown[0]["address"].as_str().expect("an address").to_owned()
        };
        let here = self.agent.netns();
        let (near_mac, far_mac) = (mac(here, near), mac(&self.far, far));
        here.ip(&["address", "add", "10.0.0.1/24", "dev", near]);
        self.far.ip(&["address", "add", "10.0.0.2/24", "dev", far]);
        let permanent = ["nud", "permanent"];
        here.ip(&[
            &["neigh", "replace", "10.0.0.2", "lladdr", &far_mac, "dev", near],
            &permanent[..],
        ]
        .concat());
        self.far.ip(&[
            &["neigh", "replace", "10.0.0.1", "lladdr", &near_mac, "dev", far],
            &permanent[..],
        ]
        .concat());
        self
    }

    /// Sends every case from the far end.
    fn receive_all(&self) {
        send_all(&self.far, self.veth.far);
    }

    /// Packets and bytes that the interface itself counted, received or sent.
    fn statistics(&self, direction: &str) -> Count {
        let shown =
            self.agent.netns().ip(&["-json", "-statistics", "link", "show", self.veth.near]);
        let shown: Json = serde_json::from_str(&shown).expect("JSON");
        let count = &shown[0]["stats64"][direction];
        let number = |name: &str| count[name].as_u64().expect("a number");
        (number("packets"), number("bytes"))
    }

    fn near(&self) -> String {
        self.veth.near.to_owned()
    }

    fn index(&self) -> u32 {
        let shown = self.agent.netns().ip(&["-json", "link", "show", self.veth.near]);
        let shown: Json = serde_json::from_str(&shown).expect("JSON");
        shown[0]["ifindex"].as_u64().and_then(|index| index.try_into().ok()).expect("an index")
    }

    fn stop(self) {
        let Self { agent, client, .. } = self;
        drop(client);
        agent.stop();
    }
}

fn send_all(netns: &Netns, interface: &str) {
    for Case { frame, times, .. } in cases() {
        let (hex, times) = (hex(&frame), times.to_string());
        let arguments = ["frame", "--interface", interface, "--hex", &hex, "--count", &times];
        drop(run(netns.command(binaries::traffic()).args(arguments)).ok());
    }
}

/// Runs `bpfgate-traffic ARGUMENTS` at the agent's end; what a counter should have seen of it.
fn traffic(bench: &Bench, arguments: &[&str]) -> Count {
    let command = &mut bench.agent.netns().command(binaries::traffic());
    let report = run(command.args(arguments)).ok().json();
    assert_eq!(report["exact"], json!(true), "{report}");
    let number = |name: &str| report[name].as_u64().expect("a number");
    (number("packets"), number("bytes"))
}

/// A value of packets and bytes.
fn count(value: &[u8]) -> Count {
    let word = |at: usize| u64::from_ne_bytes(value[at..at + 8].try_into().expect("8 bytes"));
    (word(0), word(8))
}

/// Waits for the last packet, which crosses the cable in its own time.
async fn settle(mut read: impl AsyncFnMut() -> u64, expected: u64) {
    let deadline = std::time::Instant::now() + SOON;
    while read().await != expected && std::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The counters of a map that has `packets` and `bytes`, by their labels, as a watch gives them.
async fn watched(client: &Client, selector: &str) -> BTreeMap<String, Count> {
    let selectors = vec![parse_selector(selector).unwrap()];
    let once = WatchOptions { once: true, ..WatchOptions::default() };
    let mut watch = client.maps().watch_counters(selectors, once).await.unwrap();
    let mut series = BTreeMap::new();
    let mut counts = BTreeMap::<String, Count>::new();
    while let Some(event) = watch.next_event().await.unwrap() {
        match event {
            WatchEvent::Series(told) => {
                assert_eq!(told.kind(), CounterKind::Monotonic, "{told:?}");
                assert!(!told.kind_undeclared, "{told:?}");
                let values: Vec<&str> = told.labels.iter().map(|l| l.value.as_str()).collect();
                let unit = if told.field == "packets" { "packets" } else { "By" };
                assert_eq!(told.unit, unit);
                series.insert(told.r#ref, (values.join(","), told.field));
            }
            WatchEvent::Batch(batch) => {
                assert!(batch.complete, "{batch:?}");
                for (reference, value) in batch.refs.iter().zip(batch.values) {
                    let (labels, field) = &series[reference];
                    let count = counts.entry(labels.clone()).or_default();
                    *(if field == "packets" { &mut count.0 } else { &mut count.1 }) = value;
                }
            }
            WatchEvent::Sync(_) => {}
            other => panic!("{other:?}"),
        }
    }
    counts
}

/// Every way to read `proto-counters` tells the same.
async fn assert_by_protocol(bench: &Bench, expected: &Counts) {
    let client = &bench.client;
    let counts: BTreeMap<u8, Count> =
        expected.iter().filter_map(|(protocol, count)| Some(((*protocol)?, *count))).collect();
    let sum = counts.values().map(|(packets, _)| packets).sum();
    let read = async || {
        let all = entries(client, "proto-counters/stats").await;
        all.iter().map(|(_, value)| count(value).0).sum()
    };
    settle(read, sum).await;

    // By Iterate, by Lookup, by WatchCounters.
    let nonzero = |all: Vec<(Vec<u8>, Vec<u8>)>, read: fn(&[u8]) -> Count| {
        let protocol = |key: &[u8]| u8::try_from(u32::from_ne_bytes(key.try_into().unwrap()));
        all.into_iter()
            .map(|(key, value)| (protocol(&key).unwrap(), read(&value)))
            .filter(|(_, count)| *count != (0, 0))
            .collect::<BTreeMap<u8, Count>>()
    };
    assert_eq!(nonzero(entries(client, "proto-counters/stats").await, count), counts);
    let bytes_only = |value: &[u8]| (0, u64::from_ne_bytes(value.try_into().unwrap()));
    let by_proto: BTreeMap<u8, Count> =
        counts.iter().map(|(protocol, (_, bytes))| (*protocol, (0, *bytes))).collect();
    assert_eq!(nonzero(entries(client, "proto-counters/by_proto").await, bytes_only), by_proto);
    for (&protocol, &(packets, bytes)) in &counts {
        let key = u32::from(protocol);
        assert_eq!(number(client, "proto-counters/by_proto", key).await, bytes, "{protocol}");
        let maps = client.maps();
        let typed = maps.lookup_typed("proto-counters/stats", json!(key), CpuMode::Sum);
        let text = json!({"packets": packets.to_string(), "bytes": bytes.to_string()});
        assert_eq!(typed.await.unwrap(), text, "{protocol}");
    }
    let mut series = watched(client, "proto-counters/stats").await;
    series.retain(|_, count| *count != (0, 0));
    let by_label = |(protocol, count): (&u8, &Count)| (protocol.to_string(), *count);
    assert_eq!(series, counts.iter().map(by_label).collect());

    // By the command line.
    let cli =
        |arguments: &[&str]| bench.agent.cli(&[&["-o", "json"], arguments].concat()).ok().json();
    for (protocol, &(packets, bytes)) in &counts {
        let found = cli(&["map", "lookup", "proto-counters/stats", &protocol.to_string()]);
        assert_eq!(cli_count(&found["value"]), (packets, bytes), "{found}");
    }
    let dump = cli(&["map", "dump", "proto-counters/stats"]);
    let dumped = dump.as_array().expect("rows").iter().map(|row| cli_count(&row["value"]));
    let sum = |(p, b): Count, (packets, bytes): Count| (p + packets, b + bytes);
    assert_eq!(dumped.fold((0, 0), sum), counts.values().copied().fold((0, 0), sum));
    let watched = cli(&["watch", "counters", "--once", "proto-counters/stats:packets"]);
    let packets: BTreeMap<String, u64> = watched
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["labels"]["key"].as_str().unwrap().to_owned(), cli_number(&row["value"])))
        .collect();
    let expected = counts.iter().map(|(protocol, (packets, _))| (protocol.to_string(), *packets));
    assert_eq!(packets, expected.collect(), "{watched}");
}

fn cli_number(json: &Json) -> u64 {
    let text = json.as_str().and_then(|text| text.parse().ok());
    json.as_u64().or(text).unwrap_or_else(|| panic!("no number: {json}"))
}

fn cli_count(json: &Json) -> Count {
    (cli_number(&json["packets"]), cli_number(&json["bytes"]))
}

fn socket(interface: String) -> Target {
    Target::Socket(SocketTarget { interface })
}

#[tokio::test(flavor = "multi_thread")]
async fn proto_counters_count_every_frame_that_is_received() {
    let bench = Bench::new().await;
    load_builtin(&bench.client, "proto-counters").await;
    let link = attach(&bench.client, "proto-counters/count_protocols", socket(bench.near())).await;
    bench.receive_all();
    let mut counts = expected(outer_tag);
    assert_by_protocol(&bench, &counts).await;
    let (all, here) = (total(&expected(whole)), bench.statistics("rx"));
    assert_eq!(here, all, "the interface's own statistics");

    // Detached, it counts no more; what was counted stays.
    bench.client.links().detach(link).await.unwrap();
    bench.receive_all();
    counts.remove(&None);
    assert!(within(SOON, || bench.statistics("rx").0 == 2 * all.0));
    assert_by_protocol(&bench, &counts).await;
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn proto_counters_count_conversations_both_ways() {
    let bench = Bench::new().await.with_addresses();
    load_builtin(&bench.client, "proto-counters").await;
    attach(&bench.client, "proto-counters/count_protocols", socket(bench.near())).await;
    let far = bench.far.name().to_owned();
    let to = ["--to", "10.0.0.2"];
    let udp = ["udp", "--count", "250", "--payload", "333", "--receiver-netns", &far];
    let udp = traffic(&bench, &[&udp[..], &to].concat());
    let ping = traffic(&bench, &[&["ping", "--count", "20"], &to[..]].concat());
    let counts = [(Some(UDP), udp), (Some(ICMP), ping)].into();
    assert_by_protocol(&bench, &counts).await;
    let (sent, received) = (bench.statistics("tx"), bench.statistics("rx"));
    assert_eq!((sent.0 + received.0, sent.1 + received.1), total(&counts));
    bench.stop();
}

/// Every way to read `if-counters` tells the same.
async fn assert_by_interface(bench: &Bench, direction: &str, expected: &Counts) {
    const NO_IP_PROTOCOL: u32 = 256;
    let client = &bench.client;
    let number_of = |protocol: Option<u8>| protocol.map_or(NO_IP_PROTOCOL, u32::from);
    let (index, packets) = (bench.index(), total(expected).0);
    let side = u32::from(direction == "EGRESS");
    let map = "if-counters/if_counters";
    let of_side = |all: Vec<(Vec<u8>, Vec<u8>)>| {
        let word = |key: &[u8], at: usize| u32::from_ne_bytes(key[at..at + 4].try_into().unwrap());
        all.into_iter()
            .filter(|(key, _)| word(key, 0) == index && word(key, 4) == side)
            .map(|(key, value)| (word(&key, 8), count(&value)))
            .collect::<BTreeMap<u32, Count>>()
    };
    let read = async || {
        let all = of_side(entries(client, map).await);
        all.values().map(|(packets, _)| packets).sum()
    };
    settle(read, packets).await;

    let counts: BTreeMap<u32, Count> =
        expected.iter().map(|(protocol, count)| (number_of(*protocol), *count)).collect();
    assert_eq!(of_side(entries(client, map).await), counts);
    assert_eq!(number(client, "if-counters/if_missed", 0).await, 0);
    for (&protocol, &(packets, bytes)) in &counts {
        let key = json!({"ifindex": index, "direction": direction, "protocol": protocol});
        let value = client.maps().lookup(map, key.clone(), CpuMode::Sum).await.unwrap();
        assert_eq!(count(&value), (packets, bytes), "{key}");
        let key = key.to_string();
        let found = bench.agent.cli(&["-o", "json", "map", "lookup", map, &key]).ok().json();
        assert_eq!(cli_count(&found["value"]), (packets, bytes), "{found}");
    }
    let series = watched(client, &format!("{map}{{direction={direction}}}")).await;
    let by_label =
        |(protocol, count): (&u32, &Count)| (format!("{index},{direction},{protocol}"), *count);
    assert_eq!(series, counts.iter().map(by_label).collect());
}

fn tcx(direction: Direction, interface: String) -> Target {
    Target::Tcx(TcxTarget { interface, direction: direction.into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn if_counters_count_every_frame_at_xdp() {
    let bench = Bench::new().await;
    load_builtin(&bench.client, "if-counters").await;
    let mode = xdp_target::Mode::Generic.into();
    let target = Target::Xdp(XdpTarget { interface: bench.near(), mode });
    attach(&bench.client, "if-counters/xdp_count", target).await;
    bench.receive_all();
    assert_by_interface(&bench, "INGRESS", &expected(whole)).await;
    assert_eq!(bench.statistics("rx"), total(&expected(whole)));
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn if_counters_count_every_frame_at_tcx() {
    require!(Feature::Tcx);
    let bench = Bench::new().await;
    load_builtin(&bench.client, "if-counters").await;
    attach(&bench.client, "if-counters/tcx_ingress", tcx(Direction::Ingress, bench.near())).await;
    attach(&bench.client, "if-counters/tcx_egress", tcx(Direction::Egress, bench.near())).await;
    bench.receive_all();
    assert_by_interface(&bench, "INGRESS", &expected(outer_tag)).await;
    send_all(bench.agent.netns(), bench.veth.near);
    assert_by_interface(&bench, "EGRESS", &expected(whole)).await;
    // The other way has not moved meanwhile.
    assert_by_interface(&bench, "INGRESS", &expected(outer_tag)).await;
    assert_eq!(bench.statistics("rx"), total(&expected(whole)));
    assert_eq!(bench.statistics("tx"), total(&expected(whole)));
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn syscall_counters_count_a_rare_call() {
    /// Nothing has this number: on x86-64 it was vserver(2), which no kernel of Linus's had.
    const RARE: u32 = if cfg!(target_arch = "x86_64") { 236 } else { 1000 };
    const CALLS: u64 = 1234;
    let agent = Agent::spawn();
    let client = agent.client().await;
    load_builtin(&client, "syscall-counters").await;
    let name = "sys_enter".to_owned();
    let target = Target::RawTracepoint(RawTracepointTarget { name });
    let link = attach(&client, "syscall-counters/count_syscalls", target).await;
    let map = "syscall-counters/syscalls";
    let call = |times| {
        // SAFETY: the kernel has no such call; it answers ENOSYS and reads nothing.
        (0..times).for_each(|_| assert_eq!(unsafe { libc::syscall(RARE.into()) }, -1));
    };
    std::thread::spawn(move || call(CALLS)).join().unwrap();
    assert_eq!(number(&client, map, RARE).await, CALLS);
    let found = agent.cli(&["-o", "json", "map", "lookup", map, &RARE.to_string()]).ok().json();
    assert_eq!(cli_number(&found["value"]), CALLS);
    let counted = entries(&client, map).await;
    assert!(counted.len() > 10, "the host makes other calls all the time");

    client.links().detach(link).await.unwrap();
    call(1);
    assert_eq!(number(&client, map, RARE).await, CALLS);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_events_fill_their_ring() {
    const STARTS: u64 = 1000;
    /// Records of 552 bytes and a header of 8, which nobody takes out of 512 KiB.
    const FIT: u64 = (512 << 10) / 560;
    let agent = Agent::spawn();
    let client = agent.client().await;
    load_builtin(&client, "exec-events").await;
    let link = client.links().attach("exec-events/record_exec", None).await.unwrap();
    for _ in 0..STARTS {
        assert!(Command::new("/bin/true").status().expect("a process").success());
    }
    let lost = number(&client, "exec-events/lost", 0).await;
    assert!(lost >= STARTS - FIT, "only {lost} records had no room");
    client.links().detach(link.id).await.unwrap();
    let lost = number(&client, "exec-events/lost", 0).await;
    assert!(Command::new("/bin/true").status().expect("a process").success());
    assert_eq!(number(&client, "exec-events/lost", 0).await, lost);
    agent.stop();
}
