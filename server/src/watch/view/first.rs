//! A watch of the keys that come first: ranked anew with each sweep, and told what changed among
//! them.

use std::ops::Range;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Asking, Delivery, Following, View};
use crate::ledger::{Charge, Exhausted};
use crate::watch::choice::Scratch;
use crate::watch::error::WatchError;
use crate::watch::page::Tick;
use crate::watch::ranking::{Before, Judging, Ranking};
use crate::watch::request::{Ranked, Terms};
use crate::watch::telling::{First, Followed, Listener, Place, Telling};
use crate::watch::told::Told;
use crate::watch::version::{Row, Span, Version};

/// Where such a watch is in one map.
#[derive(Default)]
pub(super) struct Firsts {
    /// By index.
    told: Vec<Key>,
    before: Option<Before>,
    work: Option<Work>,
    /// What it will have been told behind the page at hand.
    next: Vec<Key>,
}

/// A key that it was told of.
struct Key {
    at: u32,
    first: u64,
    slots: Arc<[Range<usize>]>,
}

/// A ranking under way.
struct Work {
    ranking: Ranking,
    version: Arc<Version>,
    hold: Arc<Charge>,
    news: (Span, Tick),
}

impl Firsts {
    pub(super) fn is_ranking(&self) -> bool {
        self.work.is_some()
    }
}

impl Key {
    fn refs(&self) -> impl Iterator<Item = u64> {
        self.slots.iter().flat_map(Clone::clone).map(|slot| self.first + slot as u64)
    }
}

