//! What happened to one map's series behind a sweep, told page by page.
//!
//! A telling holds the version that it tells of, so that its pages are of one sweep however long the
//! watch takes to read them. A page depends on the version, the watch's terms and where the page
//! begins, on nothing else: all who are told the same can share it, or make it once more.

mod first;
mod step;

use std::sync::Arc;

use bpfgate_proto::name::MapName;

use self::step::Step;
use crate::ledger::Charge;
use crate::watch::choice::{Choice, Scratch};
use crate::watch::feed::Feed;
use crate::watch::message::Wire;
use crate::watch::page::{Page, Size, Tick};
use crate::watch::ranking::Before;
use crate::watch::request::{CpuMode, Terms};
use crate::watch::version::{Mode, Span, Version};

/// Which keys a watch follows of those that its selectors take.
#[derive(Debug, Clone, Default)]
pub(in crate::watch) enum Followed {
    /// All that there were at its last sweep.
    #[default]
    All,
    /// Those at these indices: there is no room for all.
    These(Vec<u64>),
}

/// Where a telling is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::watch) enum Place {
    /// At a key that went, and a slot of it.
    Gone(usize, usize),
    /// At the index of a key, and a slot of it.
    Row(u32, usize),
    /// At a slot of a key that is new to the watch and partly told.
    New(u32, usize),
}

/// What a page says and does.
pub(in crate::watch) struct Chunk {
    pub(in crate::watch) bytes: Vec<u8>,
    /// Where the next one begins, if there is one.
    pub(in crate::watch) next: Option<Place>,
    /// Series that are new to the watch.
    pub(in crate::watch) added: usize,
    /// Series that it followed before.
    pub(in crate::watch) removed: usize,
    /// Series that it passed over.
    pub(in crate::watch) left_out: u64,
}

/// Who is told.
#[derive(Clone, Copy)]
pub(in crate::watch) struct Listener<'a> {
    pub(in crate::watch) feed: &'a Feed,
    /// What it knows the map by.
    pub(in crate::watch) map: &'a MapName,
    pub(in crate::watch) terms: &'a Terms,
    pub(in crate::watch) choice: &'a Choice,
    pub(in crate::watch) wire: &'a dyn Wire,
    pub(in crate::watch) size: Size,
    /// Series of this map that it follows.
    pub(in crate::watch) series: usize,
    /// Series of this map that it may follow.
    pub(in crate::watch) room: usize,
    /// Series left out, as last told.
    pub(in crate::watch) left_out: u64,
}

/// A difference that is being told.
pub(in crate::watch) struct Telling {
    pub(in crate::watch) version: Arc<Version>,
    /// When it was read, and which sweep that was for the watch; `None` when the map is gone and all
    /// of it goes.
    pub(in crate::watch) news: Option<(Span, Tick)>,
    /// The sweep that the watch had been told of; 0 for none, or to be told of all.
    pub(in crate::watch) cursor: u32,
    /// The sweep that its troubles were told of.
    pub(in crate::watch) known: u32,
    /// Everything is told again.
    pub(in crate::watch) full: bool,
    pub(in crate::watch) place: Place,
    /// Series passed over so far.
    pub(in crate::watch) left_out: u64,
    /// The version outlives the moment.
    pub(in crate::watch) hold: Option<Arc<Charge>>,
    /// Only these keys are told of.
    pub(in crate::watch) first: Option<First>,
}

/// What a ranking comes to for a watch.
pub(in crate::watch) struct First {
    /// Series that it had of keys that are gone, and of those that others push out.
    pub(in crate::watch) gone: Vec<u64>,
    pub(in crate::watch) out: Vec<u64>,
    /// The keys that come first, and whether it has them already.
    pub(in crate::watch) keys: Vec<(u32, bool)>,
    pub(in crate::watch) before: Option<Before>,
}

impl Followed {
    fn has(&self, at: u32, born: u32, cursor: u32) -> bool {
        match self {
            Self::All => born <= cursor,
            Self::These(bits) => {
                bits.get(at as usize / 64).is_some_and(|w| w & 1 << (at % 64) != 0)
            }
        }
    }

    fn add(&mut self, at: u32) {
        if let Self::These(bits) = self {
            let word = at as usize / 64;
            if word >= bits.len() {
                bits.resize(word + 1, 0);
            }
            bits[word] |= 1 << (at % 64);
        }
    }

    fn remove(&mut self, at: u32) {
        if let Self::These(bits) = self
            && let Some(word) = bits.get_mut(at as usize / 64)
        {
            *word &= !(1 << (at % 64));
        }
    }

    /// What it takes for so many indices.
    pub(in crate::watch) fn cost(indices: usize) -> usize {
        indices / 8 + 64
    }
}

impl Telling {
    /// Where one begins for a watch that was told of the sweep `cursor`: `None` if what went since
    /// is not known any more.
    pub(in crate::watch) fn begin(version: &Version, mode: CpuMode, cursor: u32) -> Option<Place> {
        if cursor == 0 || !version.mode(mode).is_open() {
            return Some(Place::Row(0, 0));
        }
        version.removals.behind(cursor).map(|number| Place::Gone(number, 0))
    }

    /// The page at its place. Whatever it takes is paid for: [`Size::cost`].
    pub(in crate::watch) fn step(&self, listener: Listener<'_>, followed: &mut Followed) -> Chunk {
        let mode = listener.feed.layout.mode(listener.terms.cpu);
        let since = match self.version.mode(mode) {
            Mode::Open(since) => Some(since),
            Mode::Closed | Mode::Refused(_) => None,
        };
        let page = Page::new(listener.wire, listener.map, listener.size);
        let (added, removed, left_out) = (0, 0, 0);
        let chunk = Chunk { bytes: Vec::new(), next: None, added, removed, left_out };
        let (scratch, work) = (Scratch::default(), 0);
        let step = Step { telling: self, listener, mode, since, page, scratch, work, chunk };
        match &self.first {
            Some(first) => step.run_first(first),
            None => step.run(followed),
        }
    }

    /// Series that the watch does not follow for want of room, with so many in the last page.
    pub(in crate::watch) fn left_out(&self, mode: CpuMode, last: u64) -> u64 {
        let refused = if let Mode::Refused(series) = self.version.mode(mode) { series } else { 0 };
        let slots = self.version.shape.slots(mode) as u64;
        self.left_out + last + refused + self.version.left_out * slots
    }
}
