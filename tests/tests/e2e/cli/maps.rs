//! `bpfgate map`.

use std::process::Stdio;

use bpfgate_tests::{Agent, bpftool, run};
use serde_json::{Value, json};

use super::{create_hits, json_of, quiet, words};

#[test]
fn maps_are_made_shown_listed_and_dropped() {
    let agent = Agent::spawn();
    let id = create_hits(&agent);
    assert_eq!(bpftool::map(id)["name"], "hits");
    let shown = json_of(&agent, "map show hits");
    for (field, want) in [
        ("name", json!("hits")),
        ("id", json!(id)),
        ("type", json!("hash")),
        ("ownership", json!("owned")),
        ("key_type", json!("ipv4")),
        ("value_type", json!("u64")),
        ("schema", json!("declared")),
        ("max_entries", json!(2)),
        ("labels", json!({"team": "net"})),
        ("counters", json!([{"field": "", "kind": "monotonic", "unit": "packets"}])),
    ] {
        assert_eq!(shown[field], want, "{field}");
    }
    agent.cli(&words("map create pcpu --type percpu_array --key 4 --value 8 --max-entries 2")).ok();
    let names = |arguments: &str| {
        let list = json_of(&agent, arguments);
        let names = list.as_array().unwrap().iter().map(|map| map["name"].as_str().unwrap());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("map list"), "hits pcpu");
    assert_eq!(names("map list h*"), "hits");
    assert_eq!(names("map list --type percpu_array"), "pcpu");
    assert_eq!(names("map list --label team=net"), "hits");
    assert_eq!(names("map list nothing"), "");
    let table = agent.cli(&["map", "list"]).ok();
    assert!(table.stdout.starts_with("NAME"), "{}", table.stdout);
    assert!(!table.stdout.contains('\x1b'), "colour off a terminal");

    quiet(&agent, "map drop hits");
    assert_eq!(names("map list"), "pcpu");
    quiet(&agent, "map drop pcpu");
    agent.assert_only_baseline();
}

#[test]
fn entries_are_written_read_and_removed() {
    let agent = Agent::spawn();
    let id = create_hits(&agent);
    quiet(&agent, "map update hits 10.0.0.1 7");
    quiet(&agent, "map update hits hex:0a000002 hex:ffffffffffffffff --mode noexist");
    assert_eq!(bpftool::lookup(id, &[10, 0, 0, 1]).unwrap().values, [7_u64.to_ne_bytes()]);
    let found = json_of(&agent, "map lookup hits 10.0.0.1");
    assert_eq!(found, json!({"key": "10.0.0.1", "value": "7"}));
    let found = json_of(&agent, "map lookup hits 10.0.0.2");
    assert_eq!(found["value"], u64::MAX.to_string());
    let by_id = json_of(&agent, &format!("map lookup id:{id} 10.0.0.1"));
    assert_eq!(by_id["value"], "7");

    let mut dump = json_of(&agent, "map dump hits").as_array().unwrap().clone();
    dump.sort_by_key(ToString::to_string);
    let all = json!([
        {"key": "10.0.0.1", "value": "7"},
        {"key": "10.0.0.2", "value": u64::MAX.to_string()},
    ]);
    assert_eq!(Value::from(dump), all);
    assert_eq!(json_of(&agent, "map dump hits --limit 1").as_array().unwrap().len(), 1);
    let keys = json_of(&agent, "map dump hits --keys");
    assert!(keys.as_array().unwrap().iter().all(|row| row.get("value").is_none()), "{keys}");
    let lines = agent.cli(&words("-o jsonl map dump hits")).ok().stdout;
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
    let csv = agent.cli(&words("-o csv map dump hits --limit 1")).ok().stdout;
    assert_eq!(csv.lines().next().unwrap(), "key,value");

    quiet(&agent, "map delete hits 10.0.0.2");
    assert_eq!(bpftool::lookup(id, &[10, 0, 0, 2]), None);
}

#[test]
fn per_cpu_values_are_shown_each_and_summed() {
    let agent = Agent::spawn();
    let create = "map create p --type percpu_array --key-type u32 --value-type u32 --max-entries 2";
    agent.cli(&words(create)).ok();
    quiet(&agent, "map update p 1 5");
    let each = json_of(&agent, "map lookup p 1 --per-cpu");
    let each = each.as_array().unwrap();
    assert!(each.iter().all(|row| row["value"] == 5), "{each:?}");
    let sum = json_of(&agent, "map lookup p 1");
    assert_eq!(sum["value"], json!((5 * each.len()).to_string()));
    let numbers: Vec<_> = (1..=each.len()).collect();
    let list = serde_json::to_string(&numbers).unwrap();
    quiet(&agent, &format!("map update p 0 {list} --per-cpu"));
    let each = json_of(&agent, "map dump p --per-cpu");
    assert_eq!(
        each[numbers.len() - 1],
        json!({"key": 0, "cpu": numbers.len() - 1, "value": numbers.len()})
    );
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let agent = Agent::spawn();
    agent.cli(&words("map create a --type array --key 4 --value 8 --max-entries 200000")).ok();
    let mut dump = agent.cli_command();
    dump.args(["map", "dump", "a"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut dump = dump.spawn().unwrap();
    let mut some = [0; 100];
    std::io::Read::read_exact(dump.stdout.as_mut().unwrap(), &mut some).unwrap();
    drop(dump.stdout.take());
    let ended = dump.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn every_format_has_the_same_maps_and_only_tables_the_hosts_zone() {
    let agent = Agent::spawn();
    create_hits(&agent);
    agent.cli(&words("object load pc --builtin proto-counters")).ok();
    let text = |arguments: &str| agent.cli(&words(arguments)).ok().stdout;
    let yaml = text("-o yaml map list hits");
    assert!(yaml.starts_with("- name: \"hits\"\n  type: \"hash\"\n  key_size: 4\n"), "{yaml}");
    assert!(yaml.contains("\n  labels:\n    team: \"net\"\n"), "{yaml}");
    assert_eq!(text("-o yaml map dump hits"), "[]\n");
    quiet(&agent, "map update hits 10.0.0.1 7");
    assert_eq!(text("-o yaml map lookup hits 10.0.0.1"), "key: \"10.0.0.1\"\nvalue: \"7\"\n");
    assert_eq!(text("-o csv --no-headers map dump hits"), "10.0.0.1,7\n");
    assert_eq!(text("map dump hits --no-headers"), "10.0.0.1  7\n");
    let (table, wide) = (text("map list hits"), text("map list hits -o wide"));
    assert!(!table.contains("KERNEL NAME") && wide.contains("KERNEL NAME"), "{wide}");

    let zoned = |arguments: &str| {
        let mut command = agent.cli_command();
        run(command.env("TZ", "XYZ-5:30").args(words(arguments))).ok().stdout
    };
    let object = zoned("object list");
    assert!(
        object.lines().nth(1).is_some_and(|line| line.trim_end().ends_with(" XYZ")),
        "{object}"
    );
    assert!(zoned("object list --utc").trim_end().ends_with(" UTC"));
    assert!(zoned("-o csv object list").contains('Z'), "RFC 3339");
}
