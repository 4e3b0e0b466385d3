//! The tree of accounts, and charges on it.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::seats::{NoSeat, SeatKind, SeatLimits, Seats};

/// A caller may take this part of the total, a connection this part of a caller's.
pub(super) const PART: u64 = 2;
/// What only health and root may take: this part of the total.
pub(super) const RESERVE: u64 = 16;

/// Who is charged: what tells one caller from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKey {
    /// A user of this host.
    Uid(u32),
    /// Whoever calls from there.
    Address(IpAddr),
}

impl CallerKey {
    /// Root may use the reserve, to see what is going on.
    fn may_use_reserve(self) -> bool {
        self == Self::Uid(0)
    }
}

impl fmt::Display for CallerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

/// Which account a limit is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// All callers together.
    Agent,
    /// One caller with all its connections.
    Caller(CallerKey),
    /// One connection.
    Connection,
    /// What the agent keeps on nobody's account, by name.
    Own(&'static str),
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("the agent"),
            Self::Caller(caller) => write!(f, "caller {caller}"),
            Self::Connection => f.write_str("this connection"),
            Self::Own(what) => f.write_str(what),
        }
    }
}

/// A charge that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this takes {asked} bytes of memory, and {share} has {used} of its {limit} in use \
     (max_memory_bytes is {total})"
)]
pub struct Exhausted {
    /// Whose limit it is.
    pub share: Share,
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes that there may be.
    pub limit: u64,
    /// The limit that all others are parts of.
    pub total: u64,
}

/// How much of an account is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use.
    pub used: u64,
    /// The most that were in use at a time.
    pub peak: u64,
    /// Bytes that there may be.
    pub limit: u64,
    /// Charges that did not fit.
    pub refused: u64,
}

/// The whole tree.
#[derive(Debug, Clone)]
pub struct Ledger {
    total: Arc<Node>,
    callers: Arc<Mutex<HashMap<CallerKey, Weak<Node>>>>,
}

impl Ledger {
    /// A tree without callers over a total of `max_memory_bytes`, and so many seats of each kind.
    pub fn new(max_memory_bytes: u64, seats: SeatLimits) -> Self {
        let limits = (max_memory_bytes, max_memory_bytes);
        let total = Node::new(Share::Agent, limits, seats.total(), None);
        Self { total: Arc::new(total), callers: Arc::default() }
    }

    /// A caller's account, the same for all its connections as long as there is one or anything is
    /// charged.
    pub fn caller(&self, key: CallerKey) -> Account {
        let mut callers = self.callers();
        if let Some(node) = callers.get(&key).and_then(Weak::upgrade) {
            return Account(node);
        }
        callers.retain(|_, node| node.strong_count() > 0);
        let total = self.total.limit;
        let reserve = if key.may_use_reserve() { 0 } else { total / RESERVE };
        let limits = (total / PART, total - reserve);
        let seats = self.total.seats.of_caller(key.may_use_reserve());
        let parent = Some(self.total.clone());
        let node = Arc::new(Node::new(Share::Caller(key), limits, seats, parent));
        callers.insert(key, Arc::downgrade(&node));
        Account(node)
    }

    /// An account for what the agent keeps on nobody's word, of at most `limit` bytes.
    pub fn own(&self, what: &'static str, limit: u64) -> Account {
        let limits = (limit, self.total.limit);
        let (seats, parent) = (Seats::default(), Some(self.total.clone()));
        Account(Arc::new(Node::new(Share::Own(what), limits, seats, parent)))
    }

    /// How many seats of a kind are taken, and how many there are.
    pub fn seats(&self, kind: SeatKind) -> (u32, u32) {
        self.total.seats.usage(kind)
    }

    /// How much of the total is in use.
    pub fn usage(&self) -> Usage {
        self.total.usage()
    }

    /// The callers that there are, and how much of their shares is in use; unordered.
    pub fn callers_usage(&self) -> Vec<(CallerKey, Usage)> {
        let callers = self.callers();
        let usage = |(key, node): (&CallerKey, &Weak<Node>)| Some((*key, node.upgrade()?.usage()));
        callers.iter().filter_map(usage).collect()
    }

    // Each change is one insert or a retain: a panic elsewhere leaves the list whole.
    fn callers(&self) -> MutexGuard<'_, HashMap<CallerKey, Weak<Node>>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node of the tree. A clone is the same account.
#[derive(Debug, Clone)]
pub struct Account(Arc<Node>);

impl Account {
    /// The account of one more connection of this caller.
    #[must_use]
    pub fn connection(&self) -> Self {
        let parent = &self.0;
        let limits = (parent.limit / PART, parent.ceiling);
        let seats = Seats::default();
        Self(Arc::new(Node::new(Share::Connection, limits, seats, Some(parent.clone()))))
    }

    /// The caller's account that a connection's is part of; any other is itself. For what outlives
    /// the connection.
    #[must_use]
    pub fn caller(&self) -> Self {
        match (&self.0.share, &self.0.parent) {
            (Share::Connection, Some(parent)) => Self(parent.clone()),
            _ => self.clone(),
        }
    }

    /// Who is charged, if it is a caller.
    pub fn key(&self) -> Option<CallerKey> {
        match self.caller().0.share {
            Share::Caller(key) => Some(key),
            Share::Agent | Share::Connection | Share::Own(_) => None,
        }
    }

