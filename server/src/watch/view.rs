//! What one watch takes of one map: its selectors worked out for that map, and how far it has
//! been told.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bpfgate_proto::name::MapName;
use tokio::time::Instant;

use super::layout::Layout;
use super::message::{
    Batch, Label, Loss, LossSource, Removed, RemovedReason, Series, WatchError, WatchMessage,
};
use super::request::{CpuMode, Selector, Terms};
use super::series::{Entry, Table};
use super::source::{KeyLife, covers};
use super::sweeper::{Feed, Subscriber};

/// Values or refs in one message: 1.3 MB at most as packed varints, below gRPC's usual 4 MiB.
pub(super) const MESSAGE_SERIES: usize = 65_536;

/// A watch's place in one map.
pub(super) struct View {
    pub(super) feed: Arc<Feed>,
    subscriber: Arc<Subscriber>,
    /// Sync waits for its first delivery.
    pub(super) initial: bool,
    choice: Choice,
    joined: Instant,
    /// The last sweep that was delivered; 0 before the first.
    cursor: u64,
    /// When every series was last sent.
    resent: Instant,
    /// Keys that are followed, by first ref, while there is no room for all. `None`: all that
    /// were there at the cursor.
    followed: Option<HashSet<u64>>,
    /// Series left out, as last reported.
    left_out: u64,
}

/// What came of asking for news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Nothing new.
    Nothing,
    /// Messages were added.
    Some,
    /// The map is gone and everything was said.
    End,
}

/// How many series a watch follows, over all its maps.
pub(super) struct Following {
    pub(super) series: usize,
    pub(super) max: usize,
}

impl View {
    pub(super) fn new(feed: Arc<Feed>, subscriber: Arc<Subscriber>, choice: Choice) -> Self {
        let joined = Instant::now();
        Self {
            feed,
            subscriber,
            initial: false,
            choice,
            joined,
            cursor: 0,
            resent: joined,
            followed: None,
            left_out: 0,
        }
    }

    /// Adds what is new since the last time.
    pub(super) fn deliver(
        &mut self,
        terms: &Terms,
        following: &mut Following,
        out: &mut VecDeque<WatchMessage>,
    ) -> Result<Delivery, WatchError> {
        let feed = self.feed.clone();
        let table = feed.table();
        // A snapshot from before the watch will do while it is no older than the interval.
        let span = table.span.filter(|span| {
            table.sweep > self.cursor
                && (self.cursor > 0 || span.begun + terms.interval >= self.joined)
        });
        let Some(span) = span else {
            if table.gone {
                self.remove_all(terms, &table, following, out);
                return Ok(Delivery::End);
            }
            return Ok(Delivery::Nothing);
        };
        self.removals(terms, &table, following, out)?;
        let full = self.cursor == 0
            || terms.resend.is_some_and(|every| self.resent.elapsed() + terms.interval > every);
        let (refs, values) = self.values(terms, &table, full, following, out);
        if full {
            self.resent = Instant::now();
        }
        self.trouble(&table, out);

        let whole = Batch {
            map: feed.key.map.clone(),
            sweep: table.sweep,
            read_begin: span.begin,
            read_end: span.end,
            complete: table.complete,
            refs,
            values,
            coalesced: if self.cursor == 0 { 0 } else { table.sweep - self.cursor - 1 },
            more: false,
        };
        split(whole, out);
        self.cursor = table.sweep;
        self.subscriber.given(table.sweep);
        Ok(Delivery::Some)
    }

    fn removals(
        &mut self,
        terms: &Terms,
        table: &Table,
        following: &mut Following,
        out: &mut VecDeque<WatchMessage>,
    ) -> Result<(), WatchError> {
        if self.cursor == 0 {
            return Ok(());
        }
        let Some(removed) = table.removed_behind(self.cursor) else {
            return Err(WatchError::TooSlow { map: (*self.feed.key.map).clone() });
        };
        let mut refs = Vec::new();
        let mut slots = Vec::new();
        for entry in removed {
            let followed = match &mut self.followed {
                None => entry.born <= self.cursor,
                Some(followed) => followed.remove(&entry.first_ref),
            };
            if followed {
                self.choice.slots(terms, &entry.labels, &mut slots);
                refs.extend(slots.iter().map(|slot| entry.first_ref + *slot as u64));
            }
        }
        let reason = match self.feed.key_life {
            KeyLife::Fixed | KeyLife::Deletable => RemovedReason::Deleted,
            KeyLife::Evictable => RemovedReason::Evicted,
        };
        if !refs.is_empty() {
            self.removed(refs, reason, following, out);
        }
        Ok(())
    }

