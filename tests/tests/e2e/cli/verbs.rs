//! The verbs that not every map has.

use bpfgate_tests::Agent;
use serde_json::json;

use super::{create_hits, json_of, quiet, refusal, words};

#[test]
fn queues_stacks_and_filters_are_pushed_popped_and_peeked() {
    let agent = Agent::spawn();
    for (kind, next) in [("queue", 1), ("stack", 2)] {
        let create = format!("map create {kind} --type {kind} --value-type u32 --max-entries 2");
        agent.cli(&words(&create)).ok();
        quiet(&agent, &format!("map push {kind} 1"));
        quiet(&agent, &format!("map push {kind} 2"));
        let said = refusal(&agent, 8, &format!("map push {kind} 3"));
        assert!(said.contains("full"), "{said}");
        assert_eq!(json_of(&agent, &format!("map peek {kind}")), json!({"value": next}));
        assert_eq!(json_of(&agent, &format!("map pop {kind}")), json!({"value": next}));
        quiet(&agent, &format!("map push {kind} 3 --replace-oldest"));
        json_of(&agent, &format!("map pop {kind}"));
        json_of(&agent, &format!("map pop {kind}"));
        let said = refusal(&agent, 3, &format!("map pop {kind}"));
        assert!(said.contains("empty"), "{said}");
        for verb in ["dump KIND", "lookup KIND 5", "update KIND 5 6", "delete KIND 5"] {
            let said = refusal(&agent, 9, &format!("map {}", verb.replace("KIND", kind)));
            assert!(said.contains(kind) && said.contains("push, pop, peek"), "{said}");
        }
    }
    agent.cli(&words("map create seen --type bloom_filter --value-type u32 --max-entries 9")).ok();
    quiet(&agent, "map push seen 7");
    assert_eq!(json_of(&agent, "map peek seen 7"), json!({"value": 7}));
    let said = refusal(&agent, 3, "map peek seen 8");
    assert!(said.contains("does not hold '8'"), "{said}");
    assert!(refusal(&agent, 2, "map peek seen").contains("give one"));
}

#[test]
fn several_keys_are_read_and_removed_in_one_call() {
    let agent = Agent::spawn();
    let create = "map create m --type hash --key-type u32 --value-type u32 --max-entries 9";
    agent.cli(&words(create)).ok();
    for key in 1..=4 {
        quiet(&agent, &format!("map update m {key} {}", key * 10));
    }
    let two = json_of(&agent, "map lookup m 3 1");
    assert_eq!(two, json!([{"key": 3, "value": 30}, {"key": 1, "value": 10}]));
    let some = agent.cli(&words("-o jsonl map lookup m 1 8 2 9"));
    assert_eq!((some.code, some.stdout.lines().count()), (Some(3), 2), "{some:#?}");
    assert!(some.stderr.contains("no entry with key '8', '9'"), "{some:#?}");
    assert_eq!(json_of(&agent, "map lookup m 1 --delete"), json!({"key": 1, "value": 10}));
    assert!(refusal(&agent, 3, "map lookup m 1").contains("no entry"));
    let said = refusal(&agent, 3, "map delete m 2 8 3");
    assert!(said.contains("'8'") && said.contains("1 before it"), "{said}");
    quiet(&agent, "map delete m 8 3 --missing-ok");
    assert_eq!(json_of(&agent, "map dump m"), json!([{"key": 4, "value": 40}]));
}

#[test]
fn maps_are_frozen_and_pinned() {
    let agent = Agent::spawn();
    create_hits(&agent);
    quiet(&agent, "map update hits 10.0.0.1 7");
    let path = json_of(&agent, "map pin hits one/two")["path"].as_str().unwrap().to_owned();
    assert!(std::path::Path::new(&path).exists(), "{path}");
    let shown = json_of(&agent, "map show hits");
    assert_eq!(shown["pins"], json!(["one/two"]), "{shown}");
    assert_eq!(json_of(&agent, "map lookup pin:one/two 10.0.0.1")["value"], "7");
    let said = refusal(&agent, 7, "map pin hits one/two");
    assert!(said.contains("one/two"), "{said}");
    for path in ["../out", "one/../two", "a.b", "/etc/x", "."] {
        let said = refusal(&agent, 6, &format!("map pin hits {path}"));
        assert!(said.contains("path"), "{path}: {said}");
    }
    quiet(&agent, "map unpin pin:one/two");
    assert!(!std::path::Path::new(&path).exists());
    assert!(refusal(&agent, 3, "map unpin one/two").contains("one/two"));
    quiet(&agent, "map freeze hits");
    assert_eq!(json_of(&agent, "map show hits")["frozen"], true);
    assert!(refusal(&agent, 7, "map update hits 10.0.0.1 8").contains("frozen"));
    assert!(refusal(&agent, 7, "map freeze hits").contains("frozen"));
}

#[test]
fn slots_lead_to_what_they_are_named() {
    let agent = Agent::spawn();
    create_hits(&agent);
    let create = "map create tables --type array_of_maps --key-type u32 --value 4 --max-entries 4 \
                  --inner hash:4:8:2";
    agent.cli(&words(create)).ok();
    assert_eq!(json_of(&agent, "map show tables")["inner"], "hash:4:8:2");
    quiet(&agent, "map update tables 1 hits");
    assert_eq!(json_of(&agent, "map lookup tables 1"), json!({"key": 1, "value": "hits"}));
    let said = refusal(&agent, 6, "map update tables 2 a/b/c");
    assert!(said.contains("a map: MAP, OBJECT/MAP"), "{said}");
    assert!(refusal(&agent, 3, "map update tables 2 nothing").contains("nothing"));
    assert!(refusal(&agent, 3, "map lookup tables 3").contains("no entry"));
    quiet(&agent, "map delete tables 1");

    agent.cli(&words("map create tx --type devmap --key-type u32 --value 4 --max-entries 4")).ok();
    quiet(&agent, "map update tx 3 lo");
    assert_eq!(json_of(&agent, "map lookup tx 3"), json!({"key": 3, "value": "lo"}));
    assert!(refusal(&agent, 3, "map update tx 3 nosuchif").contains("nosuchif"));

    // An index is a number though nobody said so.
    agent.cli(&words("map create cpus --type cpumap --key 4 --value 4 --max-entries 4")).ok();
    quiet(&agent, "map update cpus 0 queue=64");
    assert_eq!(json_of(&agent, "map lookup cpus 0")["value"], "queue=64");
    assert!(refusal(&agent, 6, "map lookup cpus x").contains("plain bytes"));
}
