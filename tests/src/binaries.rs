//! The programs under test: those that this build of the workspace made.
//!
//! Cargo hands a test only the binaries of its own package. The others are next to the test's own
//! executable if they were built; where they were not, or one is older than a file it was made
//! from, they are built now: a test of an old agent would say nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

const AGENT: &str = "bpfgated";
const CLI: &str = "bpfgate";
const TRAFFIC: &str = "bpfgate-traffic";

/// The agent.
pub fn agent() -> PathBuf {
    directory().join(AGENT)
}

/// The command line.
pub fn cli() -> PathBuf {
    directory().join(CLI)
}

/// The sender of known traffic.
pub fn traffic() -> PathBuf {
    directory().join(TRAFFIC)
}

/// `target/debug`, or another profile's, with all of them in it.
fn directory() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| {
        let test = std::env::current_exe().expect("the test's own path");
        // target/PROFILE/deps/TEST-HASH
        let directory = test.ancestors().nth(2).expect("a target directory").to_owned();
        let late = [AGENT, CLI, TRAFFIC].into_iter().find_map(|name| why_late(&directory, name));
        if let Some(why) = late {
            build(&directory, &why);
        }
        directory
    })
}

/// Why a binary cannot be used as it is.
fn why_late(directory: &Path, name: &str) -> Option<String> {
    let path = directory.join(name);
    let Some(built) = modified(&path) else { return Some(format!("there is no {name}")) };
    // What Cargo knows it was made from: `PATH: SOURCE SOURCE …`.
    let sources = std::fs::read_to_string(path.with_extension("d")).unwrap_or_default();
    let newer = sources
        .split_whitespace()
        .skip(1)
        .find(|source| modified(Path::new(source)).is_none_or(|time| time > built))?;
    Some(format!("{name} is older than {newer}"))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn build(directory: &Path, why: &str) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut command = Command::new(cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--bins", "--profile", profile])
        .args(["-p", "bpfgate-server", "-p", "bpfgate-cli", "-p", "bpfgate-tests"])
        .arg("--target-dir")
        .arg(directory.parent().expect("a target directory"));
    let built = command.status();
    assert!(
        built.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{why} in {}, and `cargo build` did not help ({built:?}): run `cargo build --workspace`",
        directory.display()
    );
}
