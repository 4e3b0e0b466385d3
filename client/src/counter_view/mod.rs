//! What the messages of a watch come to: every counter with its value and its rate.
//!
//! [`CounterView`] is pure: it knows no connection and no clock, only the messages and the times
//! in them. [`entry`] has what is kept of one series and the rule of rates and resets, [`maps`]
//! the sweeps of each map.

mod change;
mod entry;
mod maps;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bpfgate_proto::v1;
use bpfgate_proto::v1::series_removed::Reason;

use crate::watch::WatchEvent;

use entry::{Entry, Life};
use maps::{MapState, Staged};

pub use change::{Change, Gone, Losses, Standing, Sweep, ViewError};
pub use entry::{Bucket, Counter, CounterKey, CounterValue, SeriesId};
pub use maps::MapProgress;

/// The counters of a watch as they stand.
///
/// Feed it every event of a [`crate::Watch`], in order, and read it whenever you like: it always
/// shows whole sweeps. With [`crate::WatchOptions::reconnect`] it lives through the gaps: what it
/// knew stays, marked [`Counter::is_stale`], and goes on without a false reset if the agent is
/// still the same one.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use bpfgate_client::v1::{CounterBatch, CounterKind, Series, WatchHeader};
/// use bpfgate_client::{CounterValue, CounterView, WatchEvent};
///
/// let mut view = CounterView::new(&WatchHeader::default());
/// let series = Series { r#ref: 1, map: "hits".into(), ..Series::default() };
/// let series = Series { kind: CounterKind::Monotonic.into(), ..series };
/// view.apply(&WatchEvent::Series(series))?;
///
/// let mut sweep = |number: u64, value| {
///     let read_end = Some((UNIX_EPOCH + Duration::from_secs(2 * number)).into());
///     let (refs, values) = (vec![1], vec![value]);
///     let batch = CounterBatch { map: "hits".into(), sweep: number, ..CounterBatch::default() };
///     let batch = CounterBatch { read_end, complete: true, refs, values, ..batch };
///     view.apply(&WatchEvent::Batch(batch))?;
///     let counter = view.counters().next().expect("one series");
///     Ok::<_, bpfgate_client::ViewError>((counter.value().clone(), counter.rate()))
/// };
/// assert_eq!(sweep(1, 100)?, (CounterValue::Unsigned(100), None));
/// assert_eq!(sweep(2, 130)?, (CounterValue::Unsigned(130), Some(15.0)));
/// // It went backwards: somebody reset it. No rate is better than a wrong one.
/// assert_eq!(sweep(3, 4)?, (CounterValue::Unsigned(4), None));
/// assert_eq!(sweep(4, 4)?, (CounterValue::Unsigned(4), Some(0.0)));
/// # Ok::<_, bpfgate_client::ViewError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CounterView {
    /// The agent's life that the series belong to.
    incarnation: String,
    boot_id: String,
    standing: Standing,
    entries: BTreeMap<SeriesId, Entry>,
    by_key: HashMap<Arc<CounterKey>, SeriesId>,
    /// Of the present stream.
    by_ref: HashMap<u64, SeriesId>,
    maps: HashMap<String, MapState>,
    last_id: u64,
    gaps: u64,
    losses: Losses,
}

impl CounterView {
    /// An empty view of a watch that begins.
    pub fn new(header: &v1::WatchHeader) -> Self {
        Self {
            incarnation: header.incarnation.clone(),
            boot_id: header.boot_id.clone(),
            standing: Standing::Starting,
            entries: BTreeMap::new(),
            by_key: HashMap::new(),
            by_ref: HashMap::new(),
            maps: HashMap::new(),
            last_id: 0,
            gaps: 0,
            losses: Losses::default(),
        }
    }

    /// Folds one event in. On an error nothing of it is.
    ///
    /// # Errors
    ///
    /// [`ViewError`] for an event that does not fit those before it; [`crate::Watch::start_over`]
    /// then begins anew.
    pub fn apply(&mut self, event: &WatchEvent) -> Result<Change, ViewError> {
        Ok(match event {
            WatchEvent::Series(series) => match self.announce(series)? {
                Some(twin) => Change::Twin(twin),
                None => Change::None,
            },
            WatchEvent::Batch(batch) => self.batch(batch)?,
            WatchEvent::Removed(removed) => Change::Gone(self.remove(removed)?),
            WatchEvent::Reset(reset) => {
                self.reset(reset)?;
                Change::None
            }
            WatchEvent::Renamed(v1::MapRenamed { from, to }) => {
                self.rename(from, to);
                Change::Renamed { from: from.clone(), to: to.clone() }
            }
            WatchEvent::Sync(_) => {
                self.standing = Standing::Live;
                Change::Synced(self.drop_unannounced())
            }
            WatchEvent::Loss(loss) => {
                self.losses.count(loss);
                Change::Lost
            }
            WatchEvent::Interrupted(_) => {
                self.interrupt();
                Change::Interrupted
            }
            WatchEvent::Resumed(header) => Change::Resumed { restarted: self.resume(header) },
        })
    }