    fn remove_all(
        &mut self,
        terms: &Terms,
        table: &Table,
        following: &mut Following,
        out: &mut VecDeque<WatchMessage>,
    ) {
        let mut refs = Vec::new();
        let mut slots = Vec::new();
        for (_, entry) in table.entries(None).filter(|(_, entry)| self.follows(entry)) {
            self.choice.slots(terms, &entry.labels, &mut slots);
            refs.extend(slots.iter().map(|slot| entry.first_ref + *slot as u64));
        }
        self.removed(refs, RemovedReason::MapGone, following, out);
    }

    fn removed(
        &self,
        mut refs: Vec<u64>,
        reason: RemovedReason,
        following: &mut Following,
        out: &mut VecDeque<WatchMessage>,
    ) {
        following.series -= refs.len();
        let message =
            |refs| WatchMessage::Removed(Removed { refs, reason, map: self.feed.key.map.clone() });
        while refs.len() > MESSAGE_SERIES {
            let rest = refs.split_off(MESSAGE_SERIES);
            out.push_back(message(std::mem::replace(&mut refs, rest)));
        }
        out.push_back(message(refs));
    }

    /// Whether this watch was told of a key that is still there.
    fn follows(&self, entry: &Entry) -> bool {
        match &self.followed {
            None => entry.born <= self.cursor,
            Some(followed) => followed.contains(&entry.first_ref),
        }
    }

    /// Keys that are followed when the first one finds no room: all that the watch was told of
    /// before, and the new ones at a lower index than `refused`.
    fn told(&self, terms: &Terms, table: &Table, refused: usize) -> HashSet<u64> {
        let mut slots = Vec::new();
        let mut told = |(at, entry): &(usize, &Entry)| {
            self.choice.slots(terms, &entry.labels, &mut slots);
            !slots.is_empty() && (entry.born <= self.cursor || *at < refused)
        };
        table.entries(None).filter(&mut told).map(|(_, entry)| entry.first_ref).collect()
    }

    /// Announces new series while there is room and gathers refs and values.
    fn values(
        &mut self,
        terms: &Terms,
        table: &Table,
        full: bool,
        following: &mut Following,
        out: &mut VecDeque<WatchMessage>,
    ) -> (Vec<u64>, Vec<u64>) {
        let (mut refs, mut values) = (Vec::new(), Vec::new());
        let mut slots = Vec::new();
        let mut left_out = 0;
        // While keys are left out, one of them may move up although nothing about it changed.
        let behind = (!full && self.followed.is_none()).then_some(self.cursor);
        for (at, entry) in table.entries(behind) {
            self.choice.slots(terms, &entry.labels, &mut slots);
            if slots.is_empty() {
                continue;
            }
            let known = self.follows(entry);
            if !known {
                if following.series + slots.len() > following.max {
                    left_out += slots.len() as u64;
                    if self.followed.is_none() {
                        self.followed = Some(self.told(terms, table, at));
                    }
                    continue;
                }
                following.series += slots.len();
                if let Some(followed) = &mut self.followed {
                    followed.insert(entry.first_ref);
                }
                let series = |slot: &usize| WatchMessage::Series(self.series(entry, *slot));
                out.extend(slots.iter().map(series));
            }
            for &slot in &slots {
                let (value, changed) = table.value(at, slot);
                if full || !known || changed > self.cursor {
                    refs.push(entry.first_ref + slot as u64);
                    values.push(value);
                }
            }
        }
        if left_out == 0 {
            self.followed = None;
        }
        self.limit(left_out + table.left_out, out);
        (refs, values)
    }

    fn series(&self, entry: &Entry, slot: usize) -> Series {
        let Feed { key, layout, .. } = &*self.feed;
        let (number, cpu) = layout.slot(key.mode, slot);
        let cpu = cpu.map(|cpu| Label { name: "cpu".into(), value: cpu.to_string().into() });
        Series {
            reference: entry.first_ref + slot as u64,
            map: key.map.clone(),
            labels: entry.labels.iter().cloned().chain(cpu).collect(),
            field: number.path.clone(),
            kind: number.kind,
            kind_undeclared: number.kind_undeclared,
            unit: number.unit.clone(),
            start_time: entry.start,
            signed: number.signed,
        }
    }

