//! What a client makes of the messages. Fails the test where they break the protocol.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::said::{Batch, Header, Loss, Removed, Reset, Said, Series, said};
use crate::watch::{CounterKind, RemovedReason, Sync, Told, WatchError, Watcher};

/// Values by map, labels ("name=value,…") and field.
pub(super) type Totals = BTreeMap<(String, String, String), u64>;

#[derive(Default)]
pub(super) struct Fold {
    pub(super) header: Option<Header>,
    pub(super) series: HashMap<u64, Series>,
    pub(super) removed: Vec<Removed>,
    pub(super) losses: Vec<Loss>,
    pub(super) sync: Option<Sync>,
    pub(super) batches: Vec<Batch>,
    /// By ref, and by slot for histograms.
    values: HashMap<(u64, usize), u64>,
    pub(super) resets: Vec<Reset>,
    /// Series whose next value may be less.
    reset: HashSet<u64>,
    ever: HashSet<u64>,
    /// Since when series counted that went while their map stayed.
    starts: HashMap<String, SystemTime>,
    /// The last sweep of each map that was told to its end, and the one that is being told.
    last_sweep: HashMap<String, u64>,
    parts: HashMap<String, u64>,
}

impl Fold {
    /// Takes in all that a page says.
    pub(super) fn take(&mut self, told: &Told) {
        for said in said(told) {
            self.hear(&said);
        }
    }

    pub(super) fn hear(&mut self, said: &Said) {
        assert_eq!(self.header.is_none(), matches!(said, Said::Header(_)));
        match said.clone() {
            Said::Header(header) => self.header = Some(header),
            Said::Series(series) => {
                assert!(self.ever.insert(series.reference), "announced twice: {series:?}");
                let before = self.starts.remove(&name(&series));
                assert!(before.is_none_or(|it| it < series.start_time), "{series:?} is not new");
                self.series.insert(series.reference, series);
            }
            Said::Batch(batch) => self.batch(batch),
            Said::Removed(removed) => self.removed(removed),
            Said::Reset(reset) => {
                assert!(!reset.refs.is_empty());
                for reference in &reset.refs {
                    let series = self.series.get_mut(reference).expect("a known series resets");
                    assert!(
                        series.kind != CounterKind::Gauge && reset.start_time > series.start_time
                    );
                    series.start_time = reset.start_time;
                    self.reset.insert(*reference);
                }
                self.resets.push(reset);
            }
            Said::Sync(sync) => {
                assert_eq!(sync.series, self.series.len() as u64);
                let slots = self.series.values().map(|series| series.bounds.len().max(1));
                assert_eq!(self.values.len(), slots.sum::<usize>(), "every series has a value");
                assert!(self.sync.replace(sync).is_none(), "Sync came twice");
            }
            Said::Renamed(from, to) => {
                for series in self.series.values_mut().filter(|it| it.map == from) {
                    series.map = to.clone();
                }
            }
            Said::Loss(loss) => self.losses.push(loss),
        }
    }

    fn removed(&mut self, removed: Removed) {
        let all = match removed.reason {
            RemovedReason::MapGone | RemovedReason::Unloaded => true,
            RemovedReason::Limit => {
                assert!(removed.refs.is_empty());
                let all = self.series.extract_if(|_, series| series.map == removed.map);
                for (reference, _) in all {
                    self.values.retain(|(known, _), _| *known != reference);
                    // It may come back.
                    self.ever.remove(&reference);
                }
                false
            }
            RemovedReason::NotTop => {
                // They may come back.
                self.ever.retain(|reference| !removed.refs.contains(reference));
                false
            }
            RemovedReason::Deleted | RemovedReason::Evicted => {
                assert!(!removed.refs.is_empty());
                false
            }
        };
        for reference in &removed.refs {
            let series = self.series.remove(reference).expect("a known series goes");
            assert_eq!(series.map, removed.map);
            self.values.retain(|(known, _), _| known != reference);
            if removed.reason != RemovedReason::NotTop {
                self.starts.insert(name(&series), series.start_time);
            }
        }
        if all {
            self.starts.retain(|name, _| !name.starts_with(&format!("{}{{", removed.map)));
            self.last_sweep.remove(removed.map.as_str());
        }
        self.removed.push(removed);
    }

