//! The consumer's end of a BPF ring buffer: two positions and the data, in memory shared with the
//! kernel. No system call reads it.
//!
//! The first page has the consumer's position, which is ours to write; the second the producers',
//! behind it the data, mapped twice in a row so that no record is in two pieces. A record starts
//! with 8 bytes: its length, with two bits for "not written yet" and "thrown away".

use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;

use super::mapping::Mapping;
use super::{Map, ReadLimits, Records, Stopped};

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: u64 = 8;

/// The consumer's end of a ring buffer. Two of them for one map would steal from each other.
#[derive(Debug)]
pub struct RingBuffer {
    consumer: Mapping,
    /// And the data behind it.
    producer: Mapping,
    page: usize,
    /// Bytes of data: a power of two.
    size: u64,
    backlog: Option<Backlog>,
    overflowed: bool,
}

/// What was in the ring before anybody read.
#[derive(Debug)]
struct Backlog {
    /// The position behind it.
    end: u64,
    /// Bytes of it, headers included.
    bytes: u64,
    /// Of the longest record that was seen of it.
    longest: u64,
}

impl RingBuffer {
    /// Maps the ring. An error for a map of another type, and if the kernel does not let us write
    /// the consumer's position: reading takes records out.
    pub fn new(map: &Map) -> io::Result<Self> {
        let info = map.info();
        let size = u64::from(info.max_entries);
        if info.map_type != BPF_MAP_TYPE_RINGBUF as u32 || !size.is_power_of_two() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let page = rustix::param::page_size();
        let behind = page + 2 * info.max_entries as usize;
        let mut ring = Self {
            consumer: Mapping::new(map.as_fd(), page, 0, true)?,
            producer: Mapping::new(map.as_fd(), behind, page as u64, false)?,
            page,
            size,
            backlog: None,
            overflowed: false,
        };
        let end = ring.producer_position().load(Ordering::Acquire);
        let bytes = end.wrapping_sub(ring.consumer_position().load(Ordering::Relaxed));
        ring.backlog = (bytes > 0).then_some(Backlog { end, bytes, longest: 0 });
        Ok(ring)
    }

    /// Once: the ring had no room for a record like those that were in it before anybody read.
    pub fn take_overflowed(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }

    /// The position up to which records are read now: what was there at first comes by itself.
    fn end(&self) -> u64 {
        match &self.backlog {
            Some(backlog) => backlog.end,
            None => self.producer_position().load(Ordering::Acquire),
        }
    }

    /// Bytes that it holds at most, 8 for each record's header among them.
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// Takes records out and appends them, until the limit or a loss, or until nothing complete is
    /// left. What was in the ring at first is not mixed with what came since.
    pub fn read(&mut self, out: &mut Records, limits: ReadLimits) -> io::Result<Stopped> {
        out.waited |= self.backlog.is_some();
        let mut longest = 0;
        let stopped = self.take(out, limits, &mut longest)?;
        let position = self.consumer_position().load(Ordering::Relaxed);
        if let Some(backlog) = &mut self.backlog {
            backlog.longest = backlog.longest.max(longest);
            if stopped == Stopped::Empty && position == backlog.end {
                // The kernel keeps one byte free.
                let needs = backlog.longest.next_multiple_of(HEADER);
                self.overflowed = backlog.bytes + needs >= self.size;
                self.backlog = None;
                return Ok(Stopped::Full);
            }
        }
        Ok(stopped)
    }

    /// The same up to the end of what is read now, and how long the longest record was.
    fn take(
        &self,
        out: &mut Records,
        limits: ReadLimits,
        longest: &mut u64,
    ) -> io::Result<Stopped> {
        // The producers look at our position for every record: telling them each time makes the
        // CPUs fight for the line that it is in.
        let told_each = (self.size / 16).min(16 << 10);
        let consumer = self.consumer_position();
        let start = consumer.load(Ordering::Relaxed);
        let mut position = start;
        let mut told = start;
        let mut produced = self.end();
        loop {
            // Others may map the consumer's page too, and write nonsense into it.
            if produced.wrapping_sub(position) > self.size || !position.is_multiple_of(HEADER) {
                return Err(nonsense());
            }
            let header = if position == produced { BUSY } else { self.header(position) };
            if header & BUSY != 0 {
                if told != position {
                    consumer.store(position, Ordering::Release);
                    told = position;
                }
                // Whoever completes a record gives a sign if our position is there. Either it sees
                // our position, or we see the record.
                fence(Ordering::SeqCst);
                produced = self.end();
                if produced == position || self.header(position) & BUSY != 0 {
                    return Ok(Stopped::Empty);
                }
                continue;
            }
            let len = (header & !DISCARD) as usize;
            let whole = len as u64 + HEADER;
            let next = position.wrapping_add(whole.next_multiple_of(HEADER));
            *longest = whole.max(*longest);
            if produced.wrapping_sub(next) > self.size {
                return Err(nonsense());
            }
            if header & DISCARD == 0 {
                if len > limits.record {
                    out.too_long += 1;
                } else {
                    let at = self.place(position + HEADER);
                    self.producer.copy(at, len, &mut out.bytes);
                    out.lengths.push(len as u32);
                }
            }
            position = next;
            // What was thrown away costs nothing, and a program can throw away without end.
            let round = position.wrapping_sub(start) >= self.size;
            let full = round || out.too_long > 0 || out.cost() >= limits.bytes;
            if full || position.wrapping_sub(told) >= told_each {
                // From here on the kernel may write there again.
                consumer.store(position, Ordering::Release);
                told = position;
            }
            if full {
                return Ok(Stopped::Full);
            }
        }
    }

    /// Where in the mapping that position is.
    fn place(&self, position: u64) -> usize {
        self.page + (position & (self.size - 1)) as usize
    }

    fn consumer_position(&self) -> &AtomicU64 {
        let at = self.consumer.at(0, 8);
        // SAFETY: the page's first 8 bytes are the position, aligned, and only accessed atomically.
        unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }
    }

    fn producer_position(&self) -> &AtomicU64 {
        let at = self.producer.at(0, 8);
        // SAFETY: as above; it is only loaded, which read-only memory allows.
        unsafe { AtomicU64::from_ptr(at.cast().as_ptr()) }
    }

    /// The length and the two bits of the record at that position, below the producers'.
    fn header(&self, position: u64) -> u32 {
        let at = self.producer.at(self.place(position), 4);
        // SAFETY: positions are multiples of 8, so this is aligned; the kernel writes it whole,
        // and it is only loaded.
        unsafe { AtomicU32::from_ptr(at.cast().as_ptr()) }.load(Ordering::Acquire)
    }
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the consumer's position is not at a record")
}
