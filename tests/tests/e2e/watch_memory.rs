//! What watches make the agent hold: no more than is charged for, whatever the maps and the clients
//! are like, and nothing when they are gone.

use std::time::Duration;

use bpfgate_client::v1::watch_loss::Source;
use bpfgate_client::value::{EnumValue, Kind, Type};
use bpfgate_client::{Client, EntryBatch, UpdateMode, Watch, WatchOptions, parse_selector};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, within};

use crate::watch::{fast, set, watch};

const KEYS: u32 = 20_000;
const MIB: u64 = 1 << 20;

/// Bytes of the agent's own memory.
fn anonymous(agent: &Agent) -> u64 {
    let path = format!("/proc/{}/status", agent.pid());
    let status = std::fs::read_to_string(path).expect("the agent");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the word");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

async fn fill(client: &Client, map: &str, keys: u32) {
    let entry = |key: u32| (u64::from(key).to_ne_bytes(), u64::from(key).to_ne_bytes());
    let entries: EntryBatch = (0..keys).map(entry).collect();
    client.maps().update_batch(map, entries, UpdateMode::Any).await.unwrap();
}

/// A watch of its own terms, of which the header is read.
async fn own(client: &Client, map: &str, number: u32) -> Watch {
    let interval = Some(Duration::from_secs(1));
    let options = WatchOptions { interval, max_series: 50_000 + number, ..WatchOptions::default() };
    let selectors = vec![parse_selector(map).unwrap()];
    client.maps().watch_counters(selectors, options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_unread_watches_of_their_own_terms_take_little_and_leave_nothing() {
    const LIMITS: &str = "[limits]\nmax_remembered_series = 0\n";
    let agent = Agent::builder().config(LIMITS).spawn();
    let client = agent.client().await;
    NewMap::hash("m").key(unsigned(8)).value(unsigned(8)).entries(KEYS).make(&client).await;
    fill(&client, "m", KEYS).await;
    let before = anonymous(&agent);
    let mut unread = Vec::new();
    for number in 0..100 {
        unread.push(own(&client, "m", number).await);
    }
    let held = anonymous(&agent).saturating_sub(before);
    assert!(held < 48 * MIB, "{held} bytes for 100 watches that nobody reads");

    // Whoever reads is told everything beside them.
    let mut seen = watch(&client, &["m"], fast()).await.unwrap();
    seen.until_sync().await;
    assert_eq!(seen.series.len(), KEYS as usize);
    drop((seen, unread));
    let left = || anonymous(&agent).saturating_sub(before);
    assert!(within(Duration::from_secs(15), || left() < 8 * MIB), "{} bytes are left", left());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_200_kilobytes_for_labels_are_left_out_and_harm_nobody() {
    let name = |letter: &str, value| EnumValue { name: letter.repeat(200_000), value };
    let values = vec![name("a", 1), EnumValue { name: "short".into(), value: 2 }];
    let state = Type { name: "state".into(), size: 4, kind: Kind::Enum { signed: false, values } };
    let agent = Agent::spawn();
    let client = agent.client().await;
    let key = record("struct long", &[("n", unsigned(4)), ("state", state)]);
    NewMap::hash("long").key(key).value(unsigned(8)).entries(KEYS).make(&client).await;
    NewMap::array("beside").key(unsigned(4)).value(unsigned(8)).entries(4).make(&client).await;
    let key = |n: u32| [n.to_ne_bytes(), (1 + u32::from(n == 7)).to_ne_bytes()].concat();
    let entries: EntryBatch = (0..KEYS).map(|n| (key(n), 1_u64.to_ne_bytes())).collect();
    client.maps().update_batch("long", entries, UpdateMode::Any).await.unwrap();
    let before = anonymous(&agent);
    let mut seen = watch(&client, &["long"], WatchOptions::default()).await.unwrap();
    seen.until_sync().await;
    let names: Vec<_> = seen.totals().into_keys().collect();
    assert_eq!(names, ["long{n=7,state=short}"]);
    let losses: Vec<_> = seen.losses.iter().map(|loss| (loss.source(), loss.count)).collect();
    assert_eq!(losses, [(Source::Limit, u64::from(KEYS) - 1)]);
    let held = anonymous(&agent).saturating_sub(before);
    assert!(held < 32 * MIB, "{held} bytes");

    set(&client, "beside", 1, 5).await;
    let mut beside = watch(&client, &["beside"], fast()).await.unwrap();
    beside.until_sync().await;
    assert_eq!(beside.totals()["beside{key=1}"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_difference_comes_in_parts_that_are_one_sweep() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("m").key(unsigned(8)).value(unsigned(8)).entries(KEYS).make(&client).await;
    fill(&client, "m", KEYS).await;
    let mut seen = watch(&client, &["m"], fast()).await.unwrap();
    seen.until_sync().await;
    for round in 1..4_u64 {
        let entry = |key: u32| (u64::from(key).to_ne_bytes(), (round << 40).to_ne_bytes());
        let entries: EntryBatch = (0..KEYS).map(entry).collect();
        client.maps().update_batch("m", entries, UpdateMode::Any).await.unwrap();
        seen.until(|seen| seen.values.values().all(|value| *value == round << 40)).await;
    }
    assert!(seen.losses.is_empty() && seen.removed.is_empty());
    assert_eq!(seen.delivered + seen.missed, seen.made());
}
