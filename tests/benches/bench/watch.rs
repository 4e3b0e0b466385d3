//! Many watchers of one map: how often it is read for them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bpfgate_client::{Client, UpdateMode, Watch, WatchEvent, WatchOptions, parse_selector};
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::report::{Goal, Report};
use crate::rounds::Rounds;
use crate::shared;

pub(crate) const WATCHERS: usize = 1000;
/// A few hundred to a connection is what a controller would have.
const CONNECTIONS: usize = 4;
pub(crate) const MAP: &str = "watched";
const INTERVAL: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_secs(3);

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let agent = Agent::start().await?;
    let clients = prepare(&agent).await?;
    let many = async || sweeps(&clients, WATCHERS).await;
    let rounds = Rounds::run(2, many, async || sweeps(&clients, 1).await).await?;
    report.add_ratio("watch_sweeps", &rounds, Goal::AtMost(1.0));
    shared::measure(report, &agent, &clients).await
}

/// A map with something in it, and connections that have been used.
pub(crate) async fn prepare(agent: &Agent) -> Result<Vec<Client>> {
    agent.create_hash(MAP, 16).await?;
    for key in 0_u64..4 {
        let maps = agent.client.maps();
        maps.update(MAP, key.to_ne_bytes(), key.to_ne_bytes(), UpdateMode::Any).await?;
    }
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = agent.connect().await?;
        client.agent().get().await?;
        clients.push(client);
    }
    Ok(clients)
}

/// Watches of the map that have been told everything there is.
pub(crate) async fn open(
    clients: &[Client],
    map: &'static str,
    count: usize,
    interval: Duration,
) -> Result<Vec<Watch>> {
    let mut opening = JoinSet::new();
    for client in clients.iter().cycle().take(count) {
        let client = client.clone();
        opening.spawn(async move { watch(&client, map, interval).await });
    }
    let mut watches = Vec::new();
    while let Some(opened) = opening.join_next().await {
        watches.push(opened??);
    }
    Ok(watches)
}

async fn watch(client: &Client, map: &str, interval: Duration) -> Result<Watch> {
    let options = WatchOptions { interval: Some(interval), ..WatchOptions::default() };
    let mut watch = client.maps().watch_counters(vec![parse_selector(map)?], options).await?;
    loop {
        let event = watch.next_event().await?.context("a watch ended")?;
        if matches!(event, WatchEvent::Sync(_)) {
            return Ok(watch);
        }
    }
}

/// Sweeps a second for so many watchers. Two are the same if they began at the same nanosecond:
/// whoever read the map again for a second watcher would be found out.
async fn sweeps(clients: &[Client], count: usize) -> Result<f64> {
    let watches = open(clients, MAP, count, INTERVAL).await?;
    let until = Instant::now() + WINDOW;
    let mut following = JoinSet::new();
    for watch in watches {
        following.spawn(follow(watch, until));
    }
    let mut begun = BTreeSet::new();
    while let Some(followed) = following.join_next().await {
        begun.append(&mut followed??);
    }
    ensure!(begun.len() > 1, "no sweep within {WINDOW:?}");
    let (first, last) = (begun.first().copied(), begun.last().copied());
    let span = last.unwrap_or_default().saturating_sub(first.unwrap_or_default());
    Ok(f64::from(u32::try_from(begun.len() - 1)?) / span.as_secs_f64())
}

/// When each sweep began that a watch was told of.
async fn follow(mut watch: Watch, until: Instant) -> Result<BTreeSet<Duration>> {
    let mut begun = BTreeSet::new();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let Ok(event) = tokio::time::timeout(left, watch.next_event()).await else { break };
        if let Some(WatchEvent::Batch(batch)) = event? {
            let time = batch.read_begin.context("a batch without a time")?;
            let seconds = u64::try_from(time.seconds)?;
            begun.insert(Duration::new(seconds, u32::try_from(time.nanos)?));
        }
    }
    Ok(begun)
}
