//! What happened to one map's series behind a sweep, put into messages.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use bpfgate_proto::name::MapName;

use super::choice::Choice;
use super::feed::Feed;
use super::message::{
    Batch, Histogram, Label, Loss, LossSource, Removed, RemovedReason, Reset, Series, WatchMessage,
};
use super::request::{CpuMode, Terms};
use super::source::CounterKind;
use super::table::{Entry, Mode, Numbers, Table};
use super::tiers::Tier;

/// Values or refs in one message: 1.3 MB at most as packed varints, below gRPC's usual 4 MiB.
pub(super) const MESSAGE_SERIES: usize = 65_536;
/// Histograms in one message, of at most 64 slots.
const MESSAGE_HISTOGRAMS: usize = MESSAGE_SERIES / 64;

/// Which keys a watch follows of those that its selectors take.
#[derive(Debug, Clone, Default)]
pub(super) enum Followed {
    /// All that there were at its last sweep.
    #[default]
    All,
    /// These, by first ref: there is no room for all.
    These(HashSet<u64>),
}

impl Followed {
    /// Whether a watch that was given the sweep `cursor` was told of a key.
    pub(super) fn has(
        &self,
        (numbers, entry, first): (&Numbers, &Entry, u64),
        cursor: u64,
    ) -> bool {
        match self {
            Self::All => numbers.born(entry) <= cursor,
            Self::These(keys) => keys.contains(&first),
        }
    }
}

/// Messages about one map, as they come together.
pub(super) struct Telling<'a> {
    feed: &'a Feed,
    terms: &'a Terms,
    choice: &'a Choice,
    table: &'a Table,
    mode: CpuMode,
    pub(super) out: Vec<WatchMessage>,
    /// Series that are new to the watch.
    pub(super) added: usize,
    /// Series that it followed before.
    pub(super) removed: usize,
}

/// What a batch lists.
#[derive(Default)]
pub(super) struct Listed {
    refs: Vec<u64>,
    values: Vec<u64>,
    histograms: Vec<Histogram>,
}

impl<'a> Telling<'a> {
    pub(super) fn new(
        feed: &'a Feed,
        terms: &'a Terms,
        choice: &'a Choice,
        table: &'a Table,
    ) -> Self {
        let mode = feed.layout.mode(terms.cpu);
        Self { feed, terms, choice, table, mode, out: Vec::new(), added: 0, removed: 0 }
    }

    /// Tells which of a watch's series are gone, and gives back the keys that it follows now, if not
    /// all. `None` if that is not known any more and it has to begin anew.
    pub(super) fn removals(
        &mut self,
        mode: &Mode,
        cursor: u64,
        series: usize,
        mut followed: Followed,
    ) -> Option<Followed> {
        let (Some(numbers), true) = (mode.numbers(), cursor > 0) else { return Some(followed) };
        let map = &self.feed.key.map;
        let Some(gone) = self.table.removed_behind(cursor) else {
            self.removed = series;
            let (refs, reason, map) = (Vec::new(), RemovedReason::Limit, map.clone());
            self.out.push(WatchMessage::Removed(Removed { refs, reason, map }));
            return None;
        };
        let mut refs = Vec::new();
        let mut slots = Vec::new();
        for entry in gone {
            let first = entry.refs[self.mode.index()];
            if followed.has((numbers, entry, first), cursor) {
                if let Followed::These(keys) = &mut followed {
                    keys.remove(&first);
                }
                self.choice.slots(self.terms, entry, &mut slots);
                refs.extend(slots.iter().map(|slot| first + *slot as u64));
            }
        }
        self.removed = refs.len();
        if !refs.is_empty() {
            let messages = removed(refs, self.feed.key_removed(), map);
            self.out.extend(messages.map(WatchMessage::Removed));
        }
        Some(followed)
    }

    /// Announces new series while there is room, tells which went back, and gathers values. The
    /// keys that are followed if not all, and how many series are left out.
    pub(super) fn values(
        &mut self,
        mode: &Mode,
        cursor: u64,
        full: bool,
        room: usize,
        mut followed: Followed,
    ) -> (Listed, Followed, u64) {
        let mut listed = Listed::default();
        let Some(numbers) = mode.numbers() else { return (listed, Followed::All, 0) };
        let mut slots = Vec::new();
        let mut left_out = 0;
        let mut resets: BTreeMap<SystemTime, Vec<u64>> = BTreeMap::new();
        // While keys are left out, one of them may move up although nothing about it changed.
        let all = matches!(followed, Followed::All);
        let behind = (!full && all).then_some(cursor);
        for (at, entry) in self.table.entries(behind) {
            self.choice.slots(self.terms, entry, &mut slots);
            if slots.is_empty() {
                continue;
            }
            let first = entry.refs[self.mode.index()];
            let known = followed.has((numbers, entry, first), cursor);
            if !known {
                if self.added + slots.len() > room {
                    left_out += slots.len() as u64;
                    if let Followed::All = followed {
                        followed = Followed::These(self.told(numbers, cursor, at));
                    }
                    continue;
                }
                self.added += slots.len();
                if let Followed::These(keys) = &mut followed {
                    keys.insert(first);
                }
                let series = slots.iter().map(|slot| self.series(numbers, (at, entry), *slot));
                let series: Vec<_> = series.map(WatchMessage::Series).collect();
                self.out.extend(series);
            }
            for &slot in &slots {
                let reset = numbers.reset(at, slot).filter(|reset| known && reset.at > cursor);
                if let Some(reset) = reset {
                    resets.entry(reset.start).or_default().push(first + slot as u64);
                }
                if full || !known || numbers.changed(at, slot) > cursor {
                    self.list(&mut listed, first + slot as u64, numbers.values(at), slot);
                }
            }
        }
        let map = &self.feed.key.map;
        for (start_time, refs) in resets {
            self.out.extend(
                parts(refs, MESSAGE_SERIES)
                    .map(|refs| WatchMessage::Reset(Reset { refs, start_time, map: map.clone() })),
            );
        }
        (listed, if left_out > 0 { followed } else { Followed::All }, left_out)
    }

