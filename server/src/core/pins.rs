//! Pins: paths in the agent's bpffs that keep a map alive and give it to others on the host.
//!
//! A pin goes with its map when the map is deleted or its object unloaded, and stays when the
//! agent stops: nobody asked for that map to go.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpfgate_proto::name::MapRef;
use tracing::{info, warn};

use super::{Error, Map, NoRoom, Registry};
use crate::broker;

/// A path below the bpffs at which a pin can be made: one or more names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PinPath(String);

impl PinPath {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> Vec<&str> {
        self.0.split('/').collect()
    }
}

impl FromStr for PinPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        const PARTS: usize = 16;
        const PART_BYTES: usize = 255;
        let wrong = |problem: &str| {
            let shown: String = text.chars().take(80).collect();
            Error::Invalid { field: "path", problem: format!("{shown:?} {problem}") }
        };
        let parts: Vec<_> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong("has a part without a name: write it like a/b/c"));
        }
        if text.contains('.') {
            return Err(wrong("has a dot, and the kernel's bpffs takes no names with dots"));
        }
        if parts.len() > PARTS || parts.iter().any(|part| part.len() > PART_BYTES) {
            return Err(wrong("is too long: at most 16 parts of at most 255 bytes"));
        }
        if text.contains(char::is_control) {
            return Err(wrong("has a character that cannot be printed"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The agent's bpffs and what it made there.
#[derive(Debug)]
pub(super) struct Bpffs {
    root: Option<OwnedFd>,
    /// Directories that pins were in the way of, to go with the last of them. The lock also keeps
    /// a directory from going while another pin is on its way into it.
    made: Mutex<BTreeSet<String>>,
}

impl Bpffs {
    pub(super) fn new(root: Option<OwnedFd>) -> Self {
        Self { root, made: Mutex::default() }
    }

    /// The directory that paths start from, if there is one.
    pub(super) fn root(&self) -> Option<BorrowedFd<'_>> {
        self.root.as_ref().map(OwnedFd::as_fd)
    }

    fn existing_root(&self) -> Result<BorrowedFd<'_>, Error> {
        let none = || broker::Error::Host("this agent was started without a bpffs".to_owned());
        Ok(self.root().ok_or_else(none)?)
    }

    /// A path as it is from here, or where here is, if it is written from the host's root and leads
    /// elsewhere.
    pub(super) fn below<'p>(&self, path: &'p str) -> Result<&'p str, PathBuf> {
        if !path.starts_with('/') {
            return Ok(path);
        }
        let root = self.existing_root().and_then(|root| Ok(broker::host_path(root, "")?));
        let root = root.unwrap_or_default();
        Path::new(path).strip_prefix(&root).ok().and_then(Path::to_str).ok_or(root)
    }

    fn made(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pin(&self, path: &PinPath, map: &Map) -> Result<PathBuf, Error> {
        let root = self.existing_root()?;
        let mut made = self.made();
        let new = broker::pin(root, &path.parts(), map.sys().as_fd()).map_err(|error| {
            use std::io::ErrorKind::AlreadyExists;
            match error {
                broker::Error::Pin { path, source } if source.kind() == AlreadyExists => {
                    Error::NameTaken { what: "pin", name: path }
                }
                broker::Error::BadPin { reference, problem } => {
                    Error::Invalid { field: "path", problem: format!("{reference:?} {problem}") }
                }
                error => error.into(),
            }
        })?;
        made.extend(new);
        Ok(broker::host_path(root, path.as_str())?)
    }

    /// Removes a pin and the directories that were made for it and are empty now.
    fn unpin(&self, path: &str) -> Result<(), Error> {
        let root = self.existing_root()?;
        let mut made = self.made();
        broker::unpin(root, path)?;
        let mut above = path;
        while let Some((directory, _)) = above.rsplit_once('/') {
            if !made.contains(directory) || broker::remove_directory(root, directory).is_err() {
                break;
            }
            made.remove(directory);
            above = directory;
        }
        Ok(())
    }
}

/// The pins of one map.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    paths: BTreeSet<String>,
    /// The map is no longer the agent's.
    closed: bool,
}

impl Pins {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.lock().paths.iter().cloned().collect()
    }
}

