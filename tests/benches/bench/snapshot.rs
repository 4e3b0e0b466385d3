//! A watch of a large map: how soon it is whole at the client, what each of its series costs the
//! agent, and what is left when nobody watches.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bpfgate_client::{EntryBatch, UpdateMode, WatchEvent, WatchOptions, parse_selector};

use crate::agent::Agent;
use crate::report::{Goal, Report, mebibytes};

const MAP: &str = "large";
const SERIES: u32 = 600_000;
/// Entries written with one call.
const BATCH: u32 = 50_000;
const LIMITS: &str = "[limits]\nmax_series = 1000000\nmax_remembered_series = 0\n";
const INTERVAL: Duration = Duration::from_secs(1);
/// Sweeps go on meanwhile: what the first one took beside the series is given back.
const SETTLE: Duration = Duration::from_secs(4);
/// What a watch left behind has to be gone by then.
const FORGET: Duration = Duration::from_mins(1);

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let agent = Agent::start_with(LIMITS).await?;
    agent.create_hash(MAP, SERIES).await?;
    for from in (0..SERIES).step_by(BATCH as usize) {
        let entry = |key: u32| (u64::from(key).to_ne_bytes(), u64::from(key).to_ne_bytes());
        let entries: EntryBatch = (from..from + BATCH).map(entry).collect();
        agent.client.maps().update_batch(MAP, entries, UpdateMode::Any).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let before = agent.process.anonymous()?;

    let begun = Instant::now();
    let options = WatchOptions { interval: Some(INTERVAL), ..WatchOptions::default() };
    let selectors = vec![parse_selector(MAP)?];
    let client = agent.connect().await?;
    let mut watch = client.maps().watch_counters(selectors, options).await?;
    let mut series = 0;
    loop {
        match watch.next_event().await?.context("the watch ended")? {
            WatchEvent::Series(_) => series += 1,
            WatchEvent::Sync(_) => break,
            _ => {}
        }
    }
    let took = begun.elapsed();
    anyhow::ensure!(series == SERIES, "{series} series, not {SERIES}");
    report.add("snapshot_600k", took.as_secs_f64(), "s", Goal::AtMost(1.5));

    let until = Instant::now() + SETTLE;
    while Instant::now() < until {
        watch.next_event().await?.context("the watch ended")?;
    }
    let watched = agent.process.anonymous()?.saturating_sub(before);
    let each = f64::from(u32::try_from(watched / 1024)?) * 1024.0 / f64::from(SERIES);
    report.add("watch_bytes_per_series", each, "B", Goal::AtMost(150.0));

    drop((watch, client));
    let left = Instant::now();
    while agent.process.anonymous()? > before && left.elapsed() < FORGET {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let residue = agent.process.anonymous()?.saturating_sub(before);
    report.add("watch_residue", mebibytes(residue), "MiB", Goal::AtMost(1.0));
    Ok(())
}
