//! Reading a large map while a writer makes and removes other entries: what stays put comes once.

use bpfgate_client::v1::MapType;
use bpfgate_client::v1::iterate_end::Reason;
use bpfgate_client::{Client, EntryBatch, EntryParts, IterateOptions, UpdateMode};
use bpfgate_tests::{Agent, NewMap};

/// Keys below this stay.
const STILL: u32 = 100_000;
/// As many come and go beside them.
const CHURNED: u32 = 20_000;
const ROUNDS: usize = 12;

fn entries(numbers: impl Iterator<Item = u32>) -> EntryBatch {
    numbers.map(|number| (number.to_ne_bytes(), u64::from(number).to_ne_bytes())).collect()
}

fn keys(numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    numbers.flat_map(u32::to_ne_bytes).collect()
}

/// Makes and removes the other keys, a part of them at a time, until it is aborted.
async fn churn(client: Client) {
    const PART: u32 = 500;
    for first in (STILL..STILL + CHURNED).step_by(PART as usize).cycle() {
        let part = || first..first + PART;
        client.maps().update_batch("m", entries(part()), UpdateMode::Any).await.unwrap();
        client.maps().delete_batch("m", keys(part()), true).await.unwrap();
    }
}

/// Every key of the map in the order in which they came.
async fn read(client: &Client, batch_entries: u32) -> Vec<u32> {
    let parts = EntryParts::Both;
    let options = IterateOptions { parts, batch_entries, ..IterateOptions::default() };
    let mut stream = client.maps().iterate("m", options).await.unwrap();
    let mut keys = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        for (key, value) in chunk.iter() {
            let key = u32::from_ne_bytes(key.try_into().unwrap());
            assert_eq!(value[..8], u64::from(key).to_ne_bytes());
            keys.push(key);
        }
    }
    assert_eq!(stream.end().unwrap().reason(), Reason::Complete);
    keys
}

async fn still_entries_come_once(kind: MapType, room: u32) {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::new("m", kind).entries(room).make(&client).await;
    let mut restore = client.maps().restore("m", UpdateMode::Noexist);
    restore.send(entries(0..STILL)).await.unwrap();
    assert_eq!(restore.finish().await.unwrap(), u64::from(STILL));
    let churn = tokio::spawn(churn(client.clone()));
    for round in 0..ROUNDS {
        // Small batches too: they stop within what is being changed far more often.
        let batch_entries = [0, 256][round % 2];
        let mut came = read(&client, batch_entries).await;
        assert!(came.iter().all(|&key| key < STILL + CHURNED));
        came.retain(|&key| key < STILL);
        came.sort_unstable();
        let repeated = came.windows(2).filter(|pair| pair[0] == pair[1]).count();
        came.dedup();
        let missed = STILL as usize - came.len();
        assert_eq!((repeated, missed), (0, 0), "of {STILL} in round {round}");
    }
    assert!(!churn.is_finished(), "nothing was changed meanwhile");
    churn.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_gives_still_entries_once() {
    still_entries_come_once(MapType::Hash, STILL + CHURNED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_lru_gives_still_entries_once() {
    // With less room the kernel itself would drop still entries to make some: it evicts in batches,
    // before the last place is taken.
    still_entries_come_once(MapType::LruHash, 2 * (STILL + CHURNED)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_per_cpu_hash_gives_still_entries_once() {
    still_entries_come_once(MapType::PercpuHash, STILL + CHURNED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_does_not_fit_a_batch_comes_whole() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    // As many entries as buckets: many share one, and a batch of one entry has no room for two.
    NewMap::hash("m").entries(4096).make(&client).await;
    client.maps().update_batch("m", entries(0..4096), UpdateMode::Any).await.unwrap();
    for batch_entries in [1, 2, 3] {
        let mut came = read(&client, batch_entries).await;
        came.sort_unstable();
        assert_eq!(came, (0..4096).collect::<Vec<_>>(), "by {batch_entries}");
    }
}
