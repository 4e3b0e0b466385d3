//! Random histories of maps, watchers of every kind and speed: after each complete batch a
//! watcher's view is what some sweep saw, whole, and in the end it is what is there.

use std::sync::Arc;
use std::time::Duration;

use super::fake::{Entries, FakeHub, FakeMap, FakeSources, Fault, all_of, hub, matcher};
use super::fold::{Fold, Totals};
use super::said::{Said, said};
use crate::watch::{
    CounterKind, CounterSpec, CpuMode, RemovedReason, Selector, WatchLimits, WatchRequest, Watcher,
};

const CPUS: usize = 3;
const KEYS: u32 = 24;

/// `SplitMix64`: the same history for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn key(&mut self) -> u32 {
        u32::try_from(self.below(KEYS as usize)).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// A watcher, what it asked for in the model's words, and its pace.
struct Client {
    watcher: Watcher,
    fold: Fold,
    request: WatchRequest,
    /// Reads in one of so many steps.
    pace: usize,
}

impl Client {
    fn new(random: &mut Random, hub: &FakeHub, interval: Duration) -> Self {
        let mut request = all_of(["*", "h", "p", "?", "g"][random.below(5)]);
        request.interval = Some(interval * [1, 2, 3, 6][random.below(4)]);
        request.suppress_unchanged = !random.one_in(4);
        request.heartbeat = random.one_in(3).then_some(interval * 5);
        request.cpu = if random.one_in(2) { CpuMode::Each } else { CpuMode::Sum };
        if random.one_in(4) {
            request.max_series = 10 + random.below(20);
        }
        let selector = &mut request.selectors[0];
        if random.one_in(3) {
            selector.fields = vec!["0".to_owned()];
        }
        if random.one_in(3) {
            let values = (0..KEYS / 2).map(text).collect();
            selector.labels.push(matcher("key", random.one_in(2), values));
        }
        if random.one_in(3) {
            // What both take comes once.
            let map = ["h", "p", "*"][random.below(3)].parse().unwrap();
            let labels = vec![matcher("key", true, (0..=random.key()).map(text).collect())];
            request.selectors.push(Selector { map, labels, fields: Vec::new() });
        }
        let watcher = hub.watch(request.clone());
        // Only a map that is named and lacks the field is refused.
        let watcher = watcher.or_else(|_| {
            request.selectors[0].fields.clear();
            hub.watch(request.clone())
        });
        Self {
            watcher: watcher.unwrap(),
            fold: Fold::default(),
            request,
            pace: 1 + random.below(6),
        }
    }

    /// What it should see of a map with these entries.
    fn expected(&self, map: &FakeMap, entries: &Entries) -> Totals {
        let selectors = self.request.selectors.iter();
        selectors.flat_map(|selector| self.selected(selector, map, entries)).collect()
    }

    fn selected(&self, selector: &Selector, map: &FakeMap, entries: &Entries) -> Totals {
        let mut totals = Totals::new();
        if !selector.map.matches(&map.name) {
            return totals;
        }
        for (key, value) in entries {
            let key = text(u32::from_ne_bytes(key.as_slice().try_into().unwrap()));
            if !selector.labels.iter().all(|it| it.condition.takes(&[&key])) {
                continue;
            }
            let words: Vec<u64> =
                value.chunks(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap())).collect();
            let fields = map.value_size / 8;
            let histogram = map.counters.iter().any(|spec| spec.kind == CounterKind::Histogram);
            if histogram && !selector.fields.is_empty() {
                continue;
            }
            for (at, word) in words.into_iter().enumerate() {
                let field = match fields {
                    _ if histogram => format!("[{}]", at % fields),
                    1 => String::new(),
                    _ => (at % fields).to_string(),
                };
                if !selector.fields.is_empty() && !selector.fields.contains(&field) {
                    continue;
                }
                let each = map.cpus.is_some() && self.request.cpu == CpuMode::Each;
                let cpu = if each { format!(",cpu={}", at / fields) } else { String::new() };
                let series = (map.name.to_string(), format!("key={key}{cpu}"), field);
                let total = totals.entry(series).or_default();
                *total = total.wrapping_add(word);
            }
        }
        totals
    }

    /// Takes so many pages of what there is; every complete batch makes the view what a sweep saw.
    async fn read(&mut self, maps: &[Arc<FakeMap>], pages: usize) {
        for _ in 0..pages {
            // Not zero: a watcher steps back where there is much to look at and little to tell.
            let soon = Duration::from_millis(1);
            let next = tokio::time::timeout(soon, self.watcher.next()).await;
            let Ok(next) = next else { return };
            let told = next.expect("a stream").expect("the watch goes on");
            for said in said(&told) {
                self.hear(&said, maps);
            }
        }
    }

    fn hear(&mut self, said: &Said, maps: &[Arc<FakeMap>]) {
        self.fold.hear(said);
        if let Said::Batch(batch) = said
            && batch.complete
        {
            let known = maps.iter().filter(|map| map.name == batch.map);
            let mut seen = known.flat_map(|map| {
                let seen = map.seen(batch.read_begin, batch.read_end);
                seen.into_iter().map(|entries| self.expected(map, &entries))
            });
            let view = self.view(batch.map.as_str());
            assert!(seen.any(|seen| self.fits(&view, &seen)), "no sweep saw this: {view:?}");
            assert!(self.fold.series.len() <= self.limit());
        }
    }

    fn limit(&self) -> usize {
        if self.request.max_series == 0 { usize::MAX } else { self.request.max_series }
    }

    /// Whether a view is all of these totals, or as much as there is room for.
    fn fits(&self, view: &Totals, totals: &Totals) -> bool {
        if self.request.max_series == 0 {
            return view == totals;
        }
        view.iter().all(|(series, value)| totals.get(series) == Some(value))
    }

    fn view(&self, map: &str) -> Totals {
        let mut totals = self.fold.totals();
        totals.retain(|(name, ..), _| name == map);
        totals
    }
}

