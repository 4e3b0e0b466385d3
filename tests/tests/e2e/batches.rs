//! Many entries in one call: written, read and removed, in order, up to the first that does not do.

use bpfgate_client::v1::MapType;
use bpfgate_client::{Client, Code, CpuMode, EntryBatch, UpdateMode};
use bpfgate_tests::fixture::{ipv4, unsigned};
use bpfgate_tests::{Agent, NewMap, bpftool, refused};
use serde_json::json;

const TYPES: [MapType; 7] = [
    MapType::Hash,
    MapType::LruHash,
    MapType::PercpuHash,
    MapType::LruPercpuHash,
    MapType::LpmTrie,
    MapType::Array,
    MapType::PercpuArray,
];

fn name(kind: MapType) -> &'static str {
    kind.as_str_name().trim_start_matches("MAP_TYPE_")
}

fn is_array(kind: MapType) -> bool {
    matches!(kind, MapType::Array | MapType::PercpuArray)
}

/// The `number`th key of a map of that type.
fn key(kind: MapType, number: u32) -> Vec<u8> {
    if kind == MapType::LpmTrie {
        return [32_u32.to_ne_bytes(), number.to_be_bytes()].concat();
    }
    number.to_ne_bytes().to_vec()
}

fn value(number: u32) -> [u8; 8] {
    (u64::from(number) * 10).to_ne_bytes()
}

fn batch(kind: MapType, numbers: impl Iterator<Item = u32>) -> EntryBatch {
    numbers.map(|number| (key(kind, number), value(number))).collect()
}

fn keys(kind: MapType, numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    numbers.flat_map(|number| key(kind, number)).collect()
}