    /// Every counter that has a value, in the order of their announcement.
    pub fn counters(&self) -> impl Iterator<Item = Counter<'_>> {
        self.entries.iter().filter_map(|(id, entry)| self.counter_of(*id, entry))
    }

    /// One counter by its name in this view.
    pub fn get(&self, id: SeriesId) -> Option<Counter<'_>> {
        self.entries.get(&id).and_then(|entry| self.counter_of(id, entry))
    }

    /// One counter by what it counts.
    pub fn find(&self, key: &CounterKey) -> Option<Counter<'_>> {
        self.by_key.get(key).and_then(|id| self.get(*id))
    }

    /// How many counters have a value.
    pub fn len(&self) -> usize {
        self.counters().count()
    }

    /// Whether no counter has a value.
    pub fn is_empty(&self) -> bool {
        self.counters().next().is_none()
    }

    /// How far the sweeps of each map are, in no order.
    pub fn maps(&self) -> impl Iterator<Item = (&str, &MapProgress)> {
        self.maps.iter().map(|(name, state)| (name.as_str(), &state.progress))
    }

    /// Where the watch is.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// How often the connection was lost.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// What did not reach the view.
    pub fn losses(&self) -> Losses {
        let of =
            |count: fn(&MapProgress) -> u64| self.maps.values().map(move |m| count(&m.progress));
        let mut losses = self.losses;
        losses.coalesced += of(|progress| progress.coalesced).sum::<u64>();
        losses.incomplete += of(|progress| progress.incomplete).sum::<u64>();
        losses
    }

    fn counter_of<'v>(&'v self, id: SeriesId, entry: &'v Entry) -> Option<Counter<'v>> {
        let value = entry.value.as_ref()?;
        let map = self.maps.get(&entry.key.map).map(|map| &map.progress);
        let stale = self.standing == Standing::Interrupted || !entry.is_of_this_stream();
        Some(Counter { id, entry, value, map, stale })
    }

    /// The counter, if another one has the same labels in this stream.
    fn announce(&mut self, series: &v1::Series) -> Result<Option<SeriesId>, ViewError> {
        let key = Arc::new(CounterKey::of(series));
        if let Some(id) = self.by_ref.get(&series.r#ref)
            && self.entries[id].key != key
        {
            let (map, reference) = (series.map.clone(), series.r#ref);
            return Err(ViewError::Reused { map, reference });
        }
        let of_ref = self.by_ref.get(&series.r#ref).copied();
        let known = of_ref.or_else(|| self.by_key.get(&key).copied());
        // Agents of 0.1 announce keys that read the same without telling them apart.
        let other = |id: &SeriesId| of_ref.is_none() && self.entries[id].announced;
        let twin = known.is_some_and(|id| other(&id));
        let id = known.filter(|_| !twin).unwrap_or_else(|| {
            self.last_id += 1;
            SeriesId(self.last_id)
        });
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.announce_again(series);
        } else {
            self.by_key.entry(key.clone()).or_insert(id);
            self.entries.insert(id, Entry::new(key, series));
        }
        self.by_ref.insert(series.r#ref, id);
        Ok(twin.then_some(id))
    }

    fn batch(&mut self, batch: &v1::CounterBatch) -> Result<Change, ViewError> {
        let staged = self.check(batch)?;
        let state = self.maps.entry(batch.map.clone()).or_default();
        state.staged.extend(staged);
        state.staging = batch.more.then_some(batch.sweep);
        if batch.more {
            return Ok(Change::None);
        }
        let staged = std::mem::take(&mut state.staged);
        let span = state.progress.take_in(batch);
        let mut listed = Vec::with_capacity(staged.len());
        for Staged { id, value } in staged {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.take_in(value, &span);
                listed.push(id);
            }
        }
        if batch.complete {
            state.progress.whole = Some((batch.sweep, span.read_end));
        }
        Ok(Change::Swept(Sweep {
            map: batch.map.clone(),
            number: batch.sweep,
            read_end: span.read_end,
            complete: batch.complete,
            coalesced: batch.coalesced_sweeps,
            listed,
        }))
    }

    /// All that could be wrong with a batch, before any of it is taken in.
    fn check(&self, batch: &v1::CounterBatch) -> Result<Vec<Staged>, ViewError> {
        let map = || batch.map.clone();
        let (refs, values) = (batch.refs.len(), batch.values.len());
        if refs != values {
            return Err(ViewError::Uneven { map: map(), refs, values });
        }
        let state = self.maps.get(&batch.map);
        let last = state.map_or(0, |state| state.staging.unwrap_or(state.progress.sweep));
        let goes_on = state.is_some_and(|state| state.staging == Some(batch.sweep));
        let unfinished = state.is_some_and(|state| state.staging.is_some());
        if !goes_on && (unfinished || batch.sweep <= last) {
            return Err(ViewError::OutOfOrder { map: map(), sweep: batch.sweep, last });
        }
        let entry = |reference: u64| {
            let id = self.by_ref.get(&reference).copied();
            let entry = id.and_then(|id| Some((id, self.entries.get(&id)?)));
            let entry = entry.filter(|(_, entry)| entry.key.map == batch.map);
            entry.ok_or_else(|| ViewError::Unannounced { map: map(), reference })
        };
        let numbers = batch.refs.iter().zip(&batch.values).map(|(&reference, &bits)| {
            let (id, entry) = entry(reference)?;
            Ok(Staged { id, value: entry.number(bits) })
        });
        let histograms = batch.histograms.iter().map(|histogram| {
            let (id, entry) = entry(histogram.r#ref)?;
            let (slots, counts) = (entry.series.bounds.len(), histogram.counts.len());
            if slots != counts {
                let reference = histogram.r#ref;
                return Err(ViewError::Slots { map: map(), reference, slots, counts });
            }
            Ok(Staged { id, value: CounterValue::Histogram(histogram.counts.clone()) })
        });
        numbers.chain(histograms).collect()
    }

    fn reset(&mut self, reset: &v1::SeriesReset) -> Result<(), ViewError> {
        let ids = self.announced(&reset.map, &reset.refs)?;
        for id in ids {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.reset(reset.start_time);
            }
        }
        Ok(())
    }

    /// All of these refs, or an error.
    fn announced(&self, map: &str, refs: &[u64]) -> Result<Vec<SeriesId>, ViewError> {
        let id = |&reference: &u64| {
            let unknown = || ViewError::Unannounced { map: map.to_owned(), reference };
            self.by_ref.get(&reference).copied().ok_or_else(unknown)
        };
        refs.iter().map(id).collect()
    }

    fn remove(&mut self, removed: &v1::SeriesRemoved) -> Result<Vec<Gone>, ViewError> {
        let ids = match removed.reason() {
            // All are meant, and those that are still there follow anew.
            Reason::Limit => {
                let of_map = self.entries.iter().filter(|(_, it)| it.series.map == removed.map);
                of_map.map(|(id, _)| *id).collect()
            }
            _ => self.announced(&removed.map, &removed.refs)?,
        };
        let gone = ids.into_iter().filter_map(|id| self.forget(id, removed.reason())).collect();
        if matches!(removed.reason(), Reason::MapGone | Reason::Unloaded) {
            // Another map of that name counts its sweeps anew.
            self.forget_map(&removed.map);
        }
        Ok(gone)
    }

    fn rename(&mut self, from: &str, to: &str) {
        if let Some(state) = self.maps.remove(from) {
            self.maps.insert(to.to_owned(), state);
        }
        for (id, entry) in self.entries.iter_mut().filter(|(_, it)| it.key.map == from) {
            if self.by_key.get(&entry.key) == Some(id) {
                self.by_key.remove(&entry.key);
            }
            let key = Arc::new(CounterKey { map: to.to_owned(), ..(*entry.key).clone() });
            to.clone_into(&mut entry.series.map);
            entry.key = key.clone();
            self.by_key.entry(key).or_insert(*id);
        }
    }

    fn forget(&mut self, id: SeriesId, reason: Reason) -> Option<Gone> {
        let entry = self.entries.remove(&id)?;
        if self.by_key.get(&entry.key) == Some(&id) {
            self.by_key.remove(&entry.key);
        }
        if entry.announced {
            self.by_ref.remove(&entry.series.r#ref);
        }
        Some(Gone { id, key: entry.key, reason })
    }

    fn forget_map(&mut self, map: &str) {
        if let Some(state) = self.maps.remove(map) {
            self.losses.coalesced += state.progress.coalesced;
            self.losses.incomplete += state.progress.incomplete;
        }
    }

    /// What a resumed watch did not announce went during the gap.
    fn drop_unannounced(&mut self) -> Vec<Gone> {
        let old = self.entries.iter().filter(|(_, entry)| !entry.announced).map(|(id, _)| *id);
        let old: Vec<_> = old.collect();
        old.into_iter().filter_map(|id| self.forget(id, Reason::Unspecified)).collect()
    }

    fn interrupt(&mut self) {
        if self.standing != Standing::Interrupted {
            self.gaps += 1;
        }
        self.standing = Standing::Interrupted;
    }

    /// Refs and sweep numbers start anew; what is known of the counters stays for comparison.
    fn resume(&mut self, header: &v1::WatchHeader) -> bool {
        let life = match (header.incarnation == self.incarnation, header.boot_id == self.boot_id) {
            (_, false) => Life::OfHost,
            (false, true) => Life::OfAgent,
            (true, true) => Life::Same,
        };
        self.incarnation.clone_from(&header.incarnation);
        self.boot_id.clone_from(&header.boot_id);
        for entry in self.entries.values_mut() {
            let map = self.maps.get(&entry.key.map).map(|map| &map.progress);
            entry.detach(map, life);
        }
        for map in self.maps.keys().cloned().collect::<Vec<_>>() {
            self.forget_map(&map);
        }
        self.by_ref.clear();
        self.standing = Standing::Starting;
        life != Life::Same
    }
}
