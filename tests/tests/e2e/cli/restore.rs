//! `bpfgate map dump` and `restore`: what was printed comes back as it was.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use bpfgate_client::v1::{Map, MapType};
use bpfgate_client::{Client, CpuMode, EntryBatch, IterateOptions, Layout, UpdateMode};
use bpfgate_tests::{Agent, NewMap, Output, bpftool};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::samples::{self, Bytes};
use super::{create_hits, json_of, quiet, words};

pub(super) fn print(agent: &Agent, format: &str, arguments: &str) -> String {
    agent.cli(&words(&format!("-o {format} map dump {arguments}"))).ok().stdout
}

/// Restores from standard input.
pub(super) fn restore(agent: &Agent, arguments: &str, text: &str) -> Output {
    let mut command = agent.cli_command();
    command.args(words(&format!("-o json map restore {arguments}")));
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
    let output = output(child);
    writer.join().unwrap();
    output
}

fn output(child: Child) -> Output {
    let run = child.wait_with_output().unwrap();
    Output {
        code: run.status.code(),
        stdout: String::from_utf8(run.stdout).unwrap(),
        stderr: String::from_utf8(run.stderr).unwrap(),
    }
}

/// Every entry's bytes, in order.
async fn entries(client: &Client, map: &Map) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut stream = client.maps().iterate(&map.name, IterateOptions::default()).await.unwrap();
    let mut all = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.unwrap() {
        all.extend(chunk.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
    }
    all.sort();
    all
}

/// Without what fills each CPU's value up to 8 bytes, which is nobody's.
async fn unpadded(client: &Client, map: &Map) -> Vec<(Vec<u8>, Vec<u8>)> {
    let layout = Layout::of(map).unwrap();
    let mut all = entries(client, map).await;
    for (_, value) in &mut all {
        *value = layout.values(value).flatten().copied().collect();
    }
    all
}

/// Takes all entries out; those of an array become zero.
async fn empty(client: &Client, map: &Map) {
    let slots =
        matches!(map.spec.as_ref().unwrap().r#type(), MapType::Array | MapType::PercpuArray);
    for (key, _) in entries(client, map).await {
        let zero = vec![0; map.value_stride as usize];
        if slots {
            client.maps().update(&map.name, key, zero, UpdateMode::Any).await.unwrap();
        } else {
            client.maps().delete_entry(&map.name, key).await.unwrap();
        }
    }
}

/// Entries of which nothing is lost when they are shown by their types.
async fn fill_plainly(client: &Client, map: &Map, count: u32, bytes: &mut Bytes) {
    samples::fill(client, map, count, bytes).await;
    let layout = Layout::of(map).unwrap();
    let plain = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let key = layout.key.encode(&layout.key.decode(key).unwrap()).unwrap();
        let mut values = Vec::new();
        for value in layout.values(value) {
            let value = layout.value.decode(value).unwrap();
            values.extend(layout.value.encode(&value).unwrap());
            if map.per_cpu {
                values.resize(values.len().next_multiple_of(8), 0);
            }
        }
        (key, values)
    };
    let plain: EntryBatch = entries(client, map).await.iter().map(plain).collect();
    empty(client, map).await;
    client.maps().update_batch(&map.name, plain, UpdateMode::Any).await.unwrap();
}

