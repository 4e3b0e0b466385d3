//! One sum of the kernel's memory that maps and programs can take at their worst, charged before
//! the kernel is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::NoRoom;
use crate::broker;

/// What all maps and programs take together, and may.
#[derive(Debug, Clone)]
pub struct KernelMemory(Arc<Sum>);

#[derive(Debug)]
struct Sum {
    /// `max_kernel_bytes`.
    limit: u64,
    used: AtomicU64,
    kept: Mutex<Kept>,
}

/// Maps that the agent let go and the kernel did not: a slot of another map, a program or a pin
/// holds them.
#[derive(Debug, Default)]
struct Kept {
    maps: Vec<(u32, u64)>,
    /// So many are looked through without being asked.
    patience: usize,
}

impl KernelMemory {
    /// Nothing of `limit` bytes is in use.
    pub(super) fn new(limit: u64) -> Self {
        Self(Arc::new(Sum { limit, used: AtomicU64::new(0), kept: Mutex::default() }))
    }

    /// Takes so many bytes for something that an error would name.
    pub(super) fn charge(
        &self,
        what: impl FnOnce() -> String,
        bytes: u64,
    ) -> Result<KernelCharge, NoRoom> {
        let mut charge = self.empty();
        charge.grow(what, bytes)?;
        Ok(charge)
    }

    /// A charge of nothing.
    pub(super) fn empty(&self) -> KernelCharge {
        KernelCharge { memory: self.clone(), bytes: 0, map: None }
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.0.look_through();
        self.0.used.load(Ordering::Relaxed)
    }

    /// Bytes that there may be.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }
}

impl Sum {
    fn take(&self, bytes: u64) -> Result<(), u64> {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(drop)
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Gives back what maps took that are gone by now.
    fn look_through(&self) {
        let mut kept = self.kept();
        kept.maps.retain(|(id, bytes)| {
            let there = broker::map_exists(*id);
            if !there {
                self.give(*bytes);
            }
            there
        });
        kept.patience = 64.max(2 * kept.maps.len());
    }

    fn keep(&self, id: u32, bytes: u64) {
        let full = {
            let mut kept = self.kept();
            kept.maps.push((id, bytes));
            kept.maps.len() > kept.patience
        };
        if full {
            self.look_through();
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of the kernel's memory that are taken until this is dropped; those of a map until the
/// kernel has let it go.
#[derive(Debug)]
#[must_use = "dropping the charge gives it back"]
pub(super) struct KernelCharge {
    memory: KernelMemory,
    bytes: u64,
    map: Option<u32>,
}

impl KernelCharge {
    /// Takes more.
    pub(super) fn grow(&mut self, what: impl FnOnce() -> String, bytes: u64) -> Result<(), NoRoom> {
        let sum = &self.memory.0;
        let taken = sum.take(bytes).or_else(|_| {
            sum.look_through();
            sum.take(bytes)
        });
        taken.map_err(|used| NoRoom::KernelMemory {
            what: what(),
            asked: bytes,
            used,
            limit: sum.limit,
        })?;
        self.bytes += bytes;
        Ok(())
    }

    /// It is for the map of that id, which others can hold on to.
    pub(super) fn of_map(mut self, id: u32) -> Self {
        self.map = Some(id);
        self
    }
}

impl Drop for KernelCharge {
    fn drop(&mut self) {
        match self.map.filter(|_| self.bytes > 0) {
            Some(id) if broker::map_exists(id) => self.memory.0.keep(id, self.bytes),
            _ => self.memory.0.give(self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::MapRequest;

    fn text() -> String {
        "it".to_owned()
    }

    #[test]
    fn the_sum_has_a_limit_and_is_given_back() {
        let memory = KernelMemory::new(100);
        let mut charge = memory.charge(text, 60).unwrap();
        charge.grow(text, 40).unwrap();
        let said = memory.charge(text, 1).unwrap_err().to_string();
        for word in ["max_kernel_bytes", "100", "it "] {
            assert!(said.contains(word), "{said}");
        }
        drop(charge);
        assert_eq!(memory.used(), 0);
        assert!(memory.charge(text, u64::MAX).is_err());
    }

    #[test]
    fn a_map_counts_as_long_as_anybody_holds_it() {
        let memory = KernelMemory::new(100);
        let request = MapRequest {
            map_type: 2,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            ..MapRequest::default()
        };
        let map = broker::create_map(&request, None).unwrap();
        let charge = memory.charge(text, 70).unwrap().of_map(map.info().id);
        drop(charge);
        assert_eq!(memory.used(), 70);
        assert!(memory.charge(text, 70).is_err());
        drop(map);
        let charge = memory.charge(text, 70).unwrap();
        assert_eq!(memory.used(), 70);
        drop(charge);
        assert_eq!(memory.used(), 0);
    }
}
