//! The reader's end of a perf buffer: what BPF programs write on one CPU, in memory shared with
//! the kernel.
//!
//! The first page has two positions, of which the tail is ours to write; behind it are the data, in
//! which a record that reaches the end goes on at the start. What had no room is told of by a
//! record of its own when there is room again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::mapping::Mapping;
use super::{PerfEvent, ReadLimits, Records, Stopped, perf_event_open};

/// `PERF_RECORD_LOST`
const LOST: u32 = 2;
/// `PERF_RECORD_SAMPLE`
const SAMPLE: u32 = 9;
const HEADER: u64 = 8;
/// `data_head` in `struct perf_event_mmap_page`.
const HEAD: usize = 1024;
/// `data_tail`.
const TAIL: usize = 1032;

/// The reader's end of one CPU's perf buffer.
#[derive(Debug)]
pub struct PerfBuffer {
    mapping: Mapping,
    page: usize,
    /// Bytes of data: a power of two.
    size: u64,
    /// Lost records of which the buffer itself told.
    recorded: u64,
    /// Lost records that were told to our caller: these and those that were asked for.
    told: u64,
    // Behind the mapping, which keeps the event alive anyway.
    event: OwnedFd,
}

impl AsFd for PerfBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl PerfBuffer {
    /// Opens one for a CPU that is online, of at least so many bytes. Programs write to it once its
    /// descriptor is in their map.
    pub fn new(cpu: u32, bytes: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let size = bytes.max(page).checked_next_power_of_two();
        let size = size.ok_or(io::ErrorKind::InvalidInput)?;
        let event = perf_event_open(PerfEvent::Output { cpu: cpu.cast_signed() })?;
        let mapping = Mapping::new(event.as_fd(), page + size, 0, true)?;
        Ok(Self { mapping, page, size: size as u64, recorded: 0, told: 0, event })
    }

    /// Takes records out and appends them, until the limit or a loss, or until nothing is left.
    pub fn read(&mut self, out: &mut Records, limits: ReadLimits) -> io::Result<Stopped> {
        let mut tail = self.position(TAIL).load(Ordering::Relaxed);
        loop {
            let head = self.position(HEAD).load(Ordering::Acquire);
            if head == tail {
                return Ok(Stopped::Empty);
            }
            let stopped = loop {
                if head == tail {
                    break false;
                }
                tail = self.take(tail, head, out, limits)?;
                if out.lost > 0 || out.too_long > 0 || out.cost() >= limits.bytes {
                    break true;
                }
            };
            // From here on the kernel may write there again.
            self.position(TAIL).store(tail, Ordering::Release);
            if stopped {
                return Ok(Stopped::Full);
            }
        }
    }

    /// Records that were lost behind the last one that was read, and have not been told: the
    /// buffer itself tells of them only with the next record. 0 if there is one by now, or if the
    /// buffer was not read to its end.
    pub fn lost(&mut self) -> io::Result<u64> {
        let mut counts = [0; 16];
        let len = rustix::io::read(&self.event, &mut counts)?;
        let [.., lost] = *counts.as_chunks::<8>().0 else { unreachable!("two numbers") };
        // Asked in this order: what was lost behind a newer record is not to be told before it.
        let head = self.position(HEAD).load(Ordering::Acquire);
        if len < counts.len() || head != self.position(TAIL).load(Ordering::Relaxed) {
            return Ok(0);
        }
        Ok(self.tell(u64::from_ne_bytes(lost)))
    }

    /// How many of all lost records so far are news.
    fn tell(&mut self, lost: u64) -> u64 {
        let news = lost.saturating_sub(self.told);
        self.told += news;
        news
    }

    /// Takes the record at `tail`; returns where the next one is.
    fn take(
        &mut self,
        tail: u64,
        head: u64,
        out: &mut Records,
        limits: ReadLimits,
    ) -> io::Result<u64> {
        let size = u64::from(u16::from_ne_bytes(self.part(tail + 6)));
        let left = head.wrapping_sub(tail);
        if size < HEADER || size > left || left > self.size || !size.is_multiple_of(HEADER) {
            let text = "the reader's position is not at a record";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let body = tail + HEADER;
        match u32::from_ne_bytes(self.part(tail)) {
            // The time, the length, the bytes with what fills them up to 8.
            SAMPLE if size >= HEADER + 12 => {
                let len = u32::from_ne_bytes(self.part(body + 8)).min((size - HEADER - 12) as u32);
                if len as usize > limits.record {
                    out.too_long += 1;
                } else {
                    out.times.push(u64::from_ne_bytes(self.part(body)));
                    out.lengths.push(len);
                    self.copy(body + 12, len as usize, &mut out.bytes);
                }
            }
            // An id, and how many.
            LOST if size >= HEADER + 16 => {
                let more = u64::from_ne_bytes(self.part(body + 8));
                self.recorded = self.recorded.wrapping_add(more);
                out.lost += self.tell(self.recorded);
            }
            _ => {}
        }
        Ok(tail.wrapping_add(size))
    }

    /// A number of a record, which is aligned and so in one piece.
    fn part<const N: usize>(&self, position: u64) -> [u8; N] {
        self.mapping.part(self.page + (position & (self.size - 1)) as usize)
    }

    /// Copies bytes of a record that lies between tail and head: the kernel does not write there.
    fn copy(&self, position: u64, len: usize, out: &mut Vec<u8>) {
        let at = (position & (self.size - 1)) as usize;
        let first = len.min(self.size as usize - at);
        self.mapping.copy(self.page + at, first, out);
        self.mapping.copy(self.page, len - first, out);
    }

    fn position(&self, at: usize) -> &AtomicU64 {
        let at = self.mapping.at(at, 8);
        // SAFETY: the kernel's layout has an aligned u64 there, which both sides access atomically.
        unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }
    }
}
