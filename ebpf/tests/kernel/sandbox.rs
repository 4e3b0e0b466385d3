//! A thread with namespaces of its own: what it pins and configures ends with it.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, panic, thread};

use crate::bpftool::{self, Object};
use crate::sys;

/// What is alone in the thread's namespaces.
pub(crate) struct Sandbox {
    /// Kernel objects that must be gone behind the test: `prog` or `map`, and the id.
    made: RefCell<Vec<(&'static str, u64)>>,
}

/// Both ends of a cable. Nothing but the test sends on it.
pub(crate) struct Veth {
    pub(crate) sender: u32,
    pub(crate) receiver: u32,
}

/// Runs the test in a fresh sandbox, then checks that none of its programs and maps is left.
pub(crate) fn run(test: impl FnOnce(&Sandbox) + Send) {
    assert!(rustix::process::geteuid().is_root(), "this test loads eBPF programs: run it as root");
    let made = thread::scope(|scope| {
        // Named like the test's own thread, so that a failure says whose it is.
        let name = thread::current().name().unwrap_or_default().to_owned();
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, || {
            let sandbox = Sandbox::new();
            test(&sandbox);
            sandbox.made.into_inner()
        });
        let thread = thread.expect("a thread");
        thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    });
    for (kind, id) in made {
        eventually(&format!("{kind} {id} is freed"), || !bpftool::exists(kind, id), &true);
    }
}

impl Sandbox {
    fn new() -> Self {
        sys::unshare_mounts_and_network().expect("new namespaces");
        command("mount", "--make-rprivate /");
        command("mount", "-t bpf bpf /sys/fs/bpf");
        // The host may have it there already, and it takes no second mount.
        if !Path::new("/sys/kernel/tracing/events").exists() {
            command("mount", "-t tracefs tracefs /sys/kernel/tracing");
        }
        // No neighbour discovery between the frames of a test.
        fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").expect("no IPv6");
        command("ip", "link set lo up");
        Self { made: RefCell::default() }
    }

    /// Loads a built-in and pins its programs and maps.
    pub(crate) fn load(&self, builtin: &str) -> Object {
        let object = Object::load(builtin);
        self.made.borrow_mut().extend(object.ids());
        object
    }
}

impl Veth {
    pub(crate) fn new(_: &Sandbox) -> Self {
        command("ip", "link add sender type veth peer name receiver");
        command("ip", "link set sender up");
        command("ip", "link set receiver up");
        Self { sender: ifindex("sender"), receiver: ifindex("receiver") }
    }

    /// Lets frames of up to 9000 bytes behind the Ethernet header pass.
    pub(crate) fn with_jumbo_frames(self) -> Self {
        command("ip", "link set sender mtu 9000");
        command("ip", "link set receiver mtu 9000");
        self
    }
}

fn ifindex(name: &str) -> u32 {
    let links = command("ip", &format!("-json link show dev {name}"));
    let links: serde_json::Value = serde_json::from_str(&links).expect("JSON from ip");
    links[0]["ifindex"].as_u64().and_then(|index| index.try_into().ok()).expect("an ifindex")
}

/// Runs a command, words split at spaces, and returns what it printed.
pub(crate) fn command(program: &str, arguments: &str) -> String {
    let run = Command::new(program).args(arguments.split(' ')).output();
    let run = run.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{program} {arguments}: {}: {stderr}", run.status);
    String::from_utf8(run.stdout).expect("text")
}

/// Waits until `read` gives what is wanted: packets cross a veth in their own time.
pub(crate) fn eventually<T: PartialEq + std::fmt::Debug>(
    what: &str,
    read: impl Fn() -> T,
    want: &T,
) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut got = read();
    while got != *want && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
        got = read();
    }
    assert_eq!(got, *want, "{what}");
}