/// Dumps, empties and restores: not a byte may differ.
async fn round_trip(agent: &Agent, client: &Client, map: &Map, format: &str) {
    let what = format!("{} as {format}", map.name);
    let before = unpadded(client, map).await;
    let per_cpu = if map.per_cpu && format != "bpftool" { " --per-cpu" } else { "" };
    let text = print(agent, format, &format!("{}{per_cpu}", map.name));
    empty(client, map).await;
    let output = restore(agent, &map.name, &text);
    assert!(output.success(), "{what}: {output:#?}");
    assert_eq!(output.json(), json!({"applied": before.len()}), "{what}");
    assert_eq!(unpadded(client, map).await, before, "{what}");
    assert!(!before.is_empty(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_as_bpftool_prints_it_restores_every_byte() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let mut bytes = Bytes::new(3);
    let mut maps = samples::typed(&client).await;
    maps.extend(samples::raw(&client).await);
    for map in maps.iter().filter(|map| !map.name.contains("/.")) {
        samples::fill(&client, map, 12, &mut bytes).await;
        round_trip(&agent, &client, map, "bpftool").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_by_types_restores_what_they_show() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let mut bytes = Bytes::new(4);
    let mut maps = samples::typed(&client).await;
    maps.extend(samples::raw(&client).await);
    for map in maps.iter().filter(|map| !map.name.contains("/.")) {
        fill_plainly(&client, map, 12, &mut bytes).await;
        for format in ["json", "jsonl", "csv"] {
            round_trip(&agent, &client, map, format).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_bpftool_printed_is_restored_too() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let map = &samples::typed(&client).await[2];
    samples::fill(&client, map, 20, &mut Bytes::new(5)).await;
    let before = entries(&client, map).await;
    // As a person keeps it: on many lines.
    let text = bpftool::json(&["map", "dump", "id", &map.id.to_string()]);
    let text = serde_json::to_string_pretty(&text).unwrap();
    empty(&client, map).await;
    assert_eq!(restore(&agent, &map.name, &text).ok().json()["applied"], before.len());
    assert_eq!(entries(&client, map).await, before);
}

#[test]
fn a_restore_that_cannot_go_on_says_where_and_how_much_is_in() {
    let agent = Agent::spawn();
    create_hits(&agent);
    let line =
        |address: &str, value: u64| format!("{{\"key\":\"{address}\",\"value\":\"{value}\"}}\n");
    let good = line("10.0.0.1", 1);
    for (arguments, text, code, parts) in [
        (
            "hits",
            format!("{good}{{\"key\":\"10.0.0\",\"value\":1}}"),
            6,
            ["line 2: KEY:", "IPv4", "1 entry was written"],
        ),
        (
            "hits",
            format!("{good}{{\"key\":\"10.0.0.2\",\"value\":-1}}"),
            6,
            ["line 2: VALUE:", "0 to", "1 entry was written"],
        ),
        ("hits", format!("[{good}"), 6, ["line 2:", "list is not closed", "1 entry was written"]),
        (
            "hits --mode noexist",
            good.clone(),
            7,
            ["entry 1 (line 1)", "already", "0 entries were written"],
        ),
        (
            "hits --mode exist",
            format!("{good}\n{}", line("10.0.0.9", 1)),
            3,
            ["entry 2 (line 3)", "no entry", "1 entry was written"],
        ),
        (
            "hits",
            format!("{good}{}{}", line("10.0.0.2", 2), line("10.0.0.3", 3)),
            8,
            ["entry 3 (line 3)", "full", "2 entries were written"],
        ),
        ("hit", good.clone(), 3, ["no map hit", "did you mean", "hits"]),
        ("hits /nonexistent", String::new(), 3, ["/nonexistent", "could not read", ""]),
        ("hits /", String::new(), 1, ["could not read /", "directory", ""]),
    ] {
        let output = restore(&agent, arguments, &text);
        let said = output.refusal(code);
        assert!(parts.iter().all(|part| said.contains(part)), "{text}: {said}");
    }
    let dump = json_of(&agent, "map dump hits");
    assert_eq!(dump.as_array().unwrap().len(), 2, "{dump}");
}

/// A map with so many entries, and the client that filled it.
async fn large(agent: &Agent, entries: u32) -> Client {
    let client = agent.client().await;
    NewMap::hash("large").entries(entries).make(&client).await;
    let mut restore = client.maps().restore("large", UpdateMode::Any);
    for chunk in (0..entries).collect::<Vec<_>>().chunks(4096) {
        let batch: EntryBatch =
            chunk.iter().map(|n| (n.to_ne_bytes(), u64::from(*n).to_ne_bytes())).collect();
        restore.send(batch).await.unwrap();
    }
    restore.finish().await.unwrap();
    client
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_can_be_interrupted_between_two_entries() {
    let agent = Agent::spawn();
    let _client = large(&agent, 400_000).await;
    for format in ["jsonl", "csv", "table"] {
        let mut dump = agent.cli_command();
        dump.args(["-o", format, "map", "dump", "large"]).stdin(Stdio::null());
        let mut dump = dump.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut some = [0; 1000];
        std::io::Read::read_exact(dump.stdout.as_mut().unwrap(), &mut some).unwrap();
        interrupt(&dump);
        let rest = output(dump);
        assert_eq!(rest.code, Some(130), "{}", rest.stderr);
        assert!(rest.stderr.starts_with("bpfgate: interrupted: "), "{}", rest.stderr);
        assert!(rest.stdout.ends_with('\n'), "the last line is cut");
        let text = String::from_utf8(some.to_vec()).unwrap() + &rest.stdout;
        let width = text.lines().next().unwrap().split(',').count();
        assert!(text.lines().all(|line| line.split(',').count() == width), "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_says_what_is_in() {
    let agent = Agent::spawn();
    create_hits(&agent);
    let mut command = agent.cli_command();
    command.args(words("map restore hits")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // An entry that nothing follows waits for its batch to fill.
    stdin.write_all(b"{\"key\":\"10.0.0.1\",\"value\":1}\n").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    interrupt(&child);
    let ended = output(child);
    let said = ended.refusal(130);
    assert!(said.contains("0 entries were written"), "{said}");
    drop(stdin);
    assert_eq!(json_of(&agent, "map dump hits"), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_map_goes_through_a_pipe_from_one_map_to_another() {
    let agent = Agent::spawn();
    let client = large(&agent, 100_000).await;
    NewMap::hash("copy").entries(100_000).make(&client).await;
    let mut dump = agent.cli_command();
    let dump = dump.args(words("-o jsonl map dump large")).stdin(Stdio::null());
    let mut dump = dump.stdout(Stdio::piped()).spawn().unwrap();
    let mut restore = agent.cli_command();
    restore.args(words("-o json map restore copy - --mode noexist"));
    let restore = restore.stdin(dump.stdout.take().unwrap()).output().unwrap();
    assert!(dump.wait().unwrap().success() && restore.status.success(), "{restore:?}");
    let said: Value = serde_json::from_slice(&restore.stdout).unwrap();
    assert_eq!(said, json!({"applied": 100_000}));
    let found = client.maps().lookup("copy", 77_777_u32.to_ne_bytes(), CpuMode::Each).await;
    assert_eq!(found.unwrap(), 77_777_u64.to_ne_bytes().to_vec());
    quiet(&agent, "map drop copy");
}
