//! Arrays that are read through memory that the kernel shares, without system calls.

use std::io;
use std::sync::OnceLock;

use super::{Limits, Map};
use crate::sys::SharedValues;

/// Mapping less than this takes no longer than a few lookups, so anybody may do it at once.
const AT_ONCE_BYTES: u64 = 1 << 20;

/// A map's shared memory, mapped when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Bytes of it, if the map has any that may be mapped.
    bytes: Option<u64>,
    mapping: OnceLock<Option<SharedValues>>,
}

impl Shared {
    pub(super) fn of(bytes: u64) -> Self {
        Self { bytes: Some(bytes), mapping: OnceLock::new() }
    }
}

impl Map {
    /// Reads the map through shared memory from now on, if it has some within the limit. Not for a
    /// map that is opened for one request: mapping it would cost more than reading it.
    #[must_use]
    pub(super) fn mapped_within(mut self, limits: &Limits) -> Self {
        let bytes = self.sys().mappable_bytes();
        let bytes = bytes.filter(|&bytes| bytes <= limits.max_mapped_bytes);
        if let Some(bytes) = bytes
            && self.sys().maps_values()
        {
            self.share(Shared::of(bytes));
        }
        self
    }

    /// The shared memory. Maps it if that was not done yet: for the blocking pool.
    pub(super) fn mapped(&self) -> Option<&SharedValues> {
        let Shared { bytes, mapping } = self.shared();
        (*bytes)?;
        let map = || match self.sys().map_values() {
            Ok(mapping) => Some(mapping),
            Err(error) => {
                let map = self.text();
                tracing::warn!(map, %error, "a map's memory cannot be shared; it is read by system calls");
                None
            }
        };
        mapping.get_or_init(map).as_ref()
    }

    /// The shared memory, if it is mapped or that is quickly done.
    pub(super) fn mapped_at_once(&self) -> Option<&SharedValues> {
        let Shared { bytes, mapping } = self.shared();
        let small = (*bytes)? <= AT_ONCE_BYTES;
        if small { self.mapped() } else { mapping.get()?.as_ref() }
    }
}

/// One value by its key, with the kernel's own answer for an index past the end.
pub(super) fn read(mapping: &SharedValues, key: &[u8], value: &mut [u8]) -> io::Result<()> {
    let index = key.try_into().map(u32::from_ne_bytes).map_err(io::Error::other)?;
    if index >= mapping.entries() {
        return Err(io::Error::from_raw_os_error(libc::ENOENT));
    }
    mapping.copy(index, value);
    Ok(())
}

/// As many entries as fit, behind the index in `cursor` if there was one, as the kernel's own batch
/// of an array has them: how many, and whether that was all.
pub(super) fn read_batch(
    mapping: &SharedValues,
    started: bool,
    cursor: &mut [u8],
    keys: &mut [u8],
    values: &mut [u8],
) -> (usize, bool) {
    let (cursor, _) = cursor.as_chunks_mut::<4>();
    let (keys, _) = keys.as_chunks_mut::<4>();
    let last = u32::from_ne_bytes(cursor[0]);
    // An index past the end, which the kernel never gives, starts over as it does there.
    let first = if started && last < mapping.entries() { last + 1 } else { 0 };
    let count = keys.len().min((mapping.entries() - first) as usize);
    let size = values.len() / keys.len().max(1);
    for (key, index) in keys[..count].iter_mut().zip(first..) {
        *key = index.to_ne_bytes();
    }
    mapping.copy(first, &mut values[..count * size]);
    let behind = first + u32::try_from(count).expect("a batch has at most BATCH_MAX entries");
    cursor[0] = behind.saturating_sub(1).to_ne_bytes();
    (count, behind == mapping.entries())
}
