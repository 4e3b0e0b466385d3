//! A thousand watchers of a thousand counters that all change every second: what they cost the
//! agent beside one watcher, and how soon they are told.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use bpfgate_client::{Client, EntryBatch, UpdateMode, Watch, WatchEvent};
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::report::{Goal, Report};
use crate::watch::{self, WATCHERS};

const MAP: &str = "counters";
const COUNTERS: u64 = 1000;
const INTERVAL: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(8);

pub(crate) async fn measure(report: &mut Report, agent: &Agent, clients: &[Client]) -> Result<()> {
    agent.create_hash(MAP, 2048).await?;
    let one = run(agent, clients, 1).await?;
    let many = run(agent, clients, WATCHERS).await?;
    report.add("watch_cpu_one", one.cpu * 1e3, "ms/s", Goal::Beside("watch_cpu_1000"));
    report.add("watch_cpu_1000", many.cpu * 1e3, "ms/s", Goal::Beside("watch_cpu_one"));
    report.add("watch_delay_p99", one.delay * 1e3, "ms", Goal::Beside("watch_delay_p99_1000"));
    report.add("watch_delay_p99_1000", many.delay * 1e3, "ms", Goal::Beside("watch_delay_p99"));
    Ok(())
}

struct Cost {
    /// CPU seconds of the agent in a second.
    cpu: f64,
    /// Seconds from the end of a sweep to its last value at a client: 99 % take less.
    delay: f64,
}

async fn run(agent: &Agent, clients: &[Client], count: usize) -> Result<Cost> {
    set_all(&agent.client, 0).await?;
    let watches = watch::open(clients, MAP, count, INTERVAL).await?;
    // What came for the first watches while the last ones were opened is no part of it.
    let from = Instant::now() + INTERVAL;
    let mut following = JoinSet::new();
    for watch in watches {
        following.spawn(follow(watch, from));
    }
    tokio::time::sleep_until(from.into()).await;
    let (begun, before) = (Instant::now(), agent.process.cpu()?);
    let mut round = 0;
    while begun.elapsed() < WINDOW {
        round += 1;
        set_all(&agent.client, round).await?;
        tokio::time::sleep(INTERVAL).await;
    }
    let spent = agent.process.cpu()?.saturating_sub(before);
    let cpu = spent.as_secs_f64() / begun.elapsed().as_secs_f64();
    let mut delays = Vec::new();
    while let Some(followed) = following.join_next().await {
        delays.append(&mut followed??);
    }
    ensure!(!delays.is_empty(), "no sweep within {WINDOW:?}");
    delays.sort_unstable();
    Ok(Cost { cpu, delay: delays[delays.len() * 99 / 100].as_secs_f64() })
}

/// All counters to one number, with a single call.
async fn set_all(client: &Client, number: u64) -> Result<()> {
    let keys: Vec<u8> = (0..COUNTERS).flat_map(u64::to_ne_bytes).collect();
    let values: Vec<u8> = (0..COUNTERS).flat_map(|_| number.to_ne_bytes()).collect();
    let all = EntryBatch::packed(u32::try_from(COUNTERS)?, keys, values);
    client.maps().update_batch(MAP, all, UpdateMode::Any).await?;
    Ok(())
}

/// From the end of each sweep in the window to its batch.
async fn follow(mut watch: Watch, from: Instant) -> Result<Vec<Duration>> {
    let until = from + WINDOW;
    let begin = SystemTime::now() + from.saturating_duration_since(Instant::now());
    let begin = begin.duration_since(UNIX_EPOCH)?;
    let mut delays = Vec::new();
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let Ok(event) = tokio::time::timeout(left, watch.next_event()).await else { break };
        if let Some(WatchEvent::Batch(batch)) = event? {
            let time = batch.read_end.context("a batch without a time")?;
            let time = Duration::new(time.seconds.try_into()?, time.nanos.try_into()?);
            if time >= begin {
                delays.push(SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(time));
            }
        }
    }
    Ok(delays)
}
