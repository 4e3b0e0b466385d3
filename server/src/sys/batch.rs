//! Whole-map reads: `BPF_MAP_LOOKUP_BATCH`.

use std::io;
use std::os::fd::AsFd as _;

use super::attr::Batch;
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
    /// `ENOSPC` means that one hash bucket has more entries than the buffers: go on from the same
    /// cursor with larger ones.
    pub fn lookup_batch(
        &self,
        started: bool,
        cursor: &mut [u8],
        keys: &mut [u8],
        values: &mut [u8],
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

    /// Whether the map has `BPF_MAP_LOOKUP_BATCH`: asks for no entries, which reads nothing.
    pub fn has_lookup_batch(&self) -> bool {
        if self.key_len() == 0 {
            return false;
        }
        let mut cursor = vec![0; self.cursor_len()];
        self.lookup_batch(false, &mut cursor, &mut [], &mut []).is_ok()
    }
}
