//! Completion in a real bash.

use std::process::Command;

use bpfgate_tests::{Agent, binaries, run};

use super::{create_hits, json_of};

/// What bash offers for the last word of a line; bash takes words apart at colons.
fn offers(endpoint: Option<&str>, line: &str) -> Vec<String> {
    let (before, typed) = line.rsplit_once(' ').unwrap();
    let mut words: Vec<String> = Vec::new();
    for word in before.split(' ') {
        for (at, part) in word.split(':').enumerate() {
            if at > 0 {
                words.push(":".to_owned());
            }
            words.push(part.to_owned());
        }
    }
    // Bash hands over what is behind the last colon.
    let parts: Vec<_> = typed.split(':').collect();
    words.extend(parts.join("\n:\n").split('\n').map(str::to_owned));
    let typed = parts[parts.len() - 1];
    if typed.is_empty() && parts.len() > 1 {
        words.pop();
    }
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(bpfgate completions bash) || exit 1\n\
         complete -p bpfgate >/dev/null || exit 2\n\
         COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9\n\
         _clap_complete_bpfgate bpfgate '{typed}' '{}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
        words[words.len() - 2],
    );
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", &script]);
    let directory = binaries::cli().parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    bash.env("PATH", format!("{}:{path}", directory.display()));
    match endpoint {
        Some(endpoint) => bash.env("BPFGATE_ENDPOINT", endpoint),
        None => bash.env("BPFGATE_ENDPOINT", "unix:/nonexistent/agent.sock"),
    };
    let output = run(&mut bash).ok();
    assert_eq!(output.stderr, "", "{line}");
    output.stdout.lines().filter(|line| !line.is_empty()).map(Into::into).collect()
}

#[test]
fn names_come_from_the_agent() {
    let agent = Agent::spawn();
    create_hits(&agent);
    json_of(&agent, "object load pc --builtin proto-counters");
    json_of(&agent, "object load ex --builtin exec-events");
    let link = json_of(&agent, "link attach pc/count_protocols --socket lo")["id"].to_string();
    let endpoint = agent.endpoint();
    for (line, offered) in [
        ("bpfgate map show h", vec!["hits"]),
        ("bpfgate map show ", vec!["ex/events", "ex/lost", "hits", "pc/by_proto", "pc/stats"]),
        ("bpfgate map lookup pc/s", vec!["pc/stats"]),
        ("bpfgate map dump --keys pc/b", vec!["pc/by_proto"]),
        ("bpfgate object show ", vec!["ex", "pc"]),
        ("bpfgate link attach pc/", vec!["pc/count_protocols"]),
        ("bpfgate link detach ", vec![&link]),
        ("bpfgate object load x --builtin proto", vec!["proto-counters"]),
        ("bpfgate map dump nothing", vec![]),
        ("bpfgate watch counters pc/", vec!["pc/*", "pc/by_proto", "pc/stats"]),
        ("bpfgate watch counters hits pc/st", vec!["pc/stats"]),
        ("bpfgate watch counters pc/stats:", vec!["packets", "bytes"]),
        ("bpfgate watch counters pc/stats:by", vec!["bytes"]),
        ("bpfgate watch counters pc/stats:packets,by", vec!["packets,bytes"]),
        ("bpfgate watch counters hits{", vec!["hits{key="]),
        ("bpfgate top h", vec!["hits"]),
        ("bpfgate watch events ", vec!["ex/events"]),
        ("bpfgate ob", vec!["object"]),
        ("bpfgate -o b", vec!["bpftool"]),
    ] {
        let found = offers(Some(&endpoint), line);
        let found: Vec<_> = found.iter().filter(|offer| !offer.starts_with('-')).collect();
        assert_eq!(found, offered, "{line}");
    }
    let with_endpoint = format!("bpfgate --endpoint {endpoint} map show h");
    assert_eq!(offers(None, &with_endpoint), ["hits"]);
}

#[test]
fn without_an_agent_there_is_silence() {
    assert_eq!(offers(None, "bpfgate map show hi"), [""; 0]);
    assert_eq!(offers(None, "bpfgate map fre"), ["freeze"]);
}
