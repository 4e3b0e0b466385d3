//! What all maps' series draw on: numbers to call them by, and room.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Refs and room for series.
pub(super) struct Pool {
    next_ref: AtomicU64,
    room: AtomicUsize,
}

impl Pool {
    pub(super) fn new(series: usize) -> Self {
        Self { next_ref: AtomicU64::new(1), room: AtomicUsize::new(series) }
    }

    /// The first of so many refs that nobody had before.
    pub(super) fn refs(&self, count: usize) -> u64 {
        self.next_ref.fetch_add(count as u64, Ordering::Relaxed)
    }

    /// Takes room for so many series, if it is there.
    pub(super) fn take(&self, series: usize) -> bool {
        let less = |room: usize| room.checked_sub(series);
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    pub(super) fn give(&self, series: usize) {
        self.room.fetch_add(series, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_never_gives_more_than_it_has() {
        let pool = Pool::new(5);
        assert!(pool.take(3));
        assert!(!pool.take(3));
        pool.give(3);
        assert!(pool.take(5));
        assert_eq!(pool.refs(3), 1);
        assert_eq!(pool.refs(1), 4);
    }
}