    fn batch(&mut self, batch: Batch) {
        assert_eq!(batch.refs.len(), batch.values.len());
        assert!(batch.read_begin <= batch.read_end);
        let parts = self.parts.get(batch.map.as_str());
        assert!(parts.is_none_or(|sweep| *sweep == batch.sweep), "one is told to its end");
        if batch.more {
            assert!(!batch.complete && batch.coalesced == 0);
            self.parts.insert(batch.map.to_string(), batch.sweep);
        } else {
            self.parts.remove(batch.map.as_str());
            if let Some(last) = self.last_sweep.insert(batch.map.to_string(), batch.sweep) {
                assert_eq!(batch.coalesced, batch.sweep - last - 1, "{batch:?}");
            }
        }
        let numbers = batch.refs.iter().zip(&batch.values).map(|(at, value)| (at, vec![*value]));
        let histograms = batch.histograms.iter().map(|it| (&it.reference, it.counts.to_vec()));
        for (reference, counts) in numbers.chain(histograms) {
            let series = self.series.get(reference).expect("announced before its value");
            assert_eq!(series.map, batch.map);
            assert_eq!(
                series.bounds.len(),
                if series.bounds.is_empty() { 0 } else { counts.len() }
            );
            let reset = self.reset.remove(reference);
            for (slot, now) in counts.into_iter().enumerate() {
                let was = self.values.insert((*reference, slot), now);
                let less = |was: u64| {
                    if series.signed { now.cast_signed() < was.cast_signed() } else { now < was }
                };
                let less = was.is_some_and(less);
                let grows = series.kind != CounterKind::Gauge;
                assert!(!less || !grows || reset, "{series:?} went back without a word");
            }
        }
        self.batches.push(batch);
    }

    /// The table as it stands.
    pub(super) fn totals(&self) -> Totals {
        let total = |((reference, slot), value): (&(u64, usize), &u64)| {
            let series = &self.series[reference];
            let labels = labels(series);
            let slot = if series.bounds.is_empty() { String::new() } else { format!("[{slot}]") };
            ((series.map.to_string(), labels, format!("{}{slot}", series.field)), *value)
        };
        let totals: Totals = self.values.iter().map(total).collect();
        assert_eq!(totals.len(), self.values.len(), "two series with the same labels");
        totals
    }

    /// One map's values, in the order of their labels and fields.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.totals().into_values().collect()
    }

    pub(super) fn last(&self) -> &Batch {
        self.batches.last().expect("a batch came")
    }

    /// Takes all that is there without waiting.
    pub(super) async fn drain(&mut self, watcher: &mut Watcher) {
        while let Ok(Some(next)) = tokio::time::timeout(Duration::ZERO, watcher.next()).await {
            self.take(&next.expect("the watch goes on"));
        }
    }

    /// Takes all that comes until Sync.
    pub(super) async fn until_sync(watcher: &mut Watcher) -> Self {
        let mut fold = Self::default();
        while fold.sync.is_none() {
            fold.take(&watcher.next().await.expect("Sync comes").expect("the watch goes on"));
        }
        fold
    }

    /// Takes all that comes until the next batch.
    pub(super) async fn until_batch(&mut self, watcher: &mut Watcher) -> Batch {
        let before = self.batches.len();
        while self.batches.len() == before {
            self.take(&watcher.next().await.expect("a batch comes").expect("the watch goes on"));
        }
        self.last().clone()
    }

    /// Takes all that comes until the watch ends.
    pub(super) async fn until_end(&mut self, watcher: &mut Watcher) -> Option<WatchError> {
        loop {
            match watcher.next().await? {
                Ok(told) => self.take(&told),
                Err(error) => return Some(error),
            }
        }
    }
}

/// "name=value,…".
fn labels(series: &Series) -> String {
    let labels = series.labels.iter().map(|it| format!("{}={}", it.name, it.value));
    labels.collect::<Vec<_>>().join(",")
}

/// What stays the same when a series goes and comes back.
fn name(series: &Series) -> String {
    format!("{}{{{}}}{}", series.map, labels(series), series.field)
}