fn text(key: u32) -> String {
    let bytes = key.to_ne_bytes();
    format!("hex:{:02x}{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2], bytes[3])
}

fn per_cpu() -> FakeMap {
    FakeMap { value_size: 16, cpus: Some(CPUS), ..FakeMap::hash("p") }
}

fn declared(name: &str, kind: CounterKind) -> FakeMap {
    let spec = CounterSpec { field: String::new(), kind, unit: String::new() };
    FakeMap { counters: vec![spec], ..FakeMap::hash(name) }
}

fn change(random: &mut Random, map: &FakeMap) {
    for _ in 0..random.below(5) {
        let key = random.key();
        if random.one_in(3) {
            map.delete(key);
        } else {
            let words = map.value_size / 8 * map.cpus.unwrap_or(1);
            // Small numbers, so that some updates change nothing, and now and then huge ones.
            let number = |random: &mut Random| {
                random.below(3) as u64 * if random.one_in(9) { u64::MAX / 2 } else { 1 }
            };
            let words: Vec<u64> = (0..words).map(|_| number(random)).collect();
            map.set(key, &words);
        }
    }
    map.fault(match random.below(8) {
        0 => Fault::Stops(random.below(10)),
        1 => Fault::Fails(random.below(10)),
        _ => Fault::None,
    });
}

async fn play(seed: u64) {
    let mut random = Random(seed);
    // With few removals kept, slow watchers have to begin anew.
    let removals = if random.one_in(2) { 1 + random.below(12) } else { 1 << 20 };
    // With small messages hardly anything is told in one page.
    let message_bytes = if random.one_in(3) { 256 << 10 } else { 256 + 32 * random.below(64) };
    let (hub, sources) = hub(WatchLimits { removals, message_bytes, ..WatchLimits::default() });
    let interval = Duration::from_millis(100);
    let mut there = true;
    // All that ever were, the present ones last.
    let histograms = FakeMap { value_size: 24, ..declared("g", CounterKind::Histogram) };
    let mut maps = vec![
        sources.add(declared("h", CounterKind::Monotonic)),
        sources.add(histograms),
        sources.add(per_cpu()),
    ];
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..120 {
        if clients.len() < 6 && random.one_in(8) {
            clients.push(Client::new(&mut random, &hub, interval));
        }
        if clients.len() > 3 && random.one_in(30) {
            clients.swap_remove(0);
        }
        if random.one_in(40) {
            // Another takes its name at once.
            come(&sources, &mut maps);
            there = true;
        } else if random.one_in(25) {
            if there {
                sources.remove("p");
            } else {
                come(&sources, &mut maps);
            }
            there = !there;
        }
        for map in &maps {
            change(&mut random, map);
        }
        tokio::time::sleep(Duration::from_millis(random.below(250) as u64)).await;
        for client in &mut clients {
            if random.one_in(client.pace) {
                // Now and then sweeps pass while something is told in part.
                let pages = if random.one_in(2) { 1 + random.below(3) } else { usize::MAX };
                client.read(&maps, pages).await;
            }
        }
    }
    for map in &maps {
        map.fault(Fault::None);
    }
    // One that had not read since a map came joins it now.
    for client in &mut clients {
        client.read(&maps, usize::MAX).await;
    }
    tokio::time::sleep(interval * 10).await;
    for client in &mut clients {
        client.read(&maps, usize::MAX).await;
        let mut expected = client.expected(&maps[0], &maps[0].entries());
        expected.extend(client.expected(&maps[1], &maps[1].entries()));
        if let Some(last) = maps.last().filter(|_| there) {
            expected.extend(client.expected(last, &last.entries()));
        }
        let view = client.fold.totals();
        assert!(client.fits(&view, &expected), "seed {seed}: {view:?}, not {expected:?}");
        // Keys come with all their series or none.
        assert!(view.len() == expected.len() || view.len() + 2 * CPUS > client.limit());
        let reasons = client.fold.removed.iter().map(|removed| removed.reason);
        assert!(reasons.into_iter().all(|it| it != RemovedReason::Evicted));
    }
    drop(clients);
    assert_eq!((hub.watches(), hub.sweepers()), (0, 0));
}

/// A map comes by the per-CPU map's name.
fn come(sources: &FakeSources, maps: &mut Vec<Arc<FakeMap>>) {
    sources.remove("p");
    maps.push(sources.add(per_cpu()));
}

#[tokio::test(start_paused = true)]
async fn every_view_is_what_a_sweep_saw() {
    for seed in 0..32 {
        tokio::time::timeout(Duration::from_hours(1), play(seed)).await.expect("no hang");
    }
}
