//! Records packed, and what is missing between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::core::ClockSource;
use crate::sys::Records;

/// The largest buffer that is kept for the next batch, in bytes.
const KEPT: usize = 256 << 10;

/// What one batch takes beyond its records, in bytes.
const OVERHEAD: u64 = 256;

/// Records in the order in which they were written; of a perf buffer those of one CPU.
#[derive(Debug)]
pub struct Batch {
    /// One behind the other.
    pub bytes: Bytes,
    /// How long each is.
    pub lengths: Lengths,
    /// When each was written, in nanoseconds of `CLOCK_MONOTONIC`; empty where that is not known.
    pub times: Vec<u64>,
    /// Where they were written, in a perf buffer.
    pub cpu: Option<u32>,
    /// When the last of them was taken out of the buffer.
    pub read_at: Moment,
    /// They waited in the buffer when its reader began: nobody had read it since then.
    pub waiting_since: Option<SystemTime>,
    charge: Charge,
}

/// A moment by all clocks that a record may have its time from.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The time of day.
    pub time: SystemTime,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub monotonic: u64,
    /// `CLOCK_BOOTTIME`, in nanoseconds.
    pub boottime: u64,
}

impl Moment {
    fn now() -> Self {
        let clock = |id| {
            let Timespec { tv_sec, tv_nsec } = clock_gettime(id);
            // Neither is below zero.
            tv_sec.cast_unsigned() * 1_000_000_000 + tv_nsec.cast_unsigned()
        };
        let (monotonic, boottime) = (clock(ClockId::Monotonic), clock(ClockId::Boottime));
        Self { time: SystemTime::now(), monotonic, boottime }
    }

    /// The time of day of a time that a clock showed.
    pub fn time_of(&self, source: ClockSource, nanoseconds: u64) -> SystemTime {
        let now = match source {
            ClockSource::Realtime => {
                return SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
            }
            ClockSource::Monotonic => self.monotonic,
            ClockSource::Boottime => self.boottime,
        };
        match now.checked_sub(nanoseconds) {
            Some(age) => self.time - Duration::from_nanos(age),
            None => self.time + Duration::from_nanos(nanoseconds - now),
        }
    }
}

/// How long the records of a batch are, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lengths {
    /// So many are all of this length, which is not 0.
    Same {
        /// Of each.
        length: u32,
        /// How many.
        count: usize,
    },
    /// One for each.
    Each(Vec<u32>),
}

/// Records that watchers do not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Where.
    pub source: LossSource,
    /// How many.
    pub count: u64,
    /// Whose, in a perf buffer.
    pub cpu: Option<u32>,
    /// With a count of 0, which stands for nobody knows how many: the last time at which the buffer
    /// had room.
    pub since: Option<SystemTime>,
}

/// Where records are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossSource {
    /// The buffer had no room.
    Kernel,
    /// The watcher's queue had none, or a record is too long for a message.
    Agent,
}

impl Batch {
    /// Takes the records, whose buffers can be used again, and accounts for them.
    /// `idle_since`: when the buffer was read last, before this reader began.
    pub(super) fn take(
        records: &mut Records,
        cpu: Option<u32>,
        idle_since: SystemTime,
        memory: &Memory,
    ) -> Self {
        let cost = records.cost() as u64 + OVERHEAD;
        let room = records.bytes.capacity();
        let bytes = if records.bytes.len() * 2 > room {
            // The next batch is likely to be as large.
            Bytes::from(std::mem::replace(&mut records.bytes, Vec::with_capacity(room)))
        } else {
            // Not all of a large buffer for a few records.
            Bytes::copy_from_slice(&records.bytes)
        };
        records.bytes.clear();
        if records.bytes.capacity() > KEPT {
            // One long record made it so large.
            records.bytes = Vec::new();
        }
        let lengths = Lengths::of(&records.lengths);
        records.lengths.clear();
        let times = records.times.clone();
        records.times.clear();
        let charge = memory.charge(cost);
        let waiting_since = std::mem::take(&mut records.waited).then_some(idle_since);
        Self { bytes, lengths, times, cpu, read_at: Moment::now(), waiting_since, charge }
    }

    /// How many records.
    pub fn count(&self) -> usize {
        self.lengths.count()
    }

    /// What it takes, in bytes.
    pub(super) fn cost(&self) -> u64 {
        self.charge.bytes
    }

    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.lengths.iter().map(move |length| {
            let start = from;
            from += length as usize;
            &self.bytes[start..from]
        })
    }
}

impl Lengths {
    /// The short form, where it will do.
    pub fn of(lengths: &[u32]) -> Self {
        match lengths.first() {
            Some(&length) if length > 0 && lengths.iter().all(|&other| other == length) => {
                Self::Same { length, count: lengths.len() }
            }
            _ => Self::Each(lengths.to_vec()),
        }
    }

    /// How many records.
    pub fn count(&self) -> usize {
        match self {
            Self::Same { count, .. } => *count,
            Self::Each(lengths) => lengths.len(),
        }
    }

    /// One for each record.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.count()).map(|at| match self {
            Self::Same { length, .. } => *length,
            Self::Each(lengths) => lengths[at],
        })
    }
}

/// What all batches together take.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    used: Arc<AtomicU64>,
    limit: u64,
}

#[derive(Debug)]
struct Charge {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Self {
        Self { used: Arc::default(), limit }
    }

    /// There is no more: nothing may wait for anybody.
    pub(super) fn is_short(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit
    }

    fn charge(&self, bytes: u64) -> Charge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge { used: self.used.clone(), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(all: &[&[u8]]) -> Records {
        let lengths = all.iter().map(|one| u32::try_from(one.len()).unwrap()).collect();
        Records { bytes: all.concat(), lengths, ..Records::default() }
    }

    #[test]
    fn records_come_back_one_by_one() {
        let memory = Memory::new(1 << 20);
        for all in [&[&b"ab"[..], b"cd", b"ef"][..], &[b"", b"abc", b"", b"d"], &[b"", b""]] {
            let batch = Batch::take(&mut records(all), None, SystemTime::now(), &memory);
            assert_eq!(batch.iter().collect::<Vec<_>>(), all);
            assert_eq!(batch.count(), all.len());
        }
        let same = Lengths::Same { length: 2, count: 3 };
        assert_eq!(
            Batch::take(&mut records(&[b"ab", b"cd", b"ef"]), None, SystemTime::now(), &memory)
                .lengths,
            same
        );
        assert_eq!(Lengths::of(&[0, 0]), Lengths::Each(vec![0, 0]));
    }

    #[test]
    fn memory_is_given_back_with_the_batch() {
        // A byte, and its length.
        let memory = Memory::new(OVERHEAD + 1 + 4);
        let first = Batch::take(&mut records(&[b"x"]), None, SystemTime::now(), &memory);
        assert!(!memory.is_short());
        let second = Batch::take(&mut records(&[b"x"]), None, SystemTime::now(), &memory);
        assert!(memory.is_short());
        drop((first, second));
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
    }
}
