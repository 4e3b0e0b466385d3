//! Watches of maps that change hands, and of maps that the agent does not own.

use std::time::Duration;

use bpfgate_client::v1::LoadObjectHeader;
use bpfgate_client::v1::series_removed::Reason;
use bpfgate_client::{Code, CounterView, Reconnect, UpdateMode, WatchEvent, WatchOptions};
use bpfgate_tests::bpftool::{self, PinnedMap};
use bpfgate_tests::calls::{header, texts, try_load};
use bpfgate_tests::{Agent, SOON, elf, refused};

use crate::watch::{fast, set, totals, watch};

fn sharing(name: &str, reference: &str) -> LoadObjectHeader {
    LoadObjectHeader { shared_maps: texts([("packets", reference)]), ..header(name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_under_the_new_name() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    try_load(&client, header("v1"), elf::SHARED).await.unwrap();
    try_load(&client, sharing("v2", "v1/packets"), elf::SHARED).await.unwrap();
    set(&client, "v1/packets", 1, 10).await;
    // By its name, by a pattern that its new name does not fit, by one that fits both, and who
    // comes later by the new name.
    let mut by_name = watch(&client, &["v1/packets"], fast()).await.unwrap();
    let mut by_old = watch(&client, &["v1/*"], fast()).await.unwrap();
    let mut by_both = watch(&client, &["*/packets"], fast()).await.unwrap();
    for seen in [&mut by_name, &mut by_old, &mut by_both] {
        seen.until_sync().await;
    }
    let start = by_name.series.values().next().unwrap().start_time;
    client.objects().unload("v1").await.unwrap();
    set(&client, "v2/packets", 1, 11).await;
    set(&client, "v2/packets", 2, 5).await;
    let renamed = [("v1/packets".to_owned(), "v2/packets".to_owned())];
    let want = totals(&[("v2/packets{key=1}", 11), ("v2/packets{key=2}", 5)]);
    for seen in [&mut by_name, &mut by_old, &mut by_both] {
        seen.until(|seen| {
            let mut all = seen.totals();
            all.retain(|name, _| name.contains("packets"));
            all == want
        })
        .await;
        assert_eq!(seen.renamed, renamed);
        assert!(seen.removed.iter().all(|gone| gone.map != "v1/packets"), "{:?}", seen.removed);
    }
    assert_eq!(by_name.series.values().next().unwrap().start_time, start);
    let mut later = watch(&client, &["v2/packets"], fast()).await.unwrap();
    later.until_sync().await;
    assert_eq!((later.totals(), later.renamed.len()), (want, 0));

    // Another map by the old name is another map, and the new one goes with its own object.
    try_load(&client, header("v1"), elf::SHARED).await.unwrap();
    set(&client, "v1/packets", 7, 70).await;
    for seen in [&mut by_name, &mut by_old, &mut by_both] {
        seen.until(|seen| seen.totals().contains_key("v1/packets{key=7}")).await;
    }
    client.objects().unload("v2").await.unwrap();
    let gone = |seen: &bpfgate_tests::Follower| {
        let is_it = |it: &bpfgate_client::v1::SeriesRemoved| {
            it.map == "v2/packets" && it.reason() == Reason::Unloaded
        };
        seen.removed.iter().any(is_it)
    };
    for seen in [&mut by_name, &mut by_old, &mut by_both] {
        seen.until(gone).await;
    }
    assert_eq!(by_name.totals(), totals(&[("v1/packets{key=7}", 70)]));
    drop((by_name, by_old, by_both, later));
    client.objects().unload("v1").await.unwrap();
    agent.assert_only_baseline();
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_opened_again_knows_the_new_name() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    try_load(&client, header("v1"), elf::SHARED).await.unwrap();
    try_load(&client, sharing("v2", "v1/packets"), elf::SHARED).await.unwrap();
    set(&client, "v1/packets", 1, 10).await;
    let options = WatchOptions { reconnect: Some(Reconnect::default()), ..fast() };
    let selectors = vec![bpfgate_client::parse_selector("v1/packets").unwrap()];
    let mut watch = client.maps().watch_counters(selectors, options).await.unwrap();
    let mut view = CounterView::new(watch.header());
    let id = loop {
        view.apply(&watch.next_event().await.unwrap().unwrap()).unwrap();
        if let Some(counter) = view.counters().next() {
            break counter.id();
        }
    };
    client.objects().unload("v1").await.unwrap();
    set(&client, "v2/packets", 1, 12).await;
    let named = |view: &CounterView| {
        let counter = view.get(id).unwrap();
        (counter.key().map.clone(), counter.value().total())
    };
    tokio::time::timeout(SOON, async {
        while named(&view) != ("v2/packets".to_owned(), 12) {
            view.apply(&watch.next_event().await.unwrap().unwrap()).unwrap();
        }
        // What makes no sense has it opened again.
        watch.start_over("a test");
        loop {
            let event = watch.next_event().await.unwrap().unwrap();
            view.apply(&event).unwrap();
            if let WatchEvent::Resumed(header) = event {
                assert_eq!(header.maps, ["v2/packets"]);
            } else if let WatchEvent::Sync(_) = event {
                break;
            }
        }
    })
    .await
    .expect("soon");
    assert_eq!(named(&view), ("v2/packets".to_owned(), 12));
    agent.stop();
}

const HASH: [&str; 10] =
    ["type", "hash", "key", "4", "value", "8", "entries", "8", "name", "theirs"];

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_others_is_watched_by_id_and_by_pin() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let theirs = PinnedMap::create(agent.bpffs(), &HASH);
    bpftool::update(theirs.id, &[1; 4], &[1, 0, 0, 0, 0, 0, 0, 0], "any");
    let held = agent.checkpoint();
    let by_id = format!("id:{}", theirs.id);
    let by_pin = format!("pin:{}", theirs.file_name());
    let mut seen = watch(&client, &[&by_id], fast()).await.unwrap();
    let mut also = watch(&client, &[&by_pin], fast()).await.unwrap();
    // A pattern takes what the agent owns.
    let mut owned = watch(&client, &["*"], fast()).await.unwrap();
    for seen in [&mut seen, &mut also, &mut owned] {
        seen.until_sync().await;
    }
    let key = |number: u64| totals(&[(&format!("{by_id}{{key=hex:01010101}}"), number)]);
    assert_eq!((seen.totals(), also.totals()), (key(1), key(1)));
    assert_eq!(owned.totals(), totals(&[]));
    bpftool::update(theirs.id, &[1; 4], &[9, 0, 0, 0, 0, 0, 0, 0], "any");
    for seen in [&mut seen, &mut also] {
        seen.until(|seen| seen.totals() == key(9)).await;
    }
    // Who opened it first may leave.
    drop(seen);
    bpftool::update(theirs.id, &[1; 4], &[11, 0, 0, 0, 0, 0, 0, 0], "any");
    also.until(|seen| seen.totals() == key(11)).await;
    drop((also, owned));
    let settled = || agent.checkpoint().files() == held.files();
    assert!(bpfgate_tests::within(Duration::from_secs(5), settled), "its descriptor is closed");

    let shown = agent.cli(&["watch", "counters", &by_id, "--once", "-o", "jsonl"]).ok();
    assert!(shown.stdout.contains("\"value\":\"11\""), "{shown:?}");
    let shown =
        agent.cli(&["watch", "counters", &format!("{by_pin}{{key=hex:01010101}}"), "--once"]);
    assert!(shown.ok().stdout.contains("11"));
    for nowhere in ["id:4294967295", "pin:nowhere"] {
        refused(watch(&client, &[nowhere], fast()).await, Code::NotFound, &[nowhere]);
    }
    // One of the agent's own goes by its name.
    bpfgate_tests::NewMap::hash("mine").make(&client).await;
    client.maps().update("mine", [1; 4], [1; 8], UpdateMode::Any).await.unwrap();
    let id = client.maps().get("mine").await.unwrap().id;
    let mut seen = watch(&client, &[&format!("id:{id}")], fast()).await.unwrap();
    seen.until_sync().await;
    assert!(seen.series.values().all(|series| series.map == "mine"));
    drop((seen, theirs));
    client.maps().delete("mine").await.unwrap();
    agent.assert_only_baseline();
}
