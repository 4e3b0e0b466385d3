//! What one watch takes of one map, and how far it has been told.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::choice::Choice;
use super::feed::{Feed, State, Subscriber};
use super::message::{Told, WatchMessage};
use super::parcel::{Parcel, ParcelKey};
use super::request::Granted;
use super::table::{Mode, Table};
use super::telling::{Followed, Telling, removed};
use super::tiers::Tier;

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
    /// The same, counted at the watch's interval.
    number: u64,
    /// When every series was last sent.
    resent: Instant,
    followed: Followed,
    /// How many series of them.
    series: usize,
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
            number: 0,
            resent: joined,
            followed: Followed::All,
            series: 0,
            left_out: 0,
        }
    }

    /// Adds what is new since the last time.
    pub(super) fn deliver(
        &mut self,
        granted: &Arc<Granted>,
        following: &mut Following,
        out: &mut VecDeque<Arc<Told>>,
    ) -> Delivery {
        let feed = self.feed.clone();
        let state = feed.state();
        let Some(tier) = self.news(&state) else {
            if state.table.gone {
                self.remove_all(granted, &state.table, following, out);
                return Delivery::End;
            }
            return Delivery::Nothing;
        };
        let terms = &granted.terms;
        let full = self.cursor == 0
            || terms.resend.is_some_and(|every| self.resent.elapsed() + terms.interval > every);
        let shared = matches!(self.followed, Followed::All);
        let all = shared.then(|| {
            let Self { cursor, number, .. } = *self;
            let key = ParcelKey { terms: granted.id, cursor, number, full };
            let everything = || self.tell(granted, &state.table, tier, full, usize::MAX).0;
            feed.parcels.take(key, granted.sharers(), everything)
        });
        let others = following.series - self.series;
        let fits = |parcel: &Arc<Parcel>| {
            others + self.series - parcel.removed + parcel.added <= following.max
        };
        let (parcel, followed) = if let Some(all) = all.filter(fits) {
            (all, Followed::All)
        } else {
            let room = following.max - others;
            let (parcel, followed) = self.tell(granted, &state.table, tier, full, room);
            (Arc::new(parcel), followed)
        };
        out.extend(parcel.messages.iter().cloned());
        self.series = self.series - parcel.removed + parcel.added;
        following.series = others + self.series;
        self.left_out = parcel.left_out;
        self.followed = followed;
        if full {
            self.resent = Instant::now();
        }
        self.cursor = state.table.sweep;
        self.number = tier.number;
        self.subscriber.given(self.cursor);
        Delivery::Some
    }

    /// The interval's state, if a sweep at it is new to this watch.
    fn news<'a>(&self, state: &'a State) -> Option<&'a Tier> {
        let State { table, tiers } = state;
        let tier = tiers.get(self.subscriber.interval).filter(|tier| tier.number > self.number)?;
        let span = table.span?;
        let places: Vec<usize> = self.choice.places().collect();
        // A snapshot from before the watch will do while it is no older than the interval.
        let first = || {
            span.begun + self.subscriber.interval >= self.joined
                && table.has(self.subscriber.mode, &places)
        };
        (self.cursor > 0 || first()).then_some(tier)
    }

    /// What there is to tell, with room for so many series of this map, and which keys are then
    /// followed if not all.
    fn tell(
        &self,
        granted: &Granted,
        table: &Table,
        tier: &Tier,
        full: bool,
        room: usize,
    ) -> (Parcel, Followed) {
        let mut telling = Telling::new(&self.feed, &granted.terms, &self.choice, table);
        let mode = table.mode(self.subscriber.mode);
        let lost = telling.removals(mode, self.cursor, self.series, self.followed.clone());
        let (cursor, followed) = match lost {
            Some(followed) => (self.cursor, followed),
            None => (0, Followed::All),
        };
        let full = full || cursor == 0;
        let room = room.saturating_sub(self.series - telling.removed);
        let (listed, followed, left_out) = telling.values(mode, cursor, full, room, followed);
        let slots = self.feed.layout.slots(self.subscriber.mode) as u64;
        let refused = if let Mode::Refused(series) = mode { *series } else { 0 };
        let left_out = left_out + refused + table.left_out * slots;
        telling.limit(left_out, self.left_out);
        telling.trouble(self.cursor);
        telling.batch(listed, tier, self.number);
        let Telling { out, added, removed, .. } = telling;
        let messages = out.into_iter().map(|message| Arc::new(Told::new(message))).collect();
        (Parcel { messages, added, removed, left_out }, followed)
    }

    fn remove_all(
        &mut self,
        granted: &Granted,
        table: &Table,
        following: &mut Following,
        out: &mut VecDeque<Arc<Told>>,
    ) {
        // Other intervals' sweeps may have found keys gone that this watch was not told of.
        let mut telling = Telling::new(&self.feed, &granted.terms, &self.choice, table);
        let mode = table.mode(self.subscriber.mode);
        let followed = telling.removals(mode, self.cursor, self.series, self.followed.clone());
        let mut refs = Vec::new();
        if let (Some(numbers), Some(followed)) = (mode.numbers(), followed) {
            let mut slots = Vec::new();
            for (_, entry) in table.entries(None) {
                let first = entry.refs[self.subscriber.mode.index()];
                if followed.has((numbers, entry, first), self.cursor) {
                    self.choice.slots(&granted.terms, entry, &mut slots);
                    refs.extend(slots.iter().map(|slot| first + *slot as u64));
                }
            }
        }
        following.series -= self.series;
        self.series = 0;
        let all = removed(refs, self.feed.map_removed(), &self.feed.key.map);
        let all = telling.out.into_iter().chain(all.map(WatchMessage::Removed));
        out.extend(all.map(|message| Arc::new(Told::new(message))));
    }
}
