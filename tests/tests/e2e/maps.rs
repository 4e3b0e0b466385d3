//! The life of a map: made, found, described, forgotten.

use std::collections::HashMap;

use bpfgate_client::v1::{Capabilities, Map, MapType, Ownership, SchemaSource};
use bpfgate_client::{Client, Code, MapFilter};
use bpfgate_tests::bpftool::{self, PinnedMap};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::kernel::{Id, Kind};
use bpfgate_tests::{Agent, NewMap, SOON, refused, within};

const TYPES: [(MapType, &str); 7] = [
    (MapType::Array, "array"),
    (MapType::Hash, "hash"),
    (MapType::PercpuArray, "percpu_array"),
    (MapType::PercpuHash, "percpu_hash"),
    (MapType::LruHash, "lru_hash"),
    (MapType::LruPercpuHash, "lru_percpu_hash"),
    (MapType::LpmTrie, "lpm_trie"),
];

async fn names(client: &Client, filter: MapFilter) -> Vec<String> {
    let maps = client.maps().list(filter).await.unwrap();
    maps.into_iter().map(|map| map.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_asked_for_with_so_many_patterns_only() {
    let agent = Agent::builder().config("[limits]\nmax_patterns = 3\n").spawn();
    let client = agent.client().await;
    NewMap::hash("m").counter("", "packets").make(&client).await;
    let names = |count| bpfgate_client::MapFilter {
        names: vec!["m*".to_owned(); count],
        ..Default::default()
    };
    assert_eq!(client.maps().list(names(3)).await.unwrap().len(), 1);
    let error = client.maps().list(names(4)).await;
    refused(error, Code::InvalidArgument, &["names", "max_patterns", "4"]);
    let counters = (0..4).fold(NewMap::hash("n"), |map, _| map.counter("", "packets"));
    let error = client.maps().create(counters.request()).await;
    refused(error, Code::InvalidArgument, &["counters", "max_patterns"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_of_every_type_is_in_the_kernel_as_described() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for (kind, type_name) in TYPES {
        let made = NewMap::new(type_name, kind).make(&client).await;
        let shown = bpftool::map(made.id);
        assert_eq!(shown["type"], type_name);
        assert_eq!(shown["name"], type_name);
        let spec = made.spec.clone().unwrap();
        assert_eq!(shown["bytes_key"], spec.key_size);
        assert_eq!(shown["bytes_value"], spec.value_size);
        assert_eq!(shown["max_entries"], 16);
        assert_eq!(shown["flags"], spec.flags);
        assert_eq!((made.ownership(), made.object.as_str()), (Ownership::Owned, ""));
        assert_eq!(shown["bytes_memlock"], made.memory_bytes);
        assert_eq!(shown["frozen"], u32::from(made.frozen));
        assert!(made.created_at.is_some());
        assert_eq!(client.maps().get(type_name).await.unwrap().id, made.id);

        client.maps().delete(type_name).await.unwrap();
        let freed = within(SOON, || !Id(Kind::Map, made.id).exists());
        assert!(freed, "the kernel still has the {type_name}");
    }
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_tells_its_strides_and_what_it_can() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let cpus = client.agent().get().await.unwrap().possible_cpus;
    for (kind, name) in TYPES {
        let map = NewMap::new(name, kind).sizes(8, 12).entries(4);
        let indexed = matches!(kind, MapType::Array | MapType::PercpuArray);
        let map = if indexed { map.sizes(4, 12) } else { map };
        let made = map.make(&client).await;
        let per_cpu = name.contains("percpu");
        assert_eq!(made.per_cpu, per_cpu, "{name}");
        assert_eq!(made.value_stride, if per_cpu { 16 * cpus } else { 12 }, "{name}");
        let can = made.capabilities.unwrap();
        assert!(can.lookup && can.update && can.iterate && can.watch_counters, "{name}: {can:?}");
        assert!(can.batch_lookup, "{name}: {can:?}");
        assert_eq!(can.delete, !indexed, "{name}: {can:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_without_entries_says_what_it_lacks() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = NewMap::new("ring", MapType::Ringbuf).sizes(0, 0).entries(4096).make(&client).await;
    let can =
        Capabilities { freeze: true, pin: true, watch_events: true, ..Capabilities::default() };
    assert_eq!(map.capabilities, Some(can));
    let maps = client.maps();
    let cpu = bpfgate_client::CpuMode::Each;
    refused(maps.lookup("ring", [], cpu).await, Code::Unimplemented, &["ringbuf", "lookup"]);
    let all = bpfgate_client::IterateOptions::default();
    refused(maps.iterate("ring", all).await, Code::Unimplemented, &["ringbuf", "iterate"]);

    NewMap::array("array").make(&client).await;
    let error = maps.delete_entry("array", [0; 4]).await;
    let error = refused(error, Code::Unimplemented, &["array", "delete", "lookup, update"]);
    assert_eq!(error.reason.as_deref(), Some("UNSUPPORTED_OPERATION"));
    assert_eq!(error.metadata["has"], "lookup, update, iterate, freeze, pin, watch counters");
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_are_listed_in_order_by_name_type_and_label() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("flows.v6").label("team", "net").label("env", "test").make(&client).await;
    NewMap::array("drops").label("team", "net").make(&client).await;
    NewMap::hash("flows.v4").make(&client).await;

    let all = client.maps().list(MapFilter::default()).await.unwrap();
    assert_eq!(
        all.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
        ["drops", "flows.v4", "flows.v6"]
    );
    assert!(all.iter().all(|map| map.schema.is_none() && map.capabilities.is_none()));

    let by_name = |glob: &str| MapFilter { names: vec![glob.into()], ..MapFilter::default() };
    assert_eq!(names(&client, by_name("flows.v?")).await, ["flows.v4", "flows.v6"]);
    assert_eq!(names(&client, by_name("*o*")).await, ["drops", "flows.v4", "flows.v6"]);
    assert!(names(&client, by_name("*/*")).await.is_empty());
    assert!(names(&client, by_name("flow")).await.is_empty());
    let two = MapFilter { names: vec!["drops".into(), "*4".into()], ..MapFilter::default() };
    assert_eq!(names(&client, two).await, ["drops", "flows.v4"]);

    let by_type = |types: &[MapType]| MapFilter { types: types.into(), ..MapFilter::default() };
    assert_eq!(names(&client, by_type(&[MapType::Array])).await, ["drops"]);
    assert_eq!(names(&client, by_type(&[MapType::Array, MapType::Hash])).await.len(), 3);
    assert!(names(&client, by_type(&[MapType::Queue])).await.is_empty());

    let by_label = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
        MapFilter { labels: labels.collect::<HashMap<_, _>>(), ..MapFilter::default() }
    };
    assert_eq!(names(&client, by_label(&[("team", "net")])).await, ["drops", "flows.v6"]);
    let both = by_label(&[("team", "net"), ("env", "test")]);
    assert_eq!(names(&client, both.clone()).await, ["flows.v6"]);
    assert!(names(&client, by_label(&[("team", "")])).await.is_empty());
    let all_at_once = MapFilter { types: vec![MapType::Array], ..both };
    assert!(names(&client, all_at_once).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_layout_counters_and_labels_come_back() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let value = record("struct rx", &[("packets", unsigned(8)), ("bytes", unsigned(8))]);
    let new = NewMap::hash("rx").key(unsigned(4)).value(value).counter("bytes", "By");
    let request = new.label("team", "net").request();
    client.maps().create(request.clone()).await.unwrap();

    let got = client.maps().get("rx").await.unwrap();
    let schema = got.schema.clone().unwrap();
    assert_eq!(schema.source(), SchemaSource::Declared);
    let declared = request.layout.unwrap();
    assert_eq!((schema.key, schema.value), (declared.key, declared.value));
    assert_eq!(got.counters, request.counters);
    assert_eq!(got.labels, request.labels);
    assert!(client.maps().get("rx").await.unwrap().capabilities.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_until_its_map_is_deleted() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let first = NewMap::hash("m").make(&client).await;
    let again = client.maps().create(NewMap::array("m").request()).await;
    let error = refused(again, Code::AlreadyExists, &["map m exists already"]);
    assert_eq!(error.reason.as_deref(), Some("NAME_TAKEN"));
    assert_eq!(client.maps().get("m").await.unwrap().id, first.id);

    client.maps().delete("m").await.unwrap();
    refused(client.maps().get("m").await, Code::NotFound, &["there is no map m"]);
    refused(client.maps().delete("m").await, Code::NotFound, &["there is no map m"]);
    let second = NewMap::array("m").make(&client).await;
    assert_ne!(second.id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_is_reached_by_name_id_and_pin() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let made = NewMap::hash("m").make(&client).await;
    let same = |map: &Map| (map.id, map.name.clone(), map.ownership());
    for reference in ["m".to_owned(), format!("id:{}", made.id)] {
        assert_eq!(same(&client.maps().get(&reference).await.unwrap()), same(&made));
    }

    let arguments = ["type", "hash", "key", "4", "value", "8", "entries", "4", "name", "theirs"];
    let foreign = PinnedMap::create(agent.bpffs(), &arguments);
    for reference in [format!("id:{}", foreign.id), format!("pin:{}", foreign.file_name())] {
        let map = client.maps().get(&reference).await.unwrap();
        assert_eq!((map.id, map.name.as_str()), (foreign.id, ""));
        assert_eq!((map.kernel_name.as_str(), map.ownership()), ("theirs", Ownership::Adopted));
        let can = map.capabilities.unwrap();
        assert!(can.lookup && can.iterate && !can.update && !can.delete, "{can:?}");
    }
    assert_eq!(names(&client, MapFilter::default()).await, ["m"]);
    drop(foreign);
    client.maps().delete("m").await.unwrap();
    // Opened for one request, not kept.
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_goes_by_name_only() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let made = NewMap::hash("m").make(&client).await;
    for reference in [format!("id:{}", made.id), "pin:m".to_owned()] {
        refused(client.maps().delete(&reference).await, Code::InvalidArgument, &["map name"]);
    }
    assert_eq!(names(&client, MapFilter::default()).await, ["m"]);
}
