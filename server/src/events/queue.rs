//! What waits for one watcher.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::batch::{Batch, Loss, LossSource};
use crate::ledger::{Account, Charge};

/// What a watcher is told.
#[derive(Debug)]
pub enum Item {
    /// Records.
    Batch(Arc<Batch>),
    /// Missing records.
    Loss(Loss),
    /// The map has this name now.
    Renamed(Arc<str>),
    /// Nothing more comes.
    End(Ended),
}

/// Why nothing more comes.
#[derive(Debug, Clone)]
pub enum Ended {
    /// The map was deleted, or its object unloaded.
    MapGone,
    /// The agent stops.
    Stopping,
    /// The buffer cannot be read.
    Failed(Arc<io::Error>),
}

/// What waits for one watcher. The reader puts in and never waits; the watcher takes out.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    /// Bytes that may wait.
    limit: u64,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Waiting>,
    /// What waits, on the watcher's account.
    charge: Charge,
    ended: Option<Ended>,
}

#[derive(Debug)]
enum Waiting {
    Batch(Arc<Batch>),
    Loss(Loss),
    Renamed(Arc<str>),
}

impl Queue {
    pub(super) fn new(limit: u64, account: &Account) -> Self {
        let state = State { waiting: VecDeque::new(), charge: account.empty(), ended: None };
        Self { state: Mutex::new(state), arrived: Notify::new(), limit }
    }

    /// Puts a batch in, or a loss of as many records if there is no room: in the queue, or on the
    /// watcher's account. In the queue a batch alone always has room, unless memory is `short`, and
    /// then if nothing else waits.
    pub(super) fn push(&self, batch: &Arc<Batch>, short: bool) {
        let mut state = self.state();
        let waiting = state.charge.bytes();
        let full = short || waiting + batch.cost() > self.limit;
        if full && waiting > 0 || state.charge.grow(batch.cost()).is_err() {
            let count = batch.count() as u64;
            state.lose(Loss { source: LossSource::Agent, count, cpu: batch.cpu, since: None });
        } else {
            state.waiting.push_back(Waiting::Batch(batch.clone()));
        }
        drop(state);
        self.arrived.notify_one();
    }

    pub(super) fn lose(&self, loss: Loss) {
        self.state().lose(loss);
        self.arrived.notify_one();
    }

    pub(super) fn rename(&self, map: &Arc<str>) {
        self.state().waiting.push_back(Waiting::Renamed(map.clone()));
        self.arrived.notify_one();
    }

    /// The first reason stays.
    pub(super) fn end(&self, ended: Ended) {
        self.state().ended.get_or_insert(ended);
        self.arrived.notify_one();
    }

    /// The next thing. The end stays the end.
    pub(super) async fn next(&self) -> Item {
        loop {
            let next = self.state().next();
            match next {
                Some(item) => return item,
                // A notice that came since is kept for us.
                None => self.arrived.notified().await,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Losses between the same two batches are added up, so that they cannot fill the queue.
    fn lose(&mut self, loss: Loss) {
        for waiting in self.waiting.iter_mut().rev() {
            match waiting {
                Waiting::Loss(known)
                    if (known.source, known.cpu, known.since)
                        == (loss.source, loss.cpu, loss.since) =>
                {
                    known.count += loss.count;
                    return;
                }
                Waiting::Loss(_) => {}
                Waiting::Batch(_) | Waiting::Renamed(_) => break,
            }
        }
        self.waiting.push_back(Waiting::Loss(loss));
    }

    fn next(&mut self) -> Option<Item> {
        match self.waiting.pop_front() {
            Some(Waiting::Batch(batch)) => {
                self.charge.shrink(self.charge.bytes() - batch.cost());
                Some(Item::Batch(batch))
            }
            Some(Waiting::Loss(loss)) => Some(Item::Loss(loss)),
            Some(Waiting::Renamed(map)) => Some(Item::Renamed(map)),
            None => self.ended.clone().map(Item::End),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::batch::Memory;
    use super::*;
    use crate::ledger::testing::account;
    use crate::sys::Records;

    fn batch(records: usize, cpu: Option<u32>) -> Arc<Batch> {
        let lengths = vec![10; records];
        let mut records = Records { bytes: vec![0; records * 10], lengths, ..Records::default() };
        Arc::new(Batch::take(&mut records, cpu, SystemTime::now(), &Memory::new(1 << 30)))
    }

    async fn told(queue: &Queue) -> String {
        match queue.next().await {
            Item::Batch(batch) => format!("{} records", batch.count()),
            Item::Loss(loss) => format!("{:?} lost {}", loss.source, loss.count),
            Item::Renamed(map) => format!("now {map}"),
            Item::End(ended) => format!("{ended:?}"),
        }
    }

    #[tokio::test]
    async fn losses_stand_where_the_records_are_missing() {
        let queue = Queue::new(1000, &account(1 << 20));
        for records in [10, 20, 30, 40, 50] {
            queue.push(&batch(records, None), false);
        }
        assert_eq!(told(&queue).await, "10 records");
        assert_eq!(told(&queue).await, "20 records");
        queue.push(&batch(5, None), false);
        queue.end(Ended::MapGone);
        queue.end(Ended::Stopping);
        for want in ["Agent lost 120", "5 records", "MapGone", "MapGone"] {
            assert_eq!(told(&queue).await, want);
        }
    }

    #[tokio::test]
    async fn a_batch_larger_than_the_queue_still_comes() {
        let queue = Queue::new(10, &account(1 << 20));
        queue.push(&batch(100, None), true);
        queue.push(&batch(1, None), false);
        assert_eq!(told(&queue).await, "100 records");
        assert_eq!(told(&queue).await, "Agent lost 1");
    }

    #[tokio::test]
    async fn what_the_account_does_not_take_is_lost_and_told() {
        let batch = batch(60, None);
        let account = account(batch.cost() * 5 / 2);
        let queue = Queue::new(1 << 20, &account);
        for _ in 0..3 {
            queue.push(&batch, false);
        }
        assert_eq!(account.usage().used, 2 * batch.cost());
        for want in ["60 records", "60 records", "Agent lost 60"] {
            assert_eq!(told(&queue).await, want);
        }
        assert_eq!(account.usage().used, 0);
    }

    #[tokio::test]
    async fn losses_of_many_cpus_do_not_pile_up() {
        let queue = Queue::new(10, &account(1 << 20));
        queue.push(&batch(1, Some(0)), false);
        for _ in 0..1000 {
            for cpu in 0..4 {
                queue.push(&batch(2, Some(cpu)), false);
                queue.lose(Loss {
                    source: LossSource::Kernel,
                    count: 1,
                    cpu: Some(cpu),
                    since: None,
                });
            }
        }
        assert_eq!(queue.state().waiting.len(), 1 + 8);
        assert_eq!(told(&queue).await, "1 records");
        assert_eq!(told(&queue).await, "Agent lost 2000");
        assert_eq!(told(&queue).await, "Kernel lost 1000");
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let queue = Arc::new(Queue::new(1000, &account(1 << 20)));
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { told(&queue).await }
        });
        tokio::task::yield_now().await;
        queue.push(&batch(1, None), false);
        assert_eq!(waiting.await.unwrap(), "1 records");
    }
}
