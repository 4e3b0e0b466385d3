//! When a map is swept: at the ticks of every interval that somebody watches it at.
//!
//! All intervals are multiples of [`GRID`], and the ticks of one map lie at multiples of its
//! interval behind one phase. So where one interval divides another every tick of the slower is one
//! of the faster, a sweep serves all whose tick it is, and a map is never swept more often than once
//! in [`GRID`] however many intervals there are. The phase comes from the hash of the map's name and
//! spreads maps over the interval.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bpfgate_proto::name::MapName;
use tokio::time::Instant;

/// What every interval is a multiple of.
pub(super) const GRID: Duration = Duration::from_millis(50);

/// The intervals that a map is watched at.
pub(super) struct Tiers {
    /// When ticks began to be counted, for all maps.
    epoch: Instant,
    phase: Duration,
    by_interval: BTreeMap<Duration, Tier>,
}

/// One interval that a map is watched at.
#[derive(Debug)]
pub(super) struct Tier {
    /// Sweeps at this interval; 0 before the first.
    pub(super) number: u64,
    /// From the begin of the sweep before to the begin of the last.
    pub(super) achieved: Option<Duration>,
    /// From the tick to the begin of the last sweep.
    pub(super) lag: Duration,
    begun: Option<Instant>,
    due: Instant,
    watchers: usize,
}

impl Tiers {
    pub(super) fn new(epoch: Instant, map: &MapName) -> Self {
        let mut hasher = DefaultHasher::new();
        map.hash(&mut hasher);
        Self {
            epoch,
            phase: Duration::from_nanos(hasher.finish() >> 8),
            by_interval: BTreeMap::new(),
        }
    }

    /// Takes in a watcher. `last` is when the sweep began that it may take for its first; otherwise
    /// one is due at once.
    pub(super) fn join(&mut self, interval: Duration, last: Option<Instant>, now: Instant) {
        let first = self.first(interval);
        let tier = self.by_interval.entry(interval).or_insert_with(|| Tier {
            number: last.map_or(0, |_| 1),
            achieved: None,
            lag: Duration::ZERO,
            begun: last,
            due: last.map_or(now, |last| next_tick(first, interval, last, now)),
            watchers: 0,
        });
        tier.watchers += 1;
        if last.is_none() {
            tier.due = tier.due.min(now);
        }
    }

    pub(super) fn leave(&mut self, interval: Duration) {
        if let Some(tier) = self.by_interval.get_mut(&interval) {
            tier.watchers -= 1;
            if tier.watchers == 0 {
                self.by_interval.remove(&interval);
            }
        }
    }

    /// When the next sweep is due, if anybody waits for one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.by_interval.values().map(|tier| tier.due).min()
    }

    /// Notes a sweep that began when `begun` and is over `now`. Ticks that it ran over are not made
    /// up for.
    pub(super) fn swept(&mut self, begun: Instant, now: Instant) {
        let firsts: Vec<_> =
            self.by_interval.keys().map(|interval| self.first(*interval)).collect();
        for ((interval, tier), first) in self.by_interval.iter_mut().zip(firsts) {
            if tier.due > begun {
                continue;
            }
            tier.number += 1;
            tier.achieved = tier.begun.map(|before| begun - before);
            tier.lag = begun - tier.due;
            tier.begun = Some(begun);
            tier.due = next_tick(first, *interval, begun, now);
        }
    }

    /// A tick of this interval. Those of a multiple of it are among its ticks.
    fn first(&self, interval: Duration) -> Instant {
        self.epoch + Duration::from_nanos_u128(self.phase.as_nanos() % interval.as_nanos())
    }

    pub(super) fn get(&self, interval: Duration) -> Option<&Tier> {
        self.by_interval.get(&interval)
    }

    /// Whether the last sweep, which began then, was one of this interval's.
    pub(super) fn took(&self, interval: Duration, begun: Instant) -> bool {
        self.get(interval).is_some_and(|tier| tier.begun == Some(begun))
    }
}

