//! `bpfgate watch`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use bpfgate_tests::{Agent, SOON, within};
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{create_hits, json_of, quiet, refusal, words};

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
    assert_eq!(keys(&agent, "pc/by_proto{key=tcp}"), ["6"], "known by name, shown by number");
    assert_eq!(keys(&agent, "pc/by_proto{key>=6,key<0x10}"), ["6"]);
    assert_eq!(keys(&agent, "pc/by_proto{key=T*} --names"), ["TCP"]);
    let said = agent.cli(&words("watch counters pc/by_proto{key=tpc} --once")).stderr;
    assert!(said.contains("\"tpc\"") && said.contains("name"), "{said}");
    assert_eq!(keys(&agent, "pc/by_proto --names --resolve key=number"), ["6"]);

    create_hits(&agent);
    quiet(&agent, "map update hits 10.0.0.1 7");
    assert_eq!(keys(&agent, "hits --names"), ["10.0.0.1"]);
    assert_eq!(keys(&agent, "hits{key=10.0.0.0/8}"), ["10.0.0.1"]);
    json_of(&agent, "map create uids --type hash --key-type u32 --value-type u64 --max-entries 9");
    quiet(&agent, "map update uids 0 1");
    quiet(&agent, "map update uids 4294967290 1");
    assert_eq!(keys(&agent, "uids --names"), ["0", "4294967290"]);
    assert_eq!(keys(&agent, "uids --resolve key=user"), ["4294967290", "root"]);
    let said = agent.cli(&words("watch counters uids --resolve key=usr")).stderr;
    assert!(said.contains("\"usr\"") && said.contains("cgroup, user, syscall"), "{said}");
}

/// A watch under way: its standard output is a pipe.
fn watching(agent: &Agent, arguments: &str) -> Child {
    let mut watch = agent.cli_command();
    watch.args(words(arguments)).stdin(Stdio::null()).stdout(Stdio::piped());
    watch.stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_reader_that_leaves_ends_a_watch_quietly() {
    let agent = Agent::spawn();
    create_hits(&agent);
    quiet(&agent, "map update hits 10.0.0.1 7");
    let mut watch = watching(&agent, "-o jsonl watch counters hits --interval 50ms");
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with('{'));
    // Nothing changes any more: no write would ever fail.
    drop(lines);
    let ended = watch.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");

    // Nobody hears what it has to say either.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut deaf = agent.cli_command();
    deaf.args(words("watch counters hits none* --interval 50ms")).stdin(Stdio::null());
    deaf.stdout(writer.try_clone().unwrap()).stderr(writer);
    drop(reader);
    assert!(deaf.status().unwrap().success());
}

#[test]
fn a_watch_ends_though_nobody_reads_what_it_prints() {
    let agent = Agent::spawn();
    json_of(&agent, "object load pc --builtin proto-counters");
    let arguments = "-o jsonl watch counters --all --per-cpu --interval 50ms";
    let mut watch = watching(&agent, arguments);
    let output = watch.stdout.take().unwrap();
    let filled = within(SOON, || ioctl_fionread(&output).is_ok_and(|bytes| bytes > 32 << 10));
    assert!(filled, "it prints next to nothing");
    // By now, or in a moment, the pipe holds no more.
    let pid = Pid::from_raw(i32::try_from(watch.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let mut status = None;
    within(SOON, || {
        status = watch.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn programs_read_the_columns_that_are_documented() {
    let agent = Agent::spawn();
    let create = "map create sizes --type array --key 4 --value-type u64 --max-entries 4 --counter \
                  histogram:By";
    json_of(&agent, create);
    quiet(&agent, "map update sizes 2 18446744073709551615");
    let columns = "time,map,labels,field,value,rate,kind,unit,start_time,buckets";
    let documented = include_str!("../../../../docs/counters.md");
    for column in columns.split(',') {
        assert!(documented.contains(&format!("| `{column}` |")), "{column}");
    }
    let csv =
        agent.cli(&words("-o csv watch counters sizes --interval 50ms --duration 300ms")).ok();
    assert_eq!(csv.stdout.lines().next(), Some(columns));
    let line = csv.stdout.lines().nth(1).unwrap();
    assert!(line.contains("sizes,,,18446744073709551615,,histogram,By,20"), "{line}");
    let once = agent.cli(&words("-o csv watch counters sizes --once")).ok();
    assert_eq!(once.stdout.lines().next(), Some(&*columns.replace(",rate", "")));
    let json = json_of(&agent, "watch counters sizes --once");
    let bucket = json!({"at_least": "4", "below": "8", "count": "18446744073709551615"});
    assert_eq!((json.as_array().unwrap().len(), &json[0]["buckets"]), (1, &json!([bucket])));
    assert_eq!(json[0]["value"], "18446744073709551615");
    let table = agent.cli(&words("watch counters sizes --once")).ok().stdout;
    let slot: Vec<_> = table.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(slot, ["[4,8)", "18,446,744,073,709,551,615"], "{table}");
    json_of(&agent, "map create one --type hash --key 4 --value 8 --max-entries 9");
    quiet(&agent, "map update one hex:01000000 hex:ffffffffffffff7f");
    let lines = agent.cli(&words("-o jsonl watch counters one --interval 50ms --duration 300ms"));
    let lines = lines.ok().stdout;
    let line: Value = serde_json::from_str(&lines).unwrap_or_else(|e| panic!("{e}: {lines}"));
    assert_eq!((&line["value"], &line["rate"]), (&json!("9223372036854775807"), &Value::Null));
}

#[test]
fn a_slip_in_a_selector_is_told_with_what_was_meant() {
    let agent = Agent::spawn();
    json_of(&agent, "object load pc --builtin proto-counters");
    let said = refusal(&agent, 3, "watch counters pc/stat --once");
    assert_eq!(said, "there is no map pc/stat; did you mean pc/stats?");
    let later = agent.cli(&words("watch counters pc/stat none/* --duration 200ms")).ok().stderr;
    let lines: Vec<_> = later.lines().collect();
    assert!(lines[0].contains("did you mean pc/stats?; one that appears later"), "{later}");
    assert!(lines[1].contains("no map with counters matches none/*"), "{later}");
    let said = refusal(&agent, 6, "watch counters pc/stats:byte");
    assert_eq!(
        said,
        "map pc/stats has no number \"byte\"; it has packets, bytes (did you mean bytes?)"
    );
    let said = refusal(&agent, 6, "watch counters pc/stats{kye=6}");
    assert_eq!(said, "map pc/stats has no label \"kye\"; it has key (did you mean key?)");
    let said = refusal(&agent, 3, "watch counters id:4294967295");
    assert_eq!(said, "there is no map id:4294967295");
    let said = agent.cli(&words("watch counters pc/stats --once --resolve kye=user")).ok();
    assert_eq!(said.stderr, "bpfgate: no counter has a label \"kye\"\n");
    let by_name = agent.cli(&words("watch counters pc/stats{key=TCP} --once")).ok().stderr;
    assert!(by_name.is_empty(), "known by name though shown by number: {by_name}");
}
