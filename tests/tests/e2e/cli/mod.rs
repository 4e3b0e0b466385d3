//! Every call through the command line: what it prints, how it ends, and what it says when it
//! cannot.

mod bpftool;
mod callers;
mod completions;
mod events;
mod failures;
mod maps;
mod names;
mod objects;
mod references;
mod restore;
mod samples;
mod screens;
mod verbs;
mod watch;

use bpfgate_tests::Agent;
use serde_json::Value;

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
