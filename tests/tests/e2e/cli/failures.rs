//! What it says when it cannot.

use bpfgate_tests::bpftool::PinnedMap;
use bpfgate_tests::{Agent, Netns, elf, run};

use super::{create_hits, quiet, refusal, words};

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
        (6, "map create b --type hash --key 0 --value 8 --max-entries 1", "--key: 0"),
        (
            6,
            "map create b --type lpm_trie --key 8 --value 8 --max-entries 1",
            "--flags: type lpm_trie needs no_prealloc",
        ),
        (
            6,
            "map create b --type hash_of_maps --key 4 --value 4 --max-entries 1 --inner hash:4:0:1",
            "--inner: VALUE",
        ),
        (7, "map update hits 10.0.0.1 1 --mode noexist", "already"),
        (7, "map create hits --type hash --key 4 --value 8 --max-entries 1", "exists already"),
        (8, "map update hits 10.0.0.3 1", "map hits is full: it holds 2 entries"),
        (8, "map create b --type array --key 4 --value 8 --max-entries 4000000000", "limit"),
        (9, "map delete a 0", "array, which has no delete"),
        (9, "map dump ring", "ringbuf"),
        (6, "watch counters hits:no_such_field --once", "no_such_field"),
        (6, "watch counters hits --interval 1ms --once", "50ms"),
        (6, "watch counters hits{kei=1} --once", "did you mean key?"),
        (6, "program list --type xdpp", "did you mean xdp?"),
    ] {
        let line = refusal(&agent, code, arguments);
        assert!(line.contains(part), "{arguments}: {line}");
        let names = ["spec.", "_size", "os error", "types:", "iterate"];
        assert!(names.iter().all(|name| !line.contains(name)), "{arguments}: {line}");
    }
    for (wrong, hint) in [
        ("map shwo hits", "'show'"),
        ("map lookup hits 10.0.0.1 --per-cp", "'--per-cpu'"),
        ("map create x --type hsh --key 4 --value 4 --max-entries 1", "did you mean hash?"),
        (
            "map create x --type hash --key 4 --value 4 --max-entries 1 --flags no_preallo",
            "did you mean no_prealloc?",
        ),
        ("-o jsn map list", "'json'"),
    ] {
        let output = agent.cli(&words(wrong));
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{wrong}: {output:#?}");
        assert!(output.stderr.contains(hint), "{wrong}: {output:#?}");
    }
    for wrong in
        ["map frob", "map lookup", "map show a/b/c", "map show id:x", "--output xml map list"]
    {
        let output = agent.cli(&words(wrong));
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{wrong}: {output:#?}");
        assert!(output.stderr.starts_with("bpfgate: "), "{output:#?}");
        // It is in the environment, and nobody has to give it.
        assert!(!output.stderr.contains("--endpoint"), "{output:#?}");
    }
}

#[test]
fn a_hook_that_is_taken_and_a_kernel_that_cannot_are_told_apart() {
    let agent = Agent::builder().netns(Netns::new()).spawn();
    let path = agent.directory().join("hooks.o");
    std::fs::write(&path, elf::HOOKS).unwrap();
    agent.cli(&words(&format!("object load hooks --file {}", path.display()))).ok();
    agent.cli(&words("link attach hooks/on_xdp --xdp lo")).ok();
    let attach = "link attach hooks/on_xdp --xdp lo";
    for (code, arguments, part) in [
        (7, attach.to_owned(), "lo has an XDP program already"),
        (7, format!("{attach} --xdp-mode native"), "in another mode"),
        (9, format!("{attach} --xdp-mode offload"), "the card runs no programs"),
        (6, "link attach hooks/on_xdp".to_owned(), "the target: section"),
    ] {
        let line = refusal(&agent, code, &arguments);
        assert!(line.contains(part) && !line.contains("os error"), "{arguments}: {line}");
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

#[test]
fn objects_that_cannot_be_loaded_say_why() {
    let agent = Agent::spawn();
    let path = |name: &str, bytes: &[u8]| {
        let path = agent.directory().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cut, rejected) = (path("cut.o", &elf::TYPED[..500]), path("bad.o", elf::REJECTED));
    let said = refusal(&agent, 6, &format!("object load x --file {cut}"));
    assert!(said.contains("not a valid BPF object"), "{said}");
    let output = agent.cli(&words(&format!("object load x --file {rejected}")));
    assert_eq!((output.code, output.stdout.as_str()), (Some(6), ""), "{output:#?}");
    assert!(output.stderr.lines().count() > 1, "the verifier's log: {output:#?}");
    agent.cli(&words("object load pc --builtin proto-counters")).ok();
    for (code, arguments, part) in [
        (3, "link attach pc/count_protocols --socket nosuchif", "nosuchif"),
        (3, "link attach pc/count_protocol --socket lo", "did you mean pc/count_protocols?"),
        (7, "object load pc --builtin proto-counters", "exists already"),
        (7, "map drop pc/stats", "pc"),
    ] {
        let said = refusal(&agent, code, arguments);
        assert!(said.contains(part), "{arguments}: {said}");
    }
}

#[test]
fn limits_and_other_peoples_maps_are_told_apart() {
    let limits = "[limits]\nmax_map_bytes = 1000000\nmax_maps = 1\n";
    let agent = Agent::builder().config(limits).spawn();
    let array = ["type", "array", "key", "4", "value", "8", "entries", "4", "name", "theirs"];
    let theirs = PinnedMap::create(agent.bpffs(), &array);
    let pin = theirs.file_name().to_owned();
    std::os::unix::fs::symlink(&pin, agent.bpffs().join("link")).unwrap();
    create_hits(&agent);
    let create = "map create big --type array --key 4 --value 8";
    for (code, arguments, part) in [
        (8, format!("{create} --max-entries 1000000"), "limit"),
        (8, format!("{create} --max-entries 1"), "limit of 1 maps"),
        (4, format!("map update pin:{pin} hex:01000000 hex:0000000000000000"), "can only be read"),
        (4, format!("map update id:{} hex:01000000 hex:0000000000000000", theirs.id), "not owned"),
        (6, "map show pin:../hits".to_owned(), "leads out"),
        (6, "map show pin:link".to_owned(), "link"),
        (2, "map show ../hits".to_owned(), ".."),
    ] {
        let output = agent.cli(&words(&arguments));
        assert_eq!(output.code, Some(code), "{arguments}: {output:#?}");
        assert!(output.stderr.contains(part), "{arguments}: {output:#?}");
    }
    std::fs::remove_file(agent.bpffs().join("link")).unwrap();
}
