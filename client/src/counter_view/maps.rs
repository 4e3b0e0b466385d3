//! How far the sweeps of a map are.

use std::time::{Duration, SystemTime};

use bpfgate_proto::v1;

use super::entry::{CounterValue, SeriesId};

/// How far the sweeps of a map are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MapProgress {
    /// The last one's number.
    pub sweep: u64,
    /// When reading it began.
    pub read_begin: Option<SystemTime>,
    /// When reading it ended.
    pub read_end: Option<SystemTime>,
    /// Whether it reached the map's end.
    pub complete: bool,
    /// From the begin of the sweep before to the begin of this one: more than the granted interval
    /// where reading takes longer than that.
    pub achieved_interval: Option<Duration>,
    /// How far behind its time it began.
    pub lag: Option<Duration>,
    /// Sweeps that newer totals stood for, all in all.
    pub coalesced: u64,
    /// Sweeps that did not reach the map's end, all in all.
    pub incomplete: u64,
    /// Number and end of the last complete one: what it did not list had not changed by then.
    pub(super) whole: Option<(u64, Option<SystemTime>)>,
    /// The sweep before which the host's clock was last set; 0 for never.
    stepped: u64,
    /// Sweeps that were told.
    told: u64,
}

/// When one sweep was, and what was known before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) sweep: u64,
    pub(super) read_end: Option<SystemTime>,
    /// As [`MapProgress::whole`] before this sweep.
    pub(super) whole: Option<(u64, Option<SystemTime>)>,
    /// As [`MapProgress::stepped`] with this sweep.
    pub(super) stepped: u64,
}

impl MapProgress {
    pub(super) fn take_in(&mut self, batch: &v1::CounterBatch) -> Span {
        let begin = time(batch.read_begin);
        self.achieved_interval = duration(batch.achieved_interval);
        // A watch that joins others is first told the newest that was read for anybody, which may
        // be later than the sweep that this interval is measured from.
        let joined = self.told == 1;
        if batch.sweep == self.sweep + 1
            && clock_was_set(self.read_begin, begin, self.achieved_interval, joined)
        {
            self.stepped = batch.sweep;
        }
        self.told += 1;
        self.sweep = batch.sweep;
        self.read_begin = begin;
        self.read_end = time(batch.read_end);
        self.lag = duration(batch.lag);
        self.complete = batch.complete;
        self.coalesced += batch.coalesced_sweeps;
        self.incomplete += u64::from(!batch.complete);
        let Self { sweep, read_end, whole, stepped, .. } = *self;
        Span { sweep, read_end, whole, stepped }
    }
}

/// Whether the time between the begins of two sweeps is far from what the agent measured by a
/// clock that nobody sets.
fn clock_was_set(
    from: Option<SystemTime>,
    to: Option<SystemTime>,
    measured: Option<Duration>,
    may_be_less: bool,
) -> bool {
    let (Some(from), Some(to), Some(measured)) = (from, to, measured) else { return false };
    // The two clocks are not read in one instant.
    let tolerance = measured / 4 + Duration::from_millis(50);
    to.duration_since(from).map_or(true, |passed| {
        passed > measured + tolerance || (!may_be_less && passed + tolerance < measured)
    })
}

pub(super) fn time(wire: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    wire.and_then(|time| SystemTime::try_from(time).ok())
}

fn duration(wire: Option<prost_types::Duration>) -> Option<Duration> {
    wire.and_then(|duration| duration.try_into().ok())
}

/// What the view keeps of a map.
#[derive(Debug, Clone, Default)]
pub(super) struct MapState {
    pub(super) progress: MapProgress,
    /// Parts of a sweep whose last part has not come.
    pub(super) staged: Vec<Staged>,
    /// That sweep's number.
    pub(super) staging: Option<u64>,
}

/// A value that waits for the rest of its sweep.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    pub(super) id: SeriesId,
    pub(super) value: CounterValue,
}
