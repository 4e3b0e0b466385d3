//! Accounts for tests of other rooms.

use super::{Account, Ledger, SeatLimits};

/// An account of its own, of so many bytes.
pub(crate) fn account(bytes: u64) -> Account {
    let seats = SeatLimits { connections: 1, requests: 1, streams: 1 };
    Ledger::new(bytes, seats).own("test", bytes)
}
