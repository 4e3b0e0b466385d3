//! Labels by the names that their numbers have on the agent's host.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use bpfgate_client::v1::label_resolution::How;
use bpfgate_client::v1::map_service_client::MapServiceClient;
use bpfgate_client::v1::watch_counters_response::Message;
use bpfgate_client::v1::{
    CounterKind, CounterSelector, LabelMatcher, LabelResolution, Series, WatchCountersRequest,
    WatchMode, label_matcher,
};
use bpfgate_client::{Client, UpdateMode, WatchOptions};
use bpfgate_tests::calls::{header, load_builtin, try_load};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, elf};

use crate::watch::watch;

fn selector(map: &str) -> CounterSelector {
    CounterSelector { map: map.to_owned(), ..CounterSelector::default() }
}

/// The series of a watch that ends behind its snapshot.
async fn series(client: &Client, request: WatchCountersRequest) -> Vec<Series> {
    let request = WatchCountersRequest { mode: WatchMode::Once.into(), ..request };
    let watch = MapServiceClient::new(client.channel()).watch_counters(request).await;
    let mut watch = watch.unwrap().into_inner();
    let mut series = Vec::new();
    while let Some(message) = watch.message().await.unwrap() {
        if let Some(Message::Series(one)) = message.message {
            series.push(one);
        }
    }
    series
}

fn values(series: &[Series], label: &str) -> BTreeSet<String> {
    let labels = series.iter().flat_map(|one| &one.labels).filter(|one| one.name == label);
    labels.map(|label| label.value.clone()).collect()
}

fn set_of<const N: usize>(texts: [&str; N]) -> BTreeSet<String> {
    texts.map(str::to_owned).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_resolved_where_asked_for() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let names = ["ifindex", "uid", "call", "proto", "ip"];
    let mut fields: Vec<_> = names.map(|name| (name, unsigned(4))).into();
    fields.insert(0, ("cgroup", unsigned(8)));
    fields.push(("pad", unsigned(4)));
    let key = record("struct who", &fields);
    NewMap::hash("who").key(key).value(unsigned(8)).make(&client).await;
    let root = std::fs::metadata("/sys/fs/cgroup").map_or(1, |about| about.ino());
    let read = u32::try_from(libc::SYS_read).unwrap();
    let ip = u32::from_ne_bytes([10, 0, 0, 1]);
    for (cgroup, [ifindex, uid, call, proto]) in
        [(root, [1, 0, read, 6]), (u64::MAX, [0x7fff_ffff, 0xffff_fff0, 9999, 253])]
    {
        let words = [ifindex, uid, call, proto, ip, 0].map(u32::to_ne_bytes).concat();
        let key = [&cgroup.to_ne_bytes()[..], &words].concat();
        client.maps().update("who", key, [1; 8], UpdateMode::Any).await.unwrap();
    }
    let how = [
        How::IfindexName,
        How::User,
        How::Syscall,
        How::Protocol,
        How::Ip,
        How::CgroupPath,
        How::User,
    ];
    let labels = [&names[..], &["cgroup", "absent"]].concat();
    let resolve = labels
        .iter()
        .zip(how)
        .map(|(label, how)| LabelResolution { label: (*label).to_owned(), how: how.into() });
    let mut request = WatchCountersRequest {
        selectors: vec![selector("who")],
        resolve: resolve.collect(),
        ..WatchCountersRequest::default()
    };
    let plain = WatchCountersRequest { resolve: Vec::new(), ..request.clone() };
    let shown = series(&client, request.clone()).await;
    assert_eq!(values(&shown, "ifindex"), set_of(["lo", "2147483647"]));
    assert_eq!(values(&shown, "uid"), set_of(["root", "4294967280"]));
    assert_eq!(values(&shown, "call"), set_of(["read", "9999"]));
    assert_eq!(values(&shown, "proto"), set_of(["TCP", "253"]));
    assert_eq!(values(&shown, "ip"), set_of(["10.0.0.1"]));
    if std::fs::read_to_string("/proc/mounts").unwrap().contains("/sys/fs/cgroup cgroup2") {
        assert_eq!(values(&shown, "cgroup"), set_of(["/", &u64::MAX.to_string()]));
    }
    // The client asks by its own words.
    let resolve = ["uid=user", "proto=protocol", "call=number"].map(|text| text.parse().unwrap());
    let options =
        WatchOptions { resolve: resolve.into(), resolve_declared: true, ..WatchOptions::default() };
    let mut seen = watch(&client, &["who"], options).await.unwrap();
    seen.until_sync().await;
    let seen: Vec<_> = seen.series.into_values().collect();
    assert_eq!(values(&seen, "uid"), set_of(["root", "4294967280"]));
    assert_eq!(values(&seen, "proto"), set_of(["TCP", "253"]));
    assert_eq!(values(&seen, "call"), set_of([&*read.to_string(), "9999"]));
    // Others still get numbers.
    assert_eq!(values(&series(&client, plain).await, "uid"), set_of(["0", "4294967280"]));

    // A matcher may mean the name or the number.
    for value in ["root", "0"] {
        request.selectors[0].labels = vec![LabelMatcher {
            label: "uid".to_owned(),
            op: label_matcher::Op::In.into(),
            values: vec![value.to_owned()],
            ..LabelMatcher::default()
        }];
        assert_eq!(values(&series(&client, request.clone()).await, "uid"), set_of(["root"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn built_ins_say_which_labels_have_names() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load_builtin(&client, "proto-counters").await;
    let mut request = WatchCountersRequest {
        selectors: vec![selector("proto-counters/by_proto")],
        resolve_declared: true,
        ..WatchCountersRequest::default()
    };
    let named = values(&series(&client, request.clone()).await, "key");
    assert!(named.contains("TCP") && named.contains("UDP") && named.contains("253"), "{named:?}");
    let number = How::Number.into();
    request.resolve = vec![LabelResolution { label: "key".to_owned(), how: number }];
    let plain = values(&series(&client, request).await, "key");
    assert!(plain.contains("6") && !plain.contains("TCP"), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_in_the_source_declare_counters_and_names() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    try_load(&client, header("o"), elf::ANNOTATED).await.unwrap();
    let key = serde_json::json!({"uid": 0, "protocol": 17});
    client.maps().update("o/io", key, [1; 56], UpdateMode::Any).await.unwrap();
    let request = WatchCountersRequest {
        selectors: vec![selector("o/io")],
        resolve_declared: true,
        ..WatchCountersRequest::default()
    };
    let series = series(&client, request).await;
    let told = series.iter().map(|one| {
        (one.field.as_str(), one.kind(), one.unit.as_str(), one.kind_undeclared, one.bounds.len())
    });
    assert_eq!(
        told.collect::<BTreeSet<_>>(),
        BTreeSet::from([
            ("bytes", CounterKind::Monotonic, "By", false, 0),
            ("open", CounterKind::Gauge, "files", false, 0),
            ("sizes", CounterKind::Histogram, "By", false, 8),
            ("plain", CounterKind::Gauge, "", true, 0),
        ])
    );
    assert_eq!(values(&series, "uid"), set_of(["root"]));
    assert_eq!(values(&series, "protocol"), set_of(["UDP"]));
}