    fn limit(&mut self, left_out: u64, out: &mut VecDeque<WatchMessage>) {
        if left_out != self.left_out && left_out > 0 {
            out.push_back(WatchMessage::Loss(Loss {
                source: LossSource::Limit,
                count: left_out,
                map: self.feed.key.map.clone(),
                detail: format!("{left_out} series are beyond the limit and not followed"),
            }));
        }
        self.left_out = left_out;
    }

    fn trouble(&self, table: &Table, out: &mut VecDeque<WatchMessage>) {
        if let Some((since, why)) = table.trouble.as_ref().filter(|(since, _)| *since > self.cursor)
        {
            out.push_back(WatchMessage::Loss(Loss {
                source: LossSource::ReadError,
                count: table.sweep - since + 1,
                map: self.feed.key.map.clone(),
                detail: format!("could not read map {}: {why}", self.feed.key.map),
            }));
        }
    }
}

/// One batch, in as many messages as it takes.
fn split(whole: Batch, out: &mut VecDeque<WatchMessage>) {
    let mut rest = whole;
    while rest.refs.len() > MESSAGE_SERIES {
        let (refs, values) =
            (rest.refs.split_off(MESSAGE_SERIES), rest.values.split_off(MESSAGE_SERIES));
        let part = Batch { complete: false, coalesced: 0, more: true, ..rest.clone() };
        out.push_back(WatchMessage::Batch(part));
        rest = Batch { refs, values, ..rest };
    }
    out.push_back(WatchMessage::Batch(rest));
}

/// A watch's selectors, as far as they concern one map.
pub(super) struct Choice {
    rules: Vec<Rule>,
    /// A series for each CPU: the label "cpu" is the slot's, not the key's.
    each_cpu: bool,
}

struct Rule {
    /// Index among the watch's selectors.
    selector: usize,
    /// Which series of a key it takes, ascending.
    slots: Box<[usize]>,
}

impl Choice {
    /// `None` if the selectors take nothing of this map.
    pub(super) fn of(terms: &Terms, map: &MapName, layout: &Layout) -> Option<Self> {
        let mode = layout.mode(terms.cpu);
        let matching = terms.selectors.iter().enumerate().filter(|(_, it)| it.map.matches(map));
        let rules: Vec<Rule> = matching
            .map(|(selector, it)| Rule { selector, slots: slots(it, layout, mode) })
            .filter(|rule| !rule.slots.is_empty())
            .collect();
        (!rules.is_empty()).then_some(Self { rules, each_cpu: mode == CpuMode::Each })
    }

    /// The slots that are taken of a key with these labels, ascending.
    fn slots(&self, terms: &Terms, labels: &[Label], slots: &mut Vec<usize>) {
        slots.clear();
        let mut rules = 0;
        for Rule { selector, slots: taken } in &self.rules {
            let mut matchers = terms.selectors[*selector].labels.iter();
            if matchers.all(|it| {
                (self.each_cpu && it.label == "cpu") || it.matches(value(labels, &it.label))
            }) {
                slots.extend_from_slice(taken);
                rules += 1;
            }
        }
        if rules > 1 {
            slots.sort_unstable();
            slots.dedup();
        }
    }
}

fn value<'a>(labels: &'a [Label], name: &str) -> &'a str {
    labels.iter().find(|label| *label.name == *name).map_or("", |label| &label.value)
}

fn slots(selector: &Selector, layout: &Layout, mode: CpuMode) -> Box<[usize]> {
    let taken = |slot: &usize| {
        let (number, cpu) = layout.slot(mode, *slot);
        let field = selector.fields.is_empty()
            || selector.fields.iter().any(|field| covers(field, &number.path));
        let cpu = cpu.map(|cpu| cpu.to_string());
        let mut on_cpu = selector.labels.iter().filter(|matcher| matcher.label == "cpu");
        field && cpu.is_none_or(|cpu| on_cpu.all(|matcher| matcher.matches(&cpu)))
    };
    (0..layout.slots(mode)).filter(taken).collect()
}
