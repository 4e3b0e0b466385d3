//! A watch as a client keeps it: which series there are and what each was last told to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bpfgate_client::v1::series_removed::Reason;
use bpfgate_client::v1::{
    CounterBatch, MapRenamed, Series, SeriesRemoved, SeriesReset, WatchLoss, WatchSync,
};
use bpfgate_client::{Error, Watch, WatchEvent};

use crate::SOON;

/// What a watch told so far. It fails the test where the protocol is broken: a batch of a series
/// that was not announced, a second Sync, a series that comes back under its old ref, a sweep
/// out of order.
#[derive(Debug)]
pub struct Follower {
    watch: Watch,
    /// The living series by their refs.
    pub series: BTreeMap<u64, Series>,
    /// The last value of each.
    pub values: BTreeMap<u64, u64>,
    /// Once everything at the start was told.
    pub sync: Option<WatchSync>,
    /// Every removal.
    pub removed: Vec<SeriesRemoved>,
    /// Every reset.
    pub resets: Vec<SeriesReset>,
    /// The last counts of each histogram.
    pub histograms: BTreeMap<u64, Vec<u64>>,
    /// Every map that got another name, from and to.
    pub renamed: Vec<(String, String)>,
    /// Every loss.
    pub losses: Vec<WatchLoss>,
    /// The last sweep of each map, and whether it was complete.
    pub sweeps: BTreeMap<String, (u64, bool)>,
    /// How many sweeps were told to their end.
    pub delivered: u64,
    /// How many more these stood for.
    pub missed: u64,
    /// The first sweep of each map that was told to its end.
    begun: BTreeMap<String, u64>,
    /// The last one.
    told: BTreeMap<String, u64>,
    /// Since when series counted that went while their map stayed, by name.
    starts: BTreeMap<String, (i64, i32)>,
    /// Every ref there ever was: none is used again.
    refs: BTreeSet<u64>,
}

impl Follower {
    /// Follows from the header on.
    pub fn new(watch: Watch) -> Self {
        Self {
            watch,
            series: BTreeMap::new(),
            values: BTreeMap::new(),
            sync: None,
            removed: Vec::new(),
            resets: Vec::new(),
            histograms: BTreeMap::new(),
            renamed: Vec::new(),
            losses: Vec::new(),
            delivered: 0,
            missed: 0,
            begun: BTreeMap::new(),
            told: BTreeMap::new(),
            sweeps: BTreeMap::new(),
            starts: BTreeMap::new(),
            refs: BTreeSet::new(),
        }
    }

