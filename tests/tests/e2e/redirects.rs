//! Slots that lead to devices and CPUs: packets go where they lead.

use bpfgate_client::v1::{MapType, Reference};
use bpfgate_client::{Client, Code, CpuMode, UpdateMode};
use bpfgate_tests::calls::{attach, load, number};
use bpfgate_tests::frames::{IPV4, UDP, ethernet, hex, ipv4};
use bpfgate_tests::targets::xdp;
use bpfgate_tests::{Agent, Netns, NewMap, SOON, binaries, elf, refused, run};
use serde_json::Value as Json;

/// `enum place` in `references.bpf.c`.
const ON_PORT: u32 = 2;
const ON_CPU: u32 = 3;

/// Sends 20 frames out of an interface.
fn send(netns: &Netns, interface: &str) {
    let frame = hex(&ethernet(&[], IPV4, &ipv4(UDP, 100)));
    let arguments = ["frame", "--interface", interface, "--hex", &frame, "--count", "20"];
    drop(run(netns.command(binaries::traffic()).args(arguments)).ok());
}

/// Packets that an interface has received.
fn received(netns: &Netns, interface: &str) -> u64 {
    let shown = netns.ip(&["-json", "-statistics", "link", "show", interface]);
    let shown: Json = serde_json::from_str(&shown).expect("JSON");
    shown[0]["stats64"]["rx"]["packets"].as_u64().expect("a number")
}

