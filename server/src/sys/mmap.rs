//! Reading an array's values through memory that the kernel shares: `BPF_F_MMAPABLE`.
//!
//! Mapped for reading only. A mapping for writing would count as a writer for as long as it lasts,
//! and the map could not be frozen.

use std::io;
use std::os::fd::AsFd as _;

use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;

use super::Map;
use super::mapping::Mapping;

const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The values of an array, for reading. Programs on other CPUs may write them meanwhile.
#[derive(Debug)]
pub struct SharedValues {
    memory: Mapping,
    entries: u32,
    value_size: usize,
    /// Words from value to value.
    stride: usize,
}

// SAFETY: any number of threads may read at once, and nothing here writes.
unsafe impl Sync for SharedValues {}

impl Map {
    /// Bytes of shared memory that reading the values through it takes; none for a map that has
    /// no such memory. The kernel lays every value out on 8 bytes.
    pub fn mappable_bytes(&self) -> Option<u64> {
        let info = self.info();
        let mappable =
            info.map_type == BPF_MAP_TYPE_ARRAY as u32 && info.flags & BPF_F_MMAPABLE != 0;
        mappable.then(|| bytes(info.max_entries, info.value_size))
    }

    /// Whether the kernel maps the values: tries it with the first page.
    pub fn maps_values(&self) -> bool {
        self.mappable_bytes().is_some() && self.map_bytes(rustix::param::page_size()).is_ok()
    }

    /// Maps all values. The kernel enters every page at once, which takes about a tenth of a
    /// microsecond each.
    pub fn map_values(&self) -> io::Result<SharedValues> {
        let bytes = self.mappable_bytes().ok_or(io::ErrorKind::Unsupported)?;
        self.map_bytes(usize::try_from(bytes).map_err(io::Error::other)?)
    }

    fn map_bytes(&self, bytes: usize) -> io::Result<SharedValues> {
        let len = bytes.next_multiple_of(rustix::param::page_size());
        let memory = Mapping::new(self.as_fd(), len, 0, false)?;
        let info = self.info();
        let stride = info.value_size.div_ceil(8) as usize;
        let room = u32::try_from(len / (stride * 8)).unwrap_or(u32::MAX);
        let (entries, value_size) = (room.min(info.max_entries), info.value_size as usize);
        Ok(SharedValues { memory, entries, value_size, stride })
    }
}

impl SharedValues {
    /// How many values there are.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Copies the values from index `first` on, back to back. Every aligned word of 8 bytes is read
    /// at once, so that a counter is never half old and half new. Panics if there are not so many,
    /// or if `values` does not hold a whole number of them.
    pub fn copy(&self, first: u32, values: &mut [u8]) {
        let count = values.len() / self.value_size;
        assert_eq!(values.len(), count * self.value_size, "values length");
        assert!(first as usize + count <= self.entries as usize, "index");
        let stride = self.stride * 8;
        let words = self.memory.at(first as usize * stride, count * stride).cast::<u64>();
        // SAFETY: so many words from there on are inside the mapping, which is aligned to pages.
        // Others write while we read, so the read is volatile: one load of an aligned word, which
        // no 64-bit processor tears.
        let word = |at: usize| unsafe { words.add(at).read_volatile() }.to_ne_bytes();
        for (value, at) in values.chunks_exact_mut(self.value_size).zip((0..).step_by(self.stride))
        {
            let (whole, rest) = value.as_chunks_mut::<8>();
            for (to, at) in whole.iter_mut().zip(at..) {
                *to = word(at);
            }
            if !rest.is_empty() {
                rest.copy_from_slice(&word(at + whole.len())[..rest.len()]);
            }
        }
    }
}

/// 4 Gi entries of 4 GiB each fit.
fn bytes(entries: u32, value_size: u32) -> u64 {
    u64::from(entries).saturating_mul(u64::from(value_size).next_multiple_of(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_array_has_a_size() {
        assert_eq!(bytes(3, 5), 24);
        assert_eq!(bytes(1 << 29, 8), 4 << 30);
        assert_eq!(bytes(u32::MAX, u32::MAX), u64::from(u32::MAX) << 32);
    }
}
