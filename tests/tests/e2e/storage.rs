//! Storage maps: an entry belongs to a socket, a file, a process or a cgroup, and is named by it.

use std::net::UdpSocket;
use std::process::{Child, Command};

use bpfgate_client::v1::{MapType, Reference};
use bpfgate_client::{Client, Code, CpuMode, UpdateMode};
use bpfgate_tests::calls::{attach, load};
use bpfgate_tests::fixture::{BPF_F_NO_PREALLOC, record, unsigned};
use bpfgate_tests::targets::cgroup;
use bpfgate_tests::{Agent, Cgroup, Feature, NewMap, SOON, cgroup2, elf, refused, require};
use serde_json::json;

/// A storage map with two numbers for each.
async fn make(client: &Client, name: &str, kind: MapType) {
    let value = record("struct count", &[("packets", unsigned(8)), ("flags", unsigned(8))]);
    let map = NewMap::new(name, kind).sizes(4, 16).entries(0).flags(BPF_F_NO_PREALLOC).value(value);
    map.make(client).await;
}

/// All that an entry can be asked for, by its owner's name.
async fn assert_keeps(client: &Client, map: &str, owner: Reference, nobody: Reference) {
    let maps = client.maps();
    let one = json!({"packets": "1", "flags": "2"});
    let two = json!({"packets": "18446744073709551615", "flags": "0"});
    refused(maps.lookup(map, owner.clone(), CpuMode::Each).await, Code::NotFound, &[map]);
    let absent = maps.update(map, owner.clone(), one.clone(), UpdateMode::Exist).await;
    refused(absent, Code::NotFound, &[map]);
    maps.update(map, owner.clone(), one.clone(), UpdateMode::Noexist).await.unwrap();
    assert_eq!(maps.lookup_typed(map, owner.clone(), CpuMode::Each).await.unwrap(), one);
    let again = maps.update(map, owner.clone(), two.clone(), UpdateMode::Noexist).await;
    refused(again, Code::AlreadyExists, &[map]);
    maps.update(map, owner.clone(), two.clone(), UpdateMode::Any).await.unwrap();
    assert_eq!(maps.lookup_typed(map, owner.clone(), CpuMode::Each).await.unwrap(), two);
    maps.delete_entry(map, owner.clone()).await.unwrap();
    refused(maps.delete_entry(map, owner.clone()).await, Code::NotFound, &[map]);

    let text = nobody.to_string();
    refused(maps.lookup(map, nobody.clone(), CpuMode::Each).await, Code::NotFound, &[&text]);
    refused(maps.update(map, nobody.clone(), one, UpdateMode::Any).await, Code::NotFound, &[&text]);
    refused(maps.delete_entry(map, nobody).await, Code::NotFound, &[&text]);
    // Bytes would be the number of one of the agent's descriptors.
    let raw = maps.lookup(map, [0; 4], CpuMode::Each).await;
    refused(raw, Code::FailedPrecondition, &[map, "reference"]);
    let raw = maps.update(map, [0; 4], [0; 16], UpdateMode::Any).await;
    refused(raw, Code::FailedPrecondition, &[map, "reference"]);
    refused(maps.delete_entry(map, [0; 4]).await, Code::FailedPrecondition, &[map, "reference"]);
    refused(maps.delete_entry(map, json!(3)).await, Code::FailedPrecondition, &[map]);
    let wrong = maps.lookup(map, Reference::map("kept"), CpuMode::Each).await;
    refused(wrong, Code::InvalidArgument, &[map, "a map"]);
    let short = maps.update(map, owner, [0; 3], UpdateMode::Any).await;
    refused(short, Code::InvalidArgument, &["3 bytes", "16"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_has_storage() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    make(&client, "kept", MapType::SkStorage).await;
    let socket = agent.netns().within(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    let owner = Reference::socket(format!("udp:{}", socket.local_addr().unwrap()));
    assert_keeps(&client, "kept", owner, Reference::socket("udp:127.0.0.1:1")).await;
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_counts_in_a_sockets_storage() {
    require!(Feature::CgroupV2);
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "refs", elf::REFERENCES).await;
    // The root: every socket of the host is in it, and each has its own count.
    attach(&client, "refs/sends", cgroup(&cgroup2().unwrap())).await;
    let (socket, other) = agent.netns().within(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        other.set_read_timeout(Some(SOON)).unwrap();
        for _ in 0..7 {
            socket.send_to(b"hello", other.local_addr().unwrap()).unwrap();
            other.recv(&mut [0; 16]).unwrap();
        }
        (socket, other)
    });
    let name =
        |socket: &UdpSocket| Reference::socket(format!("udp:{}", socket.local_addr().unwrap()));
    let maps = client.maps();
    let count = maps.lookup_typed("refs/by_socket", name(&socket), CpuMode::Each).await.unwrap();
    assert_eq!(count, json!("7"));
    let silent = maps.lookup("refs/by_socket", name(&other), CpuMode::Each).await;
    refused(silent, Code::NotFound, &["refs/by_socket"]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_has_storage() {
    require!(Feature::InodeStorage);
    let agent = Agent::spawn();
    let client = agent.client().await;
    make(&client, "kept", MapType::InodeStorage).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    assert_keeps(&client, "kept", Reference::file(path), Reference::file("/no/such/file")).await;
    let relative = client.maps().lookup("kept", Reference::file("a"), CpuMode::Each).await;
    refused(relative, Code::InvalidArgument, &["key_reference", "absolute"]);
    drop(client);
    agent.stop();
}

/// A process that does nothing until it is dropped.
struct Idle(Child);

impl Idle {
    fn new() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("a process"))
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_has_storage() {
    require!(Feature::TaskStorage);
    let agent = Agent::spawn();
    let client = agent.client().await;
    make(&client, "kept", MapType::TaskStorage).await;
    let (idle, gone) = (Idle::new(), Idle::new());
    let nobody = Reference::process(gone.0.id());
    drop(gone);
    assert_keeps(&client, "kept", Reference::process(idle.0.id()), nobody).await;
    let zero = client.maps().lookup("kept", Reference::process(0), CpuMode::Each).await;
    refused(zero, Code::InvalidArgument, &["key_reference", "from 1"]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cgroup_has_storage() {
    require!(Feature::CgroupV2);
    let agent = Agent::spawn();
    let client = agent.client().await;
    make(&client, "kept", MapType::CgrpStorage).await;
    let group = Cgroup::new("storage");
    let nobody = format!("{}/nobody", group.path());
    assert_keeps(&client, "kept", Reference::cgroup(group.path()), Reference::cgroup(nobody)).await;
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_map_without_a_layout_holds_bytes() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let new = || NewMap::new("kept", MapType::SkStorage).sizes(4, 5).entries(0);
    for (map, word) in [
        (new(), "spec.flags"),
        (new().flags(BPF_F_NO_PREALLOC).entries(8), "spec.max_entries"),
        (new().flags(BPF_F_NO_PREALLOC).sizes(8, 8), "spec.key_size"),
        (new().flags(BPF_F_NO_PREALLOC).sizes(4, 0), "spec.value_size"),
    ] {
        refused(maps.create(map.request()).await, Code::InvalidArgument, &[word]);
    }
    let map = new().flags(BPF_F_NO_PREALLOC).make(&client).await;
    assert!(map.schema.is_none());
    let can = map.capabilities.unwrap();
    assert!(can.lookup && can.update && can.delete && !can.iterate, "{can:?}");
    let socket = agent.netns().within(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    let owner = Reference::socket(format!("udp:{}", socket.local_addr().unwrap()));
    maps.update("kept", owner.clone(), *b"bytes", UpdateMode::Any).await.unwrap();
    assert_eq!(maps.lookup("kept", owner, CpuMode::Each).await.unwrap(), b"bytes"[..]);
    drop(client);
    agent.stop();
}
