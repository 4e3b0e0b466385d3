//! Many entries with one command: whole-map reads, and writes and removals of given keys.

use std::io;
use std::os::fd::AsFd as _;

use super::attr::Batch;
use super::element::BPF_F_LOCK;
use super::map::raw;
use super::{Command, Map, bpf};

/// What one batch brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRead {
    /// Entries that were filled in.
    pub count: usize,
    /// The kernel has no more. A short batch alone does not mean that.
    pub end: bool,
}

/// A batch that the kernel did not finish.
#[derive(Debug)]
pub struct BatchRefused {
    /// Entries that were done: the one behind them is at fault. None of the batch if it was
    /// refused as a whole.
    pub done: usize,
    /// Why the next one was not.
    pub source: io::Error,
}

impl Map {
    /// Bytes of a batch cursor, whose content is the kernel's business: a bucket's number for
    /// hashes, a key for others.
    pub fn cursor_len(&self) -> usize {
        self.key_len().max(4)
    }

    /// `BPF_MAP_LOOKUP_BATCH`: reads up to `keys.len() / key_len` entries behind the cursor (from
    /// the start without one) and moves the cursor. Panics if the buffers do not hold the same
    /// number of entries or the cursor has not [`Self::cursor_len`] bytes.
    ///
    /// `locked` takes the spin lock in the values.
    ///
    /// `ENOSPC` means that one hash bucket has more entries than the buffers: go on from the same
    /// cursor with larger ones.
    pub fn lookup_batch(
        &self,
        started: bool,
        cursor: &mut [u8],
        keys: &mut [u8],
        values: &mut [u8],
        locked: bool,
    ) -> io::Result<BatchRead> {
        let capacity = keys.len() / self.key_len();
        assert_eq!(keys.len(), capacity * self.key_len(), "keys length");
        assert_eq!(values.len(), capacity * self.value_len(), "values length");
        assert_eq!(cursor.len(), self.cursor_len(), "cursor length");
        let cursor = cursor.as_mut_ptr() as u64;
        let mut block = Batch {
            in_batch: if started { cursor } else { 0 },
            out_batch: cursor,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(capacity).unwrap_or(u32::MAX),
            map_fd: raw(self.as_fd()),
            elem_flags: if locked { BPF_F_LOCK } else { 0 },
            ..Batch::default()
        };
        // SAFETY: the kernel writes at most `count` keys and values, which the buffers hold, and
        // at most max(key_size, 4) bytes of the cursor, which it reads before it writes.
        let result = unsafe { bpf(Command::MapLookupBatch, &mut block) };
        let count = block.count as usize;
        match result {
            Ok(_) => Ok(BatchRead { count, end: false }),
            // The end may come with entries.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(BatchRead { count, end: true })
            }
            Err(error) => Err(error),
        }
    }

    /// `BPF_MAP_UPDATE_BATCH`: makes or replaces the entries of `keys` and `values`, which are back
    /// to back, in order up to the first that is refused. Panics if the buffers do not hold the
    /// same number of entries.
    ///
    /// The command knows no NOEXIST and no EXIST. `locked` takes the spin lock in the values.
    pub fn update_batch(
        &self,
        keys: &[u8],
        values: &[u8],
        locked: bool,
    ) -> Result<(), BatchRefused> {
        let count = keys.len() / self.key_len();
        assert_eq!(keys.len(), count * self.key_len(), "keys length");
        assert_eq!(values.len(), count * self.value_len(), "values length");
        let mut block = self.writes(count, keys, values.as_ptr() as u64);
        block.elem_flags = if locked { BPF_F_LOCK } else { 0 };
        // SAFETY: the kernel reads `count` keys and values, which the buffers hold.
        let result = unsafe { bpf(Command::MapUpdateBatch, &mut block) };
        written(result, count, &block)
    }

    /// `BPF_MAP_DELETE_BATCH`: removes the entries of `keys`, which are back to back, in order up to
    /// the first that is not there. Panics if `keys` does not hold a whole number of keys.
    pub fn delete_batch(&self, keys: &[u8]) -> Result<(), BatchRefused> {
        let count = keys.len() / self.key_len();
        assert_eq!(keys.len(), count * self.key_len(), "keys length");
        let mut block = self.writes(count, keys, 0);
        // SAFETY: the kernel reads `count` keys, which the buffer holds.
        let result = unsafe { bpf(Command::MapDeleteBatch, &mut block) };
        written(result, count, &block)
    }

    fn writes(&self, count: usize, keys: &[u8], values: u64) -> Batch {
        Batch {
            keys: keys.as_ptr() as u64,
            values,
            count: u32::try_from(count).expect("a batch of less than 4 Gi entries"),
            map_fd: raw(self.as_fd()),
            ..Batch::default()
        }
    }

    /// Whether the map has `BPF_MAP_LOOKUP_BATCH`: asks for no entries, which reads nothing.
    pub fn has_lookup_batch(&self) -> bool {
        if self.key_len() == 0 {
            return false;
        }
        let mut cursor = vec![0; self.cursor_len()];
        self.lookup_batch(false, &mut cursor, &mut [], &mut [], false).is_ok()
    }

    /// Whether the map has `BPF_MAP_UPDATE_BATCH`: writes no entries.
    pub fn has_update_batch(&self) -> bool {
        self.key_len() > 0 && has(self.update_batch(&[], &[], false))
    }

    /// Whether the map has `BPF_MAP_DELETE_BATCH`: removes no entries.
    pub fn has_delete_batch(&self) -> bool {
        self.key_len() > 0 && has(self.delete_batch(&[]))
    }
}

fn has(probe: Result<(), BatchRefused>) -> bool {
    match probe {
        Ok(()) => true,
        // A frozen map has the command all the same, but who may write is asked first.
        Err(refused) => refused.source.raw_os_error() == Some(libc::EPERM),
    }
}

/// What the kernel's count means after a batch of writes.
fn written(result: io::Result<i32>, count: usize, block: &Batch) -> Result<(), BatchRefused> {
    let Err(source) = result else { return Ok(()) };
    // Behind an entry that is refused the count is those before it. A batch that is refused as a
    // whole leaves the count as it was; behind EFAULT it may never have been written.
    let told = block.count as usize;
    let trusted = told < count && source.raw_os_error() != Some(libc::EFAULT);
    Err(BatchRefused { done: if trusted { told } else { 0 }, source })
}
