//! Which keys of a map come first: one pass over a version, that keeps no more than the first so
//! many.
//!
//! The pass can be made in parts: a map may have millions of keys, and others want their turn.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::SystemTime;

use super::choice::{Choice, Scratch};
use super::layout::Layout;
use super::request::{CpuMode, Order, Ranked, Terms};
use super::source::CounterKind;
use super::version::{Row, Version};
use crate::ledger::Charge;

/// Keys, times what there is to do for each, that are looked at without a pause.
const PART: usize = 16_384;
/// Bytes of labels that are compared.
const NAME_BYTES: usize = 192;

/// The sweep before, which rates are measured from. Whoever holds it pays for it.
#[derive(Clone)]
pub(super) struct Before {
    pub(super) version: Arc<Version>,
    pub(super) read_end: SystemTime,
    pub(super) _hold: Arc<Charge>,
}

/// A pass under way.
pub(super) struct Ranking {
    ranked: Ranked,
    at: u32,
    /// The last of them on top.
    first: BinaryHeap<Candidate>,
    /// Keys that were ranked, and series of the last of them.
    keys: usize,
    slots: usize,
}

/// What puts a key ahead of others: the smaller, the better.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    number: i128,
    then: i128,
    name: Box<[u8]>,
    /// Of equals, those that the watch has stay.
    new: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: Rank,
    at: u32,
}

/// What a key is ranked by.
#[derive(Clone, Copy)]
pub(super) struct Judging<'a> {
    pub(super) terms: &'a Terms,
    pub(super) choice: &'a Choice,
    pub(super) layout: &'a Layout,
    pub(super) version: &'a Version,
    pub(super) before: Option<&'a Version>,
}

impl Before {
    /// A number as it was, if it has not begun anew since.
    pub(super) fn number(
        &self,
        layout: &Layout,
        mode: CpuMode,
        row: &Row<'_>,
        slot: usize,
    ) -> Option<(u64, SystemTime)> {
        let (number, _) = layout.slot(mode, slot);
        let numbers = |raw| layout.read(mode, slot, raw).next().unwrap_or_default();
        let before = same(&self.version, mode, row)?;
        let was = numbers(before.values.raw(&self.version.shape, before.place));
        let reset = row.values.reset(mode, &self.version.shape, row.place, slot);
        let anew = reset.is_some_and(|reset| reset.at > self.version.sweep);
        let single = number.kind != CounterKind::Histogram;
        (single && !anew).then_some((was, self.read_end))
    }
}

/// The same key in a version before.
fn same<'v>(before: &'v Version, mode: CpuMode, row: &Row<'_>) -> Option<Row<'v>> {
    let then = before.row(row.at)?;
    let first = |row: &Row<'_>| row.keys.first(mode, row.place);
    (first(&then) == first(row)).then_some(then)
}

impl Ranking {
    /// What one takes, for a map with so many keys, with the list of what the watch has.
    pub(super) fn cost(ranked: Ranked, keys: usize) -> usize {
        let name = if ranked.order == Order::Name { NAME_BYTES + 32 } else { 0 };
        // The heap doubles as it grows, and is sorted beside the lists made of it.
        ranked.top.min(keys) * (2 * size_of::<Candidate>() + name + 160) + 1024
    }

    pub(super) fn new(ranked: Ranked) -> Self {
        Self { ranked, at: 0, first: BinaryHeap::new(), keys: 0, slots: 0 }
    }

