//! Fields of requests as who wrote the command line knows them.

use bpfgate_client::RpcError;

/// A field of the API, and the flag or argument that it came from.
const WORDS: [(&str, &str); 52] = [
    ("batch_entries", "entries of a batch"),
    ("chunk", "the file's parts"),
    ("counters", "--counter"),
    ("cpu", "--per-cpu"),
    ("entries", "the entries"),
    ("filters", "--filter"),
    ("from", "--from"),
    ("globals", "--set"),
    ("header", "the request's beginning"),
    ("heartbeat", "the heartbeat"),
    ("interval", "--interval"),
    ("key", "KEY"),
    ("key_reference", "KEY"),
    ("keys", "KEY"),
    ("labels", "--label"),
    ("layout", "--key-type and --value-type"),
    ("layout.key", "--key-type"),
    ("layout.value", "--value-type"),
    ("map", "MAP"),
    ("mode", "--mode"),
    ("name", "NAME"),
    ("names", "PATTERN"),
    ("order", "--sort"),
    ("parts", "--keys and --values"),
    ("path", "PATH"),
    ("program", "PROGRAM"),
    ("queue_bytes", "--queue-bytes"),
    ("record_type", "the record's type"),
    ("reference", "VALUE"),
    ("replace_oldest", "--replace-oldest"),
    ("resolve", "--resolve"),
    ("resume_token", "the place to go on from"),
    ("selectors", "SELECTOR"),
    ("sha256", "the file's digest"),
    ("shared_maps", "--share"),
    ("spec", "the map"),
    ("spec.flags", "--flags"),
    ("spec.inner", "--inner"),
    ("spec.inner.inner", "--inner"),
    ("spec.key_size", "--key"),
    ("spec.map_extra", "--map-extra"),
    ("spec.max_entries", "--max-entries"),
    ("spec.numa_node", "--numa-node"),
    ("spec.type", "--type"),
    ("spec.value_size", "--value"),
    ("target", "the target"),
    ("target.tcx.direction", "--tcx"),
    ("target.xdp.mode", "--xdp-mode"),
    ("type", "--type"),
    ("typed", "typed values"),
    ("types", "--type"),
    ("value", "VALUE"),
];

/// Names that messages have in their middle, and what they are here.
const INSIDE: [(&str, &str); 10] = [
    ("--inner: key_size", "--inner: KEY"),
    ("--inner: value_size", "--inner: VALUE"),
    ("--inner: max_entries", "--inner: ENTRIES"),
    ("spec.key_size", "--key"),
    ("spec.value_size", "--value"),
    ("(max_patterns)", "(the agent's max_patterns)"),
    ("with shared_maps", "with --share"),
    ("has no iterate;", "has no dump;"),
    (", iterate", ", dump"),
    ("has iterate", "has dump"),
];

/// What the flag or argument of a field is called.
pub(crate) fn words(field: &str) -> Option<&'static str> {
    WORDS.iter().find(|(known, _)| *known == field).map(|(_, words)| *words)
}

/// The agent's refusal without the names of its API.
pub(crate) fn refusal(error: &RpcError) -> String {
    let mut message = error.to_string();
    for violation in &error.field_violations {
        let Some(words) = words(&violation.field) else { continue };
        let before = format!("{}: ", violation.field);
        if let Some(at) = message.find(&before) {
            message.replace_range(at..at + before.len(), &format!("{words}: "));
        }
    }
    let bits = error.field_violations.iter().any(|it| it.field == "spec.flags");
    for (name, words) in INSIDE {
        message = message.replace(name, words);
    }
    if bits { flags(&message) } else { message }
}

/// `BPF_F_NO_PREALLOC (1)` as `--flags` takes it.
fn flags(message: &str) -> String {
    let mut parts = message.split("BPF_F_");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        let (name, rest) = part.split_at(end.unwrap_or(part.len()));
        text.push_str(&name.to_lowercase());
        let number = rest.strip_prefix(" (").and_then(|rest| rest.split_once(')'));
        text.push_str(number.map_or(rest, |(_, rest)| rest));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The texts that are fields in the agent's source.
    fn fields(directory: &Path, found: &mut Vec<String>) {
        const BEFORE: [&str; 8] = [
            "invalid(\"",
            "invalid(\n            \"",
            "Invalid { field: \"",
            ".field(\"",
            "wrong(\"",
            "check_size(\"",
            "unknown_member(\"",
            "check_list(\"",
        ];
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                fields(&path, found);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests of the agent, and what is printed for debugging, name what they like.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for before in BEFORE {
                let rests = text.split(before).skip(1);
                found.extend(rests.filter_map(|rest| rest.split('"').next().map(str::to_owned)));
            }
        }
    }

    #[test]
    fn every_field_that_the_agent_names_has_words() {
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../server/src");
        let mut found = Vec::new();
        for room in ["rpc", "core", "events"] {
            fields(&server.join(room), &mut found);
        }
        let name =
            |field: &String| field.chars().all(|c| c.is_ascii_lowercase() || "_.".contains(c));
        found.retain(|field| name(field) && !["own", "clock", "btf"].contains(&field.as_str()));
        assert!(found.len() > 40 && found.contains(&"spec.flags".to_owned()), "{found:?}");
        let without: Vec<_> = found.iter().filter(|field| words(field).is_none()).collect();
        assert!(without.is_empty(), "{without:?}");
        assert!(WORDS.is_sorted_by_key(|(field, _)| *field));
    }

    #[test]
    fn flags_are_as_they_are_written() {
        let text = "--flags: type lpm_trie needs BPF_F_NO_PREALLOC (1), BPF_F_CLONE (512)";
        assert_eq!(flags(text), "--flags: type lpm_trie needs no_prealloc, clone");
        assert_eq!(flags("none"), "none");
    }
}
