//! Reads a map's buffer into the queues of its watchers, and never waits for one.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};
use tracing::{debug, error};

use super::batch::{Batch, Loss, LossSource, Memory};
use super::feed::Feed;
use super::queue::Ended;
use super::source::Lanes;
use crate::sys::{ReadLimits, Records, Stopped};

/// A batch is sent when it has so many bytes.
const BATCH_BYTES: usize = 64 << 10;
/// Or so long after the one before: few records a batch cost more than the records.
const HOLD: Duration = Duration::from_millis(1);
/// Programs can write records without a sign, and what is lost behind the last one has none.
const LOOK: Duration = Duration::from_millis(100);

/// Reads a map's buffer into the queues of its watchers.
#[derive(Debug)]
pub(super) struct Reader<S: Lanes> {
    feed: Arc<Feed>,
    source: S,
    memory: Memory,
    /// Nobody read the buffer since then, before this reader began.
    idle_since: SystemTime,
    limits: ReadLimits,
    lanes: Vec<Lane>,
    flushed_at: Instant,
    looked_at: Instant,
}

#[derive(Debug, Default)]
struct Lane {
    /// What has been read and not been sent.
    held: Records,
    end: End,
}

/// Whether records may have been lost behind a lane's last one. While more come they say so
/// themselves, and asking costs an interrupt on the lane's CPU.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    /// No.
    #[default]
    Known,
    /// Records came since the last look.
    Moving,
    /// None came between the last two looks.
    Resting,
}

impl<S: Lanes> Reader<S> {
    /// A reader that takes records up to `longest` bytes.
    pub(super) fn new(
        feed: Arc<Feed>,
        source: S,
        memory: Memory,
        idle_since: SystemTime,
        longest: usize,
    ) -> Self {
        let lanes = (0..source.count()).map(|_| Lane::default()).collect();
        let limits = ReadLimits { bytes: BATCH_BYTES, record: longest };
        let now = Instant::now();
        Self { feed, source, memory, idle_since, limits, lanes, flushed_at: now, looked_at: now }
    }

    /// Reads for as long as somebody watches. When this returns the feed may be over: see
    /// [`Reader::close`].
    pub(super) async fn run(&mut self) {
        while self.feed.is_wanted() {
            if let Err(error) = self.turn().await {
                error!(map = self.feed.map(), %error, "records cannot be read");
                self.feed.end(Ended::Failed(Arc::new(error)));
            }
        }
    }

    /// Ends the feed, unless somebody came meanwhile, and then gives the reader back.
    pub(super) fn close(mut self) -> Option<Self> {
        if !self.feed.close() {
            return Some(self);
        }
        if let Some(Ended::MapGone) = self.feed.ending() {
            // What is in it is all there will ever be.
            self.read_rest();
        }
        debug!(map = self.feed.map(), "records are not read any more");
        None
    }

    /// Reads what is there, or a part of it from every lane, and waits for more.
    async fn turn(&mut self) -> io::Result<()> {
        let mut more = false;
        for lane in 0..self.lanes.len() {
            if self.read(lane)? == Stopped::Full {
                self.send(lane);
                self.tell_overflow(lane);
                more = true;
            }
        }
        if self.looked_at.elapsed() >= LOOK {
            self.look()?;
        }
        if self.flushed_at.elapsed() >= HOLD {
            self.flush();
        }
        if more {
            // A program that writes without end must not keep the thread from others.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let next = if self.lanes.iter().all(|lane| lane.held.is_empty()) {
            self.looked_at + LOOK
        } else {
            self.flushed_at + HOLD
        };
        tokio::select! {
            signed = self.source.signed() => signed,
            () = self.feed.changed() => Ok(()),
            () = sleep_until(next) => Ok(()),
        }
    }

    fn read(&mut self, at: usize) -> io::Result<Stopped> {
        let lane = &mut self.lanes[at];
        let stopped = self.source.read(at, &mut lane.held, self.limits)?;
        if !lane.held.is_empty() {
            lane.end = End::Moving;
        }
        Ok(stopped)
    }

    /// Asks for losses in lanes that have come to rest.
    fn look(&mut self) -> io::Result<()> {
        self.looked_at = Instant::now();
        for at in 0..self.lanes.len() {
            let end = self.lanes[at].end;
            self.lanes[at].end = match end {
                End::Known => End::Known,
                End::Moving => End::Resting,
                End::Resting => {
                    let lost = self.source.lost(at)?;
                    self.lose(at, lost);
                    End::Known
                }
            };
        }
        Ok(())
    }

    /// What waited has been sent, and there had been no room for more.
    fn tell_overflow(&mut self, lane: usize) {
        if self.source.take_overflowed(lane) {
            let (source, cpu) = (LossSource::Kernel, self.source.cpu(lane));
            let loss = Loss { source, count: 0, cpu, since: Some(self.idle_since) };
            self.feed.give(None, false, &[loss]);
        }
    }

    /// Behind what is held of a lane so many were lost.
    fn lose(&mut self, lane: usize, lost: u64) {
        self.lanes[lane].held.lost += lost;
        self.send(lane);
    }

    /// A bounded part of what is left: its programs may still run.
    fn read_rest(&mut self) {
        const MOST: usize = 1024;
        for lane in 0..self.lanes.len() {
            for _ in 0..MOST {
                let full = matches!(self.read(lane), Ok(Stopped::Full));
                self.send(lane);
                if !full {
                    break;
                }
            }
            let lost = self.source.lost(lane).unwrap_or(0);
            self.lose(lane, lost);
        }
    }

    /// Sends what is held, few records as they may be.
    fn flush(&mut self) {
        for lane in 0..self.lanes.len() {
            if self.send(lane) {
                self.flushed_at = Instant::now();
            }
        }
    }

    /// Gives what is held of a lane to every watcher. False if that is nothing.
    fn send(&mut self, lane: usize) -> bool {
        let cpu = self.source.cpu(lane);
        let records = &mut self.lanes[lane].held;
        if records.is_empty() {
            return false;
        }
        let lost =
            [(&mut records.lost, LossSource::Kernel), (&mut records.too_long, LossSource::Agent)];
        let losses = lost.map(|(count, source)| Loss {
            source,
            count: std::mem::take(count),
            cpu,
            since: None,
        });
        let losses: Vec<_> = losses.into_iter().filter(|loss| loss.count > 0).collect();
        let short = self.memory.is_short();
        let batch = (!records.lengths.is_empty())
            .then(|| Arc::new(Batch::take(records, cpu, self.idle_since, &self.memory)));
        self.feed.give(batch.as_ref(), short, &losses);
        true
    }
}

impl<S: Lanes> Drop for Reader<S> {
    /// Whatever ended it, a panic too: nobody waits for it any more.
    fn drop(&mut self) {
        self.feed.abandon();
    }
}

#[cfg(test)]
mod tests;
