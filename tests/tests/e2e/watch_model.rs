//! Random histories of real maps, watched in every way at once: in the end every view is what
//! bpftool finds in the maps.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use bpfgate_client::v1::MapType;
use bpfgate_client::{
    Client, CounterView, CpuMode, Losses, UpdateMode, Watch, WatchOptions, parse_selector,
};
use bpfgate_tests::mutate::Random;
use bpfgate_tests::{Agent, SOON, bpftool};

use crate::watch::{FAST, counter};

const STEPS: usize = 80;
const WATCHERS: usize = 8;
const KEYS: usize = 24;
/// Sets the history, which is another one each time otherwise.
const SEED: &str = "BPFGATE_TEST_SEED";
/// Of the LRU map: fewer than there are keys.
const ROOM: u32 = 16;
const MAPS: [(&str, MapType, u32); 4] = [
    ("hash", MapType::Hash, 64),
    ("array", MapType::Array, 24),
    ("lru", MapType::LruHash, ROOM),
    ("each", MapType::PercpuHash, 64),
];

/// By map, key and CPU.
type Totals = BTreeMap<(String, u32, Option<usize>), u64>;

/// Says how to see a failure again.
struct Seed(u64);

impl Seed {
    fn new() -> Self {
        let told = std::env::var(SEED).ok();
        Self(told.map_or_else(
            || RandomState::new().build_hasher().finish(),
            |seed| seed.parse().expect("a number"),
        ))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this history again: {SEED}={}", self.0);
        }
    }
}

/// Which of the maps there are, and what is done to them.
struct Maps {
    client: Client,
    /// Its id and bytes of a value, for all CPUs; `None` while it is gone.
    there: BTreeMap<&'static str, Option<(u32, usize)>>,
}

impl Maps {
    async fn new(client: &Client) -> Self {
        let mut this = Self { client: client.clone(), there: BTreeMap::new() };
        for (name, ..) in MAPS {
            this.make(name).await;
        }
        this
    }

    async fn make(&mut self, name: &'static str) {
        let (_, kind, entries) = MAPS.into_iter().find(|(it, ..)| *it == name).unwrap();
        let made = counter(name, kind).entries(entries).make(&self.client).await;
        self.there.insert(name, Some((made.id, made.value_stride as usize)));
    }

    /// A change of one of the maps: mostly of its entries.
    async fn change(&mut self, random: &mut Random) {
        let (name, ..) = MAPS[random.below(MAPS.len())];
        let maps = self.client.maps();
        let Some((_, stride)) = self.there[name] else {
            if random.below(4) == 0 {
                self.make(name).await;
            }
            return;
        };
        if random.below(60) == 0 {
            maps.delete(name).await.unwrap();
            self.there.insert(name, None);
            return;
        }
        let key = u32::try_from(random.below(KEYS)).unwrap().to_ne_bytes();
        if name != "array" && random.below(3) == 0 {
            maps.delete_batch(name, key.to_vec(), true).await.unwrap();
            return;
        }
        // Small numbers, so that some go back and some do not change, and now and then a huge one.
        let number = |random: &mut Random| {
            let factor = if random.below(9) == 0 { u64::MAX / 3 } else { 1 };
            (random.below(4) as u64 * factor).to_ne_bytes()
        };
        let value: Vec<u8> = (0..stride / 8).flat_map(|_| number(random)).collect();
        maps.update(name, key, value, UpdateMode::Any).await.unwrap();
    }

    /// What bpftool finds.
    fn content(&self) -> Totals {
        let mut totals = Totals::new();
        for (name, there) in &self.there {
            let Some((id, _)) = there else { continue };
            for entry in bpftool::dump(*id) {
                let key = u32::from_ne_bytes(entry.key.try_into().unwrap());
                let per_cpu = *name == "each";
                for (cpu, value) in entry.values.into_iter().enumerate() {
                    let value = u64::from_ne_bytes(value.try_into().unwrap());
                    totals.insert(((*name).to_owned(), key, per_cpu.then_some(cpu)), value);
                }
            }
        }
        totals
    }
}

