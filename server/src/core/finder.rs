//! Many entries of a map by their keys. The kernel has no batch for that: its own go by buckets, not
//! by keys. Blocking: it belongs on the blocking pool.

use std::sync::Arc;

use super::entries::retrying;
use super::{CpuMode, Error, KeyList, Locking, Map};

/// Keys of one slice.
const SLICE_MAX: usize = 4096;

/// Looks keys up, one after the other.
#[derive(Debug)]
pub struct Finder {
    found: Found,
    cpu: CpuMode,
    /// Keys behind us.
    at: usize,
}

/// What there is of a list of keys.
#[derive(Debug)]
pub struct Found {
    /// Where they were looked up.
    pub map: Arc<Map>,
    /// All that were asked for.
    pub keys: KeyList,
    /// A value for each key; zeros for one without an entry.
    pub values: Vec<u8>,
    /// Bytes from value to value.
    pub stride: usize,
    /// Bit `i % 8` of byte `i / 8` says whether key `i` has an entry.
    pub found: Vec<u8>,
}

impl Found {
    /// Key and value of those that there are.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let values = self.values.chunks_exact(self.stride.max(1));
        let entries = self.keys.iter().zip(values).enumerate();
        entries.filter(|(at, _)| self.found[at / 8] >> (at % 8) & 1 == 1).map(|(_, entry)| entry)
    }
}

impl Finder {
    /// What the values of so many keys take, if that is not more than `most` bytes.
    pub fn bytes(map: &Map, keys: &KeyList, cpu: CpuMode, most: u64) -> Result<u64, Error> {
        let asked = (keys.len() as u64).saturating_mul(map.value_len(cpu) as u64);
        if asked > most {
            let what = format!("{} values of map {}", keys.len(), map.text());
            return Err(Error::TooLarge { what, asked, limit: most });
        }
        Ok(asked + map.sys().value_len() as u64 + keys.len() as u64 / 8)
    }

    /// Fails for a map without lookups, and where the values would take more than `most` bytes.
    pub fn new(map: Arc<Map>, keys: KeyList, cpu: CpuMode, most: u64) -> Result<Self, Error> {
        map.require(map.capabilities().lookup, "lookup")?;
        Self::bytes(&map, &keys, cpu, most)?;
        let stride = map.value_len(cpu);
        let values = vec![0; keys.len() * stride];
        let found = vec![0; keys.len().div_ceil(8)];
        Ok(Self { found: Found { map, keys, values, stride, found }, cpu, at: 0 })
    }

    /// Looks the next keys up; whether that was all.
    pub fn find_slice(&mut self) -> Result<bool, Error> {
        let Found { map, keys, values, stride, found } = &mut self.found;
        // For the lookups.
        map.mapped();
        let until = keys.len().min(self.at + SLICE_MAX);
        let sums = self.cpu == CpuMode::Sum && map.sys().cpus().is_some();
        let mut scratch = vec![0; if sums { map.sys().value_len() } else { 0 }];
        for at in self.at..until {
            let key = keys.get(at);
            let value = &mut values[at * *stride..(at + 1) * *stride];
            let each = if sums { &mut scratch[..] } else { &mut *value };
            match retrying(|| map.read(key, each, Locking::IfAny)) {
                Ok(()) => found[at / 8] |= 1 << (at % 8),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                Err(error) => return Err(map.entry_error("look up an entry of", key, error)),
            }
            if sums {
                map.sum_into(&scratch, value);
            }
        }
        self.at = until;
        Ok(self.at == keys.len())
    }

    /// What was found, once all keys were looked up.
    pub fn finish(self) -> Found {
        self.found
    }
}
