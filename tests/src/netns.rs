//! Network namespaces that last as long as a test.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::output::run;

/// A network namespace of its own name, with its loopback interface up. Gone when it is dropped,
/// with every interface in it.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

/// Both ends of a cable between two namespaces. Gone with either of these.
#[derive(Debug, Clone, Copy)]
pub struct Veth {
    /// The name of the end in the namespace that it was asked of.
    pub near: &'static str,
    /// The name of the other end.
    pub far: &'static str,
}

impl Netns {
    /// Makes one.
    #[allow(clippy::new_without_default, reason = "it makes a thing in the kernel")]
    pub fn new() -> Self {
        crate::require_root();
        let netns = Self { name: unique_name() };
        if Path::new("/run/netns").join(&netns.name).exists() {
            // Of a test that was killed, whose process id came round to this one.
            ip(&["netns", "delete", &netns.name]);
        }
        ip(&["netns", "add", &netns.name]);
        // No neighbour discovery between the packets of a test: they are counted. Loopback has
        // its ::1 all the same.
        netns.within(|| {
            std::fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0").expect("a sysctl");
            std::fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1").expect("a sysctl");
        });
        netns.ip(&["link", "set", "lo", "up"]);
        netns
    }

    /// As `ip netns` calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `act` in it, on a thread of its own. A process that it starts is in the namespace
    /// too, and so is a socket that it opens.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(&self.name);
        let file = File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        thread::scope(|scope| {
            let inside = || {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap_or_else(|e| panic!("could not enter {}: {e}", self.name));
                act()
            };
            // Named as the test's thread, so that a failure says whose it is.
            let name = thread::current().name().unwrap_or_default().to_owned();
            let thread = thread::Builder::new().name(name).spawn_scoped(scope, inside);
            thread.expect("a thread").join().unwrap_or_else(|p| std::panic::resume_unwind(p))
        })
    }

    /// A command that runs in it. Mounts stay as they are, unlike with `ip netns exec`, which
    /// hides bpffs and tracefs.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// `ip ARGUMENTS` in it; what it printed.
    pub fn ip(&self, arguments: &[&str]) -> String {
        ip(&[&["-n", &self.name], arguments].concat())
    }

    /// A cable from here to another namespace, both ends up and without IPv6 chatter.
    pub fn veth(&self, other: &Netns) -> Veth {
        let veth = Veth { near: "near0", far: "far0" };
        let Veth { near, far } = veth;
        let other_name = other.name.as_str();
        self.ip(&["link", "add", near, "type", "veth", "peer", "name", far, "netns", other_name]);
        for (netns, end) in [(self, near), (other, far)] {
            // No router solicitations and no multicast reports.
            netns.within(|| {
                let path = PathBuf::from("/proc/sys/net/ipv6/conf").join(end).join("disable_ipv6");
                std::fs::write(path, "1").expect("a sysctl");
            });
            netns.ip(&["link", "set", end, "up"]);
        }
        veth
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let removed = run(Command::new("ip").args(["netns", "delete", &self.name]));
        assert!(
            removed.success() || thread::panicking(),
            "could not remove network namespace {}: {removed:#?}",
            self.name
        );
    }
}

/// Tests run in parallel, in one process or in many.
fn unique_name() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    format!("bpfgate-{}-{number}", std::process::id())
}

fn ip(arguments: &[&str]) -> String {
    run(Command::new("ip").args(arguments)).ok().stdout
}
