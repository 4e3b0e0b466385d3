//! Records as they come out of an event buffer: back to back.

/// Records of one event buffer, in the order in which they were written.
#[derive(Debug, Default)]
pub struct Records {
    /// One behind the other.
    pub bytes: Vec<u8>,
    /// Bytes of each.
    pub lengths: Vec<u32>,
    /// `CLOCK_MONOTONIC` of each, in nanoseconds, where the kernel notes it.
    pub times: Vec<u64>,
    /// They were in the buffer before anybody read it.
    pub waited: bool,
    /// Behind these records the kernel had no room for so many.
    pub lost: u64,
    /// Behind these records so many were longer than the reader takes.
    pub too_long: u64,
}

/// How much one read takes.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimits {
    /// Stop at so many bytes, lengths and times included.
    pub bytes: usize,
    /// Leave out a record that is longer than this.
    pub record: usize,
}

/// Why a read stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Nothing complete is left. The kernel gives a sign with the next record, unless its producer
    /// asks it not to.
    Empty,
    /// At the limit, or at a loss: there may be more.
    Full,
}

impl Records {
    /// What they take, in bytes.
    pub fn cost(&self) -> usize {
        self.bytes.len() + self.lengths.len() * 4 + self.times.len() * 8
    }

    /// Nothing is in here.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty() && self.lost == 0 && self.too_long == 0
    }
}
