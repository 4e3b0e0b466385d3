//! Maps that a test writes and the hub reads.

use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bpfgate_proto::name::MapName;
use bpfgate_proto::value::{Comparison, Condition, Schema};
use tokio::sync::watch;

use super::said::Scribe;
use crate::host_names::HostName;
use crate::ledger::{Account, CallerKey, Ledger};
use crate::watch::{
    CounterSource, CounterSpec, Hub, KeyLife, LabelMatcher, Selector, Sources, WatchError,
    WatchLimits, WatchRequest, Watcher,
};

/// No two maps have one.
static LAST_ID: AtomicU32 = AtomicU32::new(0);

pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// How a map is made up. Everything may be changed before it is shared.
pub(super) struct FakeMap {
    pub(super) id: u32,
    pub(super) name: MapName,
    pub(super) key_size: usize,
    pub(super) value_size: usize,
    pub(super) cpus: Option<usize>,
    pub(super) key_life: KeyLife,
    pub(super) schema: Option<Schema>,
    pub(super) counters: Vec<CounterSpec>,
    pub(super) host_names: Vec<(String, HostName)>,
    pub(super) entries_max: usize,
    pub(super) is_part: bool,
    pub(super) content: Mutex<Content>,
    pub(super) sweeping: AtomicBool,
    pub(super) sweeps: AtomicUsize,
}

#[derive(Default)]
pub(super) struct Content {
    entries: Entries,
    /// What whole passes saw, and when.
    seen: Vec<(SystemTime, Entries)>,
    fault: Fault,
    /// Real time that a pass takes.
    takes: Duration,
}

/// What goes wrong with passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Fault {
    #[default]
    None,
    /// Ends early behind so many entries.
    Stops(usize),
    /// Fails behind so many entries.
    Fails(usize),
    Panics,
}

impl FakeMap {
    /// A hash of `u32` to `u64`.
    pub(super) fn hash(name: &str) -> Self {
        Self {
            id: LAST_ID.fetch_add(1, Ordering::Relaxed) + 1,
            name: name.parse().unwrap(),
            key_size: 4,
            value_size: 8,
            cpus: None,
            key_life: KeyLife::Deletable,
            schema: None,
            counters: Vec::new(),
            host_names: Vec::new(),
            entries_max: 1 << 20,
            is_part: false,
            content: Mutex::default(),
            sweeping: AtomicBool::new(false),
            sweeps: AtomicUsize::new(0),
        }
    }

    /// An array of `u64` with so many slots.
    pub(super) fn array(name: &str, slots: u32) -> Self {
        let entries_max = slots as usize;
        let map = Self { key_life: KeyLife::Fixed, entries_max, ..Self::hash(name) };
        (0..slots).for_each(|slot| map.set(slot, &[0]));
        map
    }

    /// Words one after the other: those of each CPU for a per-CPU map.
    pub(super) fn set(&self, key: u32, words: &[u64]) {
        self.set_key(&key.to_ne_bytes(), words);
    }

    pub(super) fn set_key(&self, key: &[u8], words: &[u64]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(bytes.len(), self.value_size * self.cpus.unwrap_or(1));
        self.content().entries.insert(key.into(), bytes);
    }

    pub(super) fn delete(&self, key: u32) {
        self.content().entries.remove(key.to_ne_bytes().as_slice());
    }

    pub(super) fn entries(&self) -> Entries {
        self.content().entries.clone()
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.content().fault = fault;
    }

    pub(super) fn takes(&self, takes: Duration) {
        self.content().takes = takes;
    }

    /// What whole passes within this time saw.
    pub(super) fn seen(&self, from: SystemTime, to: SystemTime) -> Vec<Entries> {
        let content = self.content();
        let within = content.seen.iter().filter(|(at, _)| (from..=to).contains(at));
        within.map(|(_, entries)| entries.clone()).collect()
    }

    pub(super) fn sweeps(&self) -> usize {
        self.sweeps.load(Ordering::SeqCst)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }
}

impl CounterSource for FakeMap {
    fn id(&self) -> u32 {
        self.id
    }

    fn name(&self) -> &MapName {
        &self.name
    }

    fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    fn key_size(&self) -> usize {
        self.key_size
    }

    fn value_size(&self) -> usize {
        self.value_size
    }

    fn cpus(&self) -> Option<usize> {
        self.cpus
    }