    /// The watch itself.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The next event, already kept; it has to come soon. `None` at the end.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, Error> {
        let next = tokio::time::timeout(SOON, self.watch.next_event()).await;
        let event = next.unwrap_or_else(|_| panic!("the watch is silent: {self:#?}"))?;
        if let Some(event) = &event {
            self.keep(event);
        }
        Ok(event)
    }

    /// Everything up to Sync.
    pub async fn until_sync(&mut self) {
        while self.sync.is_none() {
            self.next().await.unwrap().expect("a Sync before the end");
        }
    }

    /// The next sweep of any map.
    pub async fn batch(&mut self) -> CounterBatch {
        loop {
            let event = self.next().await.unwrap();
            if let WatchEvent::Batch(batch) = event.expect("a batch before the end") {
                return batch;
            }
        }
    }

    /// Sweeps until the series are as `want` says, at most for a few seconds.
    pub async fn until(&mut self, want: impl Fn(&Self) -> bool) {
        let reached = tokio::time::timeout(SOON, async {
            while !want(self) {
                self.batch().await;
            }
        });
        let reached = reached.await;
        assert!(reached.is_ok(), "it did not come to that: {self:#?}");
    }

    /// Nothing but empty batches for so long.
    pub async fn quiet(&mut self, time: Duration) -> usize {
        let end = tokio::time::Instant::now() + time;
        let mut batches = 0;
        while tokio::time::Instant::now() < end {
            let batch = self.batch().await;
            assert!(batch.refs.is_empty() && batch.complete, "{batch:?}");
            batches += 1;
        }
        batches
    }

    /// How many sweeps there were from the first that was told to the last, of all maps together.
    /// Only for maps that stayed.
    pub fn made(&self) -> u64 {
        self.told.iter().map(|(map, last)| last - self.begun[map] + 1).sum()
    }

    /// The last value by map, labels (`key=6,cpu=0`) and field.
    pub fn totals(&self) -> BTreeMap<String, u64> {
        let named = |(reference, &value)| (name(&self.series[reference]), value);
        self.values.iter().map(named).collect()
    }

    fn keep(&mut self, event: &WatchEvent) {
        match event {
            WatchEvent::Series(series) => {
                assert!(self.refs.insert(series.r#ref), "ref {} came before", series.r#ref);
                let (name, start) = (name(series), start(series));
                let before = self.starts.remove(&name);
                assert!(before.is_none_or(|before| before < start), "{name} came back as it was");
                self.series.insert(series.r#ref, series.clone());
            }
            WatchEvent::Batch(batch) => {
                let this = (batch.sweep, batch.complete);
                let last = self.sweeps.insert(batch.map.clone(), this).unwrap_or((0, true));
                // A large one comes in parts, of which the last is complete.
                let goes_on = this.0 == last.0 && !last.1;
                assert!(goes_on || this.0 > last.0, "sweep {this:?} behind {last:?}");
                if !batch.more {
                    let before = self.told.insert(batch.map.clone(), batch.sweep);
                    let missed = before.map_or(0, |before| batch.sweep - before - 1);
                    assert_eq!(batch.coalesced_sweeps, missed, "{batch:?}");
                    self.begun.entry(batch.map.clone()).or_insert(batch.sweep);
                    self.delivered += 1;
                    self.missed += missed;
                }
                for histogram in &batch.histograms {
                    let series = self.series.get(&histogram.r#ref).expect("a series before it");
                    assert_eq!(series.bounds.len(), histogram.counts.len());
                    self.histograms.insert(histogram.r#ref, histogram.counts.clone());
                }
                for (reference, &value) in batch.refs.iter().zip(&batch.values) {
                    let series = self.series.get(reference).expect("a series before its value");
                    assert_eq!(series.map, batch.map);
                    self.values.insert(*reference, value);
                }
            }
            WatchEvent::Removed(removed) => {
                for reference in &removed.refs {
                    let series = self.series.remove(reference).expect("a series before it goes");
                    self.starts.insert(name(&series), start(&series));
                    self.values.remove(reference);
                    self.histograms.remove(reference);
                }
                if matches!(removed.reason(), Reason::MapGone | Reason::Unloaded) {
                    self.starts.retain(|name, _| !name.starts_with(&format!("{}{{", removed.map)));
                    self.told.remove(&removed.map);
                    // Another map of that name counts its sweeps anew.
                    self.sweeps.remove(&removed.map);
                }
                self.removed.push(removed.clone());
            }
            WatchEvent::Reset(reset) => {
                for reference in &reset.refs {
                    let series = self.series.get_mut(reference).expect("a series before its reset");
                    series.start_time = reset.start_time;
                }
                self.resets.push(reset.clone());
            }
            WatchEvent::Renamed(MapRenamed { from, to }) => {
                for series in self.series.values_mut().filter(|it| it.map == *from) {
                    to.clone_into(&mut series.map);
                }
                let sweeps = self.sweeps.remove(from);
                self.sweeps.extend(sweeps.map(|last| (to.clone(), last)));
                for counted in [&mut self.told, &mut self.begun] {
                    let number = counted.remove(from);
                    counted.extend(number.map(|number| (to.clone(), number)));
                }
                self.renamed.push((from.clone(), to.clone()));
            }
            WatchEvent::Sync(sync) => {
                assert!(self.sync.replace(*sync).is_none(), "a second Sync");
                assert_eq!(sync.series, self.series.len() as u64);
            }
            WatchEvent::Loss(loss) => self.losses.push(loss.clone()),
            WatchEvent::Interrupted(_) | WatchEvent::Resumed(_) => {
                panic!("a follower's watch does not reconnect: {event:?}")
            }
        }
    }
}

/// What stays the same when a series goes and comes back: `m{key=6,cpu=0}packets`.
fn name(series: &Series) -> String {
    let labels = series.labels.iter().map(|label| format!("{}={}", label.name, label.value));
    let labels = labels.collect::<Vec<_>>().join(",");
    format!("{}{{{labels}}}{}", series.map, series.field)
}

fn start(series: &Series) -> (i64, i32) {
    series.start_time.map_or((0, 0), |time| (time.seconds, time.nanos))
}
