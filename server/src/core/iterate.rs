//! Reading a whole map, batch by batch.
//!
//! The kernel's batches of a hash go bucket by bucket, so an entry that stays put is read exactly
//! once whatever others do. Where a type has no batches, keys are followed one by one, and a writer
//! that deletes the key at hand makes the kernel start over: such maps can repeat entries.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::position::Position;
use super::{CpuMode, Error, Locking, Map, mapped};
use crate::ledger::{Account, Charge};
use crate::sys::SharedValues;

/// A larger batch gains nothing and holds the kernel longer.
pub const BATCH_DEFAULT: usize = 4096;
/// The most that a caller may ask for.
pub const BATCH_MAX: usize = 65_536;
/// A batch smaller than a hash bucket does not fit.
const BATCH_MIN: usize = 64;
/// The buffers of one batch, whatever the entry's size; never less than one entry.
const BUFFER_BYTES: usize = 1 << 20;
/// The same where a hash bucket, or going on within a batch, needs more.
const BUFFER_BYTES_MAX: usize = 64 << 20;
/// What one chunk carries of such a batch; never less than one entry. Below the limit of a message.
const CHUNK_BYTES_MAX: usize = 8 << 20;

/// Which halves of the entries are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Keys and values.
    Both,
    /// Keys.
    Keys,
    /// Values.
    Values,
}

/// What to read.
#[derive(Debug, Clone)]
pub struct IterateRequest {
    /// Which halves.
    pub parts: Parts,
    /// What to do with per-CPU values.
    pub cpu: CpuMode,
    /// Stop after so many entries.
    pub limit: Option<u64>,
    /// Go on from here.
    pub resume: Option<Position>,
    /// Entries to a chunk.
    pub batch: Option<usize>,
    /// Never more than so many to a chunk, even where the kernel has to be asked for more.
    pub chunk: Option<usize>,
    /// Whose memory the chunks are; nobody's for the agent's own reads, of which there are few.
    pub account: Option<Account>,
}

/// Entries that were read together: `count` keys back to back, and as many values.
#[derive(Debug)]
pub struct Chunk {
    /// How many.
    pub count: usize,
    /// Empty if they were not wanted.
    pub keys: Bytes,
    /// Empty if they were not wanted.
    pub values: Bytes,
    /// Where to go on behind them.
    pub position: Position,
    /// What they take, if somebody is charged.
    pub charge: Option<Charge>,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The kernel has no more.
    Complete,
    /// The request's limit.
    Limit,
}

/// A pass over a map. Blocking: it belongs on the blocking pool.
#[derive(Debug)]
pub struct Reader {
    map: Arc<Map>,
    parts: Parts,
    cpu: CpuMode,
    left: Option<u64>,
    position: Position,
    capacity: usize,
    /// Entries that a chunk may have.
    chunk: usize,
    account: Option<Account>,
    ended: Option<Ended>,
}