    /// Keys that are followed when the first one finds no room: all that the watch was told of
    /// before, and the new ones at a lower index than `refused`.
    fn told(&self, numbers: &Numbers, cursor: u64, refused: usize) -> HashSet<u64> {
        let mut slots = Vec::new();
        let mut told = |(at, entry): &(usize, &Entry)| {
            self.choice.slots(self.terms, entry, &mut slots);
            !slots.is_empty() && (numbers.born(entry) <= cursor || *at < refused)
        };
        let entries = self.table.entries(None).filter(&mut told);
        entries.map(|(_, entry)| entry.refs[self.mode.index()]).collect()
    }

    fn list(&self, listed: &mut Listed, reference: u64, values: &[u64], slot: usize) {
        let cells = &values[self.feed.layout.slot_cells(self.mode, slot)];
        let (number, _) = self.feed.layout.slot(self.mode, slot);
        match (number.kind, cells) {
            (CounterKind::Monotonic | CounterKind::Gauge, [value]) => {
                listed.refs.push(reference);
                listed.values.push(*value);
            }
            _ => listed.histograms.push(Histogram { reference, counts: cells.into() }),
        }
    }

    fn series(&self, numbers: &Numbers, (at, entry): (usize, &Entry), slot: usize) -> Series {
        let (number, cpu) = self.feed.layout.slot(self.mode, slot);
        let cpu = cpu.map(|cpu| Label { name: "cpu".into(), value: cpu.to_string().into() });
        Series {
            reference: entry.refs[self.mode.index()] + slot as u64,
            map: self.feed.key.map.clone(),
            labels: self.choice.labels(entry).into_iter().chain(cpu).collect(),
            field: number.path.clone(),
            kind: number.kind,
            kind_undeclared: number.kind_undeclared,
            unit: number.unit.clone(),
            start_time: numbers.reset(at, slot).map_or(entry.start, |reset| reset.start),
            signed: number.signed,
            bounds: number.bounds().collect(),
        }
    }

    /// Tells how many series are left out, if it is not what was told before.
    pub(super) fn limit(&mut self, left_out: u64, before: u64) {
        if left_out != before && left_out > 0 {
            self.out.push(WatchMessage::Loss(Loss {
                source: LossSource::Limit,
                count: left_out,
                map: self.feed.key.map.clone(),
                detail: format!("{left_out} series are beyond the limit and not followed"),
            }));
        }
    }

    /// Tells why the map cannot be read, if the watch does not know.
    pub(super) fn trouble(&mut self, cursor: u64) {
        let trouble = self.table.trouble.as_ref();
        if let Some((since, why)) = trouble.filter(|(since, _)| *since > cursor) {
            self.out.push(WatchMessage::Loss(Loss {
                source: LossSource::ReadError,
                count: self.table.sweep - since + 1,
                map: self.feed.key.map.clone(),
                detail: format!("could not read map {}: {why}", self.feed.key.map),
            }));
        }
    }

    /// One batch, in as many messages as it takes. `before` is the last one that the watch had.
    pub(super) fn batch(&mut self, listed: Listed, tier: &Tier, before: u64) {
        let Some(span) = self.table.span else { return };
        let Listed { refs, values, histograms } = listed;
        let empty = Batch {
            map: self.feed.key.map.clone(),
            sweep: tier.number,
            read_begin: span.begin,
            read_end: span.end,
            complete: false,
            refs: Vec::new(),
            values: Vec::new(),
            histograms: Vec::new(),
            coalesced: 0,
            more: true,
            achieved: tier.achieved,
            lag: tier.lag,
        };
        let numbers = parts(refs, MESSAGE_SERIES).zip(parts(values, MESSAGE_SERIES));
        let numbers = numbers.map(|(refs, values)| Batch { refs, values, ..empty.clone() });
        let histograms = parts(histograms, MESSAGE_HISTOGRAMS);
        let histograms = histograms.map(|histograms| Batch { histograms, ..empty.clone() });
        let mut batches: Vec<Batch> = numbers.chain(histograms).collect();
        // Most batches have numbers or histograms, not both.
        batches.retain(|batch| !batch.refs.is_empty() || !batch.histograms.is_empty());
        let mut last = batches.pop().unwrap_or(empty);
        last.complete = self.table.complete;
        last.coalesced = if before == 0 { 0 } else { tier.number - before - 1 };
        last.more = false;
        self.out.extend(batches.into_iter().chain([last]).map(WatchMessage::Batch));
    }
}

/// Series that are no more, in as many messages as it takes.
pub(super) fn removed(
    refs: Vec<u64>,
    reason: RemovedReason,
    map: &Arc<MapName>,
) -> impl Iterator<Item = Removed> {
    parts(refs, MESSAGE_SERIES).map(move |refs| Removed { refs, reason, map: map.clone() })
}

/// A list in parts of at most so many; one if it is empty.
fn parts<T>(list: Vec<T>, most: usize) -> impl Iterator<Item = Vec<T>> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let mut part = rest.take()?;
        if part.len() > most {
            rest = Some(part.split_off(most));
        }
        Some(part)
    })
}
