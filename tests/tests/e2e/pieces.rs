//! What is larger than a message comes in pieces: a value, a verifier's log.

use bpfgate_server::sys;

use bpfgate_client::v1::{LoadObjectHeader, MapType};
use bpfgate_client::{Client, Code, CpuMode, UpdateMode};
use bpfgate_tests::calls::{header, try_load};
use bpfgate_tests::fixture::NewMap;
use bpfgate_tests::{Agent, elf, refused};

/// Of a message in these tests.
const MESSAGE: u32 = 1 << 20;

async fn used(client: &Client) -> u64 {
    client.agent().get().await.unwrap().ledger.unwrap().used_bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_larger_than_a_message_is_read_in_pieces() {
    let config = format!("[limits]\nmax_message_bytes = {MESSAGE}\n");
    let agent = Agent::builder().config(&config).spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let size = 5 * MESSAGE / 2;
    let map = NewMap::array("huge").sizes(4, size).entries(2).make(&client).await;
    let value: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let idle = used(&client).await;
    // Somebody who may.
    let theirs = sys::map_get_fd_by_id(map.id, true).unwrap();
    theirs.update(&1u32.to_ne_bytes(), &value, sys::UpdateFlags::ANY).unwrap();
    drop(theirs);

    let key = || 1u32.to_ne_bytes();
    let too_large = maps.lookup("huge", key(), CpuMode::Each).await;
    let words = ["answer", &MESSAGE.to_string(), "max_message_bytes"];
    let error = refused(too_large, Code::ResourceExhausted, &words);
    assert_eq!(error.reason.as_deref(), Some("TOO_LARGE"));
    assert_eq!(maps.read_value("huge", key()).await.unwrap(), value);
    assert_eq!(maps.read_value("huge", [0; 4]).await.unwrap(), vec![0; size as usize]);
    let shown = agent.cli(&["-o", "json", "map", "lookup", "huge", "1"]).ok().json();
    let shown = shown["value"].as_str().unwrap();
    assert_eq!(shown.len(), 4 + 2 * size as usize);
    assert!(shown.starts_with("hex:000102"));

    refused(maps.read_value("huge", 2u32.to_ne_bytes()).await, Code::OutOfRange, &["2"]);
    refused(maps.read_value("huge", [0; 3]).await, Code::InvalidArgument, &["4"]);
    refused(maps.read_value("none", [0; 4]).await, Code::NotFound, &["none"]);
    let queue = NewMap::new("queue", MapType::Queue).sizes(0, 8).make(&client).await;
    refused(maps.read_value(&queue.name, [0; 0]).await, Code::Unimplemented, &["queue", "pop"]);
    // A write of as much says which limit is in its way.
    let update = maps.update("huge", key(), value, UpdateMode::Any).await;
    refused(update, Code::ResourceExhausted, &["max_message_bytes"]);
    assert!(used(&client).await <= idle + 64 * 1024, "nothing stays charged");
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_verifier_log_is_read_once() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let keeping = LoadObjectHeader { keep_log: true, ..header("o") };
    let answer = try_load(&client, keeping.clone(), elf::LONG_LOG).await;
    let error = refused(answer, Code::InvalidArgument, &["verifier rejects program winding"]);
    let end = error.verifier_log.clone().unwrap();
    let whole = client.objects().verifier_log(error.log().unwrap()).await.unwrap();
    assert!(whole.len() > 12 << 10, "{} bytes", whole.len());
    let last = end.lines().last().unwrap();
    assert_eq!(whole.lines().last().unwrap(), last);
    assert!(whole.lines().count() > end.lines().count());
    let again = client.objects().verifier_log(error.log().unwrap()).await;
    refused(again, Code::NotFound, &["minute"]);

    // Who does not ask for it has the end alone.
    let answer = try_load(&client, header("o"), elf::LONG_LOG).await;
    assert_eq!(refused(answer, Code::InvalidArgument, &["winding"]).log(), None);

    let file = agent.directory().join("long.bpf.o");
    std::fs::write(&file, elf::LONG_LOG).unwrap();
    let file = file.to_str().unwrap();
    let said = agent.cli(&["object", "load", "o", "--file", file]);
    let short = said.stderr.lines().count();
    let said = agent.cli(&["object", "load", "o", "--file", file, "--full-log"]);
    assert_eq!(said.code, Some(6));
    assert!(said.stderr.lines().count() > 5 * short);
    agent.stop();
}