/// The next of the ticks that start at `first`, but no sooner than half an interval after the last
/// sweep began: the first sweep comes when the first watcher does, not on a tick.
fn next_tick(first: Instant, interval: Duration, begun: Instant, now: Instant) -> Instant {
    let from = now.max(begun + interval / 2).saturating_duration_since(first);
    let ticks = from.as_nanos().div_ceil(interval.as_nanos());
    first + Duration::from_nanos_u128(ticks * interval.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_their_phase_and_are_not_made_up_for() {
        let first = Instant::now();
        let second = Duration::from_secs(1);
        let at = |seconds: f64| first + Duration::from_secs_f64(seconds);
        let next = |begun: f64, now: f64| next_tick(first, second, at(begun), at(now));
        assert_eq!(next(1.0, 1.1), at(2.0));
        // The first sweep came just before a tick.
        assert_eq!(next(1.9, 1.9), at(3.0));
        assert_eq!(next(1.5, 1.5), at(2.0));
        // The sweep took 2.7 s.
        assert_eq!(next(1.0, 3.7), at(4.0));
        // The first sweep came in the hub's first moments, before any tick.
        assert_eq!(next_tick(at(0.3), second, first, first), at(1.3));
        assert_eq!(next_tick(at(0.7), second, first, first), at(0.7));
    }

    #[test]
    fn maps_are_spread_over_the_interval() {
        let epoch = Instant::now();
        for interval in [GRID, Duration::from_secs(1), Duration::from_hours(1)] {
            let phase = |n: u32| {
                let tiers = Tiers::new(epoch, &format!("m{n}").parse().unwrap());
                tiers.first(interval) - epoch
            };
            let early = (0..100).filter(|n| phase(*n) < interval / 2).count();
            assert!((0..100).all(|n| phase(n) < interval));
            assert!((25..75).contains(&early), "{early} of 100 in the first half");
        }
    }

    /// Plays sweeps that take no time; how often each interval was served, and all sweeps.
    fn play(intervals: &[Duration], time: Duration) -> (Vec<u64>, usize) {
        let epoch = Instant::now();
        let mut tiers = Tiers::new(epoch, &"m".parse().unwrap());
        for interval in intervals {
            tiers.join(*interval, None, epoch);
        }
        let mut sweeps = 0;
        while let Some(due) = tiers.due().filter(|due| *due < epoch + time) {
            tiers.swept(due, due);
            sweeps += 1;
        }
        (intervals.iter().map(|it| tiers.get(*it).unwrap().number).collect(), sweeps)
    }

    #[test]
    fn intervals_that_divide_share_their_sweeps() {
        let minute = Duration::from_mins(1);
        let (_, alone) = play(&[GRID * 2], minute);
        let (numbers, sweeps) = play(&[GRID * 2, GRID * 4, GRID * 20, GRID * 40], minute);
        assert_eq!(sweeps, alone, "no more than the fastest alone");
        for (number, expected) in numbers.into_iter().zip([600, 300, 60, 30]) {
            assert!((expected - 1..=expected + 1).contains(&number), "{number}, not {expected}");
        }
    }

    #[test]
    fn whatever_the_intervals_the_grid_bounds_the_sweeps() {
        let all: Vec<Duration> = (2..200).map(|n| GRID * n).collect();
        let (_, sweeps) = play(&all, Duration::from_secs(10));
        assert!(sweeps <= 202, "{sweeps} sweeps in 10 s");
        let (numbers, sweeps) = play(&[GRID * 2, GRID * 3], GRID * 600);
        assert!((399..=402).contains(&sweeps), "{sweeps}: every sixth serves both");
        assert!((299..=301).contains(&numbers[0]) && (199..=201).contains(&numbers[1]));
    }

    #[test]
    fn a_sweep_that_takes_too_long_is_told() {
        let epoch = Instant::now();
        let mut tiers = Tiers::new(epoch, &"m".parse().unwrap());
        tiers.join(GRID, None, epoch);
        tiers.swept(epoch, epoch);
        let due = tiers.due().unwrap();
        let late = due + GRID / 5;
        tiers.swept(late, late + GRID * 3);
        let tier = tiers.get(GRID).unwrap();
        assert_eq!((tier.lag, tier.achieved), (GRID / 5, Some(late - epoch)));
        let next = tiers.due().unwrap();
        assert_eq!((next - due).as_nanos() % GRID.as_nanos(), 0, "the phase is kept");
        assert!(next >= late + GRID * 3, "what it ran over is not made up for");
        tiers.leave(GRID);
        assert_eq!(tiers.due(), None);
    }
}
