//! Clients that go away in the middle: what they held up is given back, and nobody else notices.

use std::time::{Duration, Instant};

use bpfgate_client::v1::{self, CounterSelector, MapType};
use bpfgate_client::{Client, CpuMode, IterateOptions, UpdateMode, WatchOptions};
use bpfgate_tests::kernel::{Id, Kind};
use bpfgate_tests::{Agent, NewMap, SOON, within};

/// A map that takes a good part of a second to read, and far more than the transport buffers.
async fn million(client: &Client) -> v1::Map {
    let map = NewMap::array("million").sizes(4, 64).entries(1_000_000);
    map.make(client).await
}

/// CPU time of the agent, in clock ticks: it stands still once nothing is under way.
fn ticks(agent: &Agent) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
    // Behind the name, which is in parentheses: utime and stime are fields 14 and 15.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

fn assert_idle(agent: &Agent) {
    let mut last = ticks(agent);
    let idle = within(SOON, || {
        std::thread::sleep(Duration::from_millis(200));
        let now = ticks(agent);
        std::mem::replace(&mut last, now) == now
    });
    assert!(idle, "the agent is still at work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_ends_when_its_client_drops_it() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    million(&client).await;
    for _ in 0..20 {
        let mut stream = client.maps().iterate("million", IterateOptions::default()).await.unwrap();
        stream.next_chunk().await.unwrap().unwrap();
    }
    assert_idle(&agent);
    // The streams held the map; now only its name does.
    client.maps().delete("million").await.unwrap();
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_end_when_their_client_is_killed() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = million(&client).await;
    let mut dumps: Vec<_> = (0..4)
        .map(|_| {
            // Nobody reads the pipe, so each stops in the middle.
            let mut dump = agent.cli_command();
            dump.args(["map", "dump", "million"]).stdout(std::process::Stdio::piped());
            dump.spawn().unwrap()
        })
        .collect();
    let connected = within(SOON, || agent.checkpoint().sockets >= agent.baseline().sockets + 5);
    assert!(connected, "{:#?}", agent.checkpoint());
    tokio::time::sleep(Duration::from_millis(300)).await;
    for dump in &mut dumps {
        assert!(dump.try_wait().unwrap().is_none(), "the dump ended by itself");
        dump.kill().unwrap();
        dump.wait().unwrap();
    }
    client.maps().delete("million").await.unwrap();
    let began = Instant::now();
    agent.assert_only_baseline();
    assert!(within(SOON, || !Id(Kind::Map, map.id).exists()), "the map is still there");
    drop(client);
    agent.assert_no_connections();
    assert_idle(&agent);
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    assert!(agent.cli(&["map", "list"]).success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_ends_with_its_last_watcher() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::array("m").entries(10_000).make(&client).await;
    let selectors = || vec![CounterSelector { map: "m".into(), ..CounterSelector::default() }];
    let interval = Some(Duration::from_millis(50));
    for _ in 0..5 {
        let mut watches = Vec::new();
        for _ in 0..20 {
            let options = WatchOptions { interval, ..WatchOptions::default() };
            let mut watch = client.maps().watch_counters(selectors(), options).await.unwrap();
            watch.next_event().await.unwrap();
            watches.push(watch);
        }
    }
    assert_idle(&agent);
    client.maps().delete("m").await.unwrap();
    agent.assert_only_baseline();
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_end_when_their_client_is_killed() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("m").make(&client).await;
    let mut watches: Vec<_> = (0..4)
        .map(|_| {
            let mut watch = agent.cli_command();
            watch.args(["watch", "counters", "m", "--interval", "50ms"]);
            watch.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let connected = within(SOON, || agent.checkpoint().sockets >= agent.baseline().sockets + 5);
    assert!(connected, "{:#?}", agent.checkpoint());
    for watch in &mut watches {
        watch.kill().unwrap();
        watch.wait().unwrap();
    }
    assert_idle(&agent);
    client.maps().delete("m").await.unwrap();
    agent.assert_only_baseline();
    drop(client);
    agent.assert_no_connections();
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_served_while_a_client_stalls() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    million(&client).await;
    NewMap::new("small", MapType::Hash).make(&client).await;
    let mut streams = Vec::new();
    for n in 0..20 {
        let stalled = if n % 2 == 0 { client.clone() } else { agent.client().await };
        streams.push(stalled.maps().iterate("million", IterateOptions::default()).await.unwrap());
    }
    let began = Instant::now();
    for number in 0..200_u64 {
        let value = number.to_ne_bytes();
        client.maps().update("small", [1; 4], value, UpdateMode::Any).await.unwrap();
        let read = client.maps().lookup("small", [1; 4], CpuMode::Each).await.unwrap();
        assert_eq!(read, value[..]);
    }
    assert!(began.elapsed() < SOON, "400 calls took {:?}", began.elapsed());
    // A stalled stream is held back, not read to memory.
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200 << 10, "20 stalled dumps took {peak} KiB");
    drop(streams);
    assert_idle(&agent);
}

#[tokio::test(flavor = "multi_thread")]
async fn threads_go_when_the_work_is_done() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::array("m").entries(1000).make(&client).await;
    let dumps: Vec<_> = (0..50)
        .map(|_| {
            let maps = client.maps();
            tokio::spawn(async move {
                let mut stream = maps.iterate("m", IterateOptions::default()).await.unwrap();
                while stream.next_chunk().await.unwrap().is_some() {}
            })
        })
        .collect();
    for dump in dumps {
        dump.await.unwrap();
    }
    // Idle threads are kept for ten seconds.
    let gone =
        within(Duration::from_secs(15), || agent.checkpoint().threads <= agent.baseline().threads);
    let (now, then) = (agent.checkpoint().threads, agent.baseline().threads);
    assert!(gone, "the agent has {now} threads, at its start it had {then}");
}
