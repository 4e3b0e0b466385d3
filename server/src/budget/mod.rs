//! What the host has to give, divided once, when the agent starts.
//!
//! The memory cgroup's limit is for all that runs in it: the agent's own memory, the kernel's for
//! maps and programs, and the processes that parse objects. Whoever exceeds it is killed by the
//! kernel, so the three have parts of it that do not overlap, and some slack for what is not
//! counted. Descriptors are divided likewise between all that needs one.
//!
//! [`Budget::of_this_host`] fills in the limits that the configuration leaves open and lowers those
//! that cannot be kept.

mod cgroup;
mod files;

use std::io;

use crate::core::Limits;

const MIB: u64 = 1 << 20;
/// For stacks, the runtime, the verifier's own memory, and what is counted by estimate only.
const SLACK: u64 = 64 * MIB;
/// Of a cgroup's limit: what the agent, and what all parsing processes together may have.
const PART: u64 = 4;
/// Most that the agent takes unless it is told to.
const AGENT_MOST: u64 = 1 << 30;
/// What the agent may have where nothing says how much there is for it.
const AGENT_UNLIMITED: u64 = 512 * MIB;
/// What a parsing process needs for any ordinary object.
const PARSER_ORDINARY: u64 = 256 * MIB;
/// Without this much it does not even start.
const PARSER_LEAST: u64 = 64 * MIB;

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// The tightest limit of the memory cgroups that this process is in, in bytes.
    pub cgroup: Option<u64>,
    /// Bytes of memory.
    pub memory: u64,
    /// Descriptors that this process may have.
    pub files: u64,
}

/// Limits that fit the host.
#[derive(Debug)]
pub struct Budget {
    /// With numbers for all that was left open.
    pub limits: Limits,
    /// Which of them were lowered, to what and why.
    pub warnings: Vec<String>,
}

impl Host {
    /// Looks around, and lets this process have all descriptors that it may have.
    fn look() -> io::Result<Self> {
        let memory = physical_memory(&std::fs::read_to_string("/proc/meminfo")?)
            .ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))?;
        let cgroup = cgroup::memory_limit()?.filter(|limit| *limit < memory);
        Ok(Self { cgroup, memory, files: files::raise_limit()? })
    }
}

impl Budget {
    /// Fits the limits to this host, and lets this process have all descriptors that it may have.
    pub fn of_this_host(limits: Limits) -> io::Result<Self> {
        Ok(Self::divide(limits, &Host::look()?))
    }

    /// Fits the limits to a host.
    pub fn divide(mut limits: Limits, host: &Host) -> Self {
        let mut warnings = Vec::new();
        if let Some(limit) = host.cgroup {
            divide_memory(&mut limits, limit, &mut warnings);
        } else {
            fill_in(&mut limits.max_memory_bytes, AGENT_UNLIMITED);
            fill_in(&mut limits.max_kernel_bytes, host.memory / 2);
        }
        warnings.extend(files::fit(&mut limits, host.files));
        Self { limits, warnings }
    }
}

fn divide_memory(limits: &mut Limits, all: u64, warnings: &mut Vec<String>) {
    let before = limits.clone();
    fill_in(&mut limits.max_memory_bytes, AGENT_MOST.min(all / PART));
    limits.max_memory_bytes = limits.max_memory_bytes.min(all / 2);
    fit_parsing(limits, all / PART);
    let parsing = limits.parse_memory_bytes * u64::from(limits.max_loads);
    let slack = SLACK.min(all / 8);
    let left = all.saturating_sub(limits.max_memory_bytes + parsing + slack);
    fill_in(&mut limits.max_kernel_bytes, left);
    limits.max_kernel_bytes = limits.max_kernel_bytes.min(left);

    let rows = [
        ("max_memory_bytes", before.max_memory_bytes, limits.max_memory_bytes),
        ("max_kernel_bytes", before.max_kernel_bytes, limits.max_kernel_bytes),
        ("parse_memory_bytes", before.parse_memory_bytes, limits.parse_memory_bytes),
        ("max_loads", before.max_loads.into(), limits.max_loads.into()),
    ];
    let why = format!("the memory cgroup has {all} bytes for all");
    for (name, before, now) in rows.into_iter().filter(|(_, before, now)| before > now) {
        warnings.push(format!("{name} is {now} instead of {before}: {why}"));
    }
    if left == 0 {
        warnings.push(format!("nothing is left for maps and programs: {why}"));
    }
}

