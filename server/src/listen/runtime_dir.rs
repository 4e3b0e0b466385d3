//! The agent's directory: made safely, and one agent's alone.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// The agent's directory, held by a lock until this is dropped.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    directory: OwnedFd,
    lock: File,
    made: bool,
}

const LOCK: &str = "bpfgated.lock";

impl RuntimeDir {
    /// Makes the directory if it is missing and takes it. Refuses one that others could write:
    /// they could put their own socket in place of the agent's.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let made = match fs::mkdir(path, Mode::from_raw_mode(0o755)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error).with_context(|| format!("could not make {shown}")),
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory = fs::open(path, flags, Mode::empty()).with_context(|| {
            format!("{shown} is not a directory of its own (a link, or a file)")
        })?;
        check_owner(&directory, path)?;
        if made {
            // Whatever the umask: clients have to pass through.
            fs::fchmod(&directory, Mode::from_raw_mode(0o755))
                .with_context(|| format!("could not set the mode of {shown}"))?;
        }

        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = fs::openat(&directory, LOCK, flags, Mode::from_raw_mode(0o644))
            .with_context(|| format!("could not open {shown}/{LOCK}"))?;
        match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => bail!("{}", held_by_another(path)),
            Err(error) => return Err(error).with_context(|| format!("could not lock {shown}")),
        }
        let links = fs::fstat(&lock).map(|stat| stat.st_nlink);
        if links.with_context(|| format!("could not look at {shown}/{LOCK}"))? == 0 {
            // The agent that had it ended between our look and our lock.
            return Self::take(path);
        }
        let mut lock = File::from(lock);
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .with_context(|| format!("could not write {shown}/{LOCK}"))?;
        Ok(Self { path: path.to_owned(), directory, lock, made })
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        // Still locked, so that these files are ours: but others may be at their paths by now.
        let ours = |path: &Path, held: BorrowedFd<'_>| {
            let there = fs::lstat(path).map(|stat| (stat.st_dev, stat.st_ino));
            there.is_ok() && there == fs::fstat(held).map(|stat| (stat.st_dev, stat.st_ino))
        };
        let lock = self.path.join(LOCK);
        if ours(&lock, self.lock.as_fd()) {
            let _ = std::fs::remove_file(lock);
        }
        if self.made && ours(&self.path, self.directory.as_fd()) {
            let _ = std::fs::remove_dir(&self.path);
        }
        let _ = fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

fn check_owner(directory: &OwnedFd, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let stat = fs::fstat(directory).with_context(|| format!("could not look at {shown}"))?;
    let us = rustix::process::geteuid().as_raw();
    if stat.st_uid != us {
        bail!("{shown} belongs to uid {}, not to the agent's uid {us}", stat.st_uid);
    }
    if stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o7777;
        bail!("{shown} can be written by others (mode {mode:o}): chmod go-w it");
    }
    Ok(())
}

fn held_by_another(path: &Path) -> String {
    let holder = std::fs::read_to_string(path.join(LOCK)).unwrap_or_default();
    let shown = path.display();
    match holder.trim() {
        "" => format!("another agent runs in {shown}"),
        pid => format!("another agent (pid {pid}) runs in {shown}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_agents_alone_and_goes_with_it() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        let first = RuntimeDir::take(&path).unwrap();
        let said = RuntimeDir::take(&path).unwrap_err().to_string();
        assert!(said.contains(&std::process::id().to_string()), "{said}");
        drop(first);
        assert!(!path.exists());
        drop(RuntimeDir::take(&path).unwrap());
    }

    #[test]
    fn what_took_a_directorys_place_is_left_alone() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("run");
        let first = RuntimeDir::take(&path).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        let second = RuntimeDir::take(&path).unwrap();
        drop(first);
        RuntimeDir::take(&path).unwrap_err();

        // The directory is the same, the lock's file another.
        std::fs::remove_file(path.join(LOCK)).unwrap();
        let third = RuntimeDir::take(&path).unwrap();
        drop(second);
        RuntimeDir::take(&path).unwrap_err();
        drop(third);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let link = base.path().join("link");
        std::os::unix::fs::symlink(base.path(), &link).unwrap();
        assert!(RuntimeDir::take(&link).unwrap_err().to_string().contains("link"));

        let open = base.path().join("open");
        std::fs::create_dir(&open).unwrap();
        fs::chmod(&open, Mode::from_raw_mode(0o777)).unwrap();
        assert!(RuntimeDir::take(&open).unwrap_err().to_string().contains("777"));
    }
}