/// Waits for the last packet, which comes in its own time.
async fn settles(mut read: impl AsyncFnMut() -> u64, expected: u64) {
    let deadline = std::time::Instant::now() + SOON;
    while read().await != expected && std::time::Instant::now() < deadline {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(read().await, expected);
}

async fn point(client: &Client, map: &str, index: u32, to: Reference) {
    let updated = client.maps().update(map, index.to_ne_bytes(), to.clone(), UpdateMode::Any).await;
    updated.unwrap_or_else(|error| panic!("{map}[{index}] to {to}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_leave_by_the_device_that_a_slot_leads_to() {
    let (here, far, end) = (Netns::new(), Netns::new(), Netns::new());
    let cable = here.veth(&far);
    here.ip(&["link", "add", "out0", "type", "veth", "peer", "name", "end0", "netns", end.name()]);
    here.ip(&["link", "set", "out0", "up"]);
    end.ip(&["link", "set", "end0", "up"]);
    let agent = Agent::builder().netns(here).spawn();
    let client = agent.client().await;
    let maps = client.maps();
    load(&client, "refs", elf::REFERENCES).await;
    attach(&client, "refs/forward", xdp(cable.near)).await;
    let port = 2_u32.to_ne_bytes();

    // IPv6 may have said a word of its own on a new interface.
    point(&client, "refs/ports", 2, Reference::device("out0")).await;
    let told = maps.lookup_reference("refs/ports", port).await.unwrap();
    assert_eq!(told, Reference::device("out0"));
    let before = received(&end, "end0");
    send(&far, cable.far);
    settles(async || u64::from(received(&end, "end0") >= before + 20), 1).await;
    assert_eq!(number(&client, "refs/hits", ON_PORT).await, 0);

    let with_program = Reference::device("out0").with_program("refs/at_port");
    point(&client, "refs/ports", 2, with_program.clone()).await;
    assert_eq!(maps.lookup_reference("refs/ports", port).await.unwrap(), with_program);
    send(&far, cable.far);
    settles(async || number(&client, "refs/hits", ON_PORT).await, 20).await;
    let value = maps.lookup("refs/ports", port, CpuMode::Each).await.unwrap();
    assert_eq!(value.len(), 8);

    maps.delete_entry("refs/ports", port).await.unwrap();
    send(&far, cable.far);
    settles(async || number(&client, "refs/hits", ON_PORT).await, 20).await;
    refused(maps.lookup_reference("refs/ports", port).await, Code::NotFound, &["refs/ports"]);
    refused(maps.delete_entry("refs/ports", port).await, Code::NotFound, &["refs/ports"]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_device_for_a_slot_is_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    load(&client, "refs", elf::REFERENCES).await;
    NewMap::new("narrow", MapType::DevmapHash).sizes(4, 4).make(&client).await;
    let lo = || Reference::device("lo");
    for (map, to, code, words) in [
        ("refs/ports", Reference::device("nowhere0"), Code::NotFound, &["nowhere0"][..]),
        ("refs/ports", Reference::device("a name that is too long"), Code::InvalidArgument, &[]),
        ("refs/ports", lo().with_program("refs/nobody"), Code::NotFound, &["refs/nobody"]),
        ("refs/ports", lo().with_program("refs/at_cpu"), Code::InvalidArgument, &["xdp/devmap"]),
        ("narrow", lo().with_program("refs/at_port"), Code::InvalidArgument, &["no room", "8"]),
        ("refs/ports", Reference::cpu(8), Code::InvalidArgument, &["queue", "interface"]),
    ] {
        let update = maps.update(map, [0; 4], to, UpdateMode::Any).await;
        refused(update, code, words);
    }
    let raw = maps.update("refs/ports", [0; 4], [1; 8], UpdateMode::Any).await;
    refused(raw, Code::FailedPrecondition, &["an interface"]);

    // Keys of a hash are whatever numbers.
    let key = 70_000_u32.to_ne_bytes();
    maps.update("narrow", key, lo(), UpdateMode::Noexist).await.unwrap();
    assert_eq!(maps.lookup_reference("narrow", key).await.unwrap(), lo());
    let again = maps.update("narrow", key, lo(), UpdateMode::Noexist).await;
    refused(again, Code::AlreadyExists, &["narrow"]);
    maps.delete_entry("narrow", key).await.unwrap();
    refused(maps.delete_entry("narrow", key).await, Code::NotFound, &["narrow"]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_wait_for_the_cpu_that_a_slot_leads_to() {
    let (here, far) = (Netns::new(), Netns::new());
    let cable = here.veth(&far);
    let agent = Agent::builder().netns(here).spawn();
    let client = agent.client().await;
    let maps = client.maps();
    load(&client, "refs", elf::REFERENCES).await;
    attach(&client, "refs/spread", xdp(cable.near)).await;
    let queue = Reference::cpu(192).with_program("refs/at_cpu");
    point(&client, "refs/queues", 0, queue.clone()).await;
    assert_eq!(maps.lookup_reference("refs/queues", [0; 4]).await.unwrap(), queue);
    send(&far, cable.far);
    settles(async || number(&client, "refs/hits", ON_CPU).await, 20).await;

    for (index, to, code, words) in [
        (0, Reference::cpu(0), Code::InvalidArgument, &["queue_size"][..]),
        (0, Reference::cpu(1 << 20), Code::InvalidArgument, &["16384"]),
        (3, Reference::cpu(8), Code::NotFound, &["CPU"]),
        (9, Reference::cpu(8), Code::OutOfRange, &["4 entries"]),
    ] {
        if index == 3 && std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 3) {
            continue;
        }
        let key = u32::to_ne_bytes(index);
        refused(maps.update("refs/queues", key, to, UpdateMode::Any).await, code, words);
    }
    let wrong = Reference::cpu(8).with_program("refs/at_port");
    let wrong = maps.update("refs/queues", [0; 4], wrong, UpdateMode::Any).await;
    refused(wrong, Code::InvalidArgument, &["xdp/cpumap"]);

    maps.delete_entry("refs/queues", [0; 4]).await.unwrap();
    send(&far, cable.far);
    settles(async || number(&client, "refs/hits", ON_CPU).await, 20).await;
    refused(maps.delete_entry("refs/queues", [0; 4]).await, Code::NotFound, &["refs/queues"]);
    drop(client);
    agent.stop();
}