/// What a map's entries are, as the kernel's own tool has them.
async fn there(client: &Client, map: &str) -> usize {
    let id = client.maps().get(map).await.unwrap().id;
    bpftool::dump(id).len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_batch_wrote_is_read_and_removed_by_batches() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for kind in TYPES {
        // Larger than one slice, so that several are needed; an LRU evicts when it is nearly full.
        let (name, count) = (name(kind), 5000);
        let map = NewMap::new(name, kind).entries(16_384).make(&client).await;
        let cpus = if map.per_cpu { map.value_stride as usize / 8 } else { 1 };
        let wrote = maps.update_batch(name, batch(kind, 0..count), UpdateMode::Any).await.unwrap();
        assert_eq!(wrote, u64::from(count), "{name}");
        let found = bpftool::lookup(map.id, &key(kind, 4999)).unwrap();
        assert!(found.values.iter().all(|one| *one == value(4999)), "{name}: {found:?}");
        assert_eq!(found.values.len(), cpus, "{name}");

        // Every second one is not there, but in an array all are.
        let asked = (0..count).flat_map(|number| [number, number + 10_000]);
        let asked = keys(kind, asked);
        let each = maps.lookup_batch(name, asked.clone(), CpuMode::Each).await.unwrap();
        assert_eq!(each.len(), 2 * count as usize);
        for (at, found) in each.iter().enumerate() {
            let number = u32::try_from(at / 2).unwrap();
            let want = value(number).repeat(cpus);
            match found {
                Some(found) if at % 2 == 0 => assert_eq!(found, want, "{name}[{number}]"),
                Some(found) => assert!(is_array(kind) && found.iter().all(|&byte| byte == 0)),
                None => assert!(at % 2 == 1 && !is_array(kind), "{name}[{number}]"),
            }
        }
        let sums = maps.lookup_batch(name, asked, CpuMode::Sum).await.unwrap();
        let sum = u64::from_ne_bytes(sums.get(20).unwrap().try_into().unwrap());
        assert_eq!(sum, 100 * cpus as u64, "{name}");

        let gone = maps.delete_batch(name, keys(kind, 0..count), false).await;
        if is_array(kind) {
            refused(gone, Code::Unimplemented, &[name, "delete"]);
            continue;
        }
        let gone = gone.unwrap();
        assert_eq!(gone.applied(), u64::from(count));
        assert!((0..count as usize).all(|at| gone.was_there(at)) && !gone.was_there(5000));
        assert_eq!(there(&client, name).await, 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn noexist_and_exist_hold_in_batches_too() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for kind in [MapType::Hash, MapType::PercpuHash, MapType::LpmTrie] {
        let name = name(kind);
        NewMap::new(name, kind).entries(64).make(&client).await;
        let new = maps.update_batch(name, batch(kind, 0..10), UpdateMode::Noexist).await;
        assert_eq!(new.unwrap(), 10);
        // 10 and 11 are new, 5 is not.
        let mixed = batch(kind, [10, 11, 5, 12].into_iter());
        let taken = maps.update_batch(name, mixed.clone(), UpdateMode::Noexist).await;
        let error = refused(taken, Code::AlreadyExists, &[name, "after 2 entries", "already"]);
        assert_eq!(error.applied(), Some(2));
        assert_eq!(error.reason.as_deref(), Some("KEY_EXISTS"));
        assert_eq!(there(&client, name).await, 12);
        let missing = maps.update_batch(name, mixed, UpdateMode::Exist).await;
        let error = refused(missing, Code::NotFound, &[name, "after 3 entries"]);
        assert_eq!(error.applied(), Some(3));
        let all = batch(kind, 0..12);
        assert_eq!(maps.update_batch(name, all, UpdateMode::Exist).await.unwrap(), 12);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_stops_tells_how_far_it_came() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for kind in [MapType::Hash, MapType::LpmTrie, MapType::PercpuHash] {
        let name = name(kind);
        NewMap::new(name, kind).entries(5000).make(&client).await;
        // In the second slice.
        let full = maps.update_batch(name, batch(kind, 0..6000), UpdateMode::Any).await;
        let error = refused(full, Code::ResourceExhausted, &[name, "after 5000", "full"]);
        assert_eq!(error.applied(), Some(5000), "{name}");
        assert_eq!(error.reason.as_deref(), Some("MAP_FULL"));
        assert_eq!(there(&client, name).await, 5000);
        // What there is can be replaced in a full map.
        maps.update_batch(name, batch(kind, 0..5000), UpdateMode::Any).await.unwrap();

        let ask = keys(kind, (4000..6000).chain(0..10));
        let stopped = maps.delete_batch(name, ask.clone(), false).await;
        let error = refused(stopped, Code::NotFound, &[name, "after 1000 entries were removed"]);
        assert_eq!(error.applied(), Some(1000), "{name}");
        let gone = maps.delete_batch(name, ask, true).await.unwrap();
        assert_eq!(gone.applied(), 10, "{name}");
        assert!((0..2010).all(|at| gone.was_there(at) == (at >= 2000)));
        assert_eq!(there(&client, name).await, 3990);
    }
    NewMap::array("array").entries(8).make(&client).await;
    let past = maps.update_batch("array", batch(MapType::Array, 4..12), UpdateMode::Any).await;
    let error = refused(past, Code::OutOfRange, &["array", "index 8", "8 entries"]);
    assert_eq!(error.applied(), Some(4));
    let there = maps.update_batch("array", batch(MapType::Array, 0..2), UpdateMode::Noexist).await;
    assert_eq!(refused(there, Code::AlreadyExists, &["array"]).applied(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_or_foreign_map_takes_no_batch() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = NewMap::hash("m").make(&client).await;
    bpftool::json(&["map", "freeze", "id", &map.id.to_string()]);
    let entries = || batch(MapType::Hash, 0..3);
    let frozen = client.maps().update_batch("m", entries(), UpdateMode::Any).await;
    let error = refused(frozen, Code::FailedPrecondition, &["m", "frozen"]);
    assert_eq!(error.applied(), Some(0));
    let none = client.maps().delete_batch("m", keys(MapType::Hash, 0..0), true).await;
    assert_eq!(none.unwrap().applied(), 0, "nothing was asked for");
    let none = batch(MapType::Hash, 0..0);
    let none = client.maps().update_batch("m", none, UpdateMode::Any).await;
    assert_eq!(none.unwrap(), 0);
    let hash = ["type", "hash", "key", "4", "value", "8", "entries", "8", "name", "theirs"];
    let theirs = bpftool::PinnedMap::create(agent.bpffs(), &hash);
    let foreign = format!("id:{}", theirs.id);
    let read_only = client.maps().update_batch(&foreign, entries(), UpdateMode::Any).await;
    refused(read_only, Code::PermissionDenied, &[&foreign]);
    let read_only = client.maps().delete_batch(&foreign, keys(MapType::Hash, 0..3), true).await;
    refused(read_only, Code::PermissionDenied, &[&foreign]);
    let maps = client.maps();
    let found = maps.lookup_batch(&foreign, keys(MapType::Hash, 0..3), CpuMode::Each).await;
    assert!(found.unwrap().iter().all(|value| value.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bytes_that_do_not_divide_are_named() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let map = NewMap::new("m", MapType::PercpuHash).make(&client).await;
    let stride = map.value_stride as usize;
    for (count, keys, values, field, parts) in [
        (2, 9, 16, "entries.keys", ["9 bytes", "keys of 4"]),
        (3, 8, 16, "entries.count", ["it is 3", "2 keys"]),
        (0, 8, 16, "entries.count", ["it is 0", "2 keys"]),
        (2, 8, 17, "entries.values", ["17 bytes", "2 values of 8"]),
        (2, 8, 3 * stride, "entries.values", ["2 values", "CPUs"]),
        (2, 8, 0, "entries.values", ["0 bytes", "2 values"]),
    ] {
        let wrong = EntryBatch::packed(count, vec![1; keys], vec![1; values]);
        let error = maps.update_batch("m", wrong, UpdateMode::Any).await;
        let error = refused(error, Code::InvalidArgument, &parts);
        assert_eq!(error.field_violations[0].field, field);
        assert_eq!(error.metadata["map"], "m");
    }
    let odd = maps.delete_batch("m", vec![0; 7], true).await;
    let error = refused(odd, Code::InvalidArgument, &["7 bytes", "keys of 4"]);
    assert_eq!(error.field_violations[0].field, "keys");
    refused(maps.lookup_batch("m", vec![0; 7], CpuMode::Each).await, Code::InvalidArgument, &["7"]);
    assert_eq!(there(&client, "m").await, 0);
    // Nothing is a batch too.
    let nothing = EntryBatch::default();
    assert_eq!(maps.update_batch("m", nothing, UpdateMode::Any).await.unwrap(), 0);
    let nothing: Vec<u8> = Vec::new();
    assert_eq!(maps.delete_batch("m", nothing.clone(), false).await.unwrap().applied(), 0);
    assert!(maps.lookup_batch("m", nothing, CpuMode::Sum).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cpu_gets_its_own_value_in_a_batch() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for kind in [MapType::PercpuHash, MapType::PercpuArray, MapType::LruPercpuHash] {
        // Values that the kernel pads to 8 bytes.
        let name = name(kind);
        let map = NewMap::new(name, kind).sizes(4, 5).entries(64).make(&client).await;
        let cpus = u8::try_from(map.value_stride / 8).unwrap();
        let each = |number: u8| -> Vec<Vec<u8>> {
            (0..cpus).map(|cpu| vec![number * 10 + cpu; 5]).collect()
        };
        let padded = |number: u8| -> Vec<u8> {
            each(number).iter().flat_map(|one| [&one[..], &[0; 3]].concat()).collect()
        };
        let batch: EntryBatch = (0..20).map(|n| ([n, 0, 0, 0], padded(n))).collect();
        maps.update_batch(name, batch, UpdateMode::Any).await.unwrap();
        let one = EntryBatch::packed(1, vec![20, 0, 0, 0], vec![9; 5]);
        maps.update_batch(name, one, UpdateMode::Any).await.unwrap();
        for number in 0..20 {
            let entry = bpftool::lookup(map.id, &[number, 0, 0, 0]).unwrap();
            assert_eq!(entry.values, each(number), "{name}");
        }
        let all = bpftool::lookup(map.id, &[20, 0, 0, 0]).unwrap().values;
        assert_eq!(all, vec![vec![9; 5]; cpus.into()], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_typed_by_the_layout() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::hash("hosts").key(ipv4()).value(unsigned(8)).make(&client).await;
    let host = |n: u8| json!(format!("10.0.0.{n}"));
    let entries = EntryBatch::typed((1..=3).map(|n| (host(n), json!(n))));
    assert_eq!(maps.update_batch("hosts", entries, UpdateMode::Any).await.unwrap(), 3);
    let ask = vec![host(1), host(9), host(3)];
    let found = maps.lookup_batch_typed("hosts", ask.clone(), CpuMode::Each).await.unwrap();
    assert_eq!(found, [(host(1), json!("1")), (host(3), json!("3"))]);
    let packed = maps.lookup_batch("hosts", ask.clone(), CpuMode::Each).await.unwrap();
    assert_eq!(packed.get(2).unwrap(), 3_u64.to_ne_bytes());
    let gone = maps.delete_batch("hosts", ask, true).await.unwrap();
    assert_eq!((gone.applied(), gone.was_there(1)), (2, false));

    // One that does not fit keeps all from being written.
    let wrong = EntryBatch::typed([(host(1), json!(1)), (host(2), json!(-1))]);
    let error = maps.update_batch("hosts", wrong, UpdateMode::Any).await;
    let error = refused(error, Code::InvalidArgument, &["entry 1", "value", "hosts"]);
    assert_eq!(error.metadata["entry"], "1");
    assert_eq!(there(&client, "hosts").await, 1);

    NewMap::hash("plain").make(&client).await;
    let entries = EntryBatch::typed([(json!(1), json!(1))]);
    let untyped = maps.update_batch("plain", entries, UpdateMode::Any).await;
    refused(untyped, Code::FailedPrecondition, &["plain", "no schema"]);
    maps.update_batch("plain", batch(MapType::Hash, 0..1), UpdateMode::Any).await.unwrap();
    let untyped = maps.lookup_batch_typed("plain", keys(MapType::Hash, 0..1), CpuMode::Each).await;
    refused(untyped, Code::FailedPrecondition, &["plain", "no schema"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_values_of_a_batch_go_to_each_cpu_or_to_all() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let map = NewMap::new("p", MapType::PercpuHash).key(unsigned(4)).value(unsigned(2));
    let cpus = map.make(&client).await.value_stride as usize / 8;
    let each: Vec<usize> = (1..=cpus).collect();
    let mixed = EntryBatch::typed([(json!(1), json!(7)), (json!(2), json!(each))]);
    maps.update_batch("p", mixed, UpdateMode::Any).await.unwrap();
    let ask = vec![json!(1), json!(2)];
    let got = maps.lookup_batch_typed("p", ask.clone(), CpuMode::Each).await.unwrap();
    assert_eq!(got, [(json!(1), json!(vec![7; cpus])), (json!(2), json!(each))]);
    let sums = maps.lookup_batch_typed("p", ask, CpuMode::Sum).await.unwrap();
    let sum: usize = each.iter().sum();
    let text = |number: usize| json!(number.to_string());
    assert_eq!(sums, [(json!(1), text(7 * cpus)), (json!(2), text(sum))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_larger_than_a_message_is_refused_before_it_is_made() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::array("wide").sizes(4, 1 << 20).entries(2).make(&client).await;
    let ask = keys(MapType::Array, (0..32).map(|_| 0));
    let error = refused(
        maps.lookup_batch("wide", ask, CpuMode::Each).await,
        Code::ResourceExhausted,
        &["32 values of map wide"],
    );
    assert_eq!(error.reason.as_deref(), Some("TOO_LARGE"));
    let fits = maps.lookup_batch("wide", vec![0; 8], CpuMode::Each).await.unwrap();
    assert_eq!(fits.get(1).unwrap().len(), 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_tell_which_batches_the_kernel_has() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for kind in TYPES {
        let can = NewMap::new(name(kind), kind).make(&client).await.capabilities.unwrap();
        assert!(can.batch_lookup && can.batch_update, "{kind:?}");
        assert_eq!(can.batch_delete, !is_array(kind), "{kind:?}");
    }
}
