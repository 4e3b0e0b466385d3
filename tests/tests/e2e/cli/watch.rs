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
