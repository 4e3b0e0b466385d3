//! `-o bpftool` prints what bpftool prints, to the byte.

use bpfgate_client::v1::{Map, MapType};
use bpfgate_client::{Client, CpuMode, IterateOptions, UpdateMode};
use bpfgate_tests::{Agent, bpftool};
use serde_json::{Value, json};

use super::samples::{self, Bytes};
use super::{create_hits, refusal, words};

fn ours(agent: &Agent, arguments: &str) -> String {
    agent.cli(&words(&format!("-o bpftool {arguments}"))).ok().stdout
}

/// Says where two long texts part, and not all of both.
fn assert_same(ours: &str, theirs: &str, what: &str) {
    let Some(at) = (0..ours.len().max(theirs.len()))
        .find(|&at| ours.as_bytes().get(at) != theirs.as_bytes().get(at))
    else {
        return;
    };
    let around = |text: &str| {
        let from = at.saturating_sub(60).min(text.len());
        text[from..(at + 60).min(text.len())].to_owned()
    };
    panic!("{what}: ours has …{}…\nand bpftool …{}…", around(ours), around(theirs));
}

/// The same dump, and the same of each entry by itself.
async fn compare(agent: &Agent, client: &Client, map: &Map) {
    let id = map.id.to_string();
    let theirs = bpftool::text(&["map", "dump", "id", &id]);
    let entries: Vec<Value> = serde_json::from_str(&theirs).unwrap();
    assert_same(&ours(agent, &format!("map dump {}", map.name)), &theirs, &map.name);
    let mut stream = client.maps().iterate(&map.name, IterateOptions::default()).await.unwrap();
    let mut count = 0;
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        count += chunk.len();
        for (key, _) in chunk.iter().take(3) {
            let bytes: Vec<String> = key.iter().map(u8::to_string).collect();
            let mut arguments = vec!["map", "lookup", "id", &id, "key"];
            arguments.extend(bytes.iter().map(String::as_str));
            let hex: Vec<_> = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let hex = hex.concat();
            let found = ours(agent, &format!("map lookup {} hex:{hex}", map.name));
            assert_same(&found, &bpftool::text(&arguments), &map.name);
        }
    }
    assert_eq!(entries.len(), count, "{}", map.name);
    assert!(count > 0, "{} is empty", map.name);
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_maps_are_printed_as_bpftool_prints_them() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let mut bytes = Bytes::new(1);
    for map in samples::typed(&client).await {
        // It prints no floats, and no sign of a bitfield.
        if map.name == "formats/oddities" {
            continue;
        }
        if !map.name.contains("/.") {
            samples::fill(&client, &map, 40, &mut bytes).await;
        }
        compare(&agent, &client, &map).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_of_bytes_are_printed_as_bpftool_prints_them() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let mut bytes = Bytes::new(2);
    for map in samples::raw(&client).await {
        samples::fill(&client, &map, 20, &mut bytes).await;
        compare(&agent, &client, &map).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_of_maps_are_printed_as_bpftool_prints_them() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let inner = create_hits(&agent).to_string();
    for kind in [MapType::ArrayOfMaps, MapType::HashOfMaps] {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_").to_lowercase();
        let create = format!(
            "map create {name} --type {name} --key 4 --value 4 --max-entries 4 --inner hash:4:8:2"
        );
        agent.cli(&words(&create)).ok();
        let map = client.maps().get(&name).await.unwrap();
        let id = map.id.to_string();
        for key in ["1", "3"] {
            let update = ["map", "update", "id", &id, "key", key, "0", "0", "0"];
            bpftool::json(&[&update[..], &["value", "id", &inner]].concat());
        }
        compare(&agent, &client, &map).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bpftool_prints_wrong_is_right() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    samples::typed(&client).await;
    let mut value = Vec::new();
    value.extend(0.1_f32.to_ne_bytes());
    value.extend([0; 4]);
    value.extend(f64::NEG_INFINITY.to_ne_bytes());
    // minus: 5 bits of -2; lower: 40 bits of -1 behind them.
    value.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0]);
    client.maps().update("formats/oddities", [1, 0, 0, 0], value, UpdateMode::Any).await.unwrap();
    let found = ours(&agent, "map lookup formats/oddities 1");
    let found: Value = serde_json::from_str(&found).unwrap();
    let right = json!({"single": 0.1, "twice": "-Infinity", "minus": "-0x2", "lower": "-0x1"});
    assert_eq!(found["formatted"]["value"], right);
    let map = client.maps().get("formats/oddities").await.unwrap();
    let theirs = bpftool::text(&["map", "dump", "id", &map.id.to_string()]);
    assert!(theirs.contains("(unsupported-kind"), "bpftool has learnt it: {theirs}");
    let read = client.maps().lookup("formats/oddities", [1, 0, 0, 0], CpuMode::Each).await;
    assert_eq!(found["value"].as_array().unwrap().len(), read.unwrap().len());
}

#[test]
fn other_commands_print_what_bpftool_does_or_refuse() {
    let agent = Agent::spawn();
    let id = create_hits(&agent);
    assert_eq!(ours(&agent, "map update hits 10.0.0.1 7"), "null\n");
    let mut theirs = bpftool::map(id);
    let theirs = theirs.as_object_mut().unwrap();
    theirs.remove("pids");
    let shown: Value = serde_json::from_str(&ours(&agent, "map show hits")).unwrap();
    assert_eq!(shown.as_object().unwrap(), theirs);
    let listed: Value = serde_json::from_str(&ours(&agent, "map list")).unwrap();
    assert_eq!(listed, json!([shown]));
    let missing = agent.cli(&words("-o bpftool map lookup hits 10.0.0.9"));
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(3), "null\n"), "{missing:#?}");
    assert!(missing.stderr.contains("no entry with that key"), "{missing:#?}");
    assert_eq!(ours(&agent, "map delete hits 10.0.0.1"), "null\n");
    assert_eq!(ours(&agent, "map dump hits"), "[]\n");
    for arguments in ["object list", "link list", "agent show", "watch counters --once"] {
        let said = refusal(&agent, 2, &format!("-o bpftool {arguments}"));
        assert!(said.contains("-o json"), "{said}");
    }
    let said = refusal(&agent, 2, "-o bpftool map dump hits --keys");
    assert!(said.contains("whole entries"), "{said}");
}
