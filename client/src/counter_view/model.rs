//! Random histories against a model: whatever happens to the maps and to the connection, behind
//! every whole sweep the view is what the agent has, and no rate is one that nothing had.

use std::collections::BTreeMap;

use bpfgate_proto::v1::series_removed::Reason;
use bpfgate_proto::v1::{CounterBatch, CounterKind, SeriesRemoved, WatchSync};

use super::tests::{at, header, interrupted, series, sweep};
use super::*;

/// The most that a counter grows in a second.
const FASTEST: u64 = 1_000;

/// Numbers as good as random; the same for the same seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// A key of the made-up map.
#[derive(Clone, Copy)]
struct Key {
    value: u64,
    start: u64,
    /// In this stream; `None` until it is announced.
    reference: Option<u64>,
    /// What the client was last told.
    told: Option<u64>,
}

/// An agent with one map of monotonic counters.
struct Model {
    dice: Dice,
    keys: BTreeMap<u64, Key>,
    /// Ref, name and value of keys that went, until their removal is told.
    gone: Vec<(u64, u64, u64)>,
    now: u64,
    sweep: u64,
    last_ref: u64,
    life: u64,
    /// What a whole view has.
    truth: BTreeMap<String, u64>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let (keys, gone, truth) = <_>::default();
        Self { dice: Dice(seed), keys, gone, now: 1, sweep: 0, last_ref: 0, life: 0, truth }
    }

    fn churn(&mut self) {
        let seconds = 1 + self.dice.below(5);
        self.now += seconds;
        for _ in 0..self.dice.below(4) {
            let key = self.dice.below(12);
            let start = self.now;
            let fresh = Key { value: 0, start, reference: None, told: None };
            if self.dice.one_in(3) {
                let old = self.keys.remove(&key);
                let told = |old: Key| Some((old.reference?, key, old.told?));
                self.gone.extend(old.and_then(told));
            } else {
                self.keys.entry(key).or_insert(fresh);
            }
        }
        for key in self.keys.values_mut() {
            if self.dice.one_in(20) {
                key.value /= 2;
            } else if self.dice.one_in(2) {
                key.value += self.dice.below(FASTEST * seconds + 1);
            }
        }
    }

    /// What a watch sends for one sweep of the map.
    fn tell(&mut self) -> Vec<WatchEvent> {
        let mut events = Vec::new();
        self.sweep += 1;
        let complete = !self.dice.one_in(6);
        let whole = |of: &mut Self, numbers: &[(u64, u64)]| CounterBatch {
            read_end: Some(at(of.now).into()),
            complete,
            ..sweep(of.sweep, numbers)
        };
        if complete && !self.gone.is_empty() {
            let refs = self.gone.drain(..).map(|(reference, ..)| reference).collect();
            let reason = Reason::Deleted.into();
            events.push(WatchEvent::Removed(SeriesRemoved { refs, reason, map: "m".into() }));
        }
        let mut numbers = Vec::new();
        // Only a whole sweep finds that a key went: until then its successor is not announced.
        let waiting = !self.gone.is_empty();
        for (name, key) in &mut self.keys {
            if (key.reference.is_none() && waiting) || (!complete && self.dice.one_in(2)) {
                continue;
            }
            let reference = *key.reference.get_or_insert_with(|| {
                self.last_ref += 1;
                let kind = CounterKind::Monotonic;
                events.push(series(self.last_ref, &name.to_string(), kind, key.start));
                self.last_ref
            });
            if key.told != Some(key.value) {
                numbers.push((reference, key.value));
                key.told = Some(key.value);
            }
        }
        let cut = self.dice.below(numbers.len() as u64 + 1);
        let (first, rest) = numbers.split_at(usize::try_from(cut).unwrap());
        if self.dice.one_in(3) {
            let part = CounterBatch { complete: false, more: true, ..whole(self, first) };
            events.push(WatchEvent::Batch(part));
            events.push(WatchEvent::Batch(whole(self, rest)));
        } else {
            events.push(WatchEvent::Batch(whole(self, &numbers)));
        }
        self.truth = self
            .keys
            .iter()
            .filter_map(|(name, key)| key.told.map(|told| (name.to_string(), told)))
            .chain(self.gone.iter().map(|(_, name, told)| (name.to_string(), *told)))
            .collect();
        events
    }

    /// The connection is cut and opened again, to this agent or to its next life.
    fn cut(&mut self) -> Vec<WatchEvent> {
        if self.dice.one_in(2) {
            self.life += 1;
            self.keys.clear();
        }
        for _ in 0..self.dice.below(4) {
            self.churn();
        }
        self.gone.clear();
        self.sweep = 0;
        for key in self.keys.values_mut() {
            (key.reference, key.told) = (None, None);
        }
        vec![interrupted(), WatchEvent::Resumed(header(&self.life.to_string()))]
    }
}

fn table(view: &CounterView) -> BTreeMap<String, u64> {
    let row = |counter: Counter<'_>| {
        let CounterValue::Unsigned(value) = counter.value() else { panic!("{counter:?}") };
        (counter.key().label("key").expect("a key").to_owned(), *value)
    };
    view.counters().filter(|counter| !counter.is_stale()).map(row).collect()
}

#[test]
fn whatever_happens_the_view_is_what_the_agent_has() {
    for seed in 0..300 {
        let mut model = Model::new(seed);
        let mut view = CounterView::new(&header("0"));
        let mut synced = false;
        for step in 0..60 {
            let cut = model.dice.one_in(15);
            let events = if cut { model.cut() } else { model.tell() };
            for event in &events {
                let before = table(&view);
                let change = view.apply(event).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                if change == Change::None {
                    assert_eq!(table(&view), before, "seed {seed}: half a sweep is seen");
                }
            }
            synced &= !cut;
            if !cut && !synced {
                view.apply(&WatchEvent::Sync(WatchSync { series: 0 })).unwrap();
                synced = true;
            }
            if !cut {
                assert_eq!(table(&view), model.truth, "seed {seed}, step {step}");
            }
            for counter in view.counters() {
                let Some(rate) = counter.rate() else { continue };
                #[allow(clippy::cast_precision_loss, reason = "small")]
                let fastest = FASTEST as f64;
                assert!((0.0..=fastest).contains(&rate), "seed {seed}, step {step}: {counter:?}");
            }
            model.churn();
        }
    }
}
