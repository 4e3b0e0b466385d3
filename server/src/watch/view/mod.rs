//! What one watch takes of one map, and how far it has been told. [`first`] is for one that takes the
//! keys that come first.

mod first;

use std::sync::Arc;

use tokio::time::Instant;

use self::first::Firsts;
use crate::ledger::{Account, Charge};
use crate::watch::choice::Choice;
use crate::watch::error::WatchError;
use crate::watch::feed::{Feed, Named, State, Subscriber};
use crate::watch::message::{RemovedReason, Wire};
use crate::watch::page::{Page, Size, Tick};
use crate::watch::parcel::{Bytes, Parcel, ParcelKey};
use crate::watch::request::Granted;
use crate::watch::telling::{Followed, Listener, Telling};
use crate::watch::told::Told;
use crate::watch::version::Span;

/// A watch's place in one map.
pub(in crate::watch) struct View {
    pub(in crate::watch) feed: Arc<Feed>,
    /// What the watch knows the map by.
    pub(in crate::watch) named: Named,
    subscriber: Arc<Subscriber>,
    /// Sync waits for its first delivery.
    pub(in crate::watch) initial: bool,
    choice: Choice,
    joined: Instant,
    /// The last sweep that was delivered; 0 before the first, or to begin anew.
    cursor: u32,
    /// The last sweep that was delivered; 0 before the first.
    known: u32,
    /// The same, counted at the watch's interval.
    number: u64,
    /// When every series was last sent.
    resent: Instant,
    followed: Followed,
    /// How many series of them.
    series: usize,
    /// Series left out, as last reported.
    left_out: u64,
    telling: Option<Telling>,
    /// Of a watch that takes the keys that come first.
    first: Firsts,
    /// For all this.
    _charge: Charge,
    /// For the list of what is followed, where that is not all.
    listed: Charge,
}

/// What came of asking for news.
#[derive(Debug)]
pub(in crate::watch) enum Delivery {
    /// Nothing new.
    Nothing,
    /// This, and the rest when asked again.
    Page(Option<Told>),
    /// This, and with it all that is known now.
    Last(Option<Told>),
    /// This, with which everything was said about a map that is gone.
    End(Option<Told>),
}

/// How many series a watch follows, over all its maps.
pub(in crate::watch) struct Following {
    pub(in crate::watch) series: usize,
    pub(in crate::watch) max: usize,
}

/// Who asks.
#[derive(Clone, Copy)]
pub(in crate::watch) struct Asking<'a> {
    pub(in crate::watch) granted: &'a Arc<Granted>,
    pub(in crate::watch) wire: &'a dyn Wire,
    pub(in crate::watch) size: Size,
    pub(in crate::watch) account: &'a Account,
}

impl View {
    /// What one takes beside its choice.
    pub(in crate::watch) const COST: usize = 1024;

    pub(in crate::watch) fn new(
        feed: Arc<Feed>,
        subscriber: Arc<Subscriber>,
        choice: Choice,
        charge: Charge,
    ) -> Self {
        let joined = Instant::now();
        Self {
            named: feed.named(),
            feed,
            subscriber,
            initial: false,
            choice,
            joined,
            cursor: 0,
            known: 0,
            number: 0,
            resent: joined,
            followed: Followed::All,
            series: 0,
            left_out: 0,
            telling: None,
            first: Firsts::default(),
            listed: charge.account().empty(),
            _charge: charge,
        }
    }

    /// Something was told in part.
    pub(in crate::watch) fn is_open(&self) -> bool {
        self.telling.is_some() || self.first.is_ranking()
    }

    /// What the map is called now, if the watch knows it by another name.
    pub(in crate::watch) fn renamed(&self) -> Option<Named> {
        Some(self.feed.named()).filter(|now| now.number != self.named.number)
    }

    /// The next page of what is new since the last time.
    pub(in crate::watch) fn deliver(
        &mut self,
        asking: Asking<'_>,
        following: &mut Following,
    ) -> Result<Delivery, WatchError> {
        if let Some(ranked) = asking.granted.terms.ranked {
            return self.deliver_first(ranked, asking, following);
        }
        // What a page takes at most, before anything is begun.
        let mut charge = None;
        if self.telling.is_none() {
            let feed = self.feed.clone();
            let state = feed.state();
            let news = self.news(&state);
            if news.is_none() && !state.gone {
                return Ok(Delivery::Nothing);
            }
            let charge = charge.insert(asking.account.charge(asking.size.cost as u64)?);
            let Some(place) = Telling::begin(&state.version, self.subscriber.mode, self.cursor)
            else {
                following.series -= self.series;
                (self.series, self.cursor, self.followed) = (0, 0, Followed::All);
                let mut page = Page::new(asking.wire, &self.named.map, asking.size);
                page.all_removed(RemovedReason::Limit);
                return Ok(Delivery::Page(Some(Told::new(page.into_bytes(), charge)?)));
            };
            let terms = &asking.granted.terms;
            let full = self.cursor == 0
                || terms.resend.is_some_and(|every| self.resent.elapsed() + terms.interval > every);
            let (version, hold) = (state.version.clone(), None);
            let (cursor, known, left_out) = (self.cursor, self.known, 0);
            // From now on it need not be kept for this watch what went before.
            self.subscriber.given(version.sweep);
            self.telling = Some(Telling {
                version,
                news,
                cursor,
                known,
                full,
                place,
                left_out,
                hold,
                first: None,
            });
        }
        let charge = match charge {
            Some(charge) => charge,
            None => asking.account.charge(asking.size.cost as u64)?,
        };
        self.page(asking, following, charge)
    }