impl Registry {
    /// A path for a pin as a caller writes it: below the agent's bpffs, or from the host's root.
    pub fn pin_path(&self, text: &str) -> Result<PinPath, Error> {
        let path = self.bpffs().below(text).map_err(|root| {
            let shown: String = text.chars().take(80).collect();
            let problem = format!("{shown:?} is not below the agent's bpffs, {}", root.display());
            Error::Invalid { field: "path", problem }
        });
        path?.parse()
    }

    /// Pins an owned map; gives the whole path. Blocking.
    pub fn pin(&self, reference: &MapRef, path: &PinPath) -> Result<PathBuf, Error> {
        let map = self.map(reference)?;
        map.require_writable()?;
        map.require(map.capabilities().pin, "pin")?;
        let mut pins = map.own_pins().lock();
        if pins.closed {
            return Err(Error::NoMap(reference.to_string()));
        }
        let limit = self.limits().max_pins;
        if pins.paths.len() >= limit as usize {
            let (what, name) = ("pins of one map", "max_pins");
            return Err(NoRoom::TooMany { what, name, limit: limit.into() }.into());
        }
        let whole = self.bpffs().pin(path, &map)?;
        pins.paths.insert(path.as_str().to_owned());
        drop(pins);
        info!(map = map.text(), path = %whole.display(), "map pinned");
        Ok(whole)
    }

    /// Removes a pin of an owned map, whoever made it. Blocking.
    pub fn unpin(&self, path: &PinPath) -> Result<(), Error> {
        let reference = MapRef::Pin(path.as_str().to_owned());
        let map = self.map(&reference)?;
        if map.name().is_none() {
            return Err(Error::NotOurPin { path: path.as_str().to_owned() });
        }
        let mut pins = map.own_pins().lock();
        self.bpffs().unpin(path.as_str())?;
        pins.paths.remove(path.as_str());
        drop(pins);
        info!(map = map.text(), path = path.as_str(), "map unpinned");
        Ok(())
    }

    /// Removes the pins of maps that are no longer the agent's.
    pub(super) fn unpin_all(&self, maps: &[Arc<Map>]) {
        for map in maps {
            let paths = {
                let mut pins = map.own_pins().lock();
                pins.closed = true;
                std::mem::take(&mut pins.paths)
            };
            for path in paths {
                if let Err(error) = self.unpin_if_still(&path, map) {
                    warn!(map = map.text(), path, %error, "a pin is left");
                }
            }
        }
    }

    /// Says which pins keep maps in the kernel that nobody is there to serve any more.
    pub(super) fn tell_pins(&self, maps: &[Arc<Map>]) {
        for map in maps {
            for path in map.pins() {
                let root = self.bpffs().existing_root();
                let whole = root.and_then(|root| Ok(broker::host_path(root, &path)?));
                let path = whole.map_or(path, |whole| whole.display().to_string());
                warn!(map = map.text(), path, "a pin stays and keeps its map; rm removes it");
            }
        }
    }

    /// Others may have put something else in its place meanwhile.
    fn unpin_if_still(&self, path: &str, map: &Map) -> Result<(), Error> {
        let found = broker::open_pin(self.bpffs().existing_root()?, path);
        match found {
            Ok(found) if found.info().id == map.sys().info().id => self.bpffs().unpin(path),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_of_names() {
        for good in ["m", "a/b", "a-b_c/d e"] {
            assert_eq!(good.parse::<PinPath>().unwrap().as_str(), good);
        }
        let (long, deep) = ("x".repeat(256), "x/".repeat(16) + "x");
        for (bad, problem) in [
            ("", "without a name"),
            ("/a", "without a name"),
            ("a//b", "without a name"),
            ("a/", "without a name"),
            (".", "dot"),
            ("../a", "dot"),
            ("a/../b", "dot"),
            ("a.b/c", "dot"),
            ("a\nb", "printed"),
            ("a\0b", "printed"),
            (&long, "too long"),
            (&deep, "too long"),
        ] {
            let said = bad.parse::<PinPath>().unwrap_err().to_string();
            assert!(said.starts_with("path: ") && said.contains(problem), "{bad:?}: {said}");
        }
    }
}
