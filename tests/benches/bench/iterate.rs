//! Iterate over a million entries beside the raw system call and bpftool.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bpfgate_client::{Chunk, IterateOptions, Maps};
use bpfgate_server::sys;

use crate::agent::Agent;
use crate::report::{Goal, Report, mebibytes};
use crate::rounds::Rounds;

const MAP: &str = "million";
pub(crate) const ENTRIES: u32 = 1_000_000;
const ENTRY: usize = 8;
/// Entries of one raw batch: what the agent takes too.
const BATCH: usize = 4096;

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let agent = Agent::start().await?;
    let id = agent.create_hash(MAP, ENTRIES).await?.id;
    let raw = sys::map_get_fd_by_id(id, true).context("could not open the map")?;
    fill(&raw)?;
    let maps = agent.client.maps();

    // First, as long as the agent has not read the map before.
    agent.process.reset_peak()?;
    let before = agent.process.peak()?;
    iterate(&maps).await?;
    let growth = agent.process.peak()?.saturating_sub(before);
    report.add("iterate_agent_growth", mebibytes(growth), "MiB", Goal::AtMost(8.0));

    let rounds = Rounds::run(11, async || iterate(&maps).await, async || batches(&raw)).await?;
    report.add_ratio("iterate_vs_batch", &rounds, Goal::AtMost(1.10));
    let rate = |seconds: &f64| f64::from(ENTRIES) / seconds / 1e6;
    let rates: Vec<f64> = rounds.left.iter().map(rate).collect();
    report.add_median("iterate_rate", &rates, "M/s", Goal::Beside("batch_rate"));
    let rates: Vec<f64> = rounds.right.iter().map(rate).collect();
    report.add_median("batch_rate", &rates, "M/s", Goal::Beside("iterate_rate"));

    let rounds = Rounds::run(3, async || bpftool(id), async || iterate(&maps).await).await?;
    report.add_ratio("iterate_vs_bpftool", &rounds, Goal::AtLeast(12.0));
    Ok(())
}

/// Key n has value n.
pub(crate) fn fill(map: &sys::Map) -> Result<()> {
    for n in 0..u64::from(ENTRIES) {
        let bytes = n.to_ne_bytes();
        map.update(&bytes, &bytes, sys::UpdateFlags::ANY).context("could not fill the map")?;
    }
    Ok(())
}

/// Seconds until all entries are in our memory, through the agent.
async fn iterate(maps: &Maps) -> Result<f64> {
    let begun = Instant::now();
    let mut entries = maps.iterate(MAP, IterateOptions::default()).await?;
    let mut chunks = Vec::new();
    while let Some(chunk) = entries.next_chunk().await? {
        chunks.push(chunk);
    }
    let taken = begun.elapsed().as_secs_f64();
    let count: usize = chunks.iter().map(Chunk::len).sum();
    ensure!(count == ENTRIES as usize, "{count} entries came");
    let sum: u64 = chunks.iter().map(|chunk| sum(chunk.packed_values())).sum();
    check(sum)?;
    Ok(taken)
}

/// The same through bpf(2): what a tool with all rights does at best.
fn batches(map: &sys::Map) -> Result<f64> {
    let begun = Instant::now();
    // Room for one batch beyond the last entry.
    let room = (ENTRIES as usize + BATCH) * ENTRY;
    let (mut keys, mut values) = (vec![0; room], vec![0; room]);
    let mut cursor = vec![0; map.cursor_len()];
    let mut count = 0;
    loop {
        let at = count * ENTRY..(count + BATCH) * ENTRY;
        let (keys, values) = (&mut keys[at.clone()], &mut values[at]);
        let read = map.lookup_batch(count > 0, &mut cursor, keys, values, false)?;
        count += read.count;
        if read.end {
            break;
        }
    }
    let taken = begun.elapsed().as_secs_f64();
    ensure!(count == ENTRIES as usize, "{count} entries were read");
    check(sum(&values[..count * ENTRY]))?;
    Ok(taken)
}

/// The same as JSON, to nowhere.
fn bpftool(id: u32) -> Result<f64> {
    let begun = Instant::now();
    let mut command = Command::new("bpftool");
    command.args(["map", "dump", "-j", "id"]).arg(id.to_string()).stdout(Stdio::null());
    let status = command.status().context("could not start bpftool")?;
    ensure!(status.success(), "bpftool: {status}");
    Ok(begun.elapsed().as_secs_f64())
}

fn sum(values: &[u8]) -> u64 {
    let (values, _) = values.as_chunks::<ENTRY>();
    values.iter().map(|value| u64::from_ne_bytes(*value)).sum()
}

fn check(sum: u64) -> Result<()> {
    let entries = u64::from(ENTRIES);
    ensure!(sum == entries * (entries - 1) / 2, "the values are not those written");
    Ok(())
}
