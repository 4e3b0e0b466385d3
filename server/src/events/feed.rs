//! One map's reader, and who gets what it reads.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::batch::{Batch, Loss, LossSource, Memory};
use super::queue::{Ended, Queue};
use super::source::Source;
use crate::core::Map;
use crate::sys::{ReadLimits, Records, Stopped};

/// A batch is sent when it has so many bytes.
const BATCH_BYTES: usize = 64 << 10;
/// Or so long after the one before: few records a batch cost more than the records.
const HOLD: Duration = Duration::from_millis(1);
/// Programs can write records without a sign.
const LOOK: Duration = Duration::from_millis(100);

/// One map's reader, and who gets what it reads.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) map: Arc<Map>,
    /// Reads though nobody watches.
    keeps: bool,
    state: Mutex<State>,
    /// For the reader: something about the watchers has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    watchers: Vec<Arc<Queue>>,
    /// The reader is to end.
    ending: Option<Ended>,
    /// The reader takes no more watchers.
    closed: bool,
}

impl Feed {
    pub(super) fn new(map: Arc<Map>, keeps: bool) -> Self {
        Self { map, keeps, state: Mutex::default(), changed: Notify::new() }
    }

    /// False if the reader is on its way out.
    pub(super) fn join(&self, queue: &Arc<Queue>) -> bool {
        let mut state = self.state();
        if state.closed || state.ending.is_some() {
            return false;
        }
        state.watchers.push(queue.clone());
        true
    }

    pub(super) fn leave(&self, queue: &Arc<Queue>) {
        self.state().watchers.retain(|other| !Arc::ptr_eq(other, queue));
        self.changed.notify_one();
    }

    /// Makes the reader end, and tells every watcher why.
    pub(super) fn end(&self, ended: Ended) {
        self.state().ending.get_or_insert(ended);
        self.changed.notify_one();
    }

    /// Nobody needs the reader any more. From here on nobody joins it.
    fn close(&self) -> bool {
        let mut state = self.state();
        state.closed |= state.ending.is_some() || state.watchers.is_empty() && !self.keeps;
        state.closed
    }

    fn is_wanted(&self) -> bool {
        let state = self.state();
        state.ending.is_none() && (self.keeps || !state.watchers.is_empty())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a map's buffer into the queues of its watchers.
#[derive(Debug)]
pub(super) struct Reader {
    feed: Arc<Feed>,
    source: Source,
    memory: Memory,
    /// Bytes of the longest record that fits into a message.
    longest: usize,
    /// What has been read of each lane and not been sent.
    held: Vec<Records>,
    flushed_at: Instant,
}

impl Reader {
    pub(super) fn new(feed: Arc<Feed>, source: Source, memory: Memory, longest: usize) -> Self {
        let held = (0..source.lanes()).map(|_| Records::default()).collect();
        Self { feed, source, memory, longest, held, flushed_at: Instant::now() }
    }

    /// Reads for as long as somebody watches. When this returns the feed may be over: see
    /// [`Reader::close`].
    pub(super) async fn run(&mut self) {
        while self.feed.is_wanted() {
            if let Err(error) = self.turn().await {
                tracing::error!(map = self.feed.map.text(), %error, "records cannot be read");
                self.feed.end(Ended::Failed(Arc::new(error)));
            }
        }
    }

    /// Ends the feed, unless somebody came meanwhile, and then gives the reader back.
    pub(super) fn close(mut self) -> Option<Self> {
        if !self.feed.close() {
            return Some(self);
        }
        let ended = self.feed.state().ending.clone();
        if let Some(Ended::MapGone) = &ended {
            // What is in it is all there will ever be.
            self.read_rest();
        }
        let watchers = std::mem::take(&mut self.feed.state().watchers);
        for queue in watchers {
            queue.end(ended.clone().unwrap_or(Ended::Stopping));
        }
        debug!(map = self.feed.map.text(), "records are not read any more");
        None
    }

    /// Reads what is there, or a part of it from every lane, and waits for more.
    async fn turn(&mut self) -> io::Result<()> {
        let mut more = false;
        for lane in 0..self.held.len() {
            if self.read(lane)? == Stopped::Full {
                self.send(lane);
                more = true;
            }
        }
        if self.flushed_at.elapsed() >= HOLD {
            self.flush();
        }
        if more {
            // A program that writes without end must not keep the thread from others.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let next = if self.held.iter().all(Records::is_empty) {
            Instant::now() + LOOK
        } else {
            self.flushed_at + HOLD
        };
        tokio::select! {
            signed = self.source.signed() => signed,
            () = self.feed.changed.notified() => Ok(()),
            () = sleep_until(next) => Ok(()),
        }
    }

    fn read(&mut self, lane: usize) -> io::Result<Stopped> {
        let limits = ReadLimits { bytes: BATCH_BYTES, record: self.longest };
        self.source.read(lane, &mut self.held[lane], limits)
    }

    /// A bounded part of what is left: its programs may still run.
    fn read_rest(&mut self) {
        const MOST: usize = 1024;
        for lane in 0..self.held.len() {
            for _ in 0..MOST {
                let full = matches!(self.read(lane), Ok(Stopped::Full));
                self.send(lane);
                if !full {
                    break;
                }
            }
        }
    }

    /// Sends what is held, few records as they may be.
    fn flush(&mut self) {
        for lane in 0..self.held.len() {
            if self.send(lane) {
                self.flushed_at = Instant::now();
            }
        }
    }

    /// Gives what is held of a lane to every watcher. False if that is nothing.
    fn send(&mut self, lane: usize) -> bool {
        let records = &mut self.held[lane];
        if records.is_empty() {
            return false;
        }
        let cpu = self.source.cpu(lane);
        let state = self.feed.state();
        if !records.lengths.is_empty() {
            let short = self.memory.is_short();
            let batch = Arc::new(Batch::take(records, cpu, &self.memory));
            for queue in &state.watchers {
                queue.push(&batch, short);
            }
        }
        for (count, source) in
            [(&mut records.lost, LossSource::Kernel), (&mut records.too_long, LossSource::Agent)]
        {
            let loss = Loss { source, count: std::mem::take(count), cpu };
            for queue in state.watchers.iter().filter(|_| loss.count > 0) {
                queue.lose(loss);
            }
        }
        true
    }
}
