//! Maps whose values stand for something else: what dump prints are names, restore takes them back,
//! and `-o bpftool` prints what bpftool does.

use std::net::{SocketAddr, TcpListener, TcpStream};

use bpfgate_client::reference::ReferenceKind;
use bpfgate_client::v1::{self, MapType, Reference};
use bpfgate_client::{Client, EntryBatch, IterateOptions, MapFilter, UpdateMode};
use bpfgate_tests::calls::load;
use bpfgate_tests::{Agent, NewMap, bpftool, elf};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use serde_json::{Value, json};

use super::restore::{print, restore};
use super::words;

/// The name of each slot that leads somewhere, by key.
async fn names(client: &Client, map: &str) -> Vec<(Vec<u8>, String)> {
    let options = IterateOptions { references: true, ..IterateOptions::default() };
    let mut stream = client.maps().iterate(map, options).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        assert_eq!(chunk.references().len(), chunk.len());
        let named = chunk.iter().zip(chunk.references());
        all.extend(named.map(|((key, _), name)| (key.to_vec(), name.to_string())));
    }
    all.sort();
    all
}

/// A map of each type that has both Iterate and Update by reference, with some slots that lead
/// somewhere. What has to stay open for that comes with them.
async fn filled(agent: &Agent, client: &Client) -> (Vec<v1::Map>, impl Sized) {
    load(client, "refs", elf::REFERENCES).await;
    for name in ["one", "two"] {
        NewMap::array(name).entries(4).make(client).await;
    }
    let inner = NewMap::array("one").entries(4).request().spec.unwrap();
    let of_maps = |name: &str, kind| NewMap::new(name, kind).sizes(4, 4).inner(inner.clone());
    for map in [
        of_maps("by_index", MapType::ArrayOfMaps),
        of_maps("by_key", MapType::HashOfMaps),
        NewMap::new("progs", MapType::ProgArray).sizes(4, 4),
        NewMap::new("ports", MapType::Devmap),
        NewMap::new("plain", MapType::Devmap).sizes(4, 4),
        NewMap::new("hashed", MapType::DevmapHash),
        NewMap::new("queues", MapType::Cpumap).entries(2),
        NewMap::new("socks", MapType::Sockmap),
        NewMap::new("socks_by", MapType::Sockhash).sizes(6, 8),
        NewMap::new("listeners", MapType::ReuseportSockarray),
    ] {
        map.make(client).await;
    }
    let (listener, near, far) = agent.netns().within(|| {
        let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        set_socket_reuseport(&socket, true).unwrap();
        let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
        bind(&socket, &anywhere).unwrap();
        listen(&socket, 8).unwrap();
        let listener = TcpListener::from(socket);
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        (listener, near, far)
    });
    let listening = Reference::socket(format!("tcp:{}", listener.local_addr().unwrap()));
    let connected = Reference::socket(format!("tcp:{}", near.local_addr().unwrap()));
    let lo = || Reference::device("lo");
    let slot = |index: u32| index.to_ne_bytes().to_vec();
    for (map, key, to) in [
        ("by_index", slot(1), Reference::map("one")),
        ("by_index", slot(3), Reference::map("two")),
        ("by_key", slot(7), Reference::map("two")),
        ("progs", slot(2), Reference::program("refs/land")),
        ("ports", slot(0), lo()),
        ("ports", slot(5), lo().with_program("refs/at_port")),
        ("plain", slot(3), lo()),
        ("hashed", slot(77), lo().with_program("refs/at_port")),
        ("queues", slot(1), Reference::cpu(64).with_program("refs/at_cpu")),
        ("socks", slot(2), connected.clone()),
        ("socks_by", b"a name".to_vec(), connected),
        ("listeners", slot(4), listening),
    ] {
        let updated = client.maps().update(map, key, to.clone(), UpdateMode::Any).await;
        updated.unwrap_or_else(|error| panic!("{map} to {to}: {error}"));
    }
    let mut maps = Vec::new();
    for map in client.maps().list(MapFilter::default()).await.unwrap() {
        let map_type = map.spec.as_ref().unwrap().r#type.cast_unsigned();
        if !map.name.contains('/') && ReferenceKind::of_values(map_type).is_some() {
            maps.push(client.maps().get(&map.name).await.unwrap());
        }
    }
    (maps, (listener, near, far))
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_takes_the_names_that_dump_printed() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let (maps, open) = filled(&agent, &client).await;
    assert_eq!(maps.len(), 10);
    for map in &maps {
        let before = names(&client, &map.name).await;
        assert!(!before.is_empty(), "{}", map.name);
        for format in ["json", "jsonl", "csv"] {
            let text = print(&agent, format, &map.name);
            for (key, name) in &before {
                assert!(text.contains(name.as_str()), "{} {name}: {text}", map.name);
                client.maps().delete_entry(&map.name, key.clone()).await.unwrap();
            }
            assert_eq!(names(&client, &map.name).await, [], "{}", map.name);
            let output = restore(&agent, &map.name, &text);
            assert!(output.success(), "{} as {format}: {output:#?}\n{text}", map.name);
            assert_eq!(output.json(), json!({"applied": before.len()}), "{}", map.name);
            assert_eq!(names(&client, &map.name).await, before, "{} as {format}", map.name);
        }
        // A table and lookups say the same.
        let table = print(&agent, "table", &map.name);
        for (key, name) in &before {
            assert!(table.contains(name.as_str()), "{table}");
            let hex: Vec<String> = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let lookup = format!("-o json map lookup {} hex:{}", map.name, hex.concat());
            let found = agent.cli(&words(&lookup)).ok().json();
            assert_eq!(found["value"], json!(name), "{}", map.name);
        }
    }
    drop(open);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_slots_are_printed_as_bpftool_prints_them() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let (mut maps, open) = filled(&agent, &client).await;
    for map in [
        NewMap::new("groups", MapType::CgroupArray).sizes(4, 4),
        NewMap::new("xsks", MapType::Xskmap).sizes(4, 4),
        NewMap::new("samples", MapType::PerfEventArray).sizes(4, 4).entries(2),
        NewMap::new("untold", MapType::Sockmap).sizes(4, 4),
    ] {
        maps.push(map.make(&client).await);
    }
    for map in &maps {
        let theirs = bpftool::text(&["map", "dump", "id", &map.id.to_string()]);
        assert_eq!(print(&agent, "bpftool", &map.name), theirs, "{}", map.name);
    }
    drop(open);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pointed_at_is_told_with_how_far_it_came() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "refs", elf::REFERENCES).await;
    let text = "{\"key\":0,\"value\":\"refs/land\"}\n{\"key\":1,\"value\":\"refs/nobody\"}\n";
    let output = restore(&agent, "refs/jumps", text);
    assert_eq!(output.code, Some(3), "{output:#?}");
    for part in ["refs/nobody", "entry 2 (line 2)", "1 entry was written"] {
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
    assert_eq!(names(&client, "refs/jumps").await.len(), 1);
    let numbers = restore(&agent, "refs/jumps", "{\"key\":0,\"value\":[\"0x01\",\"0x02\"]}\n");
    assert!(numbers.stderr.contains("not the name"), "{numbers:#?}");

    let key = 1_u32.to_ne_bytes().to_vec();
    let batch = || EntryBatch::pointing(key.clone(), vec![Reference::program("refs/land")]);
    let written = client.maps().update_batch("refs/jumps", batch(), UpdateMode::Any).await;
    assert_eq!(written.unwrap(), 1);
    let plain = client.maps().update_batch("refs/hits", batch(), UpdateMode::Any).await;
    assert!(plain.unwrap_err().to_string().contains("plain bytes"));
    let uneven = EntryBatch::pointing(vec![0; 8], vec![Reference::program("refs/land")]);
    let uneven = client.maps().update_batch("refs/jumps", uneven, UpdateMode::Any).await;
    assert!(uneven.unwrap_err().to_string().contains("1 do not go with 2 keys"));
    drop(client);
    agent.stop();
}