    fn key_life(&self) -> KeyLife {
        self.key_life
    }

    fn created_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn entries_max(&self) -> usize {
        self.entries_max
    }

    fn host_names(&self) -> &[(String, HostName)] {
        &self.host_names
    }

    fn is_part(&self) -> bool {
        self.is_part
    }

    fn counters(&self) -> &[CounterSpec] {
        &self.counters
    }

    fn sweep(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<bool> {
        let overlaps = self.sweeping.swap(true, Ordering::SeqCst);
        self.sweeps.fetch_add(1, Ordering::SeqCst);
        let (entries, fault, takes) = {
            let content = self.content();
            (content.entries.clone(), content.fault, content.takes)
        };
        if !takes.is_zero() {
            assert!(!overlaps, "two sweeps of {} at a time", self.name);
            std::thread::sleep(takes);
        }
        let read = match fault {
            Fault::None => usize::MAX,
            Fault::Stops(read) | Fault::Fails(read) => read,
            Fault::Panics => panic!("as the test wanted"),
        };
        entries.iter().take(read).for_each(|(key, value)| visit(key, value));
        if fault == Fault::None {
            self.content().seen.push((SystemTime::now(), entries));
        }
        self.sweeping.store(false, Ordering::SeqCst);
        match fault {
            Fault::Fails(_) => Err(io::Error::from_raw_os_error(1)),
            _ => Ok(fault == Fault::None),
        }
    }
}

/// The maps that there are.
pub(super) struct FakeSources {
    maps: Mutex<Vec<Arc<FakeMap>>>,
    changed: watch::Sender<u64>,
}

impl FakeSources {
    pub(super) fn add(&self, map: FakeMap) -> Arc<FakeMap> {
        let map = Arc::new(map);
        self.maps.lock().unwrap().push(map.clone());
        self.changed.send_modify(|generation| *generation += 1);
        map
    }

    pub(super) fn remove(&self, name: &str) {
        self.maps.lock().unwrap().retain(|map| map.name.as_str() != name);
        self.changed.send_modify(|generation| *generation += 1);
    }
}

impl Sources for FakeSources {
    fn list(&self) -> Vec<Arc<dyn CounterSource>> {
        let maps = self.maps.lock().unwrap();
        maps.iter().map(|map| map.clone() as Arc<dyn CounterSource>).collect()
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// A hub, and one who watches by it.
pub(super) struct FakeHub {
    hub: Arc<Hub>,
    pub(super) ledger: Ledger,
    /// Whose watches these are.
    pub(super) account: Account,
}

impl FakeHub {
    pub(super) fn watch(&self, request: WatchRequest) -> Result<Watcher, WatchError> {
        self.hub.watch(request, self.account.clone())
    }

    /// The same for somebody else.
    pub(super) fn watch_as(
        &self,
        account: &Account,
        request: WatchRequest,
    ) -> Result<Watcher, WatchError> {
        self.hub.watch(request, account.clone())
    }
}

impl Deref for FakeHub {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

/// A hub without maps.
pub(super) fn hub(limits: WatchLimits) -> (FakeHub, Arc<FakeSources>) {
    hub_of(limits, 1 << 30)
}

/// The same with so much memory.
pub(super) fn hub_of(limits: WatchLimits, memory: u64) -> (FakeHub, Arc<FakeSources>) {
    let sources = Arc::new(FakeSources { maps: Mutex::default(), changed: watch::Sender::new(1) });
    let ledger = Ledger::new(memory, crate::core::Limits::default().seats());
    let hub = Hub::new(sources.clone(), Arc::new(Scribe), limits, &ledger);
    let account = ledger.caller(CallerKey::Uid(1000)).connection();
    (FakeHub { hub, ledger, account }, sources)
}

/// A condition on a label: that it is one of these values, or none of them.
pub(super) fn matcher(label: &str, is: bool, values: Vec<String>) -> LabelMatcher {
    let comparison = if is { Comparison::In } else { Comparison::NotIn };
    let condition = Condition::new(comparison, values, Vec::new(), &[]).unwrap();
    LabelMatcher { label: label.to_owned(), condition }
}

/// All of the matching maps, once a second.
pub(super) fn all_of(glob: &str) -> WatchRequest {
    WatchRequest::of(Selector::all_of(glob.parse().unwrap()))
}
