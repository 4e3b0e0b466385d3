//! The reader over made-up lanes, a turn at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::advance;

use std::time::SystemTime;

use super::super::queue::{Item, Queue};
use super::*;

const RECORD: usize = 64;

/// Lanes that a test fills.
#[derive(Debug, Clone)]
struct Made {
    lanes: Arc<Mutex<Vec<MadeLane>>>,
    signs: Arc<Notify>,
}

#[derive(Debug, Clone, Default)]
struct MadeLane {
    waiting: usize,
    /// There is always another record.
    endless: bool,
    too_long: u64,
    /// Lost behind the last record, and not told.
    lost: u64,
    /// How often somebody asked for that.
    asked: usize,
    broken: bool,
}

impl Made {
    fn new(lanes: usize) -> Self {
        let lanes = vec![MadeLane::default(); lanes];
        Self { lanes: Arc::new(Mutex::new(lanes)), signs: Arc::default() }
    }

    fn lanes(&self) -> MutexGuard<'_, Vec<MadeLane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lanes for Made {
    fn count(&self) -> usize {
        self.lanes().len()
    }

    fn cpu(&self, lane: usize) -> Option<u32> {
        u32::try_from(lane).ok()
    }

    fn read(&mut self, at: usize, out: &mut Records, limits: ReadLimits) -> io::Result<Stopped> {
        let lane = &mut self.lanes()[at];
        if lane.broken {
            return Err(io::ErrorKind::InvalidData.into());
        }
        while lane.endless || lane.waiting > 0 {
            lane.waiting = lane.waiting.saturating_sub(1);
            out.bytes.extend([0; RECORD]);
            out.lengths.push(u32::try_from(RECORD).unwrap());
            if out.cost() >= limits.bytes {
                return Ok(Stopped::Full);
            }
        }
        out.too_long += std::mem::take(&mut lane.too_long);
        Ok(if out.too_long > 0 { Stopped::Full } else { Stopped::Empty })
    }

    fn lost(&mut self, at: usize) -> io::Result<u64> {
        let lane = &mut self.lanes()[at];
        lane.asked += 1;
        Ok(std::mem::take(&mut lane.lost))
    }

    fn take_overflowed(&mut self, _lane: usize) -> bool {
        false
    }

    async fn signed(&mut self) -> io::Result<()> {
        self.signs.notified().await;
        Ok(())
    }
}

/// A reader with one watcher.
struct Stage {
    made: Made,
    reader: Reader<Made>,
    queue: Arc<Queue>,
}

impl Stage {
    fn new(lanes: usize) -> Self {
        let feed = Arc::new(Feed::new("made", false));
        let queue = Arc::new(Queue::new(1 << 30, &crate::ledger::testing::account(1 << 30)));
        assert!(feed.join(&queue));
        let made = Made::new(lanes);
        let reader =
            Reader::new(feed, made.clone(), Memory::new(1 << 30), SystemTime::now(), 1 << 20);
        Self { made, reader, queue }
    }

    /// A turn, and as much time as the reader holds records back.
    async fn turn(&mut self) {
        self.made.signs.notify_one();
        self.reader.turn().await.unwrap();
        advance(HOLD).await;
    }

    async fn told(&self) -> Vec<(u32, String)> {
        told(&self.queue).await
    }
}

/// What the watcher was told since the last time, by CPU.
async fn told(queue: &Queue) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    loop {
        let item = tokio::select! {
            biased;
            item = queue.next() => item,
            () = std::future::ready(()) => return all,
        };
        all.push(match item {
            Item::Batch(batch) => (batch.cpu.unwrap(), batch.count().to_string()),
            Item::Loss(loss) => {
                (loss.cpu.unwrap(), format!("{:?} lost {}", loss.source, loss.count))
            }
            Item::Renamed(map) => (0, format!("now {map}")),
            Item::End(ended) => {
                all.push((0, format!("{ended:?}")));
                return all;
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_lane_gets_one_batch_a_turn_and_the_others_theirs() {
    let mut stage = Stage::new(4);
    stage.made.lanes()[1].endless = true;
    stage.turn().await;
    stage.told().await;
    for round in 1..50 {
        for quiet in [0, 2, 3] {
            stage.made.lanes()[quiet].waiting = round;
        }
        stage.turn().await;
        let told = stage.told().await;
        let cpus: Vec<_> = told.iter().map(|told| told.0).collect();
        assert_eq!(cpus, [1, 0, 2, 3], "{told:?}");
        for quiet in [1, 2, 3] {
            assert_eq!(told[quiet].1, round.to_string());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn few_records_wait_for_each_other_a_moment() {
    let mut stage = Stage::new(1);
    advance(HOLD).await;
    for records in [1, 2, 4] {
        stage.made.lanes()[0].waiting = records;
        stage.made.signs.notify_one();
        stage.reader.turn().await.unwrap();
    }
    // The first at once, the others together: the reader wakes by itself.
    assert_eq!(stage.told().await, [(0, "1".to_owned())]);
    for _ in 0..2 {
        stage.reader.turn().await.unwrap();
    }
    assert_eq!(stage.told().await, [(0, "6".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_too_long_are_told_behind_those_before() {
    let mut stage = Stage::new(2);
    stage.made.lanes()[1] = MadeLane { waiting: 7, too_long: 2, ..MadeLane::default() };
    stage.turn().await;
    let told = stage.told().await;
    assert_eq!(told, [(1, "7".to_owned()), (1, "Agent lost 2".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_last_is_told_once_its_lane_is_at_rest() {
    let mut stage = Stage::new(2);
    advance(HOLD).await;
    for _ in 0..10 {
        stage.made.lanes()[1].waiting = 5;
        stage.turn().await;
        advance(LOOK).await;
    }
    assert_eq!(stage.made.lanes()[1].asked, 0, "the next record would tell");
    stage.told().await;
    stage.made.lanes()[1].lost = 9;
    for _ in 0..10 {
        stage.turn().await;
        advance(LOOK).await;
    }
    assert_eq!(stage.told().await, [(1, "Kernel lost 9".to_owned())]);
    let asked: Vec<_> = stage.made.lanes().iter().map(|lane| lane.asked).collect();
    assert_eq!(asked, [0, 1], "nobody need ask where nothing came");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_map_is_told_behind_its_last_losses() {
    let stage = Stage::new(1);
    stage.made.lanes()[0] = MadeLane { waiting: 2000, lost: 4, ..MadeLane::default() };
    stage.reader.feed.end(Ended::MapGone);
    let Stage { reader, queue, .. } = stage;
    assert!(reader.close().is_none());
    let told: Vec<_> = told(&queue).await.into_iter().map(|told| told.1).collect();
    let (end, all) = told.split_last().unwrap();
    let (loss, batches) = all.split_last().unwrap();
    assert_eq!((end.as_str(), loss.as_str()), ("MapGone", "Kernel lost 4"));
    let count: usize = batches.iter().map(|batch| batch.parse::<usize>().unwrap()).sum();
    assert_eq!(count, 2000);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_breaks_off_leaves_nobody_waiting() {
    let mut stage = Stage::new(1);
    stage.made.lanes()[0].broken = true;
    stage.reader.run().await;
    let Stage { reader, queue, .. } = stage;
    let feed = reader.feed.clone();
    assert!(reader.close().is_none());
    assert!(matches!(queue.next().await, Item::End(Ended::Failed(_))));
    assert!(!feed.join(&queue), "it can only be started anew");

    // A panic drops it.
    let Stage { reader, queue, .. } = Stage::new(1);
    drop(reader);
    assert!(matches!(queue.next().await, Item::End(Ended::Failed(_))));
}
