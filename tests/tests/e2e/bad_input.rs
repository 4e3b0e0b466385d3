//! What callers get wrong: each has its code and a message that names the offender, and the agent
//! goes on as if nothing had been.

use bpfgate_client::v1::map_service_client::MapServiceClient;
use bpfgate_client::v1::{self, MapSpec, MapType, lookup_request, update_request};
use bpfgate_client::{Client, Code, CpuMode, Error, IterateOptions, UpdateMode};
use bpfgate_tests::fixture::unsigned;
use bpfgate_tests::{Agent, NewMap, refused};
use serde_json::json;
use tonic::Status;

type Spoil = fn(&mut MapSpec);

/// Every length that is not one of the right ones: all short ones, a few beyond, and huge.
fn wrong_lengths(right: &[usize]) -> impl Iterator<Item = usize> {
    let last = right.iter().max().unwrap() + 9;
    (0..=last).chain([65_536, 1 << 20]).filter(|len| !right.contains(len))
}

/// The refusal of a request that the client crate cannot make.
fn status<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, part: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(part), "{part:?} is not in {:?}", status.message());
}

fn is_about<T: std::fmt::Debug>(answer: Result<T, Error>, what: &str, map: &str, got: usize) {
    let message = format!("{what} for map {map} has {got} bytes");
    let error = refused(answer, Code::InvalidArgument, &[&message]);
    assert_eq!(error.reason, Some(format!("{}_LENGTH", what.to_uppercase())));
    assert_eq!(error.field_violations[0].field, what);
    assert_eq!(error.metadata["map"], map);
    assert_eq!(error.metadata["got"], got.to_string());
}

