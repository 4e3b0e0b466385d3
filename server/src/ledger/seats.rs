//! What there can be only so many of at a time: connections, requests, streams.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::account::{PART, RESERVE, Share};

/// What there can be only so many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatKind {
    /// Open connections.
    Connection,
    /// Requests with one answer, until that is taken.
    Request,
    /// Requests or answers of many messages.
    Stream,
}

impl SeatKind {
    /// The name of its limit in the configuration.
    pub fn limit_name(self) -> &'static str {
        match self {
            Self::Connection => "max_connections",
            Self::Request => "max_requests",
            Self::Stream => "max_streams",
        }
    }
}

impl fmt::Display for SeatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connections at once",
            Self::Request => "requests at once",
            Self::Stream => "streams at once",
        })
    }
}

/// How many there are for all callers together.
#[derive(Debug, Clone, Copy)]
pub struct SeatLimits {
    /// `max_connections`
    pub connections: u32,
    /// `max_requests`
    pub requests: u32,
    /// `max_streams`
    pub streams: u32,
}

/// All seats are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSeat {
    /// Of which kind.
    pub kind: SeatKind,
    /// Whose.
    pub share: Share,
    /// How many that are.
    pub limit: u32,
    /// How many there are for all together.
    pub total: u32,
}

impl fmt::Display for NoSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, share, limit, total } = self;
        let name = kind.limit_name();
        if *share == Share::Agent {
            return write!(f, "the limit of {total} {kind} is reached ({name})");
        }
        write!(f, "{share} has all of its {limit} {kind} ({name} is {total})")
    }
}

impl std::error::Error for NoSeat {}

/// The seats of one account, by kind.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: [AtomicU32; 3],
    limits: [u32; 3],
    /// What may be taken of all seats together: not the reserve.
    ceilings: [u32; 3],
}

impl SeatLimits {
    pub(super) fn total(self) -> Seats {
        let limits = [self.connections, self.requests, self.streams];
        Seats { taken: Default::default(), limits, ceilings: limits }
    }
}

impl Seats {
    /// A caller's part of these.
    #[expect(clippy::cast_possible_truncation, reason = "a part of a u32")]
    pub(super) fn of_caller(&self, may_use_reserve: bool) -> Self {
        let reserve = |all: u32| if may_use_reserve { 0 } else { all / RESERVE as u32 };
        Self {
            taken: Default::default(),
            limits: self.limits.map(|all| u64::from(all).div_ceil(PART) as u32),
            ceilings: self.limits.map(|all| all - reserve(all)),
        }
    }

    pub(super) fn usage(&self, kind: SeatKind) -> (u32, u32) {
        (self.taken[kind as usize].load(Ordering::Relaxed), self.limit(kind))
    }

    pub(super) fn limit(&self, kind: SeatKind) -> u32 {
        self.limits[kind as usize]
    }

    pub(super) fn ceiling(&self, kind: SeatKind) -> u32 {
        self.ceilings[kind as usize]
    }

    /// The limit, if that many are taken.
    pub(super) fn take(&self, kind: SeatKind, limit: u32) -> Result<(), u32> {
        let more = |taken: u32| (taken < limit).then(|| taken + 1);
        let taken = &self.taken[kind as usize];
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).map(drop).map_err(|_| limit)
    }

    pub(super) fn give(&self, kind: SeatKind) {
        self.taken[kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
