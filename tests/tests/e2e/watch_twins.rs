//! Keys that read the same as labels, and a client that is told what makes no sense.

use std::os::unix::fs::MetadataExt as _;

use bpfgate_client::{Client, UpdateMode, WatchEvent, WatchOptions};
use bpfgate_tests::fixture::unsigned;
use bpfgate_tests::{Agent, Cgroup, Follower, NewMap};
use serde_json::Value;

use crate::watch::{fast, totals, watch};

async fn set(client: &Client, map: &str, key: impl AsRef<[u8]>, value: u64) {
    let (key, value) = (key.as_ref().to_vec(), value.to_ne_bytes());
    client.maps().update(map, key, value, UpdateMode::Any).await.unwrap();
}

fn cli(agent: &Agent, arguments: &str) -> String {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    agent.cli(&arguments).ok().stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_with_leftovers_behind_them_are_series_of_their_own() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    cli(
        &agent,
        "map create tx --type hash --key-type text --key 4 --value-type u64 --max-entries 4",
    );
    set(&client, "tx", b"a\0\0b", 2).await;
    set(&client, "tx", b"a\0\0\0", 1).await;
    let mut seen = watch(&client, &["tx"], fast()).await.unwrap();
    seen.until_sync().await;
    let both = [("tx{key=a}", 1), ("tx{key=a,raw_key=hex:61000062}", 2)];
    assert_eq!(seen.totals(), totals(&both));
    set(&client, "tx", b"a\0\0b", 20).await;
    let both = [("tx{key=a}", 1), ("tx{key=a,raw_key=hex:61000062}", 20)];
    seen.until(|seen| seen.totals() == totals(&both)).await;

    let rows: Value =
        serde_json::from_str(&cli(&agent, "-o json watch counters tx --once")).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[1]["labels"]["raw_key"], "hex:61000062", "{rows:?}");
}

/// Totals by labels, without the map's name.
fn by_path(seen: &Follower, path: &str) -> Vec<(bool, u64)> {
    let own = seen.totals().into_iter().filter(|(name, _)| name.contains(path));
    let mut own: Vec<_> = own.map(|(name, total)| (name.contains("raw_key=hex:"), total)).collect();
    own.sort_unstable();
    own
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cgroup_that_comes_back_under_its_path_is_another_one() {
    if bpfgate_tests::cgroup2().is_none() {
        return eprintln!("skipped: no cgroup v2");
    }
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("io").key(unsigned(8)).value(unsigned(8)).make(&client).await;
    let options = || WatchOptions { resolve: vec!["key=cgroup".parse().unwrap()], ..fast() };
    let cgroup = Cgroup::new("twin");
    let id = || std::fs::metadata(cgroup.path()).unwrap().ino();
    let name = cgroup.path().rsplit_once('/').unwrap().1;
    let first = id();
    set(&client, "io", first.to_ne_bytes(), 1).await;
    let mut seen = watch(&client, &["io"], options()).await.unwrap();
    seen.until_sync().await;
    assert_eq!(by_path(&seen, name), [(false, 1)]);

    std::fs::remove_dir(cgroup.path()).unwrap();
    std::fs::create_dir(cgroup.path()).unwrap();
    let second = id();
    assert_ne!(first, second);
    // The agent's table of cgroups is read again once it is a second old.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    set(&client, "io", second.to_ne_bytes(), 2).await;
    seen.until(|seen| by_path(seen, name) == [(false, 1), (true, 2)]).await;
    set(&client, "io", first.to_ne_bytes(), 3).await;
    seen.until(|seen| by_path(seen, name) == [(false, 3), (true, 2)]).await;

    // Who comes when that is over gets the name for the one that has it.
    drop(seen);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let mut seen = watch(&client, &["io"], options()).await.unwrap();
    seen.until_sync().await;
    let stale = format!("io{{key={first}}}");
    assert_eq!(seen.totals().get(&stale), Some(&3), "{:?}", seen.totals());
    assert_eq!(by_path(&seen, name), [(false, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_again_where_its_events_make_no_sense() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("hits").key(unsigned(4)).value(unsigned(8)).make(&client).await;
    set(&client, "hits", 6_u32.to_ne_bytes(), 1).await;
    let selectors = vec![bpfgate_client::parse_selector("hits").unwrap()];
    for once in [true, false] {
        let options = WatchOptions { once, ..fast() };
        let watch = client.maps().watch_counters(selectors.clone(), options).await;
        let mut watch = watch.unwrap();
        assert!(matches!(watch.next_event().await.unwrap(), Some(WatchEvent::Series(_))));
        watch.start_over("it made no sense");
        let next = watch.next_event().await.unwrap();
        let Some(WatchEvent::Interrupted(gap)) = next else { panic!("{next:?}") };
        assert!(gap.odd && gap.attempts == 0 && gap.why.contains("no sense"), "{gap:?}");
        assert!(matches!(watch.next_event().await.unwrap(), Some(WatchEvent::Resumed(_))));
        assert!(matches!(watch.next_event().await.unwrap(), Some(WatchEvent::Series(_))));
        watch.start_over("again");
        let next = watch.next_event().await.unwrap();
        assert!(matches!(next, Some(WatchEvent::Interrupted(gap)) if gap.attempts == 1));
        while !matches!(watch.next_event().await.unwrap(), Some(WatchEvent::Sync(_))) {}
    }
}
