//! `bpfgate watch events`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use bpfgate_tests::{Agent, SOON, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{quiet, refusal, words};

fn execs() -> Agent {
    let agent = Agent::spawn();
    agent.cli(&words("object load ex --builtin exec-events")).ok();
    agent.cli(&words("link attach ex/record_exec")).ok();
    agent
}

/// A watch under way: its standard output is a pipe.
fn watch(agent: &Agent, arguments: &str) -> Child {
    let mut watch = agent.cli_command();
    watch.args(words(arguments)).stdin(Stdio::null()).stdout(Stdio::piped());
    watch.stderr(Stdio::piped()).spawn().unwrap()
}

/// Starts programs of that name until the watch has ended.
fn exec_until_over(watch: &mut Child, program: &str) {
    let over = within(SOON, || {
        Command::new(program).status().unwrap();
        watch.try_wait().unwrap().is_some()
    });
    assert!(over, "it does not end");
}

#[test]
fn records_are_lines_of_their_fields() {
    let agent = execs();
    let mut table = watch(&agent, "watch events ex/events --filter comm=true --count 3");
    exec_until_over(&mut table, "true");
    let table = table.wait_with_output().unwrap();
    assert!(table.status.success(), "{table:?}");
    let text = String::from_utf8(table.stdout).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    let columns = ["TIME", "TS", "NS", "PID", "PPID", "UID", "COMM", "FILENAME", "ARGS"];
    assert_eq!(lines[0], columns, "{text}");
    assert_eq!(lines.len(), 4, "{text}");
    let is_true = |line: &[&str]| line[6] == "true" && line[7].ends_with("/true");
    assert!(lines[1..].iter().all(|line| is_true(line) && line[8] == "true"), "{text}");

    let mut json = watch(
        &agent,
        "-o jsonl watch events ex/events --filter comm=t*|none --filter pid>0 --count 1",
    );
    exec_until_over(&mut json, "true");
    let json = json.wait_with_output().unwrap();
    let line: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(line["comm"], "true");
    assert!(line["pid"].is_u64() && line["ts_ns"].is_string() && line["rest"].is_null(), "{line}");
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");

    let mut csv = watch(&agent, "-o csv watch events ex/events --filter comm=true --count 1");
    exec_until_over(&mut csv, "true");
    let csv = String::from_utf8(csv.wait_with_output().unwrap().stdout).unwrap();
    assert!(csv.starts_with("time,ts_ns,pid,ppid,uid,comm,filename,args,rest"), "{csv}");
    assert_eq!(csv.lines().count(), 2, "{csv}");
}

#[test]
fn a_watch_ends_well_by_an_interrupt_a_duration_and_a_closed_pipe() {
    let agent = execs();
    let ended = agent.cli(&words("watch events ex/events --filter pid=0 --duration 200ms")).ok();
    assert!(ended.stdout.starts_with("TIME"), "{ended:?}");

    let mut watching = watch(&agent, "-o jsonl watch events ex/events");
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    Command::new("true").status().unwrap();
    assert!(lines.next().unwrap().unwrap().starts_with('{'));
    let pid = Pid::from_raw(i32::try_from(watching.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = watching.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");

    let mut watching = watch(&agent, "-o jsonl watch events ex/events");
    drop(watching.stdout.take());
    exec_until_over(&mut watching, "true");
    let ended = watching.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn the_end_of_the_map_ends_the_watch() {
    let agent = execs();
    let mut watching = watch(&agent, "watch events ex/events");
    // Attached programs see the watch itself start, or this.
    Command::new("true").status().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("TIME"));
    quiet(&agent, "object unload ex");
    let ended = watching.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{said}");
    assert_eq!(said, "bpfgate: map ex/events is gone\n");
}

#[test]
fn what_is_wrong_with_a_watch_is_said() {
    let agent = execs();
    quiet_create(&agent);
    let said = refusal(&agent, 3, "watch events ex/event");
    assert!(said.contains("did you mean ex/events?"), "{said}");
    let said = refusal(&agent, 9, "watch events hash");
    assert!(said.contains("hash") && said.contains("lookup"), "{said}");
    let said = refusal(&agent, 6, "watch events ex/events --filter pidd=1");
    assert!(said.contains("pidd") && said.contains("pid, ppid, uid, comm"), "{said}");
    let said = refusal(&agent, 6, "watch events ex/events --type exec_evnt");
    assert!(said.contains("exec_evnt") && said.contains("struct exec_event"), "{said}");
    let said = refusal(&agent, 6, "watch events ex/events --queue-bytes 1GiB");
    assert!(said.contains("1073741824") && said.contains("67108864"), "{said}");
    let usage = agent.cli(&words("watch events ex/events --queue-bytes 1e9"));
    assert!(usage.stderr.contains("64KiB"), "{usage:?}");
    let usage = agent.cli(&words("watch events ex/events --filter pid"));
    assert!(usage.stderr.contains("FIELD=VALUE"), "{usage:?}");
}

fn quiet_create(agent: &Agent) {
    agent.cli(&words("map create hash --type hash --key 4 --value 8 --max-entries 2")).ok();
}
