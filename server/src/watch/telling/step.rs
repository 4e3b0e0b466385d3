//! One page of a telling, as it is made.

use std::time::SystemTime;

use super::{Chunk, Followed, Listener, Place, Telling};
use crate::watch::choice::{Scratch, Text, raw_text};
use crate::watch::message::{LossSource, Series};
use crate::watch::page::Page;
use crate::watch::request::CpuMode;
use crate::watch::segment::time;
use crate::watch::source::CounterKind;
use crate::watch::version::{Row, Subject};

/// A page as it is made.
pub(super) struct Step<'a> {
    pub(super) telling: &'a Telling,
    pub(super) listener: Listener<'a>,
    pub(super) mode: CpuMode,
    /// Since when the mode's series are there, if they are.
    pub(super) since: Option<u32>,
    pub(super) page: Page<'a>,
    pub(super) scratch: Scratch,
    pub(super) work: usize,
    pub(super) chunk: Chunk,
}

impl Step<'_> {
    pub(super) fn run(mut self, followed: &mut Followed) -> Chunk {
        let mut place = self.telling.place;
        if let Place::Gone(number, slot) = place {
            place = self.gone(number, slot, followed);
            self.page.removed(self.listener.feed.key_removed());
        }
        let gone = self.chunk.removed;
        let rest = match place {
            Place::Gone(..) => Some(place),
            Place::Row(at, slot) => self.rows(at, (slot, false), followed),
            Place::New(at, slot) => self.rows(at, (slot, true), followed),
        };
        let told = self.chunk.removed - gone;
        self.finish(rest, told)
    }

    /// Puts down what a page has come to. `told`: series of a map that is gone.
    pub(super) fn finish(mut self, rest: Option<Place>, told: usize) -> Chunk {
        self.chunk.next = rest;
        match &self.telling.news {
            Some((span, tick)) if rest.is_some() => self.page.batch(tick, span, None),
            Some((span, tick)) => {
                self.page.resets();
                self.limit();
                self.trouble();
                self.page.batch(tick, span, Some(self.telling.version.complete));
            }
            None => {
                let reason = self.listener.feed.map_removed();
                self.page.removed(reason);
                if rest.is_none() && told == 0 {
                    self.page.all_removed(reason);
                }
            }
        }
        self.chunk.bytes = self.page.into_bytes();
        self.chunk
    }

    /// Enough for one page: there may be little to tell of many keys.
    fn is_full(&self) -> bool {
        self.page.is_full() || self.work >= self.listener.size.numbers
    }

    /// Finds the slots that are taken of a key, and how many they are.
    pub(super) fn slots(&mut self, row: Row<'_>) -> usize {
        let Listener { choice, terms, feed, .. } = self.listener;
        let version = &self.telling.version;
        let subject = row.subject(&version.shape);
        choice.slots(terms, &feed.layout, &version.names, subject, &mut self.scratch)
    }

    /// Since when a key is there for this mode.
    fn born(&self, born: u32) -> u32 {
        self.since.map_or(born, |since| born.max(since))
    }

    /// Tells which of a watch's series are gone. Where to go on.
    fn gone(&mut self, number: usize, slot: usize, followed: &mut Followed) -> Place {
        let Telling { version, cursor, .. } = self.telling;
        let mut from = slot;
        for (number, gone) in version.removals.from(number) {
            if self.is_full() {
                return Place::Gone(number, from);
            }
            self.work += self.listener.choice.work();
            // Partly told, it is followed no more where that is noted key by key.
            if from == 0 && !followed.has(gone.at, self.born(gone.born), *cursor) {
                continue;
            }
            let Listener { choice, terms, feed, .. } = self.listener;
            let subject = Subject::gone(gone);
            choice.slots(terms, &feed.layout, &version.names, subject, &mut self.scratch);
            let first = gone.firsts[self.mode.index()];
            for slot in self.scratch.slots().skip_while(|slot| *slot < from).collect::<Vec<_>>() {
                if self.page.is_full() {
                    followed.remove(gone.at);
                    return Place::Gone(number, slot);
                }
                self.page.gone(first + slot as u64);
                self.chunk.removed += 1;
            }
            followed.remove(gone.at);
            from = 0;
        }
        Place::Row(0, 0)
    }

    /// Announces new series while there is room, and lists resets and values; or, of a map that is
    /// gone, what goes. Where to go on.
    fn rows(
        &mut self,
        at: u32,
        (slot, mut partly): (usize, bool),
        followed: &mut Followed,
    ) -> Option<Place> {
        self.since?;
        let Telling { version, cursor, full, news, .. } = self.telling;
        // While keys are left out, one of them may move up although nothing about it changed.
        let all = matches!(followed, Followed::All);
        let behind = if !full && all && news.is_some() { *cursor } else { 0 };
        let mut from = slot;
        for row in version.rows(at, behind) {
            if self.is_full() {
                return Some(if partly {
                    Place::New(row.at, from)
                } else {
                    Place::Row(row.at, from)
                });
            }
            self.work += self.listener.choice.work();
            let Listener { choice, terms, feed, .. } = self.listener;
            let subject = row.subject(&version.shape);
            let slots =
                choice.slots(terms, &feed.layout, &version.names, subject, &mut self.scratch);
            if slots == 0 {
                continue;
            }
            let known = followed.has(row.at, self.born(row.keys.born(row.place)), *cursor);
            let (told, known) = (partly, known && !partly);
            let next = if news.is_none() {
                self.farewell(row, from, known)
            } else if known || told || self.admit(row, slots, followed) {
                self.row(row, from, known)
            } else {
                None
            };
            if next.is_some() {
                return next;
            }
            (from, partly) = (0, false);
        }
        None
    }

    /// Whether a key that is new to the watch finds room.
    fn admit(&mut self, row: Row<'_>, slots: usize, followed: &mut Followed) -> bool {
        let Listener { series, room, feed, choice, size, .. } = self.listener;
        let version = &self.telling.version;
        let subject = row.subject(&version.shape);
        let labels = choice.announced_bytes(&feed.layout, version, subject);
        let fits = series - self.chunk.removed + self.chunk.added + slots <= room
            && labels + feed.layout.longest_number() <= size.labels;
        if fits {
            self.chunk.added += slots;
            followed.add(row.at);
        } else {
            self.chunk.left_out += slots as u64;
            if let Followed::All = followed {
                *followed = self.told(row.at);
            }
        }
        fits
    }

    /// Keys that are followed when the first one finds no room: all that the watch was told of
    /// before, and the new ones at a lower index than `refused`.
    fn told(&mut self, refused: u32) -> Followed {
        let Telling { version, cursor, .. } = self.telling;
        let Listener { choice, terms, feed, .. } = self.listener;
        let mut followed = Followed::These(vec![0; version.len().div_ceil(64)]);
        let mut scratch = Scratch::default();
        for row in version.rows(0, 0) {
            if row.at < refused || self.born(row.keys.born(row.place)) <= *cursor {
                let subject = row.subject(&version.shape);
                if choice.slots(terms, &feed.layout, &version.names, subject, &mut scratch) > 0 {
                    followed.add(row.at);
                }
            }
        }
        followed
    }

    /// What a watch is told of a key from a slot on. Where to go on, if it does not all fit.
    pub(super) fn row(&mut self, row: Row<'_>, from: usize, known: bool) -> Option<Place> {
        let Telling { version, cursor, full, first: ranked, .. } = self.telling;
        let Listener { choice, feed, .. } = self.listener;
        let first = row.keys.first(self.mode, row.place);
        let slots = self.scratch.take_slots();
        let mut labels = Vec::new();
        let mut texts = String::new();
        let mut raw = None;
        if !known {
            let subject = row.subject(&version.shape);
            raw = choice.is_twin(version, subject).then(|| raw_text(subject.key));
            labels = choice.labels(&feed.layout, &version.names, subject, &mut texts);
        }
        let mut next = None;
        for slot in slots.iter().flat_map(Clone::clone).skip_while(|slot| *slot < from) {
            if self.page.is_full() {
                let place = if known { Place::Row } else { Place::New };
                next = Some(place(row.at, slot));
                break;
            }
            let reference = first + slot as u64;
            let reset = row.values.reset(self.mode, &version.shape, row.place, slot);
            if !known {
                let start = reset.map_or(row.keys.start(row.place), |reset| reset.start);
                let before = ranked.as_ref().and_then(|it| it.before.as_ref());
                let before = before.and_then(|it| it.number(&feed.layout, self.mode, &row, slot));
                let since = (start, before);
                self.announce((reference, slot), since, &labels, (&texts, raw.as_deref()));
            } else if let Some(reset) = reset.filter(|reset| reset.at > *cursor) {
                self.page.reset(reference, reset.start);
            }
            let changed =
                || row.values.changed(self.mode, &version.shape, row.place, slot) > *cursor;
            if !known || *full || changed() {
                self.list(reference, row.values.raw(&version.shape, row.place), slot);
            }
        }
        self.scratch.give_slots(slots);
        next
    }

    fn announce(
        &mut self,
        (reference, slot): (u64, usize),
        (start, before): (u64, Option<(u64, SystemTime)>),
        labels: &[Text],
        (texts, raw): (&str, Option<&str>),
    ) {
        let Listener { feed, map, .. } = self.listener;
        let (number, cpu) = feed.layout.slot(self.mode, slot);
        let cpu = cpu.map(|cpu| cpu.to_string());
        let labels = Text::shown(&feed.layout, labels, texts, raw, cpu.as_deref());
        let bounds: Vec<u64> = number.bounds().collect();
        self.page.series(Series {
            reference,
            map,
            labels: &labels,
            field: &number.path,
            kind: number.kind,
            kind_undeclared: number.kind_undeclared,
            unit: &number.unit,
            start_time: time(start),
            signed: number.signed,
            bounds: &bounds,
            before,
        });
    }

    fn list(&mut self, reference: u64, raw: &[u8], slot: usize) {
        let layout = &self.listener.feed.layout;
        let (number, _) = layout.slot(self.mode, slot);
        let mut cells = layout.read(self.mode, slot, raw);
        match number.kind {
            CounterKind::Monotonic | CounterKind::Gauge => {
                self.page.value(reference, cells.next().unwrap_or_default());
            }
            CounterKind::Histogram => self.page.histogram(reference, cells.collect()),
        }
    }

    /// Of a map that is gone: the series of a key.
    fn farewell(&mut self, row: Row<'_>, from: usize, known: bool) -> Option<Place> {
        let first = row.keys.first(self.mode, row.place);
        let slots = self.scratch.take_slots();
        let mut next = None;
        for slot in slots.iter().flat_map(Clone::clone).skip_while(|slot| *slot < from) {
            if !known {
                break;
            }
            if self.page.is_full() {
                next = Some(Place::Row(row.at, slot));
                break;
            }
            self.page.gone(first + slot as u64);
            self.chunk.removed += 1;
        }
        self.scratch.give_slots(slots);
        next
    }

    /// Tells how many series are left out, if it is not what was told before.
    fn limit(&mut self) {
        let left_out = self.telling.left_out(self.mode, self.chunk.left_out);
        if left_out != self.listener.left_out && left_out > 0 {
            let detail = format!("{left_out} series are beyond the limit and not followed");
            self.page.loss(LossSource::Limit, left_out, &detail);
        }
    }

    /// Tells why the map cannot be read, if the watch does not know.
    fn trouble(&mut self) {
        let Telling { version, known, .. } = self.telling;
        if let Some((since, why)) = version.trouble.as_ref().filter(|(since, _)| since > known) {
            let count = version.sweep - since + 1;
            let detail = format!("could not read map {}: {why}", self.listener.map);
            self.page.loss(LossSource::ReadError, count.into(), &detail);
        }
    }
}
