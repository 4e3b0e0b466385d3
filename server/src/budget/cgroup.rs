//! The limit of the memory cgroups that this process is in: of its own and of all above it, as far
//! as they can be seen, in either version's hierarchy.

use std::io;
use std::path::{Path, PathBuf};

/// The tightest of them, in bytes; `None` where nothing limits it.
pub(super) fn memory_limit() -> io::Result<Option<u64>> {
    let read = |path: &str| std::fs::read_to_string(path);
    let (cgroup, mounts) = match (read("/proc/self/cgroup"), read("/proc/self/mountinfo")) {
        (Ok(cgroup), Ok(mounts)) => (cgroup, mounts),
        // A kernel without cgroups.
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    Ok(tightest(&files(&cgroup, &mounts), |path| std::fs::read_to_string(path).ok()))
}

/// The files that may hold a limit. One that is not there limits nothing: the root has none, and a
/// hierarchy of the second version may be without its memory controller.
fn files(cgroup: &str, mounts: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (kind, option, file) = match controllers {
            "" => ("cgroup2", None, "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("cgroup", Some("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mounts = mounts.lines().filter_map(Mount::parse);
        let mut mounts = mounts.filter(|mount| {
            mount.kind == kind && option.is_none_or(|wanted| mount.has_option(wanted))
        });
        if let Some(mount) = mounts.next() {
            files.extend(mount.directories(path).into_iter().map(|path| path.join(file)));
        }
    }
    files
}

fn tightest(files: &[PathBuf], read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    // "max" in version 2; version 1 says a number that no host has.
    let limit = |path: &PathBuf| read(path)?.trim().parse::<u64>().ok();
    files.iter().filter_map(limit).min()
}

/// A line of `/proc/self/mountinfo`.
struct Mount<'a> {
    /// The part of the file system that is mounted.
    root: PathBuf,
    at: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, behind) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let mut behind = behind.split(' ');
        let (root, at) = (unescape(before.next()?).into(), unescape(before.next()?).into());
        Some(Self { root, at, kind: behind.next()?, options: behind.nth(1)? })
    }

    fn has_option(&self, wanted: &str) -> bool {
        self.options.split(',').any(|option| option == wanted)
    }

    /// The directory of a cgroup and those above it, up to where it is mounted.
    fn directories(&self, cgroup: &str) -> Vec<PathBuf> {
        // In a container the mount may show a part only, or another one than ours.
        let below = Path::new(cgroup).strip_prefix(&self.root).unwrap_or(Path::new(""));
        let below = if below.starts_with("..") { Path::new("") } else { below };
        below.ancestors().map(|part| self.at.join(part)).collect()
    }
}

/// Spaces and the like are written in octal.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok());
        match code {
            Some(code) => {
                plain.push(code.into());
                plain.push_str(&part[3..]);
            }
            None => plain.extend(["\\", part]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    fn limit(cgroup: &str, mounts: &str, there: &[(&str, &str)]) -> Option<u64> {
        tightest(&files(cgroup, mounts), |path| {
            let found = there.iter().find(|(at, _)| Path::new(at) == path);
            found.map(|(_, text)| format!("{text}\n"))
        })
    }

    #[test]
    fn the_first_version_beside_the_second() {
        let cgroup = "4:memory:/work/agent\n3:cpuset:/\n1:name=systemd:/\n0::/elsewhere\n";
        let base = "/sys/fs/cgroup/memory";
        let want: Vec<_> = ["/work/agent", "/work", ""]
            .map(|part| PathBuf::from(format!("{base}{part}/memory.limit_in_bytes")))
            .into();
        let found = files(cgroup, HYBRID);
        assert_eq!(found[..3], want);
        let unlimited = "9223372036854771712";
        let there = [
            ("/sys/fs/cgroup/memory/work/agent/memory.limit_in_bytes", unlimited),
            ("/sys/fs/cgroup/memory/work/memory.limit_in_bytes", "1073741824"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", unlimited),
        ];
        assert_eq!(limit(cgroup, HYBRID, &there), Some(1 << 30));
        assert_eq!(limit(cgroup, HYBRID, &there[..1]), Some(9_223_372_036_854_771_712));
    }

    #[test]
    fn the_second_version_with_all_that_are_above() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let cgroup = "0::/system.slice/bpfgated.service\n";
        let own = "/sys/fs/cgroup/system.slice/bpfgated.service/memory.max";
        let above = "/sys/fs/cgroup/system.slice/memory.max";
        assert_eq!(limit(cgroup, mounts, &[(own, "max"), (above, "max")]), None);
        assert_eq!(limit(cgroup, mounts, &[(own, "max"), (above, "5000")]), Some(5000));
        assert_eq!(limit(cgroup, mounts, &[(own, "4000"), (above, "5000")]), Some(4000));
    }

    #[test]
    fn a_container_sees_a_part() {
        let mounts =
            "36 35 0:32 /docker/f00 /sys/fs/cgroup/memory ro master:9 - cgroup cgroup rw,memory\n";
        let there = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "77")];
        for cgroup in ["4:memory:/docker/f00\n", "4:memory:/\n", "4:memory:/../other\n"] {
            assert_eq!(limit(cgroup, mounts, &there), Some(77), "{cgroup}");
        }
        let deeper = [("/sys/fs/cgroup/memory/in/memory.limit_in_bytes", "66")];
        assert_eq!(limit("4:cpu,memory:/docker/f00/in\n", mounts, &deeper), Some(66));
    }

    #[test]
    fn strange_paths_are_read() {
        let mounts = r"30 23 0:26 / /cg\040roup\134x rw - cgroup2 none rw";
        assert_eq!(limit("0::/a b:c\n", mounts, &[(r"/cg roup\x/a b:c/memory.max", "9")]), Some(9));
        assert_eq!(limit("0::/\nnonsense\n", "nonsense\n", &[]), None);
    }
}
