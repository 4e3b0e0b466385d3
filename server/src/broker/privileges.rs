//! What the agent's process may not do, told before somebody finds out.

use rustix::thread::{CapabilitySet as Set, capabilities};

/// A capability that is missing, and what fails without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingPrivilege {
    /// As capabilities(7) calls it: `CAP_BPF`.
    pub capability: &'static str,
    /// A list: "creating maps, loading programs".
    pub fails: &'static str,
}

/// A capability, what will do in its place, and what fails without any of them.
struct Need {
    capability: &'static str,
    any_of: Set,
    /// Whether the file system's owner, uid 0, can do without.
    others_only: bool,
    fails: &'static str,
}

/// The least for each act, as the kernel was seen to ask for it.
const NEEDS: [Need; 8] = [
    need("CAP_BPF", Set::BPF.union(Set::SYS_ADMIN), "creating maps, loading programs and types"),
    need(
        "CAP_NET_ADMIN",
        Set::NET_ADMIN.union(Set::SYS_ADMIN),
        "loading xdp, tc, sock_ops, netfilter and most cgroup programs, creating maps of devices \
         and sockets",
    ),
    need(
        "CAP_PERFMON",
        Set::PERFMON.union(Set::SYS_ADMIN),
        "loading and attaching kprobes, tracepoints and perf_event programs, reading perf buffers",
    ),
    need(
        "CAP_SYS_ADMIN",
        Set::SYS_ADMIN,
        "references by id, types of maps that others made, uprobes, program statistics",
    ),
    need("CAP_NET_RAW", Set::NET_RAW, "attaching socket filters to interfaces"),
    Need {
        others_only: true,
        ..need(
            "CAP_DAC_READ_SEARCH",
            Set::DAC_READ_SEARCH.union(Set::DAC_OVERRIDE),
            "attaching to tracepoints, references to pins of others",
        )
    },
    need("CAP_SETUID", Set::SETUID, "loading objects: their parser changes its user"),
    need("CAP_SETGID", Set::SETGID, "loading objects: their parser changes its group"),
];

const fn need(capability: &'static str, any_of: Set, fails: &'static str) -> Need {
    Need { capability, any_of, others_only: false, fails }
}

/// What this process lacks.
pub fn missing_privileges() -> Vec<MissingPrivilege> {
    let effective = capabilities(None).map_or(Set::empty(), |sets| sets.effective);
    missing(effective, rustix::process::geteuid().is_root())
}

fn missing(effective: Set, root: bool) -> Vec<MissingPrivilege> {
    // Where the agent is not root its parser has the agent's user, and nothing to change.
    let asked = |need: &&Need| if is_identity(need) { root } else { !(root && need.others_only) };
    NEEDS
        .iter()
        .filter(asked)
        .filter(|need| !effective.intersects(need.any_of))
        .map(|&Need { capability, fails, .. }| MissingPrivilege { capability, fails })
        .collect()
}

fn is_identity(need: &Need) -> bool {
    Set::SETUID.union(Set::SETGID).contains(need.any_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(effective: Set, root: bool) -> Vec<&'static str> {
        missing(effective, root).iter().map(|missing| missing.capability).collect()
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(names(Set::all(), true), [""; 0]);
        assert_eq!(names(Set::all(), false), [""; 0]);
        let kernel = ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_NET_RAW"];
        assert_eq!(names(Set::empty(), false), [&kernel[..], &["CAP_DAC_READ_SEARCH"]].concat());
        assert_eq!(
            names(Set::empty(), true),
            [&kernel[..], &["CAP_SETUID", "CAP_SETGID"]].concat()
        );
        let least = Set::BPF | Set::NET_ADMIN | Set::PERFMON | Set::DAC_OVERRIDE;
        assert_eq!(names(least, false), ["CAP_SYS_ADMIN", "CAP_NET_RAW"]);
        // It stands for what was split off from it.
        assert_eq!(names(Set::SYS_ADMIN | Set::NET_RAW | Set::DAC_OVERRIDE, false), [""; 0]);
    }
}
