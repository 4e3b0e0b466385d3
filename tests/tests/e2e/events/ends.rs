//! How a watch of events ends, and that nothing of it stays.

use bpfgate_client::v1::MapType;
use bpfgate_client::v1::event_end::Reason;
use bpfgate_client::{Code, Error, EventOptions};
use bpfgate_tests::calls::header;
use bpfgate_tests::{Agent, NewMap, SOON, elf};

use super::{PERF, RING, Script, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_goes_ends_its_watches_behind_the_last_record() {
    let stage = Stage::new(Script { burst: 100, ..Script::default() }).await;
    let link = stage.attach("to_ring").await;
    let (mut first, mut second) = (stage.watch(RING).await, stage.watch(RING).await);
    stage.call(20);
    stage.client.links().detach(link).await.unwrap();
    stage.client.objects().unload("ev").await.unwrap();
    for seen in [&mut first, &mut second] {
        while seen.next().await.unwrap().is_some() {}
        seen.assert_all(0, 2000);
        let end = *seen.events.end().unwrap();
        assert_eq!((end.reason(), end.records), (Reason::MapGone, 2000));
    }
    stage.agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_map_ends_its_watches_and_another_of_its_name_is_another() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let ring = || NewMap::new("ring", MapType::Ringbuf).sizes(0, 0).entries(4096);
    ring().make(&client).await;
    let mut old = client.maps().watch_events("ring", EventOptions::default()).await.unwrap();
    client.maps().delete("ring").await.unwrap();
    let made = ring().make(&client).await;
    assert!(old.next_news().await.unwrap().is_none());
    assert_eq!(old.end().unwrap().reason(), Reason::MapGone);
    let new = client.maps().watch_events("ring", EventOptions::default()).await.unwrap();
    assert_eq!(new.header().map_id, made.id);
    drop(new);
    client.maps().delete("ring").await.unwrap();
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stops_says_so() {
    let stage = Stage::new(Script::default()).await;
    let (ring, perf) = (stage.watch(RING).await, stage.watch(PERF).await);
    let Stage { agent, client, .. } = stage;
    let stopped = tokio::task::spawn_blocking(move || agent.stop());
    for mut seen in [ring, perf] {
        let Err(Error::Rpc(error)) = seen.next().await else { panic!("no reason") };
        assert_eq!((error.code, error.reason.as_deref()), (Code::Unavailable, Some("STOPPING")));
    }
    drop(client);
    stopped.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_frees_the_reader() {
    let stage = Stage::new(Script::default()).await;
    let before = stage.agent.checkpoint();
    // Who started the test may have left it open descriptors.
    let bequeathed = inherited(stage.agent.pid());
    for map in [RING, PERF] {
        let mut cli = stage.agent.cli_command();
        cli.args(["watch", "events", map]).stdout(std::process::Stdio::null());
        let mut cli = cli.spawn().unwrap();
        assert!(bpfgate_tests::within(SOON, || stage.mappings() > 0), "nobody reads {map}");
        assert_eq!(inherited(stage.agent.pid()), bequeathed);
        cli.kill().unwrap();
        cli.wait().unwrap();
        stage.assert_nothing_is_read();
        let given_back = || stage.agent.checkpoint().descriptors == before.descriptors;
        assert!(bpfgate_tests::within(SOON, given_back), "{:#?}", stage.agent.checkpoint());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_come_and_go_at_once_neither_lose_nor_repeat() {
    let stage = Stage::new(Script::default()).await;
    stage.attach("to_ring").await;
    let mut all = Vec::new();
    // The last to leave and the first to come meet in every way.
    for _ in 0..40 {
        let mut seen = stage.watch(RING).await;
        stage.call(5);
        seen.next().await.unwrap();
        all.extend_from_slice(&seen.numbers);
    }
    assert!(all.is_sorted_by(|a, b| a < b), "a record came twice: {all:?}");
    assert_eq!(stage.refused().await, 0);
}

/// What a program that the agent starts would get of its descriptors.
fn inherited(pid: u32) -> Vec<String> {
    const CLOSED_ON_EXEC: u32 = 0o2_000_000;
    let process = std::path::PathBuf::from(format!("/proc/{pid}"));
    let all = std::fs::read_dir(process.join("fdinfo")).unwrap().map(|fd| fd.unwrap().file_name());
    let stays = all.filter(|fd| {
        // It may be closed while we look.
        let Ok(info) = std::fs::read_to_string(process.join("fdinfo").join(fd)) else {
            return false;
        };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        u32::from_str_radix(flags.trim(), 8).unwrap() & CLOSED_ON_EXEC == 0
    });
    let mut stays: Vec<_> = stays.map(|fd| fd.to_string_lossy().into_owned()).collect();
    stays.sort_unstable();
    stays
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_when_its_map_is_handed_over() {
    let stage = Stage::new(Script::default()).await;
    let mut sharing = header("next");
    sharing.shared_maps.insert("ring".to_owned(), RING.to_owned());
    stage.client.objects().load_bytes(sharing, elf::EVENTS).await.unwrap();
    stage.attach("to_ring").await;
    let mut seen = stage.watch(RING).await;
    stage.call(10);
    seen.until(10).await;
    let handed = stage.client.objects().unload("ev").await.unwrap();
    assert_eq!(handed.iter().map(|map| &*map.to).collect::<Vec<_>>(), ["next/ring"]);
    while seen.renamed.is_empty() {
        seen.next().await.unwrap();
    }
    assert_eq!(seen.renamed, ["next/ring"]);
    let mut also = stage.watch("next/ring").await;
    stage.client.objects().unload("next").await.unwrap();
    for seen in [&mut seen, &mut also] {
        while seen.next().await.unwrap().is_some() {}
    }
    stage.agent.assert_only_baseline();
}
