//! One call, from its head to the last byte of its answer: what it holds and who waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::reserve::Place;
use super::table::Row;
use crate::core::Error;
use crate::ledger::{Account, CallerKey, Charge, Seat};

/// One call. Dropped when the answer is with the socket, and with it goes all that it was charged.
#[derive(Debug)]
pub struct Call {
    row: &'static Row,
    account: Account,
    caller: CallerKey,
    state: Mutex<State>,
    _entry: Entry,
}

/// What a call was let in by.
#[derive(Debug)]
pub(super) enum Entry {
    /// One of the caller's seats.
    Share(#[expect(dead_code, reason = "given back when it is dropped")] Seat),
    /// A place of what is kept for health.
    Reserve(#[expect(dead_code, reason = "given back when it is dropped")] Place),
    /// It was not: its answer says so.
    Refused,
}

#[derive(Debug)]
struct State {
    held: Charge,
    /// When the request was whole.
    whole: Option<Instant>,
    /// When the answer must have been taken.
    due: Option<Instant>,
}

impl Call {
    pub(super) fn new(
        row: &'static Row,
        account: Account,
        caller: CallerKey,
        held: Charge,
        entry: Entry,
    ) -> Self {
        let state = Mutex::new(State { held, whole: None, due: None });
        Self { row, account, caller, state, _entry: entry }
    }

    /// The RPC's row in the table.
    pub fn row(&self) -> &'static Row {
        self.row
    }

    /// The connection's account, for what outlives the call.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Who calls, for the queue of long work.
    pub fn caller(&self) -> CallerKey {
        self.caller
    }

    /// Charges the call with so many bytes more, until the answer is with the socket.
    pub fn hold(&self, bytes: u64) -> Result<(), Error> {
        Ok(self.state().held.grow(bytes)?)
    }

    /// The answer is encoded, in so many bytes, and what it was made of is gone: what is held for
    /// these, as far as it goes. So much stays with the call.
    pub(super) fn encoded(&self, bytes: u64, stays: u64) -> Charge {
        let mut state = self.state();
        let part = state.held.split(bytes);
        state.held.shrink(stays);
        part
    }

    /// Takes a part of what is held, to go with something that leaves the call.
    pub(super) fn part(&self, bytes: u64) -> Charge {
        self.state().held.split(bytes)
    }

    pub(super) fn set_whole(&self) {
        self.state().whole.get_or_insert_with(Instant::now);
    }

    /// When the request was whole.
    pub(super) fn whole(&self) -> Option<Instant> {
        self.state().whole
    }

    /// The answer has to be taken within this time.
    pub(super) fn set_due(&self, time: Option<Duration>) {
        self.state().due = time.map(|time| Instant::now() + time);
    }

    /// When the answer must have been taken, while it waits for the client.
    pub(super) fn due(&self) -> Option<Instant> {
        self.state().due
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
