//! Reading one map over and over: one task for each map, as long as anyone watches it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::feed::Feed;
use super::hub::{Hub, bumped};
use super::pass::{Found, Pass, Wanted};
use super::source::CounterSource;
use super::version::Span;

/// Sweeps whenever a tick is due, until it is stopped; then puts away what nobody needs.
pub(super) async fn run(
    hub: Arc<Hub>,
    feed: Arc<Feed>,
    source: Arc<dyn CounterSource>,
    stop: CancellationToken,
) {
    sweep_on(&hub, &feed, source, &stop).await;
    // The last sweep may still run.
    let mut pass = feed.pass.clone().lock_owned().await;
    let rest = tokio::task::spawn_blocking(move || feed.rest(&mut pass, hub.remembering()));
    // An error is the runtime going down.
    let _ = rest.await;
}

async fn sweep_on(
    hub: &Arc<Hub>,
    feed: &Arc<Feed>,
    source: Arc<dyn CounterSource>,
    stop: &CancellationToken,
) {
    let mut changed = hub.changed();
    loop {
        let Some(due) = feed.due() else { return };
        if due > Instant::now() {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = bumped(&mut changed) => {
                    drop(hub.census());
                    continue;
                }
                () = feed.hurry.notified() => continue,
                () = tokio::time::sleep_until(due) => {}
            }
        }
        // The sweep that ran when the sweeper before this one was stopped may still run.
        let ready = async { (feed.pass.clone().lock_owned().await, hub.sweep_turn().await) };
        let (mut pass, turn) = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            ready = ready => ready,
        };
        let (reader, shared) = (source.clone(), feed.clone());
        let sweep = tokio::task::spawn_blocking(move || {
            sweep(&*reader, &shared, &mut pass);
            // Given back by the sweep itself: it runs on although nobody waits for it any more.
            drop(turn);
        });
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // Panics are caught inside, so an error is the runtime going down.
            swept = sweep => if swept.is_err() { return },
        }
    }
}

/// One pass over the map and what comes of it. However it ends, what was found is published: the
/// next pass says what changed since this one.
fn sweep(source: &dyn CounterSource, feed: &Feed, pass: &mut Pass) {
    let started = Instant::now();
    let begin = SystemTime::now();
    let (found, outcome) = read(source, pass, begin, &feed.wanted());
    let end = SystemTime::now();
    let map = feed.named().map;
    let failed = feed.state().version.trouble.is_some();
    match &outcome {
        Err(why) if !failed => warn!(%map, %why, "map could not be swept"),
        Ok(_) if failed => info!(%map, "map can be swept again"),
        _ => {}
    }
    feed.publish(found, Span { begin, end, begun: started }, outcome);
}

fn read(
    source: &dyn CounterSource,
    pass: &mut Pass,
    begin: SystemTime,
    wanted: &Wanted,
) -> (Found, Result<bool, Arc<str>>) {
    // Each visit leaves the pass whole, so what was read before a panic counts.
    let read = catch_unwind(AssertUnwindSafe(|| {
        pass.start(begin, wanted);
        source.sweep(&mut |key, value| pass.visit(key, value)).map_err(|error| error.to_string())
    }));
    let outcome = read.unwrap_or_else(|_| Err("reading it panicked".to_owned()));
    let outcome = outcome.map_err(Arc::from);
    let found = pass.finish(outcome == Ok(true));
    let outcome = match &found.short {
        Some(short) if outcome.is_ok() => Err(short.to_string().into()),
        _ => outcome,
    };
    (found, outcome)
}
