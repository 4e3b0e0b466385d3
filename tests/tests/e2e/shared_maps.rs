//! Maps of others in an object's programs, and pins that the agent does not make.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::path::Path;

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::{CreateMapRequest, LoadObjectHeader, MapSpec, MapType, SocketTarget};
use bpfgate_client::{Client, Code, UpdateMode};
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
async fn a_shared_map_outlives_its_object_under_its_sharers_name() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let labelled = |object: &str, reference: Option<&str>| LoadObjectHeader {
        labels: texts([("of", object)]),
        shared_maps: reference.map_or_else(HashMap::new, |it| texts([("packets", it)])),
        ..header(object)
    };
    // In the order of their loads, not of their names.
    for (object, reference) in
        [("v1", None), ("v3", Some("v1/packets")), ("v2", Some("v1/packets"))]
    {
        try_load(&client, labelled(object, reference), elf::SHARED).await.unwrap();
    }
    let map = client.maps().get("v1/packets").await.unwrap();
    assert_eq!(map.labels, texts([("of", "v1")]));
    client.maps().pin("v1/packets", "kept").await.unwrap();
    client
        .maps()
        .update("v1/packets", 5u32.to_ne_bytes(), 7u64.to_ne_bytes(), UpdateMode::Any)
        .await
        .unwrap();
    let shows = agent.cli(&["object", "show", "v2"]).ok();
    assert!(shows.stdout.contains("packets=v1/packets"), "{shows:?}");

    let said = agent.cli(&["object", "unload", "v1"]).ok();
    assert_eq!(said.stderr, "bpfgate: map v1/packets is v3/packets now\n");
    refused(client.maps().get("v1/packets").await, Code::NotFound, &["v1/packets"]);
    refused(client.objects().get("v1").await, Code::NotFound, &["v1"]);
    let handed = client.maps().get("v3/packets").await.unwrap();
    assert_eq!((handed.id, handed.object.as_str()), (map.id, "v3"));
    assert_eq!(handed.labels, texts([("of", "v3")]));
    assert_eq!(handed.pins, ["kept"]);
    assert_eq!(number(&client, "v3/packets", 5).await, 7);
    let v3 = client.objects().get("v3").await.unwrap();
    assert_eq!((v3.maps, v3.shared_maps.len()), (vec!["v3/pinned".into(), "v3/packets".into()], 0));
    let v2 = client.objects().get("v2").await.unwrap();
    assert_eq!(v2.shared_maps, texts([("packets", "v3/packets")]));

    // The old name is free, and the way on is the same again.
    try_load(&client, labelled("v1", Some("v3/packets")), elf::SHARED).await.unwrap();
    let handed = client.objects().unload("v3").await.unwrap();
    assert_eq!((&*handed[0].from, &*handed[0].to, handed.len()), ("v3/packets", "v2/packets", 1));
    let handed = client.objects().unload("v2").await.unwrap();
    assert_eq!((&*handed[0].from, &*handed[0].to, handed.len()), ("v2/packets", "v1/packets", 1));
    assert_eq!(client.objects().unload("v1").await.unwrap(), []);
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
