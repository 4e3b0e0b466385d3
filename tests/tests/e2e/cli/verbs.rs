//! The verbs that not every map has.

use bpfgate_tests::Agent;
use bpfgate_tests::bpftool::PinnedMap;
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
fn maps_of_every_kind_are_cleared_and_those_that_cannot_say_so() {
    let agent = Agent::spawn();
    for kind in ["hash", "percpu_hash", "lru_hash", "array", "percpu_array"] {
        let create = "--key-type u32 --value-type u32 --max-entries 3";
        agent.cli(&words(&format!("map create {kind} --type {kind} {create}"))).ok();
        quiet(&agent, &format!("map update {kind} 1 7"));
        let array = kind.ends_with("array");
        let (how, entries) = if array { ("set to zero", 3) } else { ("removed", 1) };
        let cleared = json_of(&agent, &format!("map clear {kind}"));
        assert_eq!(cleared, json!({"map": kind, "entries_were": how, "entries": entries}));
        let left = agent.cli(&words(&format!("-o csv map dump {kind} --values"))).ok();
        assert_eq!(left.stdout, if array { "value\n0\n0\n0\n" } else { "value\n" }, "{kind}");
    }
    let create = "map create trie --type lpm_trie --key-type ipv4-prefix --value-type u8 \
                  --max-entries 9 --flags no_prealloc";
    agent.cli(&words(create)).ok();
    for prefix in ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24"] {
        quiet(&agent, &format!("map update trie {prefix} 1"));
    }
    agent.cli(&words("map create q --type queue --value-type u32 --max-entries 2")).ok();
    quiet(&agent, "map push q 1");
    agent.cli(&words("map create ring --type ringbuf --max-entries 4096")).ok();
    let theirs = ["type", "hash", "key", "4", "value", "4", "entries", "4", "name", "theirs"];
    let theirs = PinnedMap::create(agent.bpffs(), &theirs);
    // One that fails does not stop the others, and the first failure is how it ends.
    let some = format!("-o csv map clear ring trie id:{} q nothing", theirs.id);
    let output = agent.cli(&words(&some));
    assert_eq!(output.code, Some(9), "{output:#?}");
    assert_eq!(output.stdout, "map,entries_were,entries\ntrie,removed,3\nq,removed,1\n");
    let said: Vec<_> = output.stderr.lines().collect();
    let [ring, theirs, nothing] = said[..] else { panic!("{output:#?}") };
    assert!(ring.contains("ringbuf, which cannot be cleared"), "{ring}");
    assert!(theirs.contains("not owned by this agent"), "{theirs}");
    assert!(nothing.contains("no map nothing"), "{nothing}");
    quiet(&agent, "map freeze hash");
    quiet(&agent, "map freeze array");
    assert!(refusal(&agent, 7, "map clear array").contains("frozen"));
}

#[test]
fn several_are_named_at_once_and_one_failure_does_not_stop_the_others() {
    let agent = Agent::spawn();
    for name in ["a", "b", "c"] {
        let create = "--type array --key 4 --value 4 --max-entries 1";
        agent.cli(&words(&format!("map create {name} {create}"))).ok();
    }
    let output = agent.cli(&words("map rm a nothing b a"));
    assert_eq!((output.code, output.stdout.as_str()), (Some(3), ""), "{output:#?}");
    assert_eq!(output.stderr.lines().count(), 2, "{output:#?}");
    assert_eq!(json_of(&agent, "map ls")[0]["name"], "c");

    agent.cli(&words("object load pc --builtin proto-counters")).ok();
    let attach = "link attach pc/count_protocols --socket lo";
    let ids: Vec<_> = (0..2).map(|_| json_of(&agent, attach)["id"].to_string()).collect();
    assert!(refusal(&agent, 3, &format!("link rm {} 99 {}", ids[0], ids[1])).contains("99"));
    assert_eq!(json_of(&agent, "link ls"), json!([]));
    assert!(refusal(&agent, 3, "object rm pd pc").contains("did you mean pc?"));
    assert_eq!(json_of(&agent, "object ls"), json!([]));
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
        assert!(said.contains("PATH: "), "{path}: {said}");
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
