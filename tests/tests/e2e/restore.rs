//! Any number of entries into a map: what Iterate reads, Restore writes.

use bpfgate_client::v1::MapType;
use bpfgate_client::v1::map_service_client::MapServiceClient;
use bpfgate_client::v1::restore_request::Message;
use bpfgate_client::{Client, Code, EntryBatch, Error, IterateOptions, UpdateMode, v1};
use bpfgate_tests::{Agent, NewMap, SOON, bpftool, refused, within};
use tokio_stream::StreamExt as _;

fn batch(numbers: impl Iterator<Item = u32>) -> EntryBatch {
    numbers.map(|number| (number.to_ne_bytes(), u64::from(number).to_ne_bytes())).collect()
}

fn header() -> v1::RestoreRequest {
    let header = v1::RestoreHeader { map: "m".into(), mode: 0 };
    v1::RestoreRequest { message: Some(Message::Header(header)) }
}

fn one_entry() -> v1::RestoreRequest {
    let (keys, values) = (vec![1; 4].into(), vec![1; 8].into());
    let packed = v1::PackedEntries { count: 1, keys, values, ..v1::PackedEntries::default() };
    v1::RestoreRequest { message: Some(Message::Entries(packed)) }
}

/// A client that sends these and then nothing more, but does not go away.
async fn stalling(client: Client, messages: Vec<v1::RestoreRequest>) -> tonic::Status {
    let requests = tokio_stream::iter(messages).chain(tokio_stream::pending());
    MapServiceClient::new(client.channel()).restore(requests).await.unwrap_err()
}

