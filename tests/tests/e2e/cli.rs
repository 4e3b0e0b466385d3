//! Every call through the command line: what it prints, how it ends, and what it says when it
//! cannot.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bpfgate_tests::{Agent, Output, binaries, bpftool, run};
use serde_json::{Value, json};

/// `bpfgate --output json ARGUMENTS`, words split at spaces; it has to work.
fn json_of(agent: &Agent, arguments: &str) -> Value {
    let arguments = format!("--output json {arguments}");
    agent.cli(&words(&arguments)).ok().json()
}

/// A command that has nothing to print.
fn quiet(agent: &Agent, arguments: &str) {
    let output = agent.cli(&words(arguments)).ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""), "{arguments}");
}

/// The one line on stderr of a command that ends with `code`.
fn refusal(agent: &Agent, code: i32, arguments: &str) -> String {
    let output = agent.cli(&words(arguments));
    let line = output.refusal(code);
    line.strip_prefix("bpfgate: ").unwrap_or_else(|| panic!("{line}")).to_owned()
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

fn create_hits(agent: &Agent) -> u32 {
    let create = "map create hits --type hash --key-type ipv4 --value-type u64 --max-entries 2 \
                  --counter monotonic:packets --label team=net";
    let id = json_of(agent, create)["id"].as_u64().unwrap();
    id.try_into().unwrap()
}

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
    assert_eq!(sum["value"], 5 * each.len());
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

#[test]
fn every_kind_of_failure_has_its_exit_code_and_one_line() {
    let agent = Agent::spawn();
    create_hits(&agent);
    quiet(&agent, "map update hits 10.0.0.1 1");
    quiet(&agent, "map update hits 10.0.0.2 2");
    agent
        .cli(&words("map create a --type array --key-type u32 --value-type u32 --max-entries 2"))
        .ok();
    agent.cli(&words("map create ring --type ringbuf --key 0 --value 0 --max-entries 4096")).ok();
    for (code, arguments, part) in [
        (3, "map lookup hit 10.0.0.1", "did you mean hits?"),
        (3, "map lookup hits 10.0.0.9", "no entry with that key"),
        (3, "map show id:4294967295", "id:4294967295"),
        (3, "map show pin:nothing", "pin:nothing"),
        (6, "map lookup hits hex:0a0000", "3 bytes where there must be 4"),
        (6, "map lookup hits ten", "ipv4"),
        (6, "map update hits 10.0.0.1 hex:00", "where there must be 8"),
        (6, "map update a 0 4294967296", "0 to 4294967295"),
        (6, "map lookup a 2", "past the end of map a"),
        (6, "map create ü --type hash --key 4 --value 8 --max-entries 1", "'ü'"),
        (6, "map create b --type hash --key 0 --value 8 --max-entries 1", "key_size"),
        (7, "map update hits 10.0.0.1 1 --mode noexist", "already"),
        (7, "map create hits --type hash --key 4 --value 8 --max-entries 1", "exists already"),
        (8, "map update hits 10.0.0.3 1", "map hits is full: it holds 2 entries"),
        (8, "map create b --type array --key 4 --value 8 --max-entries 4000000000", "limit"),
        (9, "map delete a 0", "array, which has no delete"),
        (9, "map dump ring", "ringbuf"),
        (6, "watch counters hits:no_such_field --once", "no_such_field"),
        (6, "watch counters hits --interval 1ms --once", "50ms"),
    ] {
        let line = refusal(&agent, code, arguments);
        assert!(line.contains(part), "{arguments}: {line}");
    }
    for wrong in
        ["map frob", "map lookup", "map show a/b/c", "map show id:x", "--output xml map list"]
    {
        let output = agent.cli(&words(wrong));
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{wrong}: {output:#?}");
        assert!(output.stderr.starts_with("bpfgate: "), "{output:#?}");
    }
}

#[test]
fn a_missing_agent_says_what_to_do() {
    let agent = Agent::spawn();
    let absent = agent.directory().join("absent.sock");
    let at = |endpoint: &str| {
        let mut command = agent.cli_command();
        run(command.args(["--endpoint", endpoint, "--timeout", "500ms", "map", "list"]))
    };
    let endpoint = format!("unix:{}", absent.display());
    let output = at(&endpoint);
    assert!(output.refusal(5).contains(&format!("bpfgated --listen {endpoint}")), "{output:#?}");
    drop(std::os::unix::net::UnixListener::bind(&absent).unwrap());
    assert!(at(&endpoint).refusal(5).contains("left over"), "{:#?}", at(&endpoint));
    assert!(at("http://127.0.0.1:9").refusal(5).contains("nothing listens there"));
    // One that takes the connection and says nothing.
    std::fs::remove_file(&absent).unwrap();
    let _mute = std::os::unix::net::UnixListener::bind(&absent).unwrap();
    assert!(at(&endpoint).refusal(5).contains("did not answer"), "{:#?}", at(&endpoint));
    for endpoint in ["/run/a.sock", "https://h:1", "unix:", "http://h"] {
        let output = at(endpoint);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{output:#?}");
    }
}

/// A copy that everybody can run, wherever the build directory is.
fn cli_for_everybody(agent: &Agent) -> PathBuf {
    let copy = agent.directory().join("bpfgate");
    std::fs::copy(binaries::cli(), &copy).unwrap();
    copy
}

/// The command line as `nobody` of these groups, without a capability.
fn as_nobody(agent: &Agent, groups: &[&str], arguments: &str) -> Output {
    let mut command: Command = agent.netns().command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--inh-caps", "-all"]);
    command.args(["--bounding-set", "-all", "--no-new-privs"]).args(groups);
    command.arg(cli_for_everybody(agent)).args(words(arguments));
    run(command.env("BPFGATE_ENDPOINT", agent.endpoint()))
}

#[test]
fn a_socket_that_refuses_the_caller_says_what_to_do() {
    let agent = Agent::spawn();
    let output = as_nobody(&agent, &["--clear-groups"], "map list");
    let line = output.refusal(4);
    assert!(line.contains("may not open") && line.contains("group"), "{line}");
}

#[test]
fn a_member_of_the_sockets_group_needs_no_capability() {
    // No group of this host's, so that nobody else gets in meanwhile.
    let agent = Agent::spawn();
    let gid = 54_321;
    std::os::unix::fs::chown(agent.socket(), None, Some(gid)).unwrap();
    create_hits(&agent);
    let groups = ["--groups", &gid.to_string()];
    as_nobody(&agent, &groups, "map update hits 10.0.0.1 41").ok();
    let found = as_nobody(&agent, &groups, "-o json map lookup hits 10.0.0.1").ok().json();
    assert_eq!(found["value"], "41");
    let dump = as_nobody(&agent, &groups, "-o json map dump hits").ok().json();
    assert_eq!(dump, json!([{"key": "10.0.0.1", "value": "41"}]));
    let who = as_nobody(&agent, &groups, "-o json agent whoami").ok().json();
    assert_eq!(who["principal"], "uid:65534");
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
