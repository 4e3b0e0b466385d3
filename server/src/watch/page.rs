//! A run of messages about one map that go out together, as it fills.

use std::collections::BTreeMap;
use std::time::Duration;

use bpfgate_proto::name::MapName;

use super::message::{
    Batch, Histogram, Loss, LossSource, Message, Removed, RemovedReason, Reset, Series, Wire,
};
use super::segment::time;
use super::version::Span;

/// How large pages become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Bytes behind which one is full.
    bytes: usize,
    /// Values and refs in one, which are packed at its end in ten bytes each at most.
    pub(super) numbers: usize,
    /// The labels of a series, with its field and unit, at most.
    pub(super) labels: usize,
    /// What making one takes at most: full, with one more series, the numbers beside it and packed.
    pub(super) cost: usize,
}

impl Size {
    /// So that no message has more bytes than this.
    pub(super) fn of(message: usize) -> Self {
        // Less has no room for a series.
        let message = message.max(256);
        Self { bytes: message / 4, numbers: message / 32, labels: message / 4, cost: message * 4 }
    }
}

/// When a sweep came for a watch, and how many it had before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    /// The sweep's number at the watch's interval.
    pub(super) number: u64,
    /// That of the last one that the watch had; 0 for none.
    pub(super) before: u64,
    pub(super) achieved: Option<Duration>,
    pub(super) lag: Duration,
}

/// Messages, and what is still to be put into some.
pub(super) struct Page<'a> {
    wire: &'a dyn Wire,
    map: &'a MapName,
    size: Size,
    out: Vec<u8>,
    gone: Vec<u64>,
    refs: Vec<u64>,
    values: Vec<u64>,
    histograms: Vec<Histogram>,
    /// By their start.
    resets: BTreeMap<u64, Vec<u64>>,
    /// How many of all these.
    numbers: usize,
}

impl<'a> Page<'a> {
    pub(super) fn new(wire: &'a dyn Wire, map: &'a MapName, size: Size) -> Self {
        let (gone, refs, values, histograms, resets) = Default::default();
        let (out, numbers) = (Vec::new(), 0);
        Self { wire, map, size, out, gone, refs, values, histograms, resets, numbers }
    }

    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= self.size.bytes || self.numbers >= self.size.numbers
    }

    /// A series that is no more.
    pub(super) fn gone(&mut self, reference: u64) {
        self.gone.push(reference);
        self.numbers += 1;
    }

    /// Puts down those that are no more.
    pub(super) fn removed(&mut self, reason: RemovedReason) {
        let refs = std::mem::take(&mut self.gone);
        if !refs.is_empty() {
            self.write(&Message::Removed(Removed { refs: &refs, reason, map: self.map }));
        }
    }

    /// All that there were are no more.
    pub(super) fn all_removed(&mut self, reason: RemovedReason) {
        self.write(&Message::Removed(Removed { refs: &[], reason, map: self.map }));
    }

    pub(super) fn series(&mut self, series: Series<'_>) {
        self.write(&Message::Series(series));
    }

    pub(super) fn reset(&mut self, reference: u64, start: u64) {
        self.resets.entry(start).or_default().push(reference);
        self.numbers += 1;
    }

    pub(super) fn value(&mut self, reference: u64, value: u64) {
        self.refs.push(reference);
        self.values.push(value);
        self.numbers += 1;
    }

    pub(super) fn histogram(&mut self, reference: u64, counts: Box<[u64]>) {
        self.numbers += counts.len();
        self.histograms.push(Histogram { reference, counts });
    }

    pub(super) fn loss(&mut self, source: LossSource, count: u64, detail: &str) {
        self.write(&Message::Loss(Loss { source, count, map: self.map, detail }));
    }

    /// What went back since the batch before.
    pub(super) fn resets(&mut self) {
        for (start, refs) in std::mem::take(&mut self.resets) {
            let (refs, start_time) = (&refs, time(start));
            self.write(&Message::Reset(Reset { refs, start_time, map: self.map }));
        }
    }

    /// The numbers that came together, if there are any or they are the last.
    pub(super) fn batch(&mut self, tick: &Tick, span: &Span, last: Option<bool>) {
        self.resets();
        let [refs, values] = [&mut self.refs, &mut self.values].map(std::mem::take);
        let histograms = std::mem::take(&mut self.histograms);
        if refs.is_empty() && histograms.is_empty() && last.is_none() {
            return;
        }
        let missed = if tick.before == 0 { 0 } else { tick.number - tick.before - 1 };
        self.write(&Message::Batch(Batch {
            map: self.map,
            sweep: tick.number,
            read_begin: span.begin,
            read_end: span.end,
            complete: last == Some(true),
            refs: &refs,
            values: &values,
            coalesced: if last.is_some() { missed } else { 0 },
            more: last.is_none(),
            histograms: &histograms,
            achieved: tick.achieved,
            lag: tick.lag,
        }));
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn write(&mut self, message: &Message<'_>) {
        self.wire.write(message, &mut self.out);
    }
}
