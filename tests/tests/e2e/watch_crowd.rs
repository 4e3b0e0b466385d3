//! Many watchers at once: of one map at many intervals, under load, and when the agent stops.

use std::time::Duration;

use bpfgate_client::v1::MapType;
use bpfgate_client::{Client, Code, WatchOptions};
use bpfgate_tests::{Agent, Follower};

use crate::udp;
use crate::watch::{FAST, counter, fast, set, totals, watch};

#[tokio::test(flavor = "multi_thread")]
async fn packets_are_counted_exactly_through_watches_under_load() {
    const FRAMES: u64 = 60_000;
    let (_agent, client, sender) = udp::counted().await;
    let mut watches = Vec::new();
    for interval in [1, 2, 3, 4] {
        let options = WatchOptions { interval: Some(FAST * interval), ..fast() };
        let selector = ["proto-counters/stats{key=17}"];
        watches.push(watch(&client, &selector, options).await.unwrap());
    }
    let bytes = sender.bytes(FRAMES);
    let sending = std::thread::spawn(move || {
        sender.send(1, FRAMES, Duration::ZERO);
        sender
    });
    let name = "proto-counters/stats{key=17}";
    let want = totals(&[(&format!("{name}packets"), FRAMES), (&format!("{name}bytes"), bytes)]);
    for seen in &mut watches {
        // What it says on the way only grows, or the follower would have seen a reset.
        seen.until(|seen| seen.totals() == want).await;
        assert!(seen.resets.is_empty() && seen.removed.is_empty() && seen.losses.is_empty());
    }
    drop(sending.join().unwrap());
}

/// What two hundred watches of a map come to see.
async fn crowd(client: &Client) -> Vec<Follower> {
    let mut crowd = Vec::new();
    for n in 0..200 {
        let interval = FAST * [1, 2, 3, 4, 5, 20][n % 6];
        let options = WatchOptions {
            interval: Some(interval),
            suppress_unchanged: n % 10 != 0,
            ..WatchOptions::default()
        };
        let selector = ["m", "m{key=3}", "?{key!=3}"][n % 3];
        crowd.push(watch(client, &[selector], options).await.unwrap());
    }
    crowd
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_watchers_of_mixed_intervals_all_see_the_same() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("m", MapType::Array).make(&client).await;
    let mut crowd = crowd(&client).await;
    for round in 1..=40_u64 {
        for key in 0..16 {
            set(&client, "m", key, round * u64::from(key)).await;
        }
    }
    for (n, seen) in crowd.iter_mut().enumerate() {
        let taken = |key: &u32| [true, *key == 3, *key != 3][n % 3];
        let want =
            (0..16).filter(taken).map(|key| (format!("m{{key={key}}}"), 40 * u64::from(key)));
        let want = want.collect();
        seen.until(|seen| seen.totals() == want).await;
        assert!(seen.resets.is_empty() && seen.losses.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_watch_is_told_that_the_agent_stops() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("m", MapType::Array).make(&client).await;
    let mut crowd = crowd(&client).await;
    crowd[0].until_sync().await;
    let stopping = tokio::task::spawn_blocking(move || agent.stop());
    for seen in &mut crowd {
        let error = loop {
            match seen.next().await {
                Ok(event) => assert!(event.is_some(), "an end without a reason"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), Some(Code::Unavailable), "{error:?}");
        assert!(error.to_string().contains("stopping"), "{error}");
    }
    stopping.await.unwrap();
}