    /// Looks at the next keys. The indices of the first ones, best first, once all were looked at.
    pub(super) fn go_on(
        &mut self,
        judging: Judging<'_>,
        has: impl Fn(&Row<'_>) -> bool,
    ) -> Option<Vec<u32>> {
        let Judging { terms, choice, layout, version, .. } = judging;
        let (mut scratch, mut work) = (Scratch::default(), 0);
        for row in version.rows(self.at, 0) {
            if work >= PART {
                self.at = row.at;
                return None;
            }
            work += choice.work();
            let subject = row.subject(&version.shape);
            let slots = choice.slots(terms, layout, &version.names, subject, &mut scratch);
            if slots == 0 {
                continue;
            }
            (self.keys, self.slots) = (self.keys + 1, slots);
            let rank = self.rank(judging, &row, &scratch, !has(&row));
            let candidate = Candidate { rank, at: row.at };
            if self.first.len() < self.ranked.top {
                self.first.push(candidate);
            } else if let Some(mut last) = self.first.peek_mut()
                && candidate < *last
            {
                *last = candidate;
            }
        }
        let first = std::mem::take(&mut self.first).into_sorted_vec();
        Some(first.into_iter().map(|candidate| candidate.at).collect())
    }

    /// Series of keys that were asked for and are more than can be told.
    pub(super) fn left_out(&self) -> u64 {
        let asked = self.keys.min(self.ranked.asked);
        (asked - asked.min(self.ranked.top)) as u64 * self.slots as u64
    }

    fn rank(&self, judging: Judging<'_>, row: &Row<'_>, scratch: &Scratch, new: bool) -> Rank {
        let Judging { choice, layout, version, before, terms } = judging;
        if self.ranked.order == Order::Name {
            let subject = row.subject(&version.shape);
            let name = if choice.labels_bytes(layout, subject) > NAME_BYTES * 64 {
                Box::default()
            } else {
                let mut texts = String::new();
                let labels = choice.labels(layout, &version.names, subject, &mut texts);
                name(labels.iter().map(|label| label.of(&texts)), self.ranked.reverse)
            };
            return Rank { number: 0, then: 0, name, new };
        }
        let mode = layout.mode(terms.cpu);
        let raw = row.values.raw(&version.shape, row.place);
        // What was not touched since stood still.
        let still = before.is_some_and(|before| row.values.touched(row.place) <= before.sweep);
        let then = before.filter(|_| !still).and_then(|before| same(before, mode, row));
        let numbers = scratch.slots().map(|slot| {
            let total = total(layout, mode, slot, raw);
            let moved = then.map_or(0, |then| {
                let was = total_of(layout, mode, slot, then, &version.shape);
                let grows = layout.slot(mode, slot).0.kind.grows();
                // Since it began anew.
                if grows && total < was { total } else { (total - was).abs() }
            });
            match self.ranked.order {
                Order::Rate if before.is_some() => (moved, total),
                Order::Rate | Order::Value | Order::Name => (total, 0),
            }
        });
        let best = if self.ranked.reverse { numbers.min() } else { numbers.max() };
        let (number, then) = best.unwrap_or_default();
        // The complement turns an order round, and has no overflow.
        let (number, then) = if self.ranked.reverse { (number, then) } else { (!number, !then) };
        Rank { number, then, name: Box::default(), new }
    }
}

fn total_of(
    layout: &Layout,
    mode: CpuMode,
    slot: usize,
    row: Row<'_>,
    shape: &super::segment::Shape,
) -> i128 {
    total(layout, mode, slot, row.values.raw(shape, row.place))
}

/// A number, or all that a histogram counted.
fn total(layout: &Layout, mode: CpuMode, slot: usize, raw: &[u8]) -> i128 {
    let (number, _) = layout.slot(mode, slot);
    let signed = number.signed;
    let wide = |cell: u64| if signed { cell.cast_signed().into() } else { i128::from(cell) };
    layout.read(mode, slot, raw).map(wide).sum()
}

/// Texts as bytes that compare as they do, numbers before others and in their own order.
fn name<'a>(labels: impl Iterator<Item = &'a str>, reverse: bool) -> Box<[u8]> {
    let mut bytes = Vec::new();
    for label in labels {
        if let Ok(number) = label.parse::<i128>() {
            bytes.push(1);
            // As unsigned numbers compare.
            let shifted = number.cast_unsigned() ^ 1 << 127;
            bytes.extend(shifted.to_be_bytes());
        } else {
            bytes.push(2);
            bytes.extend_from_slice(label.as_bytes());
            bytes.push(0);
        }
        if bytes.len() >= NAME_BYTES {
            break;
        }
    }
    bytes.truncate(NAME_BYTES);
    if reverse {
        for byte in &mut bytes {
            *byte = !*byte;
        }
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_compare_as_people_list_them() {
        let ordered: [&[&str]; 8] = [
            &["-5"],
            &["9"],
            &["9", "x"],
            &["10"],
            &["170141183460469231731687303715884105727"],
            &["eth"],
            &["eth0"],
            &["lo"],
        ];
        let names = ordered.map(|labels| name(labels.iter().copied(), false));
        assert!(names.is_sorted(), "{names:?}");
        let mut back = ordered.map(|labels| name(labels.iter().copied(), true));
        // One label after the other is never compared with fewer: keys of a map have as many.
        back.reverse();
        let single = |at: &usize| ordered[7 - at].len() == 1;
        let back: Vec<_> = (0..8).filter(single).map(|at| &back[at]).collect();
        assert!(back.is_sorted(), "{back:?}");
    }
}
