//! What `make install` puts on a host, and whether the agent can live under its unit.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use bpfgate_tests::{Agent, Output, binaries, run};

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/bpfgated.service");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/install.sh");

/// The script with these arguments, into a directory as if it were the root of a host.
fn script(root: &Path, arguments: &[&str]) -> Output {
    let built = binaries::agent();
    let mut command = Command::new(SCRIPT);
    command.args(arguments).env("DESTDIR", root).env("PREFIX", "/opt/gate");
    command.env("BUILT", built.parent().expect("a directory"));
    run(&mut command)
}

/// Files below a directory, in order, with their modes.
fn files(root: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            if metadata.is_dir() {
                ahead.push(entry.path());
            } else {
                let below = entry.path().strip_prefix(root).expect("below").to_owned();
                found.push((below, metadata.permissions().mode() & 0o7777));
            }
        }
    }
    found.sort();
    found
}

/// The values of a setting of the unit, all lines together.
fn setting(unit: &str, name: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[test]
fn what_is_installed_runs_and_all_of_it_goes_again() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let said = script(root.path(), &[]).ok();
    let expected = [
        ("opt/gate/bin/bpfgate", 0o755),
        ("opt/gate/bin/bpfgated", 0o755),
        ("opt/gate/lib/systemd/system/bpfgated.service", 0o644),
        ("opt/gate/share/bash-completion/completions/bpfgate", 0o644),
        ("opt/gate/share/fish/vendor_completions.d/bpfgate.fish", 0o644),
        ("opt/gate/share/zsh/site-functions/_bpfgate", 0o644),
    ];
    let expected = expected.map(|(path, mode)| (PathBuf::from(path), mode));
    assert_eq!(files(root.path()), expected);
    for (path, _) in &expected {
        let shown = root.path().join(path);
        assert!(said.stdout.contains(shown.to_str().expect("text")), "{said:?}");
    }

    let path = root.path().join("opt/gate/lib/systemd/system/bpfgated.service");
    let unit = fs::read_to_string(path).expect("the unit");
    assert!(!unit.contains('@'), "{unit}");
    // The agent knows the flags that the unit gives it.
    let start = setting(&unit, "ExecStart");
    let (program, flags) = start.split_first().expect("a command");
    let mut agent = Command::new(root.path().join(program.trim_start_matches('/')));
    let version = run(agent.args(flags).arg("--version")).ok();
    assert!(version.stdout.starts_with("bpfgated "), "{version:?}");
    let shell = fs::read_to_string(root.path().join(&expected[3].0)).expect("completions");
    assert!(shell.contains("complete "), "{shell}");

    script(root.path(), &["--remove"]).ok();
    assert_eq!(files(root.path()), []);
}

#[test]
fn systemd_finds_no_fault_in_the_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = format!("ExecStart={}", binaries::agent().display());
    let unit = fs::read_to_string(UNIT).expect("the unit");
    let unit = unit.replace("ExecStart=@PREFIX@/bin/bpfgated", &program);
    let path = directory.path().join("bpfgated.service");
    fs::write(&path, unit).expect("a unit");
    // `man` may be missing where there are no manuals.
    let said = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path)).ok();
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
}

/// The unit's capabilities, `NoNewPrivileges` and `ProtectSystem`, made by hand: there is no
/// systemd where tests run. Everything but the runtime directory is read-only.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_unit_leaves_the_agent_is_enough() {
    let unit = fs::read_to_string(UNIT).expect("the unit");
    assert_eq!(setting(&unit, "NoNewPrivileges"), ["yes"]);
    assert_eq!(setting(&unit, "ProtectSystem"), ["strict"]);
    let capabilities = setting(&unit, "CapabilityBoundingSet");
    let capabilities = capabilities
        .iter()
        .map(|name| name.strip_prefix("CAP_").expect("a capability").to_lowercase());
    let set = ["-all".to_owned()].into_iter().chain(capabilities.map(|name| format!("+{name}")));
    let set = set.collect::<Vec<_>>().join(",");

    let place = tempfile::tempdir().expect("a temporary directory");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let runtime_dir = place.path().join("run");
    fs::create_dir(&runtime_dir).expect("a directory");
    fs::set_permissions(&runtime_dir, fs::Permissions::from_mode(0o755)).expect("a mode");
    let shown = runtime_dir.display();
    let line = format!(
        "exec unshare --mount sh -euc 'mount --bind {shown} {shown}; mount -o remount,bind,ro /; \
         exec setpriv --no-new-privs --bounding-set {set} \"$@\"' sh \"$@\""
    );
    let agent = Agent::builder().runtime_dir(&runtime_dir).before(line).spawn();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("a status");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");

    let show = agent.cli(&["-o", "json", "agent", "show"]).ok().json();
    assert_eq!(show["missing_privileges"], serde_json::json!([]), "{show}");
    for command in [
        "object load pc --builtin proto-counters",
        "object load ic --builtin if-counters",
        "object load ex --builtin exec-events",
        "link attach pc/count_protocols --socket lo",
        "link attach ic/tcx_ingress --tcx ingress:lo",
        "link attach ex/record_exec",
        "map pin pc/stats stats",
        "map lookup pin:stats 1",
        "object stats pc",
        "watch counters pc/* --once",
        "map unpin stats",
    ] {
        agent.cli(&command.split(' ').collect::<Vec<_>>()).ok();
    }
    let id = &agent.cli(&["-o", "json", "map", "show", "pc/stats"]).ok().json()["id"];
    agent.cli(&["map", "lookup", &format!("id:{id}"), "1"]).ok();
    // Nothing on stderr: it may look into the processes of others.
    let all = agent.cli(&["map", "list", "--all"]).ok();
    assert_eq!(all.stderr, "");
    assert!(all.stdout.contains("bpfgated"), "{all:?}");
    drop(agent);
}