/// A watch with a view, and what it takes.
struct Watcher {
    watch: Watch,
    view: CounterView,
    /// Map, or all; the keys below it, or all.
    map: Option<&'static str>,
    below: u32,
    cpu: CpuMode,
    /// Reads in one of so many steps.
    pace: usize,
}

impl Watcher {
    async fn new(random: &mut Random, client: &Client) -> Self {
        let map = [None, None, Some("hash"), Some("lru"), Some("each")][random.below(5)];
        let below = if random.below(3) == 0 { 7 } else { u32::MAX };
        let keys = if below == 7 { "{key=0|1|2|3|4|5|6}" } else { "" };
        let selector = format!("{}{keys}", map.unwrap_or("*"));
        let cpu = if random.below(2) == 0 { CpuMode::Each } else { CpuMode::Sum };
        let options = WatchOptions {
            interval: Some(FAST * [1, 2, 3, 6][random.below(4)]),
            suppress_unchanged: random.below(3) > 0,
            heartbeat: (random.below(3) == 0).then_some(FAST * 5),
            cpu,
            ..WatchOptions::default()
        };
        let selectors = vec![parse_selector(&selector).unwrap()];
        let watch = client.maps().watch_counters(selectors, options).await.unwrap();
        let view = CounterView::new(watch.header());
        let pace = 1 + random.below(12);
        Self { watch, view, map, below, cpu, pace }
    }

    /// Takes one event, if one comes in time. What contradicts those before it is an error.
    async fn read(&mut self, limit: Duration) -> bool {
        let event = match tokio::time::timeout(limit, self.watch.next_event()).await {
            Ok(event) => event.unwrap().expect("it does not end"),
            Err(_) => return false,
        };
        self.view.apply(&event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
        true
    }

    /// What it should see.
    fn expected(&self, content: &Totals) -> Totals {
        let mut totals = Totals::new();
        for ((map, key, cpu), value) in content {
            if self.map.is_none_or(|it| it == map) && *key < self.below {
                let cpu = cpu.filter(|_| self.cpu == CpuMode::Each);
                let total = totals.entry((map.clone(), *key, cpu)).or_default();
                *total = u64::wrapping_add(*total, *value);
            }
        }
        totals
    }

    fn seen(&self) -> Totals {
        let counters = self.view.counters().map(|counter| {
            let key = counter.key();
            let number = |label: &str| key.label(label).map(|text| text.parse().unwrap());
            let cpu = number("cpu").map(|cpu: u32| cpu as usize);
            let value = u64::try_from(counter.value().total()).unwrap();
            ((key.map.clone(), number("key").unwrap(), cpu), value)
        });
        counters.collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_maps_every_view_comes_to_be_what_they_have() {
    let seed = Seed::new();
    let mut random = Random::new(seed.0);
    let agent = Agent::spawn();
    let client = agent.client().await;
    let mut maps = Maps::new(&client).await;
    let mut watchers: Vec<Watcher> = Vec::new();
    for _ in 0..STEPS {
        if random.below(4) == 0 {
            if watchers.len() == WATCHERS {
                drop(watchers.swap_remove(random.below(WATCHERS)));
            }
            watchers.push(Watcher::new(&mut random, &client).await);
        }
        for _ in 0..random.below(20) {
            maps.change(&mut random).await;
        }
        tokio::time::sleep(FAST / 2 * [0, 1, 2][random.below(3)]).await;
        for watcher in &mut watchers {
            if random.below(watcher.pace) == 0 {
                while watcher.read(Duration::ZERO).await {}
            }
        }
    }
    let content = maps.content();
    for (at, watcher) in watchers.iter_mut().enumerate() {
        let expected = watcher.expected(&content);
        let reached = tokio::time::timeout(SOON, async {
            while watcher.seen() != expected {
                watcher.read(SOON).await;
            }
        });
        let reached = reached.await;
        let (view, watch) = (watcher.seen(), &watcher.watch);
        assert!(reached.is_ok(), "watcher {at}: {view:?}\nis not {expected:?}\n{watch:?}");
        let Losses { coalesced, .. } = watcher.view.losses();
        assert_eq!(watcher.view.losses(), Losses { coalesced, ..Losses::default() });
    }
    assert_eq!(maps.content(), content, "watching changes nothing");
}
