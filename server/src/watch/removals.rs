//! Keys that went away, remembered until the slowest watch was told.

use std::collections::VecDeque;
use std::sync::Arc;

/// Keys in a block.
const BLOCK: usize = 1024;

/// A key that went away.
#[derive(Clone)]
pub(super) struct Gone {
    /// Where it was.
    pub(super) at: u32,
    /// The sweep that missed it.
    pub(super) sweep: u32,
    /// The sweep that first saw it.
    pub(super) born: u32,
    /// By CPU mode: the first slot's ref.
    pub(super) firsts: [u64; 2],
    pub(super) key: Box<[u8]>,
    pub(super) names: Box<[Option<Arc<str>>]>,
}

impl Gone {
    /// What one takes.
    pub(super) fn cost(key: usize, names: usize) -> usize {
        // The allocations of the key and the names have a header each.
        size_of::<Self>() + key.next_multiple_of(16) + 32 + names * size_of::<Option<Arc<str>>>()
    }
}

/// Keys that went, by sweep, oldest first. A clone shares them.
#[derive(Clone, Default)]
pub(super) struct Removals {
    blocks: VecDeque<Arc<Vec<Gone>>>,
    /// Of the first block, forgotten already.
    skipped: usize,
    len: usize,
    /// All that went behind this sweep are still known.
    since: u32,
}

impl Removals {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, gone: Gone) {
        self.len += 1;
        if let Some(last) = self.blocks.back_mut().filter(|block| block.len() < BLOCK) {
            // Copied if a watch is being told of it.
            return Arc::make_mut(last).push(gone);
        }
        self.blocks.push_back(Arc::new(vec![gone]));
    }

    /// Forgets what went up to a sweep, and the oldest if there are more than so many. The bytes
    /// that they took.
    pub(super) fn forget(&mut self, up_to: u32, most: usize) -> usize {
        let mut free = 0;
        while let Some(block) = self.blocks.front() {
            let oldest = &block[self.skipped];
            if oldest.sweep > up_to && self.len <= most {
                break;
            }
            self.since = oldest.sweep;
            free += Gone::cost(oldest.key.len(), oldest.names.len());
            self.skipped += 1;
            self.len -= 1;
            if self.skipped == block.len() {
                self.blocks.pop_front();
                self.skipped = 0;
            }
        }
        free
    }

    /// Forgets all up to a sweep that is not behind any of them. The bytes that they took.
    pub(super) fn clear(&mut self, sweep: u32) -> usize {
        let free = self.forget(sweep, 0);
        self.since = sweep;
        free
    }

    /// The number of those that went behind a sweep, counted from the oldest: `None` if that is too
    /// long ago to know.
    pub(super) fn behind(&self, sweep: u32) -> Option<usize> {
        let before = |gone: &Gone| gone.sweep <= sweep;
        let whole = self.blocks.partition_point(|block| block.last().is_some_and(before));
        let within = self.blocks.get(whole).map_or(0, |block| block.partition_point(before));
        let lengths = self.blocks.range(..whole).map(|block| block.len());
        (self.since <= sweep).then(|| (lengths.sum::<usize>() + within).max(self.skipped))
    }

    /// Those from that number on.
    pub(super) fn from(&self, number: usize) -> impl Iterator<Item = (usize, &Gone)> {
        let mut first = 0;
        let blocks = self.blocks.iter().map(move |block| {
            first += block.len();
            (first - block.len(), block)
        });
        let ahead = blocks.skip_while(move |(first, block)| first + block.len() <= number);
        ahead.flat_map(move |(first, block)| {
            let skipped = number.saturating_sub(first);
            block[skipped..].iter().enumerate().map(move |(at, gone)| (first + skipped + at, gone))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_known_from_a_sweep_on_and_forgotten_from_the_oldest() {
        let mut removals = Removals::default();
        for sweep in 1..=3000 {
            let (names, key) = (Box::default(), Box::from([0; 4]));
            removals.push(Gone { at: sweep, sweep, born: 1, firsts: [0; 2], key, names });
        }
        let behind = |removals: &Removals, sweep| {
            let from = removals.behind(sweep)?;
            let all: Vec<_> = removals.from(from).map(|(_, gone)| gone.sweep).collect();
            assert!(all.is_sorted());
            Some((all.len(), all.first().copied()))
        };
        assert_eq!(behind(&removals, 0), Some((3000, Some(1))));
        assert_eq!(behind(&removals, 1024), Some((1976, Some(1025))));
        assert_eq!(behind(&removals, 3000), Some((0, None)));
        let held = removals.clone();
        removals.forget(1500, usize::MAX);
        removals.forget(0, 1000);
        assert_eq!((removals.len(), behind(&removals, 1999)), (1000, None));
        assert_eq!(behind(&removals, 2000), Some((1000, Some(2001))));
        assert_eq!(behind(&held, 5), Some((2995, Some(6))), "who holds them has them");
        removals.clear(3000);
        assert_eq!((behind(&removals, 2999), behind(&removals, 3000)), (None, Some((0, None))));
    }
}