async fn copy(client: &Client, from: &str, to: &str) -> Result<u64, Error> {
    let mut entries = client.maps().iterate(from, IterateOptions::default()).await?;
    let mut restore = client.maps().restore(to, UpdateMode::Noexist);
    while let Some(chunk) = entries.next_chunk().await? {
        restore.send(chunk).await?;
    }
    assert_eq!(restore.sent(), entries.end().unwrap().entries);
    restore.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_restored_from_another_is_equal_to_it() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for kind in [MapType::Hash, MapType::PercpuHash, MapType::LruHash, MapType::LpmTrie] {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_");
        let room = if kind == MapType::LruHash { 65_536 } else { 10_000 };
        let make = |name: String| NewMap::new(&name, kind).entries(room);
        let from = make(format!("{name}.a")).make(&client).await;
        let to = make(format!("{name}.b")).make(&client).await;
        let key = |n: u32| match kind {
            MapType::LpmTrie => [32_u32.to_ne_bytes(), n.to_be_bytes()].concat(),
            _ => n.to_ne_bytes().to_vec(),
        };
        let entries: EntryBatch =
            (0..10_000).map(|n| (key(n), u64::from(n).to_ne_bytes())).collect();
        client.maps().update_batch(&from.name, entries, UpdateMode::Any).await.unwrap();
        assert_eq!(copy(&client, &from.name, &to.name).await.unwrap(), 10_000, "{name}");
        assert!(bpftool::dump(from.id) == bpftool::dump(to.id), "{name}: they differ");
    }
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_stops_tells_how_many_entries_are_in_the_map() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = NewMap::hash("small").entries(150_000).make(&client).await;
    let mut restore = client.maps().restore("small", UpdateMode::Any);
    // Far more than is under way at once: some call of `send` meets the refusal, or `finish`.
    let mut sent = Ok(());
    for start in (0..1_000_000).step_by(50_000) {
        sent = restore.send(batch(start..start + 50_000)).await;
        if sent.is_err() {
            break;
        }
    }
    let error = refused(sent, Code::ResourceExhausted, &["small", "after 150000", "full"]);
    assert_eq!((error.rpc, error.applied()), ("Restore", Some(150_000)));
    assert!(restore.sent() >= 150_000);
    // It stays over.
    assert!(matches!(restore.send(batch(0..1)).await, Err(Error::CutOff { .. })));
    let mut read = client.maps().iterate("small", IterateOptions::default()).await.unwrap();
    while read.next_chunk().await.unwrap().is_some() {}
    assert_eq!(read.end().unwrap().entries, 150_000);

    let taken = client.maps().restore("small", UpdateMode::Noexist);
    assert_eq!(taken.finish().await.unwrap(), 0);
    let mut taken = client.maps().restore("small", UpdateMode::Noexist);
    let _ = taken.send(batch(0..1)).await;
    let error = refused(taken.finish().await, Code::AlreadyExists, &["small"]);
    assert_eq!(error.applied(), Some(0));
    assert!(bpftool::lookup(map.id, &149_999_u32.to_ne_bytes()).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_map_is_told() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = NewMap::hash("m").make(&client).await;
    let nowhere = client.maps().restore("nowhere", UpdateMode::Any);
    refused(nowhere.finish().await, Code::NotFound, &["nowhere"]);
    let hash = ["type", "hash", "key", "4", "value", "8", "entries", "8", "name", "theirs"];
    let theirs = bpftool::PinnedMap::create(agent.bpffs(), &hash);
    let foreign = client.maps().restore(&format!("id:{}", theirs.id), UpdateMode::Any);
    refused(foreign.finish().await, Code::PermissionDenied, &["only be read"]);

    let mut odd = client.maps().restore("m", UpdateMode::Any);
    odd.send(batch(0..5)).await.unwrap();
    odd.send(EntryBatch::packed(2, vec![0; 7], vec![0; 16])).await.unwrap();
    let error = refused(odd.finish().await, Code::InvalidArgument, &["7 bytes", "keys of 4"]);
    assert_eq!(error.applied(), Some(5));
    assert_eq!(bpftool::dump(map.id).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_the_wrong_order_is_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("m").make(&client).await;
    for (messages, word) in [
        (vec![], "header"),
        (vec![one_entry()], "header"),
        (vec![header(), one_entry(), header()], "entries"),
        (vec![header(), one_entry(), v1::RestoreRequest::default()], "entries"),
    ] {
        let mut rpc = MapServiceClient::new(client.channel());
        let status = rpc.restore(tokio_stream::iter(messages)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(word), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_what_was_written_and_nothing_else() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = NewMap::hash("m").entries(1_000_000).make(&client).await;
    for first in [0, 100_000] {
        let mut restore = client.maps().restore("m", UpdateMode::Any);
        restore.send(batch(first..first + 50_000)).await.unwrap();
        drop(restore);
    }
    // A whole connection as well, in the middle of a stream.
    let other = agent.client().await;
    let mut restore = other.maps().restore("m", UpdateMode::Any);
    restore.send(batch(200_000..200_001)).await.unwrap();
    assert!(within(SOON, || bpftool::lookup(map.id, &200_000_u32.to_ne_bytes()).is_some()));
    drop((restore, other));
    client.maps().delete("m").await.unwrap();
    // Each of them held the map.
    agent.assert_only_baseline();
    drop(client);
    agent.assert_no_connections();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_falls_silent_is_ended_at_the_limit() {
    let agent = Agent::builder().config("[limits]\nstall_seconds = 3\nmax_streams = 1\n").spawn();
    let client = agent.client().await;
    let map = NewMap::hash("m").make(&client).await;
    let silent = tokio::spawn(stalling(client.clone(), vec![header(), one_entry()]));
    assert!(within(SOON, || bpftool::lookup(map.id, &[1; 4]).is_some()));
    // On a connection of its own: this one has no stream left.
    let other = agent.client().await;
    let second = other.maps().restore("m", UpdateMode::Any).finish().await;
    refused(second, Code::ResourceExhausted, &["streams at once"]);
    let status = silent.await.unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(status.message().contains("after 1 entries"), "{status:?}");
    assert!(status.message().contains("nothing for 3 s"), "{status:?}");
    // Its place is free again.
    let mut next = client.maps().restore("m", UpdateMode::Any);
    next.send(batch(0..15)).await.unwrap();
    assert_eq!(next.finish().await.unwrap(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_faster_than_the_kernel_waits() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    // 480 MB to be written, always the same: what the agent does not hold back it would have to keep.
    let values = vec![7_u8; 64 << 10];
    NewMap::array("wide").sizes(4, 64 << 10).entries(16).make(&client).await;
    let one: EntryBatch = (0..16_u32).map(|n| (n.to_ne_bytes(), &values[..])).collect();
    let before = peak(&agent);
    let mut restore = client.maps().restore("wide", UpdateMode::Any);
    for _ in 0..480 {
        restore.send(one.clone()).await.unwrap();
    }
    assert_eq!(restore.finish().await.unwrap(), 480 * 16);
    let grown = peak(&agent) - before;
    assert!(grown < 64 << 10, "it took {grown} KiB");
}

/// Most memory that the agent ever had, in KiB.
fn peak(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_ends_when_the_agent_stops() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = NewMap::hash("m").make(&client).await;
    let answer = tokio::spawn(stalling(client.clone(), vec![header(), one_entry()]));
    assert!(within(SOON, || bpftool::lookup(map.id, &[1; 4]).is_some()));
    tokio::task::spawn_blocking(move || agent.stop()).await.unwrap();
    let status = answer.await.unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
}
