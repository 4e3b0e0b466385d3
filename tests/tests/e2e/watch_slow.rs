//! Watchers that do not read for a while, or ever: they come to exact totals and know what they
//! missed, and nobody beside them notices.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use bpfgate_client::v1::MapType;
use bpfgate_client::{Client, Code, CpuMode, EntryBatch, UpdateMode, WatchOptions};
use bpfgate_tests::calls::entries;
use bpfgate_tests::fixture::unsigned;
use bpfgate_tests::{Agent, Follower, NewMap, SOON, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch::{Receiver, Sender};
use tokio::task::JoinHandle;

use crate::udp;
use crate::watch::{FAST, counter, fast, set, watch};

/// Slots of the map whose sweeps are large: 26 KB each, so that a stream that nobody reads is full
/// behind a few.
const WIDE: u32 = 2000;

async fn wide(client: &Client) {
    let map = NewMap::array("wide").key(unsigned(4)).value(unsigned(8)).entries(WIDE);
    map.make(client).await;
    let entry = |key: u32| (key.to_ne_bytes(), (u64::MAX - u64::from(key)).to_ne_bytes());
    let entries: EntryBatch = (0..WIDE).map(entry).collect();
    client.maps().update_batch("wide", entries, UpdateMode::Any).await.unwrap();
}

/// Every slot with every sweep.
fn everything() -> WatchOptions {
    WatchOptions { suppress_unchanged: false, ..fast() }
}

async fn totals_of(client: &Client, map: &str) -> BTreeMap<String, u64> {
    let all = entries(client, map).await.into_iter();
    let entry = |(key, value): (Vec<u8>, Vec<u8>)| {
        let key = u32::from_ne_bytes(key.try_into().unwrap());
        (format!("{map}{{key={key}}}"), u64::from_ne_bytes(value.try_into().unwrap()))
    };
    all.map(entry).collect()
}

/// Reads until so many more sweeps of the map were made: a clock that goes with the agent.
async fn sweeps_pass(clock: &mut Follower, map: &str, count: u64) {
    let until = clock.sweeps[map].0 + count;
    while clock.sweeps[map].0 < until {
        clock.batch().await;
    }
}

/// Nothing was missed without a word: what came and what it stood for are all the sweeps.
fn assert_all_accounted(seen: &Follower) {
    assert_eq!(seen.delivered + seen.missed, seen.made(), "{seen:#?}");
    assert!(seen.losses.is_empty() && seen.removed.is_empty(), "{seen:#?}");
}

/// A watch that somebody reads all the time, until told otherwise.
fn read_on(mut seen: Follower, mut stop: Receiver<bool>) -> JoinHandle<Follower> {
    tokio::spawn(async move {
        while !*stop.borrow_and_update() {
            seen.batch().await;
        }
        seen
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_unread_watches_of_one_client_hold_nobody_up() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("m", MapType::Array).make(&client).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(watch(&client, &["m"], fast()).await.unwrap());
    }
    for seen in &mut crowd {
        seen.until_sync().await;
    }
    let mut clock = watch(&client, &["m"], fast()).await.unwrap();
    clock.until_sync().await;
    // 26,000 messages wait unread at the end. Small ones count for more than their size: HTTP/2
    // libraries take a flood of them for an attack and close the connection.
    for round in 1..=130 {
        for key in 0..16 {
            set(&client, "m", key, round * u64::from(key)).await;
        }
        sweeps_pass(&mut clock, "m", 1).await;
    }
    assert_eq!(entries(&client, "m").await.len(), 16);
    let want = totals_of(&client, "m").await;
    assert_eq!(want["m{key=15}"], 130 * 15);
    for seen in &mut crowd {
        seen.until(|seen| seen.totals() == want).await;
        assert_all_accounted(seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_watch_is_given_few_old_sweeps_and_then_the_newest() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    wide(&client).await;
    let mut paused = Vec::new();
    for _ in 0..5 {
        paused.push(watch(&client, &["wide"], everything()).await.unwrap());
    }
    for seen in &mut paused {
        seen.until_sync().await;
    }
    let before: Vec<_> = paused.iter().map(|seen| seen.delivered).collect();
    let mut clock = watch(&client, &["wide"], fast()).await.unwrap();
    clock.until_sync().await;
    for round in 0..60 {
        set(&client, "wide", round % 7, u64::from(round)).await;
        sweeps_pass(&mut clock, "wide", 1).await;
    }
    let want = totals_of(&client, "wide").await;
    for (seen, before) in paused.iter_mut().zip(before) {
        while seen.missed == 0 {
            seen.batch().await;
        }
        // What waits on the way is 128 KiB and a message or two at each end.
        let old = seen.delivered - before;
        assert!(old < 15, "{old} sweeps were sent to nobody");
        seen.until(|seen| seen.totals() == want).await;
        assert_all_accounted(seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_reads_nothing_is_ended_and_told_why() {
    let config = "[limits]\nstall_seconds = 1\nmax_watchers = 3\n";
    let agent = Agent::builder().config(config).spawn();
    let client = agent.client().await;
    wide(&client).await;
    let mut unread = watch(&client, &["wide"], everything()).await.unwrap();
    unread.until_sync().await;
    let stop = Sender::new(false);
    let stopped = stop.subscribe();
    let mut others = Vec::new();
    for client in [client.clone(), agent.client().await] {
        let mut beside = watch(&client, &["wide"], fast()).await.unwrap();
        beside.until_sync().await;
        others.push(read_on(beside, stopped.clone()));
    }
    // Its place is free when it is over.
    let next = tokio::time::timeout(SOON, async {
        loop {
            match watch(&client, &["wide"], fast()).await {
                Ok(next) => return next,
                Err(full) => assert_eq!(full.code(), Some(Code::ResourceExhausted), "{full}"),
            }
            tokio::time::sleep(FAST).await;
        }
    });
    next.await.expect("it is given up").until_sync().await;
    let error = loop {
        match unread.next().await {
            Ok(event) => assert!(event.is_some(), "it ended without a word"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Some(Code::ResourceExhausted), "{error:?}");
    let told = error.as_rpc().unwrap();
    assert_eq!((told.reason.as_deref(), told.metadata["seconds"].as_str()), (Some("UNREAD"), "1"));
    for part in ["read nothing for 1 s", "stall_seconds"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    set(&client, "wide", 3, 33).await;
    let want = totals_of(&client, "wide").await;
    stop.send_replace(true);
    for other in others {
        let mut other = other.await.unwrap();
        other.until(|seen| seen.totals() == want).await;
        assert_all_accounted(&other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_watchers_cost_fast_ones_no_sweep() {
    const SWEEPS: u64 = 10;
    /// From one sweep to the next: far more than anybody needs to be woken and to read.
    const CALM: Duration = Duration::from_millis(500);
    let agent = Agent::spawn();
    let client = agent.client().await;
    wide(&client).await;
    let open = async |interval, suppress_unchanged| {
        let options = WatchOptions { interval: Some(interval), suppress_unchanged, ..fast() };
        let mut seen = watch(&client, &["wide"], options).await.unwrap();
        seen.until_sync().await;
        seen
    };
    // One in ten, among the others: with their interval and with another.
    let (mut fast_ones, mut slow_ones) = (Vec::new(), Vec::new());
    for n in 0..50 {
        match n % 20 {
            0 => slow_ones.push(open(CALM, false).await),
            10 => slow_ones.push(open(FAST, false).await),
            _ => fast_ones.push(open(CALM, true).await),
        }
    }
    // Those of one interval count the same sweeps. Everybody begins with this one.
    let from = open(CALM, true).await.sweeps["wide"].0 + 1;
    let reading: Vec<_> = fast_ones
        .into_iter()
        .map(|mut seen| {
            tokio::spawn(async move {
                let mut missed = None;
                while seen.sweeps["wide"].0 < from + SWEEPS {
                    seen.batch().await;
                    missed = missed.or((seen.sweeps["wide"].0 >= from).then_some(seen.missed));
                }
                assert_eq!(Some(seen.missed), missed, "{seen:#?}");
                seen
            })
        })
        .collect();
    for round in 0..50 {
        set(&client, "wide", round % 7, u64::from(round)).await;
        tokio::time::sleep(FAST).await;
    }
    let want = totals_of(&client, "wide").await;
    for seen in reading {
        let mut seen = seen.await.unwrap();
        seen.until(|seen| seen.totals() == want).await;
        assert_all_accounted(&seen);
    }
    for seen in &mut slow_ones {
        seen.until(|seen| seen.totals() == want).await;
        assert_all_accounted(seen);
    }
    let missed: u64 = slow_ones.iter().map(|seen| seen.missed).sum();
    assert!(missed > 0, "nobody was slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_paused_while_packets_come_has_them_all_in_the_end() {
    const FRAMES: u64 = 20_000;
    let (_agent, client, sender) = udp::counted().await;
    let stats = "proto-counters/stats";
    let each = WatchOptions { cpu: CpuMode::Each, ..everything() };
    let mut paused = watch(&client, &[stats], each).await.unwrap();
    paused.until_sync().await;
    let mut clock = watch(&client, &[stats], fast()).await.unwrap();
    clock.until_sync().await;

    let bytes = sender.bytes(FRAMES);
    let sending = std::thread::spawn(move || {
        sender.send(10, FRAMES / 10, 4 * FAST);
        sender
    });
    let of = |seen: &Follower, field: &str| {
        let udp = seen.totals().into_iter().filter(|(name, _)| name.contains("{key=17"));
        let field = udp.filter(|(name, _)| name.ends_with(field));
        field.map(|(_, value)| value).sum::<u64>()
    };
    clock.until(|seen| of(seen, "packets") == FRAMES && of(seen, "bytes") == bytes).await;
    drop(sending.join().unwrap());
    // However few sweeps that took: it takes 128 KiB of them until one is left out.
    sweeps_pass(&mut clock, stats, 60).await;
    paused.until(|seen| of(seen, "packets") == FRAMES && of(seen, "bytes") == bytes).await;
    while paused.sweeps[stats].0 < clock.sweeps[stats].0 {
        paused.batch().await;
    }
    assert!(paused.missed > 0 && paused.resets.is_empty(), "{paused:#?}");
    assert_all_accounted(&paused);
}

/// A process that does not outlive its test, stopped or not.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_stopped_loses_its_watch_and_takes_it_up_again() {
    let config = "[limits]\nstall_seconds = 1\nmax_watchers = 1\n";
    let agent = Agent::builder().config(config).spawn();
    let client = agent.client().await;
    wide(&client).await;
    let [shown, said] = ["shown", "said"].map(|name| agent.directory().join(name));
    let mut command = agent.cli_command();
    command.args(["-o", "jsonl", "watch", "counters", "wide", "--interval", "50ms"]);
    command.stdout(File::create(&shown).unwrap()).stderr(File::create(&said).unwrap());
    let process = Ended(command.spawn().unwrap());
    let has = |path: &Path, text: &str| std::fs::read_to_string(path).unwrap().contains(text);
    assert!(within(SOON, || has(&shown, "wide")), "{:?}", std::fs::read_to_string(&said));

    let pid = Pid::from_child(&process.0);
    kill_process(pid, Signal::STOP).unwrap();
    let given_up = tokio::time::timeout(SOON, async {
        for round in 0_u64.. {
            let entry = |key: u32| (key.to_ne_bytes(), (u64::MAX / 2 + round).to_ne_bytes());
            let entries: EntryBatch = (0..WIDE).map(entry).collect();
            client.maps().update_batch("wide", entries, UpdateMode::Any).await.unwrap();
            if watch(&client, &["wide"], fast()).await.is_ok() {
                break;
            }
            tokio::time::sleep(FAST).await;
        }
    });
    given_up.await.expect("its place is free");
    kill_process(pid, Signal::CONT).unwrap();
    assert!(within(SOON, || has(&said, "read nothing for 1 s")), "{}", agent.log());
    set(&client, "wide", 5, 424_242).await;
    assert!(within(SOON, || has(&shown, "424242")), "{:?}", std::fs::read_to_string(&said));
    drop(process);
}