#[test]
fn the_kernels_btf_decides_what_is_formatted() {
    let agent = Agent::spawn();
    for create in [
        "map create typed --type hash --key-type u32 --value-type u64 --max-entries 2",
        "map create half --type hash --key 4 --value-type u64 --max-entries 2",
        "map create other --type hash --key-type u64 --value 4 --max-entries 2",
        "map create trie --type lpm_trie --key 8 --value-type u32 --max-entries 2 --flags no_prealloc",
        "map create cells --type array --key 4 --value-type u16 --max-entries 2",
        "map create bytes --type hash --key 4 --value 8 --max-entries 2",
    ] {
        let map = agent.cli(&words(&format!("-o json {create}"))).ok().json();
        let id = map["id"].to_string();
        let name = map["name"].as_str().unwrap();
        if name != "cells" {
            let size = |field: &str| usize::try_from(map[field].as_u64().unwrap()).unwrap();
            let key = format!("hex:08{}", "00".repeat(size("key_size") - 1));
            let value = format!("hex:{}", "01".repeat(size("value_size")));
            agent.cli(&["map", "update", name, &key, &value]).ok();
        }
        let theirs = bpftool::text(&["map", "dump", "id", &id]);
        assert_eq!(print(&agent, "bpftool", name), theirs, "{name}");
        assert_eq!(theirs.contains("formatted"), name != "bytes", "{theirs}");

        let mut shown = bpftool::json(&["map", "show", "id", &id]);
        shown.as_object_mut().unwrap().remove("pids");
        let ours = agent.cli(&["-o", "bpftool", "map", "show", name]).ok().stdout;
        assert_eq!(serde_json::from_str::<Value>(&ours).unwrap(), shown, "{name}");
    }
}
