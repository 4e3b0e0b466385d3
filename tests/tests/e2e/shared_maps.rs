//! Maps of others in an object's programs, and pins that the agent does not make.

use std::net::UdpSocket;
use std::path::Path;

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::{CreateMapRequest, LoadObjectHeader, MapSpec, MapType, SocketTarget};
use bpfgate_client::{Client, Code};
use bpfgate_tests::calls::{attach, header, number, texts, try_load};
use bpfgate_tests::{Agent, elf, refused};

/// As `packets` in `shared.bpf.c` has it.
fn packets_spec() -> MapSpec {
    const BPF_F_NO_PREALLOC: u32 = 1;
    MapSpec {
        r#type: MapType::Hash.into(),
        key_size: 4,
        value_size: 8,
        max_entries: 128,
        flags: BPF_F_NO_PREALLOC,
        ..MapSpec::default()
    }
}

async fn create(client: &Client, name: &str, spec: MapSpec) {
    let request =
        CreateMapRequest { name: name.into(), spec: Some(spec), ..CreateMapRequest::default() };
    client.maps().create(request).await.unwrap();
}

fn sharing(name: &str, reference: &str) -> LoadObjectHeader {
    LoadObjectHeader { shared_maps: texts([("packets", reference)]), ..header(name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_map_is_the_same_map() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    create(&client, "mine", packets_spec()).await;
    let id = client.maps().get("mine").await.unwrap().id;
    for (name, reference) in [("a", "mine".to_owned()), ("b", format!("id:{id}"))] {
        let loaded = try_load(&client, sharing(name, &reference), elf::SHARED).await.unwrap();
        // What is shared is not the object's.
        assert_eq!(loaded.object.unwrap().maps, [format!("{name}/pinned")]);
        refused(client.maps().get(&format!("{name}/packets")).await, Code::NotFound, &["packets"]);
    }

    // Both objects' programs count in it, once for each packet that loopback carries.
    for object in ["a", "b"] {
        let target = Target::Socket(SocketTarget { interface: "lo".to_owned() });
        attach(&client, &format!("{object}/count"), target).await;
    }
    agent.netns().within(|| {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"x", sender.local_addr().unwrap()).unwrap();
    });
    let seen = number(&client, "a/pinned", 0).await;
    assert_eq!(seen, number(&client, "b/pinned", 0).await);
    assert!(seen > 0);
    assert_eq!(number(&client, "mine", 7).await, 2 * seen);

    // It stays as long as one of them needs it.
    for object in ["a", "b"] {
        let answer = client.maps().delete("mine").await;
        let error = refused(answer, Code::FailedPrecondition, &["mine", object, "shares it"]);
        assert_eq!(error.reason.as_deref(), Some("IN_USE"));
        client.objects().unload(object).await.unwrap();
    }
    client.maps().delete("mine").await.unwrap();
    agent.assert_only_baseline();
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_stays_while_another_shares_its_map() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    try_load(&client, header("owner"), elf::SHARED).await.unwrap();
    try_load(&client, sharing("user", "owner/packets"), elf::SHARED).await.unwrap();
    let answer = client.objects().unload("owner").await;
    refused(answer, Code::FailedPrecondition, &["owner/packets", "user", "shares it"]);
    let said = agent.cli(&["object", "unload", "owner"]);
    assert!(said.refusal(7).contains("user"));
    client.maps().get("owner/packets").await.unwrap();
    client.objects().unload("user").await.unwrap();
    client.objects().unload("owner").await.unwrap();
    agent.assert_only_baseline();
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_differs_cannot_stand_in() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let right = packets_spec;
    let lru = MapSpec { r#type: MapType::LruHash.into(), flags: 0, ..right() };
    for (name, spec, word) in [
        ("type", lru, "lru_hash"),
        ("key", MapSpec { key_size: 8, ..right() }, "key_size is 8, not 4"),
        ("value", MapSpec { value_size: 16, ..right() }, "value_size is 16, not 8"),
        ("entries", MapSpec { max_entries: 127, ..right() }, "max_entries is 127, not 128"),
        ("flags", MapSpec { flags: 0, ..right() }, "flags is 0, not 1"),
    ] {
        create(&client, name, spec).await;
        let answer = try_load(&client, sharing("o", name), elf::SHARED).await;
        let error = refused(answer, Code::FailedPrecondition, &[name, "packets", word]);
        assert_eq!(error.reason.as_deref(), Some("NOT_SHAREABLE"));
    }
    refused(
        try_load(&client, sharing("o", "missing"), elf::SHARED).await,
        Code::NotFound,
        &["missing"],
    );
    let member = LoadObjectHeader { shared_maps: texts([("packet", "key")]), ..header("o") };
    let answer = try_load(&client, member, elf::SHARED).await;
    refused(answer, Code::InvalidArgument, &["packet", "packets, pinned"]);
    refused(
        try_load(&client, sharing("o", "a//b"), elf::SHARED).await,
        Code::InvalidArgument,
        &["'/'"],
    );
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_the_file_asks_for_is_not_made() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let loaded = try_load(&client, header("o"), elf::SHARED).await.unwrap();
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.contains("pinned") && warning.contains("shared_maps"), "{warning}");
    assert!(!Path::new("/sys/fs/bpf/pinned").exists());

    let file = agent.directory().join("shared.bpf.o");
    std::fs::write(&file, elf::SHARED).unwrap();
    let said = agent.cli(&["object", "load", "p", "--file", file.to_str().unwrap()]).ok();
    assert!(said.stderr.contains("warning: map pinned is not pinned"), "{said:?}");
    agent.stop();
}
