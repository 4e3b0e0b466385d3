//! Objects: uploaded, listed, shown, unloaded; what the file and the caller say of their maps.

use std::collections::HashMap;

use bpfgate_client::v1::{CounterKind, CounterSpecs, LoadObjectHeader};
use bpfgate_client::{Code, CpuMode, UpdateMode, WatchEvent, WatchOptions, parse_selector};
use bpfgate_tests::calls::{entries, header, load, monotonic, texts, try_load};
use bpfgate_tests::{Agent, bpftool, elf, refused};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_loaded_listed_shown_and_unloaded() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let objects = client.objects();

    let labels = texts([("team", "net"), ("stage", "test")]);
    let wanted = LoadObjectHeader { labels: labels.clone(), ..header("hooks") };
    let object = try_load(&client, wanted, elf::HOOKS).await.unwrap().object.unwrap();
    load(&client, "typed-1.0", elf::TYPED).await;

    assert_eq!(object.name, "hooks");
    assert_eq!(object.builtin, "");
    assert_eq!(object.labels, labels);
    assert_eq!(object.sha256[..], Sha256::digest(elf::HOOKS)[..]);
    assert_eq!(object.maps, ["hooks/.rodata", "hooks/hits"]);
    assert!(object.loaded_at.is_some());
    assert_eq!(objects.get("hooks").await.unwrap(), object);

    let names = |all: Vec<bpfgate_client::v1::Object>| -> Vec<String> {
        all.into_iter().map(|object| object.name).collect()
    };
    assert_eq!(names(objects.list(HashMap::new()).await.unwrap()), ["hooks", "typed-1.0"]);
    assert_eq!(names(objects.list(texts([("team", "net")])).await.unwrap()), ["hooks"]);
    assert!(objects.list(texts([("team", "else")])).await.unwrap().is_empty());
    let both = texts([("team", "net"), ("stage", "live")]);
    assert!(objects.list(both).await.unwrap().is_empty());

    objects.unload("hooks").await.unwrap();
    assert_eq!(names(objects.list(HashMap::new()).await.unwrap()), ["typed-1.0"]);
    refused(objects.get("hooks").await, Code::NotFound, &["hooks"]);
    refused(objects.unload("hooks").await, Code::NotFound, &["hooks"]);
    refused(client.maps().get("hooks/hits").await, Code::NotFound, &["hooks/hits"]);
    objects.unload("typed-1.0").await.unwrap();
    agent.assert_only_baseline();
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_loads_lists_shows_and_unloads() {
    let agent = Agent::spawn();
    let file = agent.directory().join("hooks.bpf.o");
    std::fs::write(&file, elf::HOOKS).unwrap();
    let file = file.to_str().unwrap();

    let load = ["--output", "json", "object", "load", "hooks", "--file", file, "--label", "a=b"];
    let loaded = agent.cli(&load).ok().json();
    assert_eq!(loaded["name"], "hooks", "{loaded}");
    let listed = agent.cli(&["-o", "json", "object", "list", "--label", "a=b"]).ok().json();
    assert_eq!(listed, json!([loaded]));
    assert_eq!(
        agent.cli(&["-o", "json", "object", "list", "--label", "a=c"]).ok().json(),
        json!([])
    );
    let shown = agent.cli(&["object", "show", "hooks"]).ok().stdout;
    for part in ["hooks/on_xdp", "tcx/ingress", "hooks/hits", "a=b"] {
        assert!(shown.contains(part), "{part} is not in:\n{shown}");
    }

    assert!(agent.cli(&load).refusal(7).contains("hooks exists already"));
    drop(agent.cli(&["object", "unload", "hooks"]).ok());
    assert!(agent.cli(&["object", "unload", "hooks"]).refusal(3).contains("hooks"));
    assert!(agent.cli(&["object", "show", "hook"]).refusal(3).contains("hook"));
    assert!(
        agent.cli(&["object", "load", "x", "--file", "/no/such"]).refusal(3).contains("/no/such")
    );
    assert!(
        agent.cli(&["object", "load", "x", "--file", "/dev/zero"]).refusal(6).contains("regular")
    );
    let near = agent.cli(&["object", "load", "x", "--builtin", "proto-counter"]);
    assert!(near.refusal(3).contains("did you mean proto-counters?"));
    agent.assert_only_baseline();
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_many_chunks_arrives_whole() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    // ELF readers go by offsets: what stands behind the last section is nobody's.
    let mut padded = elf::GLOBALS.to_vec();
    padded.resize(9 << 20, 0xa5);
    let sha256 = Sha256::digest(&padded).to_vec();
    let announced = LoadObjectHeader { sha256: sha256.clone().into(), ..header("padded") };
    let object = client.objects().load_bytes(announced, padded).await.unwrap().object.unwrap();
    assert_eq!(object.sha256, sha256);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_is_announced_is_checked() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let with = |sha256: Vec<u8>| LoadObjectHeader { sha256: sha256.into(), ..header("o") };

    let other = Sha256::digest(elf::HOOKS).to_vec();
    let error = refused(
        try_load(&client, with(other), elf::TYPED).await,
        Code::FailedPrecondition,
        &["SHA-256", "as announced"],
    );
    assert_eq!(error.reason.as_deref(), Some("DIGEST_MISMATCH"));
    for length in [1, 31, 33] {
        let short = try_load(&client, with(vec![7; length]), elf::TYPED).await;
        refused(short, Code::InvalidArgument, &["sha256", &format!("{length} bytes"), "32"]);
    }
    let right = Sha256::digest(elf::TYPED).to_vec();
    try_load(&client, with(right), elf::TYPED).await.unwrap();
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_once() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for round in 0..5 {
        let mut loads = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let client = client.clone();
            loads.spawn(async move { try_load(&client, header("same"), elf::HOOKS).await });
        }
        let mut won = 0;
        for answer in loads.join_all().await {
            match answer {
                Ok(_) => won += 1,
                lost => drop(refused(lost, Code::AlreadyExists, &["same", "exists already"])),
            }
        }
        assert_eq!(won, 1, "round {round}");
        client.objects().unload("same").await.unwrap();
    }
    agent.assert_only_baseline();
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_objects_have_their_rules() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let long = "x".repeat(64);
    for name in ["", " ", "a b", "a/b", "-a", ".a", "é", "a\n", "a:b", long.as_str()] {
        let answer = try_load(&client, header(name), elf::TYPED).await;
        refused(answer, Code::InvalidArgument, &["name"]);
    }
    let longest = &long[1..];
    assert_eq!(load(&client, longest, elf::TYPED).await.name, longest);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_counters_are_told_to_who_asks_and_who_watches() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let specs = [monotonic("packets", "packets"), monotonic("bytes", "By")].to_vec();
    let counters = [("per_cpu".to_owned(), CounterSpecs { specs: specs.clone() })].into();
    let declared = LoadObjectHeader { counters, ..header("t") };
    try_load(&client, declared, elf::TYPED).await.unwrap();
    assert_eq!(client.maps().get("t/per_cpu").await.unwrap().counters, specs);
    assert_eq!(client.maps().get("t/recent").await.unwrap().counters, []);

    let selectors = vec![parse_selector("t/per_cpu").unwrap()];
    let once = WatchOptions { once: true, ..WatchOptions::default() };
    let mut watch = client.maps().watch_counters(selectors, once).await.unwrap();
    let mut series = Vec::new();
    while let Some(event) = watch.next_event().await.unwrap() {
        if let WatchEvent::Series(one) = event {
            assert_eq!(one.kind(), CounterKind::Monotonic);
            assert!(!one.kind_undeclared);
            series.push((one.labels[0].value.clone(), one.field, one.unit));
        }
    }
    series.sort();
    let expected: Vec<_> = ["0", "1", "2", "3"]
        .iter()
        .flat_map(|key| [("bytes", "By"), ("packets", "packets")].map(|(f, u)| (key, f, u)))
        .map(|(key, field, unit)| ((*key).to_owned(), field.to_owned(), unit.to_owned()))
        .collect();
    assert_eq!(series, expected);

    let unknown = [("percpu".to_owned(), CounterSpecs { specs })].into();
    let answer =
        try_load(&client, LoadObjectHeader { counters: unknown, ..header("u") }, elf::TYPED);
    refused(answer.await, Code::InvalidArgument, &["percpu", "per_cpu"]);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn sections_load_as_libbpf_users_name_them() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let object = load(&client, "hooks", elf::HOOKS).await;
    let programs: Vec<_> = object
        .programs
        .iter()
        .map(|p| (p.name.as_str(), p.section.as_str(), p.r#type.as_str()))
        .collect();
    let mut expected = vec![
        ("hooks/on_xdp", "xdp", "xdp"),
        ("hooks/on_tcx_ingress", "tcx/ingress", "sched_cls"),
        ("hooks/on_tcx_egress", "tcx/egress", "sched_cls"),
        ("hooks/on_tc", "tc", "sched_cls"),
        ("hooks/on_classifier", "classifier", "sched_cls"),
        ("hooks/on_socket", "socket", "socket_filter"),
        ("hooks/on_tp", "tp/syscalls/sys_enter_getppid", "tracepoint"),
        ("hooks/on_tracepoint", "tracepoint/syscalls/sys_exit_getppid", "tracepoint"),
        ("hooks/on_raw_tp", "raw_tp/sys_enter", "raw_tracepoint"),
        ("hooks/on_raw_tracepoint", "raw_tracepoint", "raw_tracepoint"),
        ("hooks/on_cgroup_egress", "cgroup_skb/egress", "cgroup_skb"),
        ("hooks/on_cgroup_ingress", "cgroup_skb/ingress", "cgroup_skb"),
        ("hooks/on_uprobe", "uprobe", "kprobe"),
        ("hooks/on_uretprobe", "uretprobe", "kprobe"),
        ("hooks/on_perf_event", "perf_event", "perf_event"),
    ];
    // left_out is not among them: its section is "?xdp".
    let mut programs = programs;
    programs.sort_unstable();
    expected.sort_unstable();
    assert_eq!(programs, expected);
    for program in &object.programs {
        assert!(
            program.id > 0 && program.instructions > 0 && program.tag.len() == 8,
            "{program:?}"
        );
    }
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn types_come_from_the_file_and_agree_with_bpftool() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "t", elf::TYPED).await;
    let map = client.maps().get("t/flows").await.unwrap();
    let schema = map.schema.expect("the file has types");
    assert_eq!(schema.key.unwrap().name, "struct flow_key");
    assert_eq!(schema.value.unwrap().name, "struct flow_value");

    let key = json!({"saddr": "10.1.2.3", "sport": 443, "zone": 9});
    let value = json!({
        "rx": {"packets": "18446744073709551615", "bytes": "2"},
        "tx": {"packets": "3", "bytes": "4"},
        "balance": -5, "state": "BROKEN", "alive": true, "mac": "02:00:00:00:00:0a",
        "name": "eth0", "slots": [1, 2, 3, 65535], "word": 0x0001_0002, "low": 5, "high": 7
    });
    client.maps().update("t/flows", key.clone(), value, UpdateMode::Any).await.unwrap();
    let ours = client.maps().lookup_typed("t/flows", key, CpuMode::Each).await.unwrap();
    let dump = bpftool::json(&["map", "dump", "id", &map.id.to_string()]);
    let theirs = &dump[0]["formatted"]["value"];
    assert_eq!(plain(&ours), plain(theirs), "ours: {ours}\nbpftool's: {theirs}");
    assert_eq!(entries(&client, "t/flows").await.len(), 1);
    agent.stop();
}

/// JSON in one spelling. Where bpftool's differs from ours: it writes 64-bit integers as numbers
/// and bitfields in hexadecimal, and puts an anonymous union's members under an empty name.
fn plain(json: &Json) -> Json {
    match json {
        Json::String(text) => match text.strip_prefix("0x") {
            Some(digits) => json!(u64::from_str_radix(digits, 16).expect("hexadecimal")),
            None => match (text.parse::<u64>(), text.parse::<i64>()) {
                (Ok(number), _) => json!(number),
                (_, Ok(number)) => json!(number),
                _ => json.clone(),
            },
        },
        Json::Array(items) => items.iter().map(plain).collect(),
        Json::Object(fields) => {
            let mut all = serde_json::Map::new();
            for (name, value) in fields {
                match plain(value) {
                    Json::Object(members) if name.is_empty() => all.extend(members),
                    value => drop(all.insert(name.clone(), value)),
                }
            }
            Json::Object(all)
        }
        other => other.clone(),
    }
}
