//! Where one agent lives: directories and a network namespace of its own, gone with it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Netns;
use crate::output::run;

/// Where one agent lives.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) netns: Netns,
    pub(crate) bpffs: Bpffs,
    pub(crate) runtime_dir: PathBuf,
    /// The runtime directory was there before the agent.
    found: bool,
    pub(crate) directory: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new(netns: Option<Netns>, runtime_dir: Option<PathBuf>) -> Self {
        let netns = netns.unwrap_or_else(Netns::new);
        let directory = tempfile::Builder::new().prefix("bpfgate-").tempdir();
        let directory = directory.expect("a temporary directory");
        // Clients without rights have to pass through.
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), open).expect("a mode");
        let runtime_dir = runtime_dir.unwrap_or_else(|| directory.path().join("run"));
        let found = runtime_dir.exists();
        let bpffs = Bpffs::new(netns.name());
        Self { netns, bpffs, runtime_dir, found, directory }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.runtime_dir.join("bpfgate.sock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.path().join("bpfgated.log")
    }

    /// Fails if a stopped agent left anything in the file system.
    pub(crate) fn assert_clean(&self) {
        let shown = self.runtime_dir.display();
        assert_eq!(self.runtime_dir.exists(), self.found, "the runtime directory {shown}");
        if self.found {
            let left = names(&self.runtime_dir);
            assert!(left.is_empty(), "the agent left {left:?} in {shown}");
        }
    }
}

fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name()).collect()
}

/// A directory in the host's bpffs.
#[derive(Debug)]
pub(crate) struct Bpffs {
    pub(crate) path: PathBuf,
}

impl Bpffs {
    fn new(name: &str) -> Self {
        static MOUNT: std::sync::Once = std::sync::Once::new();
        let base = Path::new("/sys/fs/bpf");
        MOUNT.call_once(|| mount_bpffs(base));
        let path = base.join(name);
        // Of a test that was killed, as with the namespace of that name.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap_or_else(|e| panic!("could not make {}: {e}", path.display()));
        Self { path }
    }

    pub(crate) fn assert_empty(&self) {
        let left = names(&self.path);
        assert!(left.is_empty(), "pins were left in {}: {left:?}", self.path.display());
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // Only after a failure is anything in it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn mount_bpffs(at: &Path) {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let mounted = || {
        let info = rustix::fs::statfs(at).unwrap_or_else(|e| panic!("{}: {e}", at.display()));
        u64::try_from(info.f_type).is_ok_and(|magic| magic == BPF_FS_MAGIC)
    };
    if !mounted() {
        let done = run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(at));
        assert!(mounted(), "no bpffs at {}: {done:#?}", at.display());
    }
}
