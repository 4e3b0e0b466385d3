//! `bpfgate object`, `link` and `agent`.

use bpfgate_tests::{Agent, binaries, bpftool, run};
use serde_json::json;

use super::{json_of, quiet, refusal, words};

#[test]
fn objects_and_links_come_and_go() {
    let agent = Agent::spawn();
    let loaded = json_of(&agent, "object load pc --builtin proto-counters --label a=b");
    assert_eq!(
        (&loaded["name"], &loaded["source"]),
        (&json!("pc"), &json!("builtin:proto-counters"))
    );
    let shown = json_of(&agent, "object show pc");
    assert_eq!(shown["maps"], json!(["pc/by_proto", "pc/stats"]));
    let program = &shown["programs"][0];
    let id = program["id"].as_u64().unwrap().to_string();
    assert_eq!(bpftool::json(&["prog", "show", "id", &id])["tag"], program["tag"]);
    assert_eq!(json_of(&agent, "object list --label a=b").as_array().unwrap().len(), 1);
    assert_eq!(json_of(&agent, "object list --label a=c"), json!([]));

    let name = program["name"].as_str().unwrap();
    let link = json_of(&agent, &format!("link attach {name} --socket lo"));
    assert_eq!((&link["program"], &link["target"]), (&json!(name), &json!("socket lo")));
    assert_eq!(json_of(&agent, "link list"), json!([link]));
    assert_eq!(json_of(&agent, "link list pc"), json!([link]));
    run(agent.netns().command(binaries::traffic()).args(words("udp --count 5 --payload 10"))).ok();
    let counted = json_of(&agent, "map lookup pc/by_proto 17");
    assert!(counted["value"].as_str().unwrap().parse::<u64>().unwrap() >= 5 * 38, "{counted}");

    quiet(&agent, &format!("link detach {}", link["id"]));
    assert_eq!(json_of(&agent, "link list"), json!([]));
    quiet(&agent, "object unload pc");
    agent.assert_only_baseline();
    for (code, arguments, part) in [
        (3, "object show pc", "no object pc"),
        (3, "object unload pc", "no object pc"),
        (3, "link detach 99", "no link 99"),
        (3, "object load x --builtin no-such", "proto-counters"),
        (3, "object load x --file /nonexistent.o", "/nonexistent.o"),
        (6, "object load x --file /etc/passwd", "not an ELF file"),
        (3, "link attach pc/count --socket lo", "pc"),
    ] {
        let said = refusal(&agent, code, arguments);
        assert!(said.contains(part), "{arguments}: {said}");
    }
}

#[test]
fn the_agent_shows_the_limits_of_its_configuration() {
    let limits = [
        ("max_watchers", 11),
        ("max_event_watchers", 12),
        ("event_queue_bytes", 1300),
        ("max_event_queue_bytes", 1400),
        ("max_event_memory_bytes", 1500),
        ("perf_buffer_bytes", 8192),
        ("stall_seconds", 17),
        ("max_watched_series", 18),
        ("max_remembered_series", 19),
        ("max_remembered_removals", 20),
        ("max_sweeps", 21),
    ];
    let lines: Vec<_> = limits.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let agent = Agent::builder().config(format!("[limits]\n{}", lines.join("\n"))).spawn();
    let shown = json_of(&agent, "agent show");
    for (name, value) in limits {
        assert_eq!(shown[name], value, "{name}");
    }
    let table = agent.cli(&words("agent show")).ok().stdout;
    assert!(table.contains("STALL SECONDS"), "{table}");
}

#[test]
fn the_agent_shows_itself_and_the_caller() {
    let agent = Agent::spawn();
    let shown = json_of(&agent, "agent show");
    assert_eq!(shown["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(shown["max_message_bytes"], 16 << 20);
    assert!(shown["builtins"].as_array().unwrap().contains(&json!("proto-counters")));
    let who = json_of(&agent, "agent whoami");
    assert_eq!((&who["principal"], &who["transport"]), (&json!("uid:0"), &json!("unix")));
}
