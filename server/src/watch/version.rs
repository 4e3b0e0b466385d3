//! A map's series as one sweep left them. Whoever tells of them holds the version, and later sweeps
//! make others beside it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use tokio::time::Instant;

use super::removals::{Gone, Removals};
use super::request::CpuMode;
use super::segment::{Keys, Segment, Shape, Values};
use crate::host_names::HostName;
use crate::ledger::{Account, Charge, Exhausted};

/// When a sweep ran.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) begin: SystemTime,
    pub(super) end: SystemTime,
    pub(super) begun: Instant,
}

/// Whether a CPU mode's series are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nobody wanted them.
    Closed,
    /// There is no room for so many.
    Refused(u64),
    /// Since that sweep.
    Open(u32),
}

impl Mode {
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// A way of reading keys by which two may read the same: which of the names that were looked for
/// stand for their numbers, by their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) names: Box<[usize]>,
    /// There was no memory to find out which keys read the same: any may.
    pub(super) all_twins: bool,
}

/// The state of all series behind a sweep.
pub(super) struct Version {
    /// Its number; 0 before the first.
    pub(super) sweep: u32,
    pub(super) complete: bool,
    /// Why the map cannot be read, and since which sweep.
    pub(super) trouble: Option<(u32, Arc<str>)>,
    /// Keys without room.
    pub(super) left_out: u64,
    pub(super) modes: [Mode; 2],
    /// Names that were looked for.
    pub(super) names: Arc<[(usize, HostName)]>,
    /// Ways of reading keys by which those that read the same were looked for.
    pub(super) readings: Arc<[Reading]>,
    pub(super) shape: Shape,
    pub(super) segments: Vec<Segment>,
    pub(super) removals: Removals,
    /// Who holds it for longer than a moment pays for it, one for all.
    pub(super) held: Held,
}

/// What pays for a version that is held, while it is.
#[derive(Default)]
pub(super) struct Held(Mutex<Weak<Charge>>);

/// Where a key stands.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) at: u32,
    pub(super) keys: &'a Keys,
    pub(super) values: &'a Values,
    /// In its segment.
    pub(super) place: usize,
}

/// A key and its names, there or gone.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) key: &'a [u8],
    names: Named<'a>,
}

#[derive(Clone, Copy)]
enum Named<'a> {
    Row(&'a Keys, usize),
    Gone(&'a [Option<Arc<str>>]),
}

impl Version {
    pub(super) fn new(shape: Shape, sweep: u32) -> Self {
        Self {
            sweep,
            complete: false,
            trouble: None,
            left_out: 0,
            modes: [Mode::Closed; 2],
            names: Arc::default(),
            readings: Arc::default(),
            shape,
            segments: Vec::new(),
            removals: Removals::default(),
            held: Held::default(),
        }
    }

    /// A charge for what it takes once a later sweep has changed everything: the same for all who
    /// hold it at a time.
    pub(super) fn hold(&self, account: &Account) -> Result<Arc<Charge>, Exhausted> {
        let mut held = self.held.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(charge) = held.upgrade() {
            return Ok(charge);
        }
        let charge = Arc::new(account.charge(self.bytes() as u64)?);
        *held = Arc::downgrade(&charge);
        Ok(charge)
    }

    fn bytes(&self) -> usize {
        let open = self.modes.map(Mode::is_open);
        let (names, readings) = (self.names.len(), self.readings.len());
        let row = self.shape.key_cost(open, names, readings) + self.shape.value_cost(open);
        let rows: usize = self.segments.iter().map(|segment| segment.keys.len()).sum();
        let gone = Gone::cost(self.shape.key_bytes(), self.names.len());
        rows * row + self.segments.len() * size_of::<Segment>() + self.removals.len() * gone
    }

    pub(super) fn mode(&self, mode: CpuMode) -> Mode {
        self.modes[mode.index()]
    }

    /// Whether a mode's numbers, these names and a reading were looked at.
    pub(super) fn has(
        &self,
        mode: CpuMode,
        names: impl IntoIterator<Item = usize>,
        reading: Option<usize>,
    ) -> bool {
        let looked = self.mode(mode) != Mode::Closed;
        looked
            && names.into_iter().all(|name| name < self.names.len())
            && reading.is_none_or(|reading| reading < self.readings.len())
    }

    /// Keys that are there, from an index on; of those before the sweep `behind` only what changed
    /// since.
    pub(super) fn rows(&self, from: u32, behind: u32) -> impl Iterator<Item = Row<'_>> {
        let (first, skipped) = self.shape.place(from);
        let segments = self.segments.iter().enumerate().skip(first);
        let touched = segments.filter(move |(_, segment)| segment.values.last > behind);
        touched.flat_map(move |(number, segment)| {
            let (keys, values) = (&*segment.keys, &*segment.values);
            let from = if number == first { skipped } else { 0 };
            let rows = (from..keys.len()).filter(move |row| values.touched(*row) > behind);
            rows.map(move |row| Row { at: self.shape.index(number, row), keys, values, place: row })
        })
    }

    /// The key at an index, if there is one.
    pub(super) fn row(&self, at: u32) -> Option<Row<'_>> {
        let (number, place) = self.shape.place(at);
        let Segment { keys, values } = self.segments.get(number)?;
        let there = place < keys.len() && values.is_there(place);
        there.then_some(Row { at, keys, values, place })
    }

    /// Indices there are, holes among them.
    pub(super) fn len(&self) -> usize {
        let last = self.segments.last().map_or(0, |last| last.keys.len());
        self.segments.len().saturating_sub(1) * self.shape.keys() + last
    }
}

impl<'a> Row<'a> {
    pub(super) fn subject(&self, shape: &Shape) -> Subject<'a> {
        let (keys, place) = (self.keys, self.place);
        Subject { key: keys.key(shape, place), names: Named::Row(keys, place) }
    }
}

impl<'a> Subject<'a> {
    pub(super) fn gone(gone: &'a Gone) -> Self {
        Self { key: &gone.key, names: Named::Gone(&gone.names) }
    }

    /// The name that was found for it, by its place among those that were looked for.
    pub(super) fn name(&self, place: usize) -> Option<&'a Arc<str>> {
        match self.names {
            Named::Row(keys, row) => keys.name(place, row),
            Named::Gone(names) => names.get(place)?.as_ref(),
        }
    }

    /// Whether another key reads the same and goes by that alone. Not known of one that is gone.
    pub(super) fn is_twin(&self, reading: usize) -> bool {
        match self.names {
            Named::Row(keys, row) => keys.is_twin(reading, row),
            Named::Gone(_) => false,
        }
    }
}