    /// Takes so many bytes here and on every account above, or on none.
    pub fn charge(&self, bytes: u64) -> Result<Charge, Exhausted> {
        self.0.take(bytes)?;
        Ok(Charge { account: self.clone(), bytes })
    }

    /// A charge of nothing, to grow.
    pub fn empty(&self) -> Charge {
        Charge { account: self.clone(), bytes: 0 }
    }

    /// Takes one of the caller's seats.
    pub fn sit(&self, kind: SeatKind) -> Result<Seat, NoSeat> {
        let caller = self.caller().0;
        let share = |node: &Node| node.share.clone();
        let (Share::Caller(_), Some(agent)) = (&caller.share, &caller.parent) else {
            return Ok(Seat { kind, nodes: [None, None] });
        };
        let total = agent.seats.limit(kind);
        let ceiling = caller.seats.ceiling(kind);
        caller.seats.take(kind, caller.seats.limit(kind)).map_err(|limit| {
            // Where half is all, as of one seat, nobody is told of a part.
            let share = share(if limit == total { agent } else { &caller });
            NoSeat { kind, share, limit, total }
        })?;
        if let Err(limit) = agent.seats.take(kind, ceiling) {
            caller.seats.give(kind);
            return Err(NoSeat { kind, share: share(agent), limit, total });
        }
        Ok(Seat { kind, nodes: [Some(agent.clone()), Some(caller)] })
    }

    /// How much of it is in use.
    pub fn usage(&self) -> Usage {
        self.0.usage()
    }
}

/// One of the seats of a caller and of the agent, until this is dropped.
#[derive(Debug)]
#[must_use = "dropping the seat gives it back"]
pub struct Seat {
    kind: SeatKind,
    nodes: [Option<Arc<Node>>; 2],
}

impl Drop for Seat {
    fn drop(&mut self) {
        for node in self.nodes.iter().flatten() {
            node.seats.give(self.kind);
        }
    }
}

/// Bytes that are taken on an account and all above it until this is dropped.
#[derive(Debug)]
#[must_use = "dropping the charge gives it back"]
pub struct Charge {
    account: Account,
    bytes: u64,
}

impl Charge {
    /// How many.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whose they are.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Takes more.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Exhausted> {
        self.account.0.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Takes or gives back what is between it and so many bytes.
    pub fn resize(&mut self, bytes: u64) -> Result<(), Exhausted> {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        self.shrink(bytes);
        Ok(())
    }

    /// Gives back all but so many bytes.
    pub fn shrink(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.account.0.give(less);
        self.bytes -= less;
    }

    /// Parts it in two, of which the second has so many bytes, or all if they are fewer.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { account: self.account.clone(), bytes }
    }

    /// Puts it on another account, or leaves it where it is.
    pub fn transfer(&mut self, account: &Account) -> Result<(), Exhausted> {
        if !Arc::ptr_eq(&self.account.0, &account.0) {
            *self = account.charge(self.bytes)?;
        }
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.0.give(self.bytes);
    }
}

#[derive(Debug)]
struct Node {
    share: Share,
    used: AtomicU64,
    peak: AtomicU64,
    refused: AtomicU64,
    limit: u64,
    /// What this account and those below it may see in use of the total: not the reserve.
    ceiling: u64,
    seats: Seats,
    parent: Option<Arc<Node>>,
}

impl Node {
    fn new(
        share: Share,
        (limit, ceiling): (u64, u64),
        seats: Seats,
        parent: Option<Arc<Node>>,
    ) -> Self {
        let (used, peak, refused) = Default::default();
        Self { share, used, peak, refused, limit, ceiling, seats, parent }
    }

    fn take(&self, bytes: u64) -> Result<(), Exhausted> {
        let mut node = self;
        loop {
            let limit = if node.parent.is_none() { self.ceiling } else { node.limit };
            if let Err(used) = node.add(bytes, limit) {
                self.give_below(node, bytes);
                node.refused.fetch_add(1, Ordering::Relaxed);
                let share = node.share.clone();
                return Err(Exhausted { share, asked: bytes, used, limit, total: self.total() });
            }
            match &node.parent {
                Some(parent) => node = parent,
                None => return Ok(()),
            }
        }
    }

    /// How much is in use, if it is too much.
    fn add(&self, bytes: u64, limit: u64) -> Result<(), u64> {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)?;
        let now = before + bytes;
        if now > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(now, Ordering::Relaxed);
        }
        Ok(())
    }

    fn give(&self, bytes: u64) {
        let mut node = Some(self);
        while let Some(this) = node {
            this.used.fetch_sub(bytes, Ordering::Relaxed);
            node = this.parent.as_deref();
        }
    }

    /// Takes back what was taken from here up to `end`, which was not.
    fn give_below(&self, end: &Self, bytes: u64) {
        let mut node = self;
        while !std::ptr::eq(node, end) {
            node.used.fetch_sub(bytes, Ordering::Relaxed);
            match &node.parent {
                Some(parent) => node = parent,
                None => return,
            }
        }
    }

    fn total(&self) -> u64 {
        self.parent.as_ref().map_or(self.limit, |parent| parent.total())
    }

    fn usage(&self) -> Usage {
        Usage {
            used: self.used.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            limit: self.limit,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