async fn some_of_each(client: &Client) -> Vec<v1::Map> {
    let kinds = [
        MapType::Array,
        MapType::Hash,
        MapType::LruHash,
        MapType::PercpuArray,
        MapType::PercpuHash,
        MapType::LruPercpuHash,
        MapType::LpmTrie,
    ];
    let mut maps = Vec::new();
    for kind in kinds {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_");
        maps.push(NewMap::new(&name[..name.len().min(15)], kind).make(client).await);
    }
    maps
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_any_wrong_length_is_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    for map in some_of_each(&client).await {
        let name = map.name.as_str();
        let right = map.spec.unwrap().key_size as usize;
        for len in wrong_lengths(&[right]) {
            let key = || vec![0; len];
            is_about(maps.lookup(name, key(), CpuMode::Each).await, "key", name, len);
            is_about(maps.lookup(name, key(), CpuMode::Sum).await, "key", name, len);
            let update = maps.update(name, key(), [0; 8], UpdateMode::Any).await;
            is_about(update, "key", name, len);
            if map.capabilities.unwrap().delete {
                is_about(maps.delete_entry(name, key()).await, "key", name, len);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_any_wrong_length_is_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for map in some_of_each(&client).await {
        let (name, spec) = (map.name.as_str(), map.spec.clone().unwrap());
        // On a per-CPU map one for all is right, and so is one for each.
        let right = [spec.value_size as usize, map.value_stride as usize];
        let key = || match map.spec.as_ref().unwrap().r#type() {
            MapType::LpmTrie => vec![0; 8],
            _ => vec![1, 0, 0, 0],
        };
        for len in wrong_lengths(&right) {
            let update = client.maps().update(name, key(), vec![1; len], UpdateMode::Any).await;
            is_about(update, "value", name, len);
        }
        for len in right {
            client.maps().update(name, key(), vec![1; len], UpdateMode::Any).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_data_that_does_not_fit_names_the_field() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::hash("typed").key(unsigned(2)).value(unsigned(1)).make(&client).await;
    NewMap::hash("raw").make(&client).await;
    for (key, value, offender) in [
        (json!(65_536), json!(1), "key"),
        (json!(-1), json!(1), "key"),
        (json!("ten"), json!(1), "key"),
        (json!({"a": 1}), json!(1), "key"),
        (json!(null), json!(1), "key"),
        (json!(1), json!(256), "value"),
        (json!(1), json!(0.5), "value"),
        (json!(1), json!([1]), "value"),
    ] {
        let update = maps.update("typed", key, value, UpdateMode::Any).await;
        let parts = [offender, "does not fit map typed"];
        let error = refused(update, Code::InvalidArgument, &parts);
        assert_eq!(error.field_violations[0].field, offender);
    }
    let parts = ["raw", "no schema", "raw bytes"];
    let lookup = maps.lookup("raw", json!(1), CpuMode::Each).await;
    refused(lookup, Code::FailedPrecondition, &parts);
    maps.update("raw", [0; 4], [0; 8], UpdateMode::Any).await.unwrap();
    let typed = maps.lookup_typed("raw", [0; 4], CpuMode::Each).await;
    refused(typed, Code::FailedPrecondition, &parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_cannot_be_and_maps_that_are_not_are_named() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let huge = "x".repeat(1 << 20);
    for (name, part) in [
        ("", "empty"),
        ("sixteen_letters_", "at most 15"),
        ("with space", "' '"),
        ("dash-ed", "'-'"),
        ("ümlaut", "'ü'"),
        ("line\nbreak", "'\\n'"),
        ("nul\0", "'\\0'"),
        ("id:7", "':'"),
        ("pin:x", "':'"),
        ("../up", "\"..\""),
        (&huge, "at most 15"),
    ] {
        let create = maps.create(NewMap::hash(name).request()).await;
        let error = refused(create, Code::InvalidArgument, &[part]);
        assert!(error.message.len() < 1000, "{} bytes of message", error.message.len());
    }
    let of_an_object = maps.create(NewMap::hash("object/map").request()).await;
    refused(of_an_object, Code::InvalidArgument, &["name", "'/'"]);
    for (reference, code, part) in [
        ("nothing", Code::NotFound, "there is no map nothing"),
        ("no/thing", Code::NotFound, "there is no map no/thing"),
        ("id:4294967295", Code::NotFound, "id:4294967295"),
        ("id:4294967296", Code::InvalidArgument, "4294967296"),
        ("id:0", Code::InvalidArgument, "\"0\""),
        ("id:-1", Code::InvalidArgument, "\"-1\""),
        ("id:", Code::InvalidArgument, "\"\""),
        ("a/b/c", Code::InvalidArgument, "'/'"),
        ("/", Code::InvalidArgument, "object name"),
        (&huge, Code::InvalidArgument, "at most 15"),
    ] {
        refused(maps.get(reference).await, code, &[part]);
        refused(maps.lookup(reference, [0; 4], CpuMode::Each).await, code, &[part]);
        refused(maps.update(reference, [0; 4], [0; 8], UpdateMode::Any).await, code, &[part]);
        refused(maps.delete_entry(reference, [0; 4]).await, code, &[part]);
        refused(maps.iterate(reference, IterateOptions::default()).await, code, &[part]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_cannot_be_made_is_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let mut request = NewMap::hash("m").request();
    request.spec = None;
    refused(maps.create(request).await, Code::InvalidArgument, &["spec", "missing"]);
    let spoil = |change: Spoil| {
        let mut request = NewMap::hash("m").request();
        change(request.spec.as_mut().unwrap());
        request
    };
    let changes: [(Spoil, &str); 9] = [
        (|spec| spec.r#type = 0, "spec.type"),
        (|spec| spec.r#type = -1, "spec.type"),
        (|spec| spec.r#type = 9999, "map m"),
        (|spec| spec.key_size = 0, "spec.key_size"),
        (|spec| spec.value_size = 0, "spec.value_size"),
        (|spec| spec.max_entries = 0, "spec.max_entries"),
        (|spec| spec.key_size = 1 << 26, "map m"),
        (|spec| spec.flags = 1 << 31, "map m"),
        (|spec| spec.inner = Some(Box::default()), "spec.type"),
    ];
    for (change, part) in changes {
        refused(maps.create(spoil(change)).await, Code::InvalidArgument, &[part]);
    }
    let array = NewMap::array("a").sizes(8, 8).request();
    refused(maps.create(array).await, Code::InvalidArgument, &["spec.key_size", "4 bytes"]);
    let mut layout = NewMap::hash("m").key(unsigned(4)).request();
    layout.spec.as_mut().unwrap().key_size = 8;
    let parts = ["layout.key", "4 bytes", "spec.key_size is 8"];
    refused(maps.create(layout).await, Code::InvalidArgument, &parts);
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_no_enum_has_are_named() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::hash("m").make(&client).await;
    let mut rpc = MapServiceClient::new(client.channel());
    let invalid = Code::InvalidArgument;
    let map = || "m".to_owned();
    let key = || Some(lookup_request::Key::RawKey(vec![0; 4].into()));
    let lookup = v1::LookupRequest { map: map(), key: key(), cpu: 99, ..Default::default() };
    status(rpc.lookup(lookup).await, invalid, "cpu: 99");
    let no_key = v1::LookupRequest { map: map(), ..Default::default() };
    status(rpc.lookup(no_key).await, invalid, "raw_key or typed_key");
    let update = v1::UpdateRequest {
        map: map(),
        key: Some(update_request::Key::RawKey(vec![0; 4].into())),
        value: Some(update_request::Value::RawValue(vec![0; 8].into())),
        mode: -7,
        ..Default::default()
    };
    status(rpc.update(update.clone()).await, invalid, "mode: -7");
    let no_value = v1::UpdateRequest { value: None, mode: 0, ..update };
    status(rpc.update(no_value).await, invalid, "raw_value or typed_value");
    let iterate = v1::IterateRequest { map: map(), ..Default::default() };
    let parts = v1::IterateRequest { parts: 4, ..iterate.clone() };
    status(rpc.iterate(parts).await, invalid, "parts: 4");
    let cpu = v1::IterateRequest { cpu: 3, ..iterate };
    status(rpc.iterate(cpu).await, invalid, "cpu: 3");
    let list = v1::ListMapsRequest { types: vec![1, -5], ..Default::default() };
    status(rpc.list_maps(list).await, invalid, "-5");
    let list = v1::ListMapsRequest { names: vec!["a b".into()], ..Default::default() };
    status(rpc.list_maps(list).await, invalid, "a b");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_token_of_somewhere_else_is_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for name in ["one", "two"] {
        NewMap::hash(name).make(&client).await;
        for key in 0..9_u32 {
            let key = key.to_ne_bytes();
            client.maps().update(name, key, [0; 8], UpdateMode::Any).await.unwrap();
        }
    }
    let token_of = async |client: &Client, map: &str| {
        let options = IterateOptions { limit: Some(3), ..IterateOptions::default() };
        let mut stream = client.maps().iterate(map, options).await.unwrap();
        while stream.next_chunk().await.unwrap().is_some() {}
        stream.end().unwrap().resume_token.to_vec()
    };
    let good = token_of(&client, "one").await;
    let other_agent = Agent::spawn();
    let other_client = other_agent.client().await;
    NewMap::hash("one").make(&other_client).await;
    for key in 0..4 {
        other_client.maps().update("one", [key; 4], [0; 8], UpdateMode::Any).await.unwrap();
    }

    let mut bad = vec![
        token_of(&client, "two").await,
        token_of(&other_client, "one").await,
        b"x".to_vec(),
        vec![0; good.len()],
        vec![0xff; 64 << 10],
        [&good[..], b"x"].concat(),
    ];
    // Cut behind its fixed part and the kernel's cursor of 4 bytes it is the token of a whole batch.
    bad.extend((1..good.len()).filter(|&len| len != 17).map(|len| good[..len].to_vec()));
    for token in bad {
        let options = IterateOptions { resume_token: token.clone().into(), ..Default::default() };
        let answer = client.maps().iterate("one", options).await;
        let error = refused(answer, Code::InvalidArgument, &["resume_token", "map one"]);
        assert_eq!(error.reason.as_deref(), Some("BAD_RESUME_TOKEN"), "{token:?}");
    }
    let options = IterateOptions { resume_token: good.into(), ..Default::default() };
    client.maps().iterate("one", options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_beyond_a_limit_is_refused_before_it_costs_anything() {
    let agent =
        Agent::builder().config("[limits]\nmax_map_bytes = 1000000\nmax_maps = 2\n").spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let large = maps.create(NewMap::array("large").entries(1_000_000).request()).await;
    let error = refused(large, Code::ResourceExhausted, &["map large", "8004096", "1000000"]);
    assert_eq!(error.reason.as_deref(), Some("TOO_LARGE"));
    let largest = NewMap::hash("largest").sizes(u32::MAX, u32::MAX).entries(u32::MAX);
    refused(maps.create(largest.request()).await, Code::ResourceExhausted, &["map largest"]);

    NewMap::array("one").make(&client).await;
    NewMap::hash("two").make(&client).await;
    let third = maps.create(NewMap::array("three").request()).await;
    refused(third, Code::ResourceExhausted, &["limit of 2 maps"]);
    maps.delete("one").await.unwrap();
    NewMap::array("three").make(&client).await;

    let options = IterateOptions { batch_entries: 65_537, ..IterateOptions::default() };
    let parts = ["batch_entries", "65537", "65536"];
    refused(maps.iterate("two", options).await, Code::InvalidArgument, &parts);

    let huge = maps.update("two", [0; 4], vec![0; 17 << 20], UpdateMode::Any).await;
    let error = huge.unwrap_err();
    // The transport's own refusal, before the request reaches the agent's code.
    let error = error.as_rpc().unwrap_or_else(|| panic!("no refusal: {error:?}"));
    assert!(error.message.contains("16777216"), "{error:?}");
    maps.get("two").await.unwrap();
}
