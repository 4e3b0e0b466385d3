//! A number of things that there may be at a time, each of which holds a descriptor or more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::NoRoom;

/// So many there may be.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    taken: Arc<AtomicU32>,
    limit: u32,
    what: &'static str,
    name: &'static str,
}

impl Seats {
    /// `what` and the limit's `name` are for the error.
    pub(super) fn new(what: &'static str, name: &'static str, limit: u32) -> Self {
        Self { taken: Arc::default(), limit, what, name }
    }

    /// One of them.
    pub(super) fn take(&self) -> Result<Seat, NoRoom> {
        self.take_many(1)
    }

    /// So many of them, or none.
    pub(super) fn take_many(&self, count: u32) -> Result<Seat, NoRoom> {
        let more = |taken: u32| taken.checked_add(count).filter(|taken| *taken <= self.limit);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match taken {
            Ok(_) => Ok(Seat { taken: self.taken.clone(), count }),
            Err(_) => Err(self.refusal()),
        }
    }

    /// Refuses what cannot all have one.
    pub(super) fn check(&self, more: usize) -> Result<(), NoRoom> {
        let taken = self.taken.load(Ordering::Relaxed) as usize;
        if taken.saturating_add(more) > self.limit as usize { Err(self.refusal()) } else { Ok(()) }
    }

    fn refusal(&self) -> NoRoom {
        NoRoom::TooMany { what: self.what, name: self.name, limit: self.limit.into() }
    }
}

/// One of them or more, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping the seat gives it back"]
pub(super) struct Seat {
    taken: Arc<AtomicU32>,
    count: u32,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_sit_than_there_are_seats() {
        let seats = Seats::new("maps", "max_maps", 2);
        let first = seats.take().unwrap();
        assert!(seats.check(2).is_err());
        let _second = seats.take().unwrap();
        let said = seats.take().unwrap_err().to_string();
        assert_eq!(said, "the limit of 2 maps (max_maps) is reached");
        drop(first);
        let _again = seats.take().unwrap();
        assert!(seats.check(1).is_err());
        assert!(Seats::new("perf buffers", "max_perf_buffers", 2).take_many(3).is_err());
    }
}