/// Fewer or smaller parsing processes, until all of them together have enough.
fn fit_parsing(limits: &mut Limits, all: u64) {
    limits.max_loads = limits.max_loads.max(1);
    let least = limits.parse_memory_bytes.min(PARSER_ORDINARY);
    let slots = u32::try_from(all / least.max(1)).unwrap_or(u32::MAX);
    limits.max_loads = limits.max_loads.min(slots.max(1));
    let each = (all / u64::from(limits.max_loads)).max(PARSER_LEAST);
    limits.parse_memory_bytes = limits.parse_memory_bytes.min(each);
}

fn fill_in(limit: &mut u64, automatic: u64) {
    if *limit == 0 {
        *limit = automatic;
    }
}

/// Bytes, from `/proc/meminfo`.
fn physical_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn divide(cgroup: Option<u64>, limits: Limits) -> Budget {
        Budget::divide(limits, &Host { cgroup, memory: 16 * GIB, files: 1 << 20 })
    }

    fn sum(limits: &Limits) -> u64 {
        let parsing = limits.parse_memory_bytes * u64::from(limits.max_loads);
        limits.max_memory_bytes + limits.max_kernel_bytes + parsing
    }

    #[test]
    fn without_a_cgroup_there_are_stated_shares() {
        let Budget { limits, warnings } = divide(None, Limits::default());
        assert_eq!((limits.max_memory_bytes, limits.max_kernel_bytes), (512 * MIB, 8 * GIB));
        assert_eq!((limits.parse_memory_bytes, limits.max_loads), (GIB, 4));
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn the_parts_of_a_cgroup_never_add_up_to_more_than_it_has() {
        for all in [256 * MIB, GIB, 4 * GIB, 15 * GIB] {
            for (agent, kernel) in [(0, 0), (0, 8 * GIB), (8 * GIB, 0), (MIB, MIB), (1, GIB)] {
                let (max_memory_bytes, max_kernel_bytes) = (agent, kernel);
                let asked = Limits { max_memory_bytes, max_kernel_bytes, ..Limits::default() };
                let Budget { limits, warnings } = divide(Some(all), asked);
                let slack = SLACK.min(all / 8);
                assert!(sum(&limits) + slack <= all, "{all}: {limits:?}");
                let too_much = |asked, got| asked != 0 && asked > got;
                assert_eq!(
                    too_much(kernel, limits.max_kernel_bytes),
                    warnings.iter().any(|line| line.starts_with("max_kernel_bytes"))
                );
                assert_eq!(
                    too_much(agent, limits.max_memory_bytes),
                    warnings.iter().any(|line| line.starts_with("max_memory_bytes"))
                );
                assert!(limits.max_loads >= 1 && limits.parse_memory_bytes >= PARSER_LEAST);
                assert!(limits.max_kernel_bytes > 0, "{all}: {limits:?}");
            }
        }
    }

    #[test]
    fn a_gibibyte_is_divided_as_documented() {
        let Budget { limits, warnings } = divide(Some(GIB), Limits::default());
        assert_eq!(limits.max_memory_bytes, 256 * MIB);
        assert_eq!((limits.parse_memory_bytes, limits.max_loads), (256 * MIB, 1));
        assert_eq!(limits.max_kernel_bytes, 448 * MIB);
        let names: Vec<_> = warnings.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["parse_memory_bytes", "max_loads"]);
        assert!(warnings[1].contains("1 instead of 4") && warnings[1].contains("1073741824"));
    }

    #[test]
    fn what_fits_is_left_alone() {
        let asked = Limits {
            max_memory_bytes: 100 * MIB,
            max_kernel_bytes: 200 * MIB,
            parse_memory_bytes: 128 * MIB,
            max_loads: 2,
            ..Limits::default()
        };
        let Budget { limits, warnings } = divide(Some(GIB), asked.clone());
        assert_eq!(format!("{limits:?}"), format!("{asked:?}"));
        assert_eq!(warnings, [""; 0]);
    }

    #[test]
    fn where_there_is_nothing_for_maps_it_is_said() {
        let Budget { limits, warnings } = divide(Some(64 * MIB), Limits::default());
        assert_eq!(limits.max_kernel_bytes, 0);
        assert!(warnings.iter().any(|line| line.contains("nothing is left")), "{warnings:?}");
    }

    #[test]
    fn the_memory_of_the_host_is_read() {
        let text = "MemTotal:       24684092 kB\nMemFree:        11685248 kB\n";
        assert_eq!(physical_memory(text), Some(24_684_092 * 1024));
        assert_eq!(physical_memory("MemFree: 1 kB\n"), None);
    }
}
