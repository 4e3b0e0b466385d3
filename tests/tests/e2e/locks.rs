//! Values with a spin lock: nobody sees half of one, and nobody sees the lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfgate_client::{Client, Code, CpuMode, EntryBatch, IterateOptions, UpdateMode};
use bpfgate_tests::calls::load;
use bpfgate_tests::{Agent, NewMap, bpftool, elf, refused};
use tokio::task::JoinHandle;

/// As in `bpf/special.bpf.c`: `before`, the lock, `middle`, then many words.
const SIZE: usize = 16 + 1022 * 8;
const LOCK: std::ops::Range<usize> = 8..12;
const KEY: [u8; 4] = [0; 4];

/// A value that is the same byte all over.
fn all(byte: u8) -> Vec<u8> {
    vec![byte; SIZE]
}

/// The byte that a value is made of, if it is one: `None` for a value of two halves.
fn of_one_piece(value: &[u8]) -> Option<u8> {
    let first = value[0];
    let whole = value.iter().enumerate().all(|(at, &b)| b == first || LOCK.contains(&at));
    whole.then_some(first)
}

async fn locked(client: &Client) -> [&'static str; 2] {
    load(client, "special", elf::SPECIAL).await;
    ["special/locked_array", "special/locked_hash"]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_locks_bytes_read_as_zero_and_are_not_written() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for name in locked(&client).await {
        let map = client.maps().get(name).await.unwrap();
        assert_eq!(map.spec.as_ref().unwrap().value_size as usize, SIZE);
        let can = map.capabilities.unwrap();
        // The kernel freezes no map with a lock.
        assert!(can.lock && can.update && !can.freeze, "{name}: {can:?}");
        let error = client.maps().freeze(name).await;
        refused(error, Code::Unimplemented, &["no freeze", "lookup, update"]);
        for maps in [client.maps(), client.maps().unlocked()] {
            maps.update(name, KEY, all(0xff), UpdateMode::Any).await.unwrap();
            let mut want = all(0xff);
            want[LOCK].fill(0);
            assert_eq!(maps.lookup(name, KEY, CpuMode::Each).await.unwrap()[..], want, "{name}");
            assert_eq!(bpftool::lookup(map.id, &KEY).unwrap().values, [want.clone()]);
        }
        // The lock is free: the next to take it does not wait for ever.
        client.maps().update(name, KEY, all(1), UpdateMode::Exist).await.unwrap();
        let there = client.maps().update(name, KEY, all(2), UpdateMode::Noexist).await;
        refused(there, Code::AlreadyExists, &[name]);
        if can.lookup_and_delete {
            let taken = client.maps().lookup_and_delete(name, KEY, CpuMode::Each).await.unwrap();
            assert_eq!(of_one_piece(&taken), Some(1));
            assert_eq!(taken[LOCK], [0; 4]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_under_a_lock_is_never_seen_half_written() {
    const WRITES: u32 = 250;
    let agent = Agent::spawn();
    let client = agent.client().await;
    for name in locked(&client).await {
        client.maps().update(name, KEY, all(1), UpdateMode::Any).await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let writers = [1, 2].map(|byte| {
            let maps = client.maps();
            tokio::spawn(async move {
                for _ in 0..WRITES {
                    maps.update(name, KEY, all(byte), UpdateMode::Exist).await.unwrap();
                }
            })
        });
        let readers = [0, 1].map(|_| {
            let maps = client.maps();
            look(name, &done, move || {
                let maps = maps.clone();
                async move { maps.lookup(name, KEY, CpuMode::Each).await.unwrap().to_vec() }
            })
        });
        finish(writers, &done, readers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_whole_reads_keep_to_the_lock_too() {
    const WRITES: u32 = 150;
    let agent = Agent::spawn();
    let client = agent.client().await;
    for name in locked(&client).await {
        let one = |byte| EntryBatch::packed(1, KEY.to_vec(), all(byte));
        client.maps().update_batch(name, one(0xff), UpdateMode::Any).await.unwrap();
        let mut want = all(0xff);
        want[LOCK].fill(0);
        assert_eq!(whole(&client, name).await, want, "{name}");
        let done = Arc::new(AtomicBool::new(false));
        let writers = [1, 2].map(|byte| {
            let maps = client.maps();
            tokio::spawn(async move {
                for _ in 0..WRITES {
                    maps.update_batch(name, one(byte), UpdateMode::Exist).await.unwrap();
                }
            })
        });
        let (maps, reader) = (client.maps(), client.clone());
        let batches = look(name, &done, move || {
            let maps = maps.clone();
            async move {
                let found = maps.lookup_batch(name, KEY.to_vec(), CpuMode::Each).await.unwrap();
                found.get(0).unwrap().to_vec()
            }
        });
        let wholes = look(name, &done, move || {
            let client = reader.clone();
            async move { whole(&client, name).await }
        });
        finish(writers, &done, [batches, wholes]).await;
    }
}

/// Reads the value until it is done, and says how often. It is of one piece each time.
fn look<F, R>(name: &'static str, done: &Arc<AtomicBool>, read: F) -> JoinHandle<u32>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Vec<u8>> + Send,
{
    let done = done.clone();
    tokio::spawn(async move {
        let mut reads = 0;
        while !done.load(Ordering::Relaxed) {
            let piece = of_one_piece(&read().await);
            assert!(piece.is_some(), "{name}: a torn value after {reads} reads");
            reads += 1;
        }
        reads
    })
}

/// Readers end behind the writers, and have read.
async fn finish(writers: [JoinHandle<()>; 2], done: &AtomicBool, readers: [JoinHandle<u32>; 2]) {
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

/// The value of [`KEY`] as a read of the whole map has it.
async fn whole(client: &Client, name: &str) -> Vec<u8> {
    let mut entries = client.maps().iterate(name, IterateOptions::default()).await.unwrap();
    let mut value = None;
    while let Some(chunk) = entries.next_chunk().await.unwrap() {
        let found = chunk.iter().find(|(key, _)| *key == KEY).map(|(_, value)| value.to_vec());
        value = value.or(found);
    }
    value.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn unlocked_is_without_effect_where_there_is_no_lock() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let made = NewMap::hash("plain").make(&client).await;
    assert!(!made.capabilities.unwrap().lock);
    for maps in [client.maps(), client.maps().unlocked()] {
        maps.update("plain", KEY, [1; 8], UpdateMode::Any).await.unwrap();
        assert_eq!(maps.lookup("plain", KEY, CpuMode::Each).await.unwrap()[..], [1; 8]);
        let taken = maps.lookup_and_delete("plain", KEY, CpuMode::Each).await.unwrap();
        assert_eq!(taken[..], [1; 8]);
    }
}
