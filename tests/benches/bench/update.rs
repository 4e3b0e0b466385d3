//! Restore of a million entries beside the raw system call.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bpfgate_client::{EntryBatch, Maps, UpdateMode};
use bpfgate_server::sys;
use bytes::Bytes;

use crate::agent::Agent;
use crate::report::{Goal, Report};
use crate::rounds::Rounds;

const MAP: &str = "restored";
const ENTRIES: u32 = 1_000_000;
const ENTRY: usize = 8;
/// Entries of one raw batch: what the agent takes too.
const BATCH: usize = 4096;

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let agent = Agent::start().await?;
    let id = agent.create_hash(MAP, ENTRIES).await?.id;
    let raw = sys::map_get_fd_by_id(id, true).context("could not open the map")?;
    let maps = agent.client.maps();
    // Key n has value n, in both columns the same bytes.
    let column: Bytes = (0..u64::from(ENTRIES)).flat_map(u64::to_ne_bytes).collect();

    let rounds = Rounds::run(
        11,
        async || restore(&maps, &raw, &column).await,
        async || batches(&raw, &column),
    )
    .await?;
    report.add_ratio("update_batch_vs_raw", &rounds, Goal::AtMost(1.2));
    let rate = |seconds: &f64| f64::from(ENTRIES) / seconds / 1e6;
    let rates: Vec<f64> = rounds.left.iter().map(rate).collect();
    report.add_median("restore_rate", &rates, "M/s", Goal::Beside("update_batch_rate"));
    let rates: Vec<f64> = rounds.right.iter().map(rate).collect();
    report.add_median("update_batch_rate", &rates, "M/s", Goal::Beside("restore_rate"));
    Ok(())
}

/// Seconds until all entries are in an empty map, through the agent.
async fn restore(maps: &Maps, raw: &sys::Map, column: &Bytes) -> Result<f64> {
    empty(raw, column)?;
    let begun = Instant::now();
    let mut restore = maps.restore(MAP, UpdateMode::Any);
    restore.send(EntryBatch::packed(ENTRIES, column.clone(), column.clone())).await?;
    let applied = restore.finish().await?;
    let taken = begun.elapsed().as_secs_f64();
    ensure!(applied == u64::from(ENTRIES), "{applied} entries were written");
    check(raw)?;
    Ok(taken)
}

/// The same through bpf(2): what a tool with all rights does at best.
fn batches(raw: &sys::Map, column: &Bytes) -> Result<f64> {
    empty(raw, column)?;
    let begun = Instant::now();
    for batch in column.chunks(BATCH * ENTRY) {
        raw.update_batch(batch, batch, false).map_err(|refused| refused.source)?;
    }
    let taken = begun.elapsed().as_secs_f64();
    check(raw)?;
    Ok(taken)
}

fn empty(raw: &sys::Map, column: &Bytes) -> Result<()> {
    for batch in column.chunks(BATCH * ENTRY) {
        match raw.delete_batch(batch) {
            Ok(()) => {}
            // It was empty.
            Err(refused) if refused.source.raw_os_error() == Some(libc::ENOENT) => break,
            Err(refused) => return Err(refused.source).context("could not empty the map"),
        }
    }
    Ok(())
}

/// A few entries, the first and the last among them.
fn check(raw: &sys::Map) -> Result<()> {
    let mut value = [0; ENTRY];
    for key in (0..u64::from(ENTRIES)).step_by(99_999).chain([u64::from(ENTRIES) - 1]) {
        raw.lookup(&key.to_ne_bytes(), &mut value).with_context(|| format!("key {key}"))?;
        ensure!(value == key.to_ne_bytes(), "key {key} has another value");
    }
    Ok(())
}
