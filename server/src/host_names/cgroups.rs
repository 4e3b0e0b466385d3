//! Cgroup ids to paths. The id that BPF programs see is the inode number of the cgroup's directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::Source;

/// Directories that are looked at. A host with more has those without names that come last.
const MOST: usize = 65_536;
/// Bytes of their names likewise.
const MOST_BYTES: usize = 8 << 20;

/// The cgroups that there are.
#[derive(Default)]
pub(super) struct Cgroups {
    root: PathBuf,
    paths: HashMap<u64, Arc<str>>,
}

impl Source for Cgroups {
    fn read() -> Self {
        let mounts = fs::read("/proc/self/mounts").unwrap_or_default();
        let Some(root) = mount_point(&mounts) else { return Self::default() };
        Self { paths: walk(&root), root }
    }

    fn get(&self, id: u64) -> Option<Arc<str>> {
        self.paths.get(&id).cloned()
    }

    /// A service that restarts has another cgroup under its path.
    fn holds(&self, id: u64, path: &str) -> bool {
        self.number(path) == Some(id)
    }

    fn number(&self, path: &str) -> Option<u64> {
        let inside = Path::new(path.strip_prefix('/')?);
        let names = |part| matches!(part, Component::Normal(_));
        if self.root.as_os_str().is_empty() || !inside.components().all(names) {
            return None;
        }
        let about = fs::symlink_metadata(self.root.join(inside)).ok()?;
        about.is_dir().then(|| about.ino())
    }
}

/// Where the unified hierarchy is mounted: the second word of the line whose third is its type.
fn mount_point(mounts: &[u8]) -> Option<PathBuf> {
    let mut lines = mounts.split(|byte| *byte == b'\n').map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        (words.nth(1), words.next())
    });
    let (point, _) = lines.find(|(_, kind)| *kind == Some(b"cgroup2"))?;
    Some(Path::new(OsStr::from_bytes(point?)).to_owned())
}

/// Breadth first, so that what is left out is what lies deepest.
fn walk(root: &Path) -> HashMap<u64, Arc<str>> {
    let mut found = HashMap::new();
    let mut level = vec![root.to_owned()];
    let mut bytes = 0;
    while !level.is_empty() {
        let mut next = Vec::new();
        for directory in level {
            if found.len() >= MOST || bytes >= MOST_BYTES {
                return found;
            }
            // It may be gone meanwhile.
            let Ok(about) = fs::symlink_metadata(&directory) else { continue };
            let inside = directory.strip_prefix(root).unwrap_or(&directory);
            bytes += inside.as_os_str().len() + 1;
            found.insert(about.ino(), format!("/{}", inside.display()).into());
            let children = fs::read_dir(&directory).into_iter().flatten().flatten();
            let is_cgroup =
                |child: &fs::DirEntry| child.file_type().is_ok_and(|kind| kind.is_dir());
            next.extend(children.filter(is_cgroup).map(|child| child.path()));
        }
        level = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_among_the_mounts() {
        let mounts = b"proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(mount_point(mounts).as_deref(), Some(Path::new("/sys/fs/cgroup")));
        assert_eq!(mount_point(b"proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn ids_are_inodes_and_paths_begin_at_the_root() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a.slice/b.service");
        fs::create_dir_all(&inner).unwrap();
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        let found = walk(root.path());
        let path = |directory: &Path| found[&fs::metadata(directory).unwrap().ino()].to_string();
        assert_eq!((found.len(), path(root.path())), (3, "/".to_owned()));
        assert_eq!(path(&inner), "/a.slice/b.service");
    }

    #[test]
    fn a_path_is_the_number_of_the_cgroup_that_has_it_now() {
        let root = tempfile::tempdir().unwrap();
        let unit = root.path().join("unit");
        fs::create_dir(&unit).unwrap();
        let known = Cgroups { paths: walk(root.path()), root: root.path().to_owned() };
        let id = fs::metadata(&unit).unwrap().ino();
        assert_eq!((known.number("/unit"), known.holds(id, "/unit")), (Some(id), true));
        assert!(!known.holds(id + 1, "/unit"));
        for odd in ["unit", "/../unit", "/gone", ""] {
            assert_eq!(known.number(odd), None, "{odd:?}");
        }
        assert_eq!(known.number("/"), Some(fs::metadata(root.path()).unwrap().ino()));
        fs::remove_dir(&unit).unwrap();
        assert!(!known.holds(id, "/unit"));
        assert_eq!(known.get(id).as_deref(), Some("/unit"), "as it was read");
    }
}
