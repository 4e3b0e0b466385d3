//! Watches that ask for what there is not: a clear error, or what the API says happens.

use bpfgate_client::v1::label_matcher::Op;
use bpfgate_client::v1::label_resolution::How;
use bpfgate_client::v1::map_service_client::MapServiceClient;
use bpfgate_client::v1::watch_counters_response::Message;
use bpfgate_client::v1::{
    CounterSelector, LabelMatcher, LabelResolution, MapType, WatchCountersRequest, WatchHeader,
};
use bpfgate_client::{Client, Code, WatchOptions};
use bpfgate_tests::calls::load;
use bpfgate_tests::{Agent, NewMap, elf, refused};
use prost_types::Duration;
use tonic::Status;

use crate::watch::{counter, fast, set, watch};

fn all(map: &str) -> WatchCountersRequest {
    let selector = CounterSelector { map: map.to_owned(), ..CounterSelector::default() };
    WatchCountersRequest { selectors: vec![selector], ..WatchCountersRequest::default() }
}

/// The header of a watch, or why there is none.
async fn header(client: &Client, request: WatchCountersRequest) -> Result<WatchHeader, Status> {
    let mut rpc = MapServiceClient::new(client.channel());
    let first = rpc.watch_counters(request).await?.into_inner().message().await?;
    match first.and_then(|first| first.message) {
        Some(Message::Header(header)) => Ok(header),
        other => panic!("{other:?} is no header"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_makes_no_sense_is_told_which_part() {
    type Change = fn(&mut WatchCountersRequest);
    let matcher = |label: &str, op: i32, values: &[&str]| LabelMatcher {
        label: label.to_owned(),
        op,
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        ..LabelMatcher::default()
    };
    let with = |matcher: LabelMatcher| {
        let mut request = all("m");
        request.selectors[0].labels.push(matcher);
        request
    };
    let changed = |change: Change| {
        let mut request = all("m");
        change(&mut request);
        request
    };
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("m", MapType::Hash).make(&client).await;
    for (request, part) in [
        (all(""), "empty"),
        (all("a b"), "' '"),
        (all("m{"), "'{'"),
        (all(&"m".repeat(500)), "500"),
        (all("a/b/*"), "OBJECT/MAP"),
        (all("sixteen_letters_"), "at most 15"),
        (WatchCountersRequest::default(), "at least one selector"),
        (changed(|it| it.selectors = vec![it.selectors[0].clone(); 65]), "at most 64"),
        (with(matcher("key", 0, &["1"])), "IN or NOT_IN"),
        (with(matcher("key", 99, &["1"])), "IN or NOT_IN"),
        (with(matcher("", Op::In.into(), &["1"])), "names no label"),
        (with(matcher("key", Op::In.into(), &[])), "lists no values"),
        (changed(|it| it.selectors[0].fields.push("bytes".into())), "no number \"bytes\""),
        (with(matcher("kye", Op::In.into(), &["1"])), "no label \"kye\"; it has key"),
        (with(matcher("cpu", Op::In.into(), &["1"])), "no label \"cpu\""),
        (changed(|it| it.mode = 9), "WatchMode"),
        (changed(|it| it.cpu = 9), "CpuMode"),
        (changed(|it| it.interval = Some(Duration { seconds: 0, nanos: 0 })), "50ms to 3600s"),
        (changed(|it| it.interval = Some(Duration { seconds: 0, nanos: 1 })), "50ms to 3600s"),
        (changed(|it| it.interval = Some(Duration { seconds: 315_576_000, nanos: 0 })), "3600s"),
        (changed(|it| it.interval = Some(Duration { seconds: -1, nanos: 0 })), "negative"),
        (changed(|it| it.heartbeat = Some(Duration { seconds: 0, nanos: 0 })), "longer than 0"),
        (changed(|it| it.resolve.push(LabelResolution::default())), "no How"),
        (
            changed(|it| {
                let how = How::User.into();
                it.resolve.push(LabelResolution { label: String::new(), how });
            }),
            "has no name",
        ),
    ] {
        let status = header(&client, request.clone()).await.expect_err(part);
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{request:?}: {status:?}");
        assert!(status.message().contains(part), "{part:?} is not in {:?}", status.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_matches_nothing_yet_is_named_in_the_header() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    counter("m", MapType::Hash).make(&client).await;
    let mut request = all("m");
    request.selectors.extend(all("later/*").selectors);
    request.interval = Some(Duration { seconds: 0, nanos: 333_000_000 });
    let header = header(&client, request).await.unwrap();
    assert_eq!((header.maps, header.unmatched), (vec!["m".into()], vec!["later/*".into()]));
    assert_eq!(header.interval.unwrap().nanos, 350_000_000, "a multiple of 50 ms");

    // It waits for them.
    let mut seen = watch(&client, &["later/*", "next"], fast()).await.unwrap();
    seen.until_sync().await;
    assert_eq!(seen.watch().header().unmatched, ["later/*", "next"]);
    assert!(seen.series.is_empty());
    load(&client, "later", elf::TYPED).await;
    counter("next", MapType::Hash).make(&client).await;
    set(&client, "next", 1, 5).await;
    seen.until(|seen| {
        let totals = seen.totals();
        totals.get("next{key=1}") == Some(&5) && totals.keys().any(|it| it.starts_with("later/"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_limit_of_series_means_the_agents_own() {
    let agent = Agent::builder().config("[limits]\nmax_series = 3\n").spawn();
    let client = agent.client().await;
    counter("m", MapType::Array).make(&client).await;
    for max_series in [0, 3, u32::MAX] {
        let options = WatchOptions { max_series, ..WatchOptions::default() };
        let mut seen = watch(&client, &["m"], options).await.unwrap();
        seen.until_sync().await;
        assert_eq!((seen.series.len(), seen.losses[0].count), (3, 13));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_without_counters_are_refused_by_name_and_passed_over_by_pattern() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    NewMap::new("ring", MapType::Ringbuf).sizes(0, 0).entries(4096).make(&client).await;
    NewMap::new("line", MapType::Queue).sizes(0, 8).make(&client).await;
    NewMap::new("jumps", MapType::ProgArray).sizes(4, 4).make(&client).await;
    NewMap::hash("odd").sizes(4, 12).make(&client).await;
    for (map, part) in [
        ("ring", "is a ringbuf"),
        ("line", "is a queue"),
        ("jumps", "is a prog_array"),
        ("odd", "12 bytes"),
    ] {
        refused(watch(&client, &[map], fast()).await, Code::Unimplemented, &[map, part]);
    }
    let header = header(&client, all("*")).await.unwrap();
    assert_eq!((header.maps.len(), header.unmatched), (0, vec!["*".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_gets_no_connection_is_told_what_may_be_wrong() {
    let agent = Agent::builder().config("[limits]\nmax_connections = 1\n").spawn();
    let client = agent.client().await;
    // Watches have one of their own.
    let error = watch(&client, &["m"], fast()).await.unwrap_err();
    assert!(error.to_string().contains("max_connections"), "{error}");
    client.agent().get().await.unwrap();
}
