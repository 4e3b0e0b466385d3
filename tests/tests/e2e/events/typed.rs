//! Records by their types, and those that a filter takes.

use bpfgate_client::v1::MapType;
use bpfgate_client::value::Type;
use bpfgate_client::{Code, EventFilter, EventNews, EventOptions};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, refused};
use serde_json::Value;

use super::{EVENT, PERF, RING, Script, Stage};

fn filter(field: &str, value: &str) -> EventFilter {
    EventFilter::is(field, value)
}

fn of_type(name: &str) -> EventOptions {
    EventOptions { record_type: name.to_owned(), ..EventOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_knows_the_type_that_its_object_declares() {
    let stage = Stage::new(Script::default()).await;
    let map = stage.client.maps().get(RING).await.unwrap();
    assert_eq!(map.record_type.clone().unwrap().name, "struct event");
    let seen = stage.watch(RING).await;
    assert_eq!(seen.events.header().record_type, map.record_type);
    assert_eq!(seen.events.plan().unwrap().size(), EVENT);
    // A perf buffer's value is a descriptor.
    let map = stage.client.maps().get(PERF).await.unwrap();
    assert!(map.record_type.is_none());
    assert!(stage.watch(PERF).await.events.header().record_type.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_typed_here_as_at_the_agent() {
    let stage = Stage::new(Script { burst: 10, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let mut packed = stage.watch(RING).await;
    let options = EventOptions { typed: true, ..EventOptions::default() };
    let mut typed = stage.client.maps().watch_events(RING, options).await.unwrap();
    stage.call(10);
    packed.until(100).await;
    let mut values = Vec::new();
    while values.len() < 100 {
        let Some(EventNews::Batch(batch)) = typed.next_news().await.unwrap() else { panic!() };
        for record in batch.iter() {
            assert!(record.bytes.is_empty());
            let typed = record.typed.unwrap();
            assert!(typed.rest.is_empty());
            let value = bpfgate_client::value::value_to_json(typed.value.as_ref().unwrap());
            values.push(value);
        }
    }
    let pid = std::process::id();
    for (number, value) in values.iter().enumerate() {
        let want = serde_json::json!({
            "number": number.to_string(), "pid": pid, "kind": number % 4, "comm": stage.thread,
        });
        assert_eq!(*value, want);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_shorter_and_longer_than_their_type_are_kept() {
    let stage = Stage::new(Script { burst: 8, vary: 6, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let mut packed = stage.watch(RING).await;
    let options = EventOptions { typed: true, ..EventOptions::default() };
    let mut typed = stage.client.maps().watch_events(RING, options).await.unwrap();
    stage.call(2);
    let mut sizes = Vec::new();
    while sizes.len() < 16 {
        let Some(EventNews::Batch(batch)) = packed.next().await.unwrap() else { panic!() };
        for record in batch.iter() {
            let (value, rest) = packed.events.decode(record.bytes);
            let all = record.bytes.len();
            assert_eq!(value.is_some(), all >= EVENT);
            assert_eq!(rest.len(), if all >= EVENT { all - EVENT } else { all });
            sizes.push(all);
        }
    }
    let want: Vec<usize> = (0..16).map(|number| EVENT - 24 + number % 8 * 6).collect();
    assert_eq!(sizes, want);
    let mut rests = Vec::new();
    while rests.len() < 16 {
        let Some(EventNews::Batch(batch)) = typed.next_news().await.unwrap() else { panic!() };
        rests.extend(batch.iter().map(|record| {
            let typed = record.typed.unwrap();
            (typed.value.is_some(), typed.rest.len())
        }));
    }
    let split = |size: usize| if size >= EVENT { (true, size - EVENT) } else { (false, size) };
    assert_eq!(rests, want.into_iter().map(split).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_can_be_named_by_the_caller() {
    let stage = Stage::new(Script::default()).await;
    stage.attach("to_ring").await;
    for name in ["struct other_event", "other_event"] {
        let mut seen = stage.watch_with(RING, of_type(name)).await.unwrap();
        assert_eq!(seen.events.header().record_type.as_ref().unwrap().name, "struct other_event");
        stage.call(1);
        let Some(EventNews::Batch(batch)) = seen.next().await.unwrap() else { panic!() };
        let record = batch.iter().next().unwrap();
        let (value, rest) = seen.events.decode(record.bytes);
        assert_eq!((value.unwrap()["high"].clone(), rest.len()), (Value::from(0), EVENT - 8));
    }
    let filters = vec![filter("kind", "2")];
    let unsaid = EventOptions { filters, ..EventOptions::default() };
    let unsaid = stage.watch_with(PERF, unsaid).await.map(|_| ());
    refused(unsaid, Code::FailedPrecondition, &[PERF, "name a type", "struct event"]);
    let unknown = stage.watch_with(RING, of_type("struct evnt")).await.map(|_| ());
    refused(unknown, Code::InvalidArgument, &["struct evnt", "struct event", "struct other_event"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_records_that_every_filter_takes_are_sent() {
    let stage = Stage::new(Script { burst: 50, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let pid = std::process::id().to_string();
    let filters = vec![filter("kind", "2"), filter("pid", &pid), filter("comm", &stage.thread)];
    let options = EventOptions { filters, ..EventOptions::default() };
    let mut packed = stage.watch_with(RING, options.clone()).await.unwrap();
    let options = EventOptions { typed: true, ..options };
    let mut typed = stage.client.maps().watch_events(RING, options).await.unwrap();
    let one = EventOptions { filters: vec![filter("number", "150")], ..EventOptions::default() };
    let mut one = stage.watch_with(RING, one).await.unwrap();
    stage.call(4);
    packed.until(50).await;
    assert!(packed.numbers.iter().copied().eq((0..50).map(|n| n * 4 + 2)));
    one.until(1).await;
    assert_eq!(one.numbers, [150]);
    let mut count = 0;
    while count < 50 {
        let Some(EventNews::Batch(batch)) = typed.next_news().await.unwrap() else { panic!() };
        count += batch.iter().filter(|record| record.typed.unwrap().value.is_some()).count();
    }
    packed.quiet().await;
    for (field, value, words) in [
        ("kin", "2", &["kin", "number, pid, kind, comm"][..]),
        ("kind", "two", &["kind", "two"]),
        ("kind", "4294967296", &["kind", "4294967295"]),
        ("", "2", &["number, pid"]),
    ] {
        let filters = vec![filter(field, value)];
        let wrong = EventOptions { filters, ..EventOptions::default() };
        let wrong = stage.watch_with(RING, wrong).await.map(|_| ());
        refused(wrong, Code::InvalidArgument, words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_is_made_here_can_say_what_its_records_are() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let ty: Type = record("struct note", &[("low", unsigned(4)), ("high", unsigned(4))]);
    let ring = NewMap::new("notes", MapType::Ringbuf).sizes(0, 0).entries(4096);
    let mut request = ring.request();
    request.record_type = Some(ty.clone().into());
    let made = client.maps().create(request.clone()).await.unwrap();
    assert_eq!(made.record_type, Some(ty.clone().into()));
    let seen = client.maps().watch_events("notes", EventOptions::default()).await.unwrap();
    assert_eq!(seen.header().record_type, Some(ty.clone().into()));
    // Without an object there are no other names.
    let named = client.maps().watch_events("notes", of_type("note")).await;
    refused(named, Code::InvalidArgument, &["notes", "no object"]);

    let mut hash = NewMap::hash("hash").request();
    hash.record_type = Some(ty.into());
    let made = client.maps().create(hash).await;
    refused(made, Code::InvalidArgument, &["record_type", "hash"]);
}

bpfgate_client::plain! {
    /// As `struct event` in `events.bpf.c`.
    struct Event {
        number: u64,
        pid: u32,
        kind: u32,
        comm: [u8; 16],
    }

    /// With two fields in each other's place.
    struct Swapped {
        number: u64,
        kind: u32,
        pid: u32,
        comm: [u8; 16],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_read_as_structs_that_were_checked() {
    let stage = Stage::new(Script { burst: 10, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let maps = stage.client.maps();
    let open = async || maps.watch_events(RING, EventOptions::default()).await.unwrap();
    let said = open().await.check_records::<Swapped>().unwrap_err();
    assert!(said.to_string().contains("Swapped does not fit"), "{said}");
    let said = open().await.check_records::<Event>().map(drop);
    said.unwrap();
    let mut events = open().await.check_records::<Event>().unwrap();
    stage.call(1);
    let Some(EventNews::Batch(batch)) = events.next_news().await.unwrap() else { panic!("a loss") };
    let first = batch.iter().next().unwrap().read::<Event>().unwrap();
    assert_eq!((first.number, first.kind), (0, 0));
    assert_eq!(first.pid, std::process::id());
    assert!(first.comm.starts_with(b"ev"));
}