    /// The page at hand, all of whose making is paid for.
    fn page(
        &mut self,
        asking: Asking<'_>,
        following: &mut Following,
        mut charge: Charge,
    ) -> Result<Delivery, WatchError> {
        let Some(mut telling) = self.telling.take() else { return Ok(Delivery::Nothing) };
        let others = following.series - self.series;
        let room = following.max - others;
        let listener = Listener {
            feed: &self.feed,
            map: &self.named.map,
            terms: &asking.granted.terms,
            choice: &self.choice,
            wire: asking.wire,
            size: asking.size,
            series: self.series,
            room: usize::MAX,
            left_out: self.left_out,
        };
        let mut followed = self.followed.clone();
        let shared = matches!(followed, Followed::All).then(|| {
            let number = telling.news.map_or(0, |(_, tick)| tick.before);
            let key = ParcelKey {
                terms: asking.granted.id,
                named: self.named.number,
                sweep: telling.version.sweep,
                cursor: telling.cursor,
                known: telling.known,
                before: if telling.news.is_some() { number } else { u64::MAX },
                full: telling.full,
                place: telling.place,
                left_out: (self.left_out, telling.left_out),
            };
            let sharers = asking.granted.sharers();
            self.feed.parcels.take(key, sharers, || {
                let chunk = telling.step(listener, &mut Followed::All);
                let kept = sharers > 1 && key.is_told_to_all();
                let kept = kept.then(|| charge.split(chunk.bytes.len() as u64));
                Parcel::new(chunk, kept)
            })
        });
        let fits = |parcel: &Arc<Parcel>| {
            parcel.left_out == 0 && self.series - parcel.removed + parcel.added <= room
        };
        let parcel = if let Some(parcel) = shared.filter(fits) {
            parcel
        } else {
            let cost = Followed::cost(telling.version.len()) as u64;
            if self.listed.bytes() < cost
                && let Err(exhausted) = self.listed.resize(cost)
            {
                if telling.hold.is_some() {
                    self.telling = Some(telling);
                } else {
                    self.subscriber.not_given(self.known);
                }
                return Err(exhausted.into());
            }
            Arc::new(Parcel::new(telling.step(Listener { room, ..listener }, &mut followed), None))
        };
        if parcel.next.is_some() && telling.hold.is_none() {
            match telling.version.hold(asking.account) {
                Ok(hold) => telling.hold = Some(hold),
                Err(exhausted) => {
                    // Nothing of it was told yet: the next sweep has it all.
                    self.subscriber.not_given(self.known);
                    return Err(exhausted.into());
                }
            }
        }
        let bytes = Some(parcel.clone()).filter(|parcel| !parcel.bytes.is_empty()).map(Bytes);
        let told = bytes.map(|bytes| Told::new(bytes, &mut charge)).transpose()?;
        self.series = self.series - parcel.removed + parcel.added;
        following.series = others + self.series;
        self.followed = followed;
        if let Some(place) = parcel.next {
            telling.left_out += parcel.left_out;
            self.telling = Some(Telling { place, ..telling });
            return Ok(Delivery::Page(told));
        }
        let left_out =
            telling.left_out(self.feed.layout.mode(asking.granted.terms.cpu), parcel.left_out);
        let Some((_, tick)) = telling.news else { return Ok(Delivery::End(told)) };
        self.left_out = left_out;
        if telling.left_out + parcel.left_out == 0 {
            self.followed = Followed::All;
            self.listed.shrink(0);
        }
        if telling.full {
            self.resent = Instant::now();
        }
        self.cursor = telling.version.sweep;
        self.known = self.cursor;
        self.number = tick.number;
        Ok(Delivery::Last(told))
    }

    /// The sweep that is new to this watch, if there is one at its interval.
    fn news(&self, state: &State) -> Option<(Span, Tick)> {
        let tier = state.tiers.get(self.subscriber.interval);
        let tier = tier.filter(|tier| tier.number > self.number)?;
        let span = state.span?;
        // A snapshot from before the watch will do while it is no older than the interval.
        let first = || {
            span.begun + self.subscriber.interval >= self.joined
                && self.choice.is_known_to(&state.version, self.subscriber.mode)
        };
        let tick = Tick {
            number: tier.number,
            before: self.number,
            achieved: tier.achieved,
            lag: tier.lag,
        };
        (self.number > 0 || first()).then_some((span, tick))
    }
}
