//! What callers make the agent hold, in bytes, counted before it is there.
//!
//! A budget is a tree: the agent's total, below it one account for each caller, below that one for
//! each of the caller's connections. A [`Charge`] is taken on every account from the connection's up
//! to the total or on none, and is given back when it is dropped, so that whoever holds memory on a
//! caller's word holds its charge beside it: a received body, a value, an encoded answer until the
//! socket took it, the state of a watch.
//!
//! A caller may take at most half of the total and a connection half of a caller's, so that no one
//! of them locks the others out; a reserve is kept for health and for root, who may have to look.
//!
//! Connections, requests and streams are counted by the same rules, as seats.
//!
//! The room at the bottom of the house: it imports nothing of the agent's.

mod account;
mod seats;
#[cfg(test)]
pub(crate) mod testing;

pub use account::{Account, CallerKey, Charge, Exhausted, Ledger, Seat, Share, Usage};
pub use seats::{NoSeat, SeatKind, SeatLimits};
