//! What the end-to-end tests share: a real agent in a network namespace and a directory of its
//! own, its command line, bpftool to compare with, and the check that nothing was left behind.
//!
//! ```no_run
//! # async fn test() {
//! use bpfgate_tests::Agent;
//!
//! let agent = Agent::spawn();
//! let client = agent.client().await;
//! assert!(client.maps().list(Default::default()).await.unwrap().is_empty());
//! assert!(agent.cli(&["map", "list"]).success());
//! agent.assert_only_baseline();
//! agent.stop();
//! # }
//! ```
//!
//! A test's runtime should be of the multi-threaded kind: the harness waits for the agent, and
//! the agent waits for its clients' connections to end.

mod agent;
pub mod binaries;
pub mod bpftool;
pub mod calls;
mod cgroup;
pub mod document;
pub mod elf;
mod feature;
pub mod fixture;
mod follower;
pub mod frames;
pub mod held;
mod home;
pub mod hooks;
pub mod hostile;
pub mod kernel;
mod leaks;
mod memory_cgroup;
pub mod mutate;
mod netns;
mod output;
pub mod targets;
pub mod terminal;

pub use agent::{Agent, Builder};
pub use cgroup::Cgroup;
pub use feature::{Feature, cgroup2};
pub use fixture::{NewMap, refused};
pub use follower::Follower;
pub use held::Held;
pub use memory_cgroup::MemoryCgroup;
pub use netns::{Netns, Veth};
pub use output::{Output, run};
pub use terminal::Terminal;

use std::time::{Duration, Instant};

/// Longest that anything may take that should be there in a moment.
pub const SOON: Duration = Duration::from_secs(10);

/// Fails, rather than skips, where the tests cannot do what they are for.
pub fn require_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test loads eBPF programs into the running kernel: run it as root (`make test` does)"
    );
}

/// Ends the test, saying why, where the kernel does not have a feature.
///
/// ```
/// # use bpfgate_tests::{Feature, require};
/// fn a_kprobe_counts() {
///     require!(Feature::Kprobe);
///     // …
/// }
/// ```
#[macro_export]
macro_rules! require {
    ($feature:expr) => {
        if let Err(why) = $feature.check() {
            return $crate::skip($feature, &why);
        }
    };
}

/// What [`require!`] says. Past the capture of a passing test's output: a skip must be seen.
pub fn skip(feature: Feature, why: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("skipped: {test} needs {feature}, but {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Waits until `done` says so; `false` if it did not within `limit`.
pub fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
