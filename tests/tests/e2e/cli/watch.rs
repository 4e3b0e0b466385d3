//! `bpfgate watch`.

use std::process::Stdio;
use std::time::Duration;

use bpfgate_tests::Agent;
use serde_json::{Value, json};

use super::{create_hits, json_of, quiet, words};

#[test]
fn counters_are_watched_once_and_as_they_change() {
    let agent = Agent::spawn();
    create_hits(&agent);
    quiet(&agent, "map update hits 10.0.0.1 7");
    let once = json_of(&agent, "watch counters hits --once");
    assert_eq!(once.as_array().unwrap().len(), 1, "{once}");
    assert_eq!((&once[0]["map"], &once[0]["value"]), (&json!("hits"), &json!("7")), "{once}");

    let mut watch = agent.cli_command();
    let arguments = "-o jsonl watch counters hits --interval 50ms --duration 2s";
    let watch = watch.args(words(arguments)).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    std::thread::sleep(Duration::from_millis(800));
    quiet(&agent, "map update hits 10.0.0.1 123456789");
    let watched = watch.unwrap().wait_with_output().unwrap();
    assert!(watched.status.success(), "{watched:?}");
    let lines = String::from_utf8(watched.stdout).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["value"], "123456789", "{lines}");
}

/// The values of a snapshot's label "key".
fn keys(agent: &Agent, arguments: &str) -> Vec<String> {
    let rows = json_of(agent, &format!("watch counters --once {arguments}"));
    let key = |row: &Value| row["labels"]["key"].as_str().expect("a key").to_owned();
    rows.as_array().unwrap().iter().map(key).collect()
}

#[test]
fn keys_go_by_the_names_that_were_declared_or_asked_for() {
    let agent = Agent::spawn();
    json_of(&agent, "object load pc --builtin proto-counters");
    quiet(&agent, "map update pc/by_proto 6 1");
    assert_eq!(keys(&agent, "pc/by_proto"), ["6"]);
    assert_eq!(keys(&agent, "pc/by_proto --names"), ["TCP"]);
    assert_eq!(keys(&agent, "pc/by_proto{key=TCP|UDP} --names"), ["TCP"]);
    assert_eq!(keys(&agent, "pc/by_proto --names --resolve key=number"), ["6"]);

    create_hits(&agent);
    quiet(&agent, "map update hits 10.0.0.1 7");
    assert_eq!(keys(&agent, "hits --names"), ["10.0.0.1"]);
    json_of(&agent, "map create uids --type hash --key-type u32 --value-type u64 --max-entries 9");
    quiet(&agent, "map update uids 0 1");
    quiet(&agent, "map update uids 4294967290 1");
    assert_eq!(keys(&agent, "uids --names"), ["0", "4294967290"]);
    assert_eq!(keys(&agent, "uids --resolve key=user"), ["4294967290", "root"]);
    let said = agent.cli(&words("watch counters uids --resolve key=usr")).stderr;
    assert!(said.contains("\"usr\"") && said.contains("cgroup, user, syscall"), "{said}");
}
