//! What is declared of a map's counters: checked where it is declared.

use std::collections::BTreeSet;

use bpfgate_client::v1::{CounterKind, CounterSpec, CounterSpecs, LoadObjectHeader, MapType};
use bpfgate_client::{Code, UpdateMode};
use bpfgate_tests::calls::{header, try_load};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, elf, refused};

use crate::watch::{fast, watch};

fn histogram(field: &str) -> CounterSpec {
    let kind = CounterKind::Histogram.into();
    CounterSpec { field: field.to_owned(), kind, unit: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_that_cannot_be_is_refused_with_the_map() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let single = [(NewMap::hash("m"), ""), (NewMap::array("m").entries(65), "")];
    let two = || record("struct two", &[("a", unsigned(8)), ("b", unsigned(8))]);
    let of_two = |field| (NewMap::hash("m").key(unsigned(4)).value(two()), field);
    let ring = NewMap::new("m", MapType::Ringbuf).sizes(0, 0).entries(4096);
    let many = NewMap::hash("m").sizes(4, 65 * 8);
    let odd = NewMap::hash("m").sizes(4, 12);
    for ((map, field), parts) in
        single.map(|it| (it, ["single number", "array map"])).into_iter().chain([
            (of_two("c"), ["no number \"c\"", "a, b"]),
            (of_two("b"), ["\"b\" cannot be a histogram", "single number"]),
            ((ring, ""), ["ringbuf", "no counters"]),
            ((many, ""), ["65 slots", "2 to 64"]),
            ((odd, ""), ["12 bytes", "no schema"]),
        ])
    {
        let mut request = map.request();
        request.counters = vec![histogram(field)];
        let made = client.maps().create(request).await;
        refused(made, Code::InvalidArgument, &["counters: map m: ", parts[0], parts[1]]);
    }
    agent.assert_only_baseline();

    let counters = |map: &str, field: &str| {
        let specs = CounterSpecs { specs: vec![histogram(field)] };
        LoadObjectHeader { counters: [(map.to_owned(), specs)].into(), ..header("o") }
    };
    for (request, part) in [
        (counters("io", "bytes"), "\"bytes\" cannot be a histogram"),
        (counters("io", "byte"), "it has bytes, open, sizes[0]"),
        (counters("iot", ""), "no map \"iot\""),
    ] {
        let loaded = try_load(&client, request, elf::ANNOTATED).await;
        refused(loaded, Code::InvalidArgument, &["counters", part]);
    }
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_hold_within_arrays_and_impossible_ones_are_warned_of() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let loaded = try_load(&client, header("o"), elf::ANNOTATED).await.unwrap();
    let [single, wide] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(single.contains("map o/odd: \"single\" cannot be a histogram"), "{single}");
    assert!(wide.contains("\"wide\"") && wide.contains("65 slots"), "{wide}");
    client.maps().update("o/odd", [0; 4], [1; 592], UpdateMode::Any).await.unwrap();
    let mut seen = watch(&client, &["o/odd"], fast()).await.unwrap();
    seen.until_sync().await;
    let told: BTreeSet<_> = seen
        .series
        .values()
        .filter(|one| !one.field.starts_with("wide["))
        .map(|one| (one.field.as_str(), one.kind(), one.kind_undeclared, one.bounds.len()))
        .collect();
    let (counter, gauge) = (CounterKind::Monotonic, CounterKind::Gauge);
    assert_eq!(
        told,
        BTreeSet::from([
            ("queues[0].bytes", counter, false, 0),
            ("queues[0].open", gauge, true, 0),
            ("queues[0].sizes", CounterKind::Histogram, false, 4),
            ("queues[1].bytes", counter, false, 0),
            ("queues[1].open", gauge, true, 0),
            ("queues[1].sizes", CounterKind::Histogram, false, 4),
            ("single", gauge, true, 0),
        ])
    );
    assert_eq!(seen.series.len(), 7 + 65);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_of_a_shared_map_are_its_own_and_others_are_warned_of() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let first = try_load(&client, header("first"), elf::ANNOTATED).await.unwrap();
    let kind = CounterKind::Gauge.into();
    let gauge = CounterSpec { field: "bytes".to_owned(), kind, unit: String::new() };
    let request = LoadObjectHeader {
        shared_maps: [("io".to_owned(), "first/io".to_owned())].into(),
        counters: [("io".to_owned(), CounterSpecs { specs: vec![gauge] })].into(),
        ..header("second")
    };
    let second = try_load(&client, request, elf::ANNOTATED).await.unwrap();
    let more: Vec<_> =
        second.warnings.iter().filter(|warning| !warning.contains("second/odd")).collect();
    let [unused] = &more[..] else { panic!("{:?} {:?}", first.warnings, second.warnings) };
    assert!(unused.contains("counters of map io") && unused.contains("first/io"), "{unused}");
}
