//! The keys that come first, of a map with more than a watch may follow.

use std::time::Duration;

use bpfgate_client::v1::MapType;
use bpfgate_client::{Client, CounterOrder, EntryBatch, UpdateMode, WatchOptions};
use bpfgate_tests::fixture::unsigned;
use bpfgate_tests::{Agent, NewMap};
use serde_json::Value;

use crate::watch::{fast, set, totals, watch};

/// Keys from 0 up, each with its number.
async fn big(client: &Client, keys: u32) {
    let map = NewMap::new("big", MapType::Hash).key(unsigned(4)).value(unsigned(8));
    map.entries(keys).counter("", "packets").make(client).await;
    let all: Vec<u32> = (0..keys).collect();
    for part in all.chunks(10_000) {
        let entry = |key: &u32| (key.to_ne_bytes(), u64::from(*key).to_ne_bytes());
        let entries: EntryBatch = part.iter().map(entry).collect();
        client.maps().update_batch("big", entries, UpdateMode::Any).await.unwrap();
    }
}

fn json(agent: &Agent, arguments: &str) -> Vec<Value> {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let output = agent.cli(&arguments).ok();
    assert!(output.stderr.is_empty(), "{}", output.stderr);
    serde_json::from_str(&output.stdout).unwrap()
}

fn keys(rows: &[Value]) -> Vec<(String, String)> {
    let text = |value: &'_ Value| value.as_str().expect("a text").to_owned();
    rows.iter().map(|row| (text(&row["labels"]["key"]), text(&row["value"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_three_hundred_thousand_are_the_first() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    big(&client, 300_000).await;
    let rows = json(&agent, "-o json watch counters big --top 3 --once");
    let key = |key: u32| (key.to_string(), key.to_string());
    assert_eq!(keys(&rows), [key(299_999), key(299_998), key(299_997)]);
    let rows = json(&agent, "-o json watch counters big --top 2 --once --sort name");
    // What is zero is not shown.
    assert_eq!(keys(&rows), [key(1)]);
    let rows = json(&agent, "-o json watch counters big{key>=299990} --filter 29999 --once");
    assert_eq!(rows.len(), 10, "{rows:?}");

    let options = WatchOptions { top: 2, order: CounterOrder::Value, ..fast() };
    let mut seen = watch(&client, &["big"], options).await.unwrap();
    seen.until_sync().await;
    let first = [("big{key=299998}", 299_998), ("big{key=299999}", 299_999)];
    assert_eq!(seen.totals(), totals(&first));
    set(&client, "big", 7, 1_000_000).await;
    let then = [("big{key=7}", 1_000_000), ("big{key=299999}", 299_999)];
    seen.until(|seen| seen.totals() == totals(&then)).await;
    assert!(seen.losses.is_empty(), "{:?}", seen.losses);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fastest_are_printed_once_with_their_rates() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    big(&client, 5000).await;
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy = {
        let (client, stop) = (agent.client().await, stop.clone());
        tokio::spawn(async move {
            let mut number = 1_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                set(&client, "big", 5, 5 + number * 1000).await;
                set(&client, "big", 6, 6 + number * 10).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    let arguments = "-o json watch counters big --once --sort rate --top 2 --interval 500ms";
    let rows = tokio::task::block_in_place(|| json(&agent, arguments));
    let order: Vec<String> = keys(&rows).into_iter().map(|(key, _)| key).collect();
    assert_eq!(order, ["5", "6"], "{rows:?}");
    assert!(rows.iter().all(|row| row["rate"].as_f64().is_some_and(|rate| rate > 0.0)), "{rows:?}");

    let arguments =
        "-o csv watch counters big --wide --sort rate --top 2 --interval 300ms --duration 2s";
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let csv = tokio::task::block_in_place(|| agent.cli(&arguments).ok().stdout);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    busy.await.unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "time,map,key,field,value,rate,kind,unit,start_time,buckets");
    assert!(lines.len() >= 3 && lines[1].contains(",big,5,,"), "{csv}");
}
