//! Many watchers at once: of one map at many intervals, under load, and when the agent stops.

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::{MapType, SocketTarget};
use bpfgate_client::{Client, Code, WatchOptions};
use bpfgate_tests::calls::{attach, load_builtin};
use bpfgate_tests::{Agent, Follower, Netns, binaries, run};

use crate::watch::{FAST, counter, fast, set, totals, watch};

#[tokio::test(flavor = "multi_thread")]
async fn packets_are_counted_exactly_through_watches_under_load() {
    const FRAMES: u64 = 60_000;
    let (near, far) = (Netns::new(), Netns::new());
    let veth = near.veth(&far);
    let agent = Agent::builder().netns(near).spawn();
    let client = agent.client().await;
    load_builtin(&client, "proto-counters").await;
    let socket = SocketTarget { interface: veth.near.to_owned() };
    attach(&client, "proto-counters/count_protocols", Target::Socket(socket)).await;
    let mut watches = Vec::new();
    for interval in [1, 2, 3, 4] {
        let options = WatchOptions { interval: Some(FAST * interval), ..fast() };
        let selector = ["proto-counters/stats{key=17}"];
        watches.push(watch(&client, &selector, options).await.unwrap());
    }
    let frame = bpfgate_tests::frames::ethernet(
        &[],
        bpfgate_tests::frames::IPV4,
        &bpfgate_tests::frames::ipv4(bpfgate_tests::frames::UDP, 100),
    );
    let hex = bpfgate_tests::frames::hex(&frame);
    let sending = std::thread::spawn(move || {
        let count = FRAMES.to_string();
        let arguments = ["frame", "--interface", veth.far, "--hex", &hex, "--count", &count];
        drop(run(far.command(binaries::traffic()).args(arguments)).ok());
        far
    });
    let bytes = FRAMES * frame.len() as u64;
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
