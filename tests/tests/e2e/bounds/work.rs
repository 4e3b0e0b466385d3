//! Long work: off the async threads, in turn, and stopped when nobody waits.

use std::time::{Duration, Instant};

use bpfgate_client::v1;
use bpfgate_tests::hostile::{Hostile, MALLORY, framed};
use bpfgate_tests::{SOON, within};

use super::{MIB, Trial, boolean, list_of, lookup, typed_array};

const LOOKUP: &str = "/bpfgate.v1.MapService/Lookup";

#[tokio::test(flavor = "multi_thread")]
async fn work_that_was_reset_at_once_costs_others_nothing() {
    let trial = Trial::begin().await;
    typed_array(&trial.client, "bools", list_of(boolean(), MIB - 1)).await;
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
    for _ in 0..300 {
        // Dropped at once: a reset.
        drop(hostile.call(LOOKUP, &lookup("bools", true)).await);
    }
    trial.check_memory();
    let idle = within(SOON, || {
        let load = cpu_time(trial.agent.pid(), Duration::from_millis(200));
        load < Duration::from_millis(100)
    });
    assert!(idle, "it works on for nobody");
    drop(hostile);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_by_forty_thousand_patterns_keeps_nobody_waiting() {
    let trial = Trial::begin().await;
    let mut hostile = Hostile::connect(&trial.agent, MALLORY, 1 << 16).await;
    let names = (0..40_000).map(|n| format!("a*b*c*{n}")).collect();
    let request = v1::ListMapsRequest { names, ..Default::default() };
    for _ in 0..20 {
        let sent = hostile.begin("/bpfgate.v1.MapService/ListMaps", framed(&request), true).await;
        let (code, message) = sent.unwrap().status().await.unwrap();
        assert!([0, 3, 8].contains(&code), "{code} {message}");
    }
    drop(hostile);
    trial.end().await;
}

/// The processor time that a process takes in that time.
fn cpu_time(pid: u32, time: Duration) -> Duration {
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
        let (_, fields) = stat.rsplit_once(')').expect("its name");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (before, begun) = (ticks(), Instant::now());
    std::thread::sleep(time.saturating_sub(begun.elapsed()));
    // The kernel counts in hundredths of a second.
    Duration::from_millis((ticks() - before) * 10)
}
