//! What a client makes of the messages. Fails the test where they break the protocol.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::watch::{
    Batch, Header, Loss, Removed, RemovedReason, Series, Sync, WatchError, WatchMessage, Watcher,
};

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
    values: HashMap<u64, u64>,
    ever: HashSet<u64>,
    last_sweep: HashMap<String, u64>,
}

impl Fold {
    pub(super) fn take(&mut self, message: WatchMessage) {
        assert_eq!(self.header.is_none(), matches!(message, WatchMessage::Header(_)));
        match message {
            WatchMessage::Header(header) => self.header = Some(header),
            WatchMessage::Series(series) => {
                assert!(self.ever.insert(series.reference), "announced twice: {series:?}");
                self.series.insert(series.reference, series);
            }
            WatchMessage::Batch(batch) => self.batch(batch),
            WatchMessage::Removed(removed) => {
                let map_gone = removed.reason == RemovedReason::MapGone;
                assert!(map_gone || !removed.refs.is_empty());
                for reference in &removed.refs {
                    let series = self.series.remove(reference).expect("a known series goes");
                    assert_eq!(series.map, removed.map);
                    self.values.remove(reference);
                }
                if map_gone {
                    self.last_sweep.remove(removed.map.as_str());
                }
                self.removed.push(removed);
            }
            WatchMessage::Sync(sync) => {
                assert_eq!(sync.series, self.series.len() as u64);
                assert_eq!(self.values.len(), self.series.len(), "every series has a value");
                assert!(self.sync.replace(sync).is_none(), "Sync came twice");
            }
            WatchMessage::Loss(loss) => self.losses.push(loss),
        }
    }

    fn batch(&mut self, batch: Batch) {
        assert_eq!(batch.refs.len(), batch.values.len());
        assert!(batch.read_begin <= batch.read_end);
        if let Some(last) = self.last_sweep.insert(batch.map.to_string(), batch.sweep) {
            let missed = if batch.sweep == last { 0 } else { batch.sweep - last - 1 };
            assert_eq!(batch.coalesced, missed, "{batch:?}");
        }
        for (reference, value) in batch.refs.iter().zip(&batch.values) {
            let series = self.series.get(reference).expect("announced before its value");
            assert_eq!(series.map, batch.map);
            self.values.insert(*reference, *value);
        }
        self.batches.push(batch);
    }

    /// The table as it stands.
    pub(super) fn totals(&self) -> Totals {
        let total = |(reference, value): (&u64, &u64)| {
            let series = &self.series[reference];
            let labels = series.labels.iter().map(|it| format!("{}={}", it.name, it.value));
            let labels = labels.collect::<Vec<_>>().join(",");
            ((series.map.to_string(), labels, series.field.to_string()), *value)
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
            self.take(next.expect("the watch goes on"));
        }
    }

    /// Takes all that comes until Sync.
    pub(super) async fn until_sync(watcher: &mut Watcher) -> Self {
        let mut fold = Self::default();
        while fold.sync.is_none() {
            fold.take(watcher.next().await.expect("Sync comes").expect("the watch goes on"));
        }
        fold
    }

    /// Takes all that comes until the next batch.
    pub(super) async fn until_batch(&mut self, watcher: &mut Watcher) -> Batch {
        let before = self.batches.len();
        while self.batches.len() == before {
            self.take(watcher.next().await.expect("a batch comes").expect("the watch goes on"));
        }
        self.last().clone()
    }

    /// Takes all that comes until the watch ends.
    pub(super) async fn until_end(&mut self, watcher: &mut Watcher) -> Option<WatchError> {
        loop {
            match watcher.next().await? {
                Ok(message) => self.take(message),
                Err(error) => return Some(error),
            }
        }
    }
}