impl Reader {
    /// A pass that has not begun. Checks all that can be checked without reading.
    pub fn new(map: Arc<Map>, request: IterateRequest) -> Result<Self, Error> {
        map.require(map.capabilities().iterate, "iterate")?;
        let IterateRequest { parts, cpu, limit, resume, batch, chunk, account } = request;
        // Sums can be larger than what they are made of.
        let value = map.sys().value_len().max(map.value_len(cpu));
        let entry = map.sys().key_len() + value;
        let chunk = chunk.unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX / entry.max(1)).max(1);
        let wanted = batch.unwrap_or(BATCH_DEFAULT).min(chunk).clamp(1, BATCH_MAX);
        let capacity = wanted.min((BUFFER_BYTES / entry.max(1)).max(1));
        let position = resume.unwrap_or_else(|| Position::start(&map));
        Ok(Self {
            map,
            parts,
            cpu,
            left: limit,
            capacity: capacity.max(position.again().min(BUFFER_BYTES_MAX / entry.max(1))),
            position,
            chunk,
            account,
            ended: if limit == Some(0) { Some(Ended::Limit) } else { None },
        })
    }

    /// The map that is read.
    pub fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Bytes from value to value in the chunks.
    pub fn value_stride(&self) -> usize {
        if self.parts == Parts::Keys { 0 } else { self.map.value_len(self.cpu) }
    }

    /// Bytes from key to key in the chunks.
    pub fn key_stride(&self) -> usize {
        if self.parts == Parts::Values { 0 } else { self.map.sys().key_len() }
    }

    /// How the pass ended, once it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Where the pass is.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The next entries; none at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, Error> {
        while self.ended.is_none() {
            let batch = self.read()?;
            if batch.end {
                self.ended = Some(Ended::Complete);
            }
            if let Some(chunk) = self.take(batch)? {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// Cuts a batch to what was not sent before and is within the limit.
    fn take(&mut self, batch: Batch) -> Result<Option<Chunk>, Error> {
        let Batch { keys, values, capacity, count, before, end: _, mut charge } = batch;
        let (key_len, value_len) = (self.map.sys().key_len(), self.map.sys().value_len());
        let skip = before.sent_of(&keys[..count * key_len], key_len);
        let wanted = usize::try_from(self.left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let taken = (count - skip).min(wanted).min(self.chunk);
        if skip + taken < count {
            // The rest of this batch is still to come.
            self.ended = None;
        }
        if let Some(left) = &mut self.left {
            *left -= taken as u64;
            // With the last entry at hand the pass is complete, limit or not.
            let whole = skip + taken == count && self.ended == Some(Ended::Complete);
            if *left == 0 && !whole {
                self.ended = Some(Ended::Limit);
            }
        }
        if taken == 0 {
            return Ok(None);
        }
        let (from, to) = (skip, skip + taken);
        if to < count {
            self.position = before.within(count, &keys[(to - 1) * key_len..to * key_len]);
        }
        // A buffer is not kept for less than half of it.
        let copied = taken * 2 < capacity;
        let part = |buffer, range| if copied { copy(&buffer, range) } else { slice(buffer, range) };
        let left = |size| if copied { taken * size } else { count * size };
        let mut held = left(key_len) + left(value_len);
        let values = match (self.parts, self.cpu, self.map.sys().cpus()) {
            (Parts::Keys, ..) => Bytes::new(),
            (_, CpuMode::Sum, Some(_)) => {
                let size = self.map.value_len(CpuMode::Sum);
                if let Some(charge) = &mut charge {
                    charge.grow((taken * size) as u64)?;
                }
                held = left(key_len) + taken * size;
                let mut sums = BytesMut::zeroed(taken * size);
                let each = values[from * value_len..to * value_len].chunks(value_len);
                for (each, sum) in each.zip(sums.chunks_mut(size.max(1))) {
                    self.map.sum_into(each, sum);
                }
                sums.freeze()
            }
            _ => part(values, from * value_len..to * value_len),
        };
        let keys = match self.parts {
            Parts::Values => Bytes::new(),
            _ => part(keys, from * key_len..to * key_len),
        };
        if let Some(charge) = &mut charge {
            charge.shrink(held as u64);
        }
        let position = self.position.clone();
        Ok(Some(Chunk { count: taken, keys, values, position, charge }))
    }

    fn read(&mut self) -> Result<Batch, Error> {
        let before = self.position.clone();
        let sizes = (self.map.sys().key_len(), self.map.sys().value_len());
        loop {
            let capacity = self.capacity;
            let bytes = (capacity * (sizes.0 + sizes.1)) as u64;
            let charge = self.account.as_ref().map(|account| account.charge(bytes)).transpose()?;
            let mut keys = BytesMut::zeroed(capacity * sizes.0);
            let mut values = BytesMut::zeroed(capacity * sizes.1);
            let read = if let Some(mapping) = self.map.clone().mapped() {
                Ok(self.read_mapped(mapping, &mut keys, &mut values))
            } else if self.map.capabilities().batch_lookup {
                self.read_batch(&mut keys, &mut values)
            } else {
                self.read_keys(&mut keys, &mut values)
            };
            match read {
                Ok((count, end)) => {
                    // The rest of the buffers was never touched: it is not there.
                    let mut charge = charge;
                    if let Some(charge) = &mut charge {
                        charge.shrink((count * (sizes.0 + sizes.1)) as u64);
                    }
                    return Ok(Batch { keys, values, capacity, count, end, before, charge });
                }
                // One bucket has more entries than fit.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    let entry = sizes.0 + sizes.1;
                    let most = BUFFER_BYTES_MAX / entry.max(1);
                    // A few large entries at a time, or there would soon be no memory to read them.
                    let least = BATCH_MIN.min(BUFFER_BYTES / entry.max(1));
                    self.capacity = (capacity * 2).max(least).min(most);
                    if self.capacity <= capacity {
                        return Err(Error::BucketTooLarge {
                            map: self.map.text().to_owned(),
                            asked: (capacity + 1) as u64 * entry as u64,
                            limit: BUFFER_BYTES_MAX as u64,
                        });
                    }
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        self.map.entry_error("read", &[], source)
    }

    fn read_mapped(
        &mut self,
        mapping: &SharedValues,
        keys: &mut [u8],
        values: &mut [u8],
    ) -> (usize, bool) {
        let started = self.position.started();
        let mut cursor = self.position.cursor().to_vec();
        let read = mapped::read_batch(mapping, started, &mut cursor, keys, values);
        self.position = Position::at(&self.map, cursor);
        read
    }

    fn read_batch(&mut self, keys: &mut [u8], values: &mut [u8]) -> io::Result<(usize, bool)> {
        let started = self.position.started();
        let mut cursor = self.position.cursor().to_vec();
        let locked = self.map.locks(Locking::IfAny);
        let batch = self.map.sys().lookup_batch(started, &mut cursor, keys, values, locked)?;
        self.position = Position::at(&self.map, cursor);
        Ok((batch.count, batch.end))
    }

    fn read_keys(&mut self, keys: &mut [u8], values: &mut [u8]) -> io::Result<(usize, bool)> {
        let sys = self.map.sys();
        let (key_len, value_len) = (sys.key_len(), sys.value_len());
        let mut count = 0;
        let mut last = self.position.started().then(|| self.position.cursor()[..key_len].to_vec());
        let mut end = false;
        while count * key_len < keys.len() {
            let key = &mut keys[count * key_len..][..key_len];
            if !sys.next_key(last.as_deref(), key)? {
                end = true;
                break;
            }
            let value = &mut values[count * value_len..][..value_len];
            match self.map.read(key, value, Locking::IfAny) {
                Ok(()) => count += 1,
                // Gone between the two calls.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
            last = Some(key.to_vec());
        }
        if let Some(mut cursor) = last {
            cursor.resize(sys.cursor_len(), 0);
            self.position = Position::at(&self.map, cursor);
        }
        Ok((count, end))
    }
}

fn copy(buffer: &BytesMut, range: Range<usize>) -> Bytes {
    Bytes::copy_from_slice(&buffer[range])
}

fn slice(buffer: BytesMut, range: Range<usize>) -> Bytes {
    buffer.freeze().slice(range)
}

/// One batch as the kernel gave it.
struct Batch {
    keys: BytesMut,
    values: BytesMut,
    /// Entries that the buffers have room for.
    capacity: usize,
    count: usize,
    end: bool,
    /// Where it began.
    before: Position,
    charge: Option<Charge>,
}
