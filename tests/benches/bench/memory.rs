//! What the agent keeps in memory while nothing happens: by itself, and for its watchers.

use std::time::Duration;

use anyhow::Result;

use crate::agent::Agent;
use crate::report::{Goal, Report, kibibytes, mebibytes};
use crate::watch::{self, WATCHERS};

/// No sweep while memory is looked at.
const INTERVAL: Duration = Duration::from_mins(10);

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let agent = Agent::start().await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let resident = mebibytes(agent.process.resident()?);
    report.add("agent_idle_rss", resident, "MiB", Goal::AtMost(15.0));

    let clients = watch::prepare(&agent).await?;
    // Of a thousand watchers none should pay for what the first one needs.
    let _first = watch::open(&clients, watch::MAP, 1, INTERVAL).await?;
    let before = agent.process.resident()?;
    let _watches = watch::open(&clients, watch::MAP, WATCHERS, INTERVAL).await?;
    let grown = kibibytes(agent.process.resident()?.saturating_sub(before));
    let each = grown / f64::from(u32::try_from(WATCHERS)?);
    report.add("watch_memory", each, "KiB", Goal::AtMost(32.0));
    Ok(())
}
