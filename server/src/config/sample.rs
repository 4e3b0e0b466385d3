//! The configuration for people to read: a file with every setting, and the page of limits.

use std::fmt::Write as _;

use super::Config;
use crate::core::{Described, Limits};

/// What `bpfgated config` prints: a configuration file in which every setting stands at its
/// default, commented out.
pub fn sample() -> String {
    let Config { listen: _, runtime_dir, bpffs, socket_group: _, events: _, limits: _ } =
        Config::default();
    let mut text = format!(
        "\
# Settings of bpfgated, which reads them with --config FILE. Each is here at its default; take the
# # away to set it. A flag wins over the file, and a name that is not known is refused.

# Where to listen: \"unix:PATH\", or \"tcp:ADDRESS:PORT\" on a loopback address, which is open to
# everybody on the host.
#listen = [\"unix:{runtime_dir}/bpfgate.sock\"]

# Directory of the socket and the lock.
#runtime_dir = \"{runtime_dir}\"

# Where pin:PATH leads: a mounted bpffs.
#bpffs = \"{bpffs}\"

# Group that may connect to the Unix socket; it has to exist. Members can do all that the agent can.
#socket_group = \"bpfgate\"

[events]
# Names or patterns of maps whose records are taken out all the time: whoever watches one gets what
# is written from then on, never what waited in it while nobody watched.
#keep_draining = []

[limits]
",
        runtime_dir = runtime_dir.display(),
        bpffs = bpffs.display(),
    );
    for limit in Limits::describe() {
        let Described { name, about, default } = limit;
        let amount = amount(&limit).map_or_else(String::new, |amount| format!(" ({amount})"));
        for line in about.trim_end().lines() {
            let _ = writeln!(text, "#{line}");
        }
        let _ = writeln!(text, "#{name} = {default}{}\n", comment(&amount));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// docs/limits.md, which a test writes and holds against the code.
#[cfg(test)]
fn limits_page() -> String {
    let mut text = "\
# Limits

Every size, count, queue and wait that callers could make the agent pay for has a limit, by this name in `[limits]` of the
configuration. `bpfgated config` prints a file with all of them, `bpfgate agent show` tells what an agent grants. A refusal
by a limit is RESOURCE_EXHAUSTED and names it; a wait that is over is DEADLINE_EXCEEDED. This page is made from the code.

| limit | default | what it bounds |
|---|---|---|
"
    .to_owned();
    for limit in Limits::describe() {
        let about = limit.about.trim().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let default = amount(&limit).unwrap_or_else(|| limit.default.to_string());
        let _ = writeln!(text, "| `{}` | {default} | {about} |", limit.name);
    }
    text
}

fn comment(amount: &str) -> String {
    if amount.is_empty() { String::new() } else { format!("  #{amount}") }
}

/// A number of bytes or seconds as people write it.
fn amount(limit: &Described) -> Option<String> {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let Described { name, about: _, default } = *limit;
    if default == 0 {
        return None;
    }
    if name.ends_with("_seconds") {
        return Some(format!("{default} s"));
    }
    let unit = UNITS.iter().find(|(bytes, _)| default.is_multiple_of(*bytes));
    let (bytes, unit) = unit.filter(|_| name.ends_with("_bytes"))?;
    Some(format!("{} {unit}", default / bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_a_configuration_and_changes_nothing() {
        let sample = sample();
        let as_it_is: Config = toml::from_str(&sample).unwrap();
        let set = sample.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with([' ', '#']) => setting,
            _ => line,
        });
        let set = set.collect::<Vec<_>>().join("\n");
        let set: Config = toml::from_str(&set).unwrap();
        let default = Config::default();
        assert_eq!(format!("{as_it_is:?}"), format!("{default:?}"));
        assert_eq!(format!("{:?}", set.limits), format!("{:?}", default.limits));
        assert_eq!((set.runtime_dir, set.bpffs), (default.runtime_dir, default.bpffs));
        for Described { name, .. } in Limits::describe() {
            assert!(sample.contains(&format!("\n#{name} = ")), "{name}");
        }
    }

    /// `BPFGATE_WRITE_DOCS=1 cargo test` writes the page.
    #[test]
    fn the_page_of_limits_is_the_codes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/limits.md");
        if std::env::var_os("BPFGATE_WRITE_DOCS").is_some() {
            std::fs::write(path, limits_page()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap();
        assert!(there == limits_page(), "docs/limits.md is old: BPFGATE_WRITE_DOCS=1 writes it");
    }
}
