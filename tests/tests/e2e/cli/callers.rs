//! Who may: the socket's group and nobody else.

use std::path::PathBuf;
use std::process::Command;

use bpfgate_tests::{Agent, Output, binaries, run};
use serde_json::json;

use super::{create_hits, words};

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
    // A group that this host has no name for.
    std::os::unix::fs::chown(agent.socket(), None, Some(54_322)).unwrap();
    let output = as_nobody(&agent, &["--clear-groups"], "map list");
    assert!(output.refusal(4).contains("add yourself to group 54322"), "{output:#?}");
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