impl View {
    pub(super) fn deliver_first(
        &mut self,
        ranked: Ranked,
        asking: Asking<'_>,
        following: &mut Following,
    ) -> Result<Delivery, WatchError> {
        if self.telling.is_none() && self.first.work.is_none() {
            let feed = self.feed.clone();
            let state = feed.state();
            let version = state.version.clone();
            match self.news(&state) {
                Some(news) => {
                    if !self.begin_ranking(ranked, asking, version, news)? {
                        return Ok(Delivery::Nothing);
                    }
                    self.subscriber.given(state.version.sweep);
                }
                None if state.gone => self.take_leave(version),
                None => return Ok(Delivery::Nothing),
            }
        }
        if let Some(mut work) = self.first.work.take() {
            let version = work.version.clone();
            let terms = &*asking.granted.terms;
            let mode = self.feed.layout.mode(terms.cpu);
            let judging = Judging {
                terms,
                choice: &self.choice,
                layout: &self.feed.layout,
                version: &version,
                before: self.first.before.as_ref().map(|it| &*it.version),
            };
            let told = &self.first.told;
            let has = |row: &Row<'_>| {
                let at = told.binary_search_by_key(&row.at, |key| key.at);
                at.is_ok_and(|at| told[at].first == row.keys.first(mode, row.place))
            };
            let Some(first) = work.ranking.go_on(judging, has) else {
                self.first.work = Some(work);
                return Ok(Delivery::Page(None));
            };
            self.telling = Some(self.difference(&first, work, terms, asking, following));
        }
        self.first_page(asking, following)
    }

    /// False if this sweep is only to measure the next one by.
    fn begin_ranking(
        &mut self,
        ranked: Ranked,
        asking: Asking<'_>,
        version: Arc<Version>,
        news: (Span, Tick),
    ) -> Result<bool, Exhausted> {
        let keys = version.len().max(self.first.told.len());
        let cost = Ranking::cost(ranked, keys) as u64;
        if self.listed.bytes() < cost {
            self.listed.resize(cost)?;
        }
        let hold = version.hold(asking.account)?;
        if ranked.waits && self.first.before.is_none() {
            let (span, tick) = news;
            self.first.before = Some(Before { version, read_end: span.end, _hold: hold });
            self.number = tick.number;
            return Ok(false);
        }
        self.first.work = Some(Work { ranking: Ranking::new(ranked), version, hold, news });
        Ok(true)
    }

    /// The map is gone, and with it all that was told.
    fn take_leave(&mut self, version: Arc<Version>) {
        let gone = self.first.told.iter().flat_map(Key::refs).collect();
        let first = First { gone, out: Vec::new(), keys: Vec::new(), before: None };
        self.first.next.clear();
        self.telling = Some(Telling {
            version,
            news: None,
            cursor: self.cursor,
            known: self.known,
            full: false,
            place: Place::Gone(0, 0),
            left_out: 0,
            hold: None,
            first: Some(first),
        });
    }

    /// What is to be told of the first keys, given those that were told before.
    fn difference(
        &mut self,
        first: &[u32],
        work: Work,
        terms: &Terms,
        asking: Asking<'_>,
        following: &Following,
    ) -> Telling {
        let Work { version, hold, news, ranking } = work;
        let layout = &self.feed.layout;
        let mode = layout.mode(terms.cpu);
        let room = following.max - (following.series - self.series);
        let (mut keys, mut next) = (Vec::with_capacity(first.len()), Vec::<Key>::new());
        let (mut series, mut left_out) = (0, ranking.left_out());
        let mut scratch = Scratch::default();
        let mut last: Arc<[Range<usize>]> = Arc::default();
        for row in first.iter().filter_map(|at| version.row(*at)) {
            let subject = row.subject(&version.shape);
            let slots = self.choice.slots(terms, layout, &version.names, subject, &mut scratch);
            let labels = self.choice.announced_bytes(layout, &version, subject);
            if series + slots > room || labels + layout.longest_number() > asking.size.labels {
                left_out += slots as u64;
                continue;
            }
            series += slots;
            let runs = scratch.take_slots();
            if *last != *runs {
                last = runs.as_slice().into();
            }
            scratch.give_slots(runs);
            let (at, first) = (row.at, row.keys.first(mode, row.place));
            next.push(Key { at, first, slots: last.clone() });
            let told = &self.first.told;
            let known = told.binary_search_by_key(&at, |key| key.at);
            keys.push((at, known.is_ok_and(|known| told[known].first == first)));
        }
        next.sort_unstable_by_key(|key| key.at);
        let (mut gone, mut out) = (Vec::new(), Vec::new());
        for key in &self.first.told {
            let stays = next.binary_search_by_key(&key.at, |key| key.at);
            if stays.is_ok_and(|at| next[at].first == key.first) {
                continue;
            }
            let row = version.row(key.at);
            let there = row.is_some_and(|row| row.keys.first(mode, row.place) == key.first);
            if there { &mut out } else { &mut gone }.extend(key.refs());
        }
        self.first.next = next;
        let full = self.cursor == 0
            || terms.resend.is_some_and(|every| self.resent.elapsed() + terms.interval > every);
        Telling {
            version,
            news: Some(news),
            cursor: self.cursor,
            known: self.known,
            full,
            place: Place::Gone(0, 0),
            left_out,
            hold: Some(hold),
            first: Some(First { gone, out, keys, before: self.first.before.clone() }),
        }
    }

    fn first_page(
        &mut self,
        asking: Asking<'_>,
        following: &mut Following,
    ) -> Result<Delivery, WatchError> {
        let mut charge = asking.account.charge(asking.size.cost as u64)?;
        let Some(telling) = self.telling.take() else { return Ok(Delivery::Nothing) };
        let terms = &asking.granted.terms;
        let listener = Listener {
            feed: &self.feed,
            map: &self.named.map,
            terms,
            choice: &self.choice,
            wire: asking.wire,
            size: asking.size,
            series: self.series,
            room: usize::MAX,
            left_out: self.left_out,
        };
        let chunk = telling.step(listener, &mut Followed::All);
        let bytes = Some(chunk.bytes.into_boxed_slice()).filter(|bytes| !bytes.is_empty());
        let told = bytes.map(|bytes| Told::new(bytes, &mut charge)).transpose()?;
        let others = following.series - self.series;
        self.series = self.series - chunk.removed + chunk.added;
        following.series = others + self.series;
        if let Some(place) = chunk.next {
            self.telling = Some(Telling { place, ..telling });
            return Ok(Delivery::Page(told));
        }
        self.first.told = std::mem::take(&mut self.first.next);
        let Some((span, tick)) = telling.news else { return Ok(Delivery::End(told)) };
        self.left_out = telling.left_out(self.feed.layout.mode(terms.cpu), 0);
        if telling.full {
            self.resent = Instant::now();
        }
        self.cursor = telling.version.sweep;
        self.known = self.cursor;
        self.number = tick.number;
        if let (Some(hold), true) = (telling.hold, terms.measures_rates()) {
            let (version, read_end) = (telling.version, span.end);
            self.first.before = Some(Before { version, read_end, _hold: hold });
        }
        Ok(Delivery::Last(told))
    }
}
