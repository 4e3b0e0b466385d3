//! What the hub needs to know of a map, and nothing else: the registry implements it.

use crate::host_names::HostName;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bpfgate_proto::name::MapName;
use bpfgate_proto::value::Schema;

/// A map whose numbers can be watched.
pub trait CounterSource: Send + Sync + 'static {
    /// Tells this map from an earlier or later one of the same name: the kernel's id.
    fn id(&self) -> u32;

    /// Its stable name.
    fn name(&self) -> &MapName;

    /// What its bytes mean, where that is known.
    fn schema(&self) -> Option<&Schema>;

    /// In bytes.
    fn key_size(&self) -> usize;

    /// In bytes; of one CPU's value for a per-CPU map.
    fn value_size(&self) -> usize;

    /// The number of possible CPUs for a per-CPU map. Each of its values then comes as one for
    /// each CPU, `value_size` rounded up to 8 bytes apart.
    fn cpus(&self) -> Option<usize>;

    /// What may become of a key.
    fn key_life(&self) -> KeyLife;

    /// When the map was made: since when its counters count.
    fn created_at(&self) -> SystemTime;

    /// The most entries it can have.
    fn entries_max(&self) -> usize;

    /// What was declared of its numbers.
    fn counters(&self) -> &[CounterSpec];

    /// What was declared of its key's fields, by label.
    fn host_names(&self) -> &[(String, HostName)];

    /// It goes with an object.
    fn is_part(&self) -> bool;

    /// One pass over the whole map by batched reads, key and value to `visit`. Blocks. False if
    /// the end was not reached, so that a key's absence means nothing.
    fn sweep(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> io::Result<bool>;
}

/// The maps that there are.
pub trait Sources: Send + Sync + 'static {
    /// All of them, now. Must not call back into the hub.
    fn list(&self) -> Vec<Arc<dyn CounterSource>>;

    /// A number that grows behind every change of [`list`](Self::list).
    fn changed(&self) -> tokio::sync::watch::Receiver<u64>;
}

/// What may become of a key that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyLife {
    /// An array's slot: a `u32` index that is always there.
    Fixed,
    /// A hash's key: there until someone deletes it.
    Deletable,
    /// An LRU hash's key: the kernel may drop it too.
    Evictable,
}

/// What a number in a map's value counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterSpec {
    /// Path of the field: "rx.bytes", "slots[].bytes" for that of every element; empty for a value
    /// that is one number. Applies to all numbers within the field.
    pub field: String,
    /// How it may change.
    pub kind: CounterKind,
    /// "By", "packets", as UCUM writes them. May be empty.
    pub unit: String,
}

/// How a number may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterKind {
    /// Only grows, except for a reset.
    Monotonic,
    /// Up and down.
    Gauge,
    /// An array of counts that only grow; slot n counts values in [2^n, 2^(n+1)).
    Histogram,
}

impl CounterKind {
    /// Less than before means that it began anew.
    pub(super) fn grows(self) -> bool {
        match self {
            Self::Monotonic | Self::Histogram => true,
            Self::Gauge => false,
        }
    }
}

/// Whether a path names a field or something within it: `rx` covers `rx.bytes` and `rx[2]`,
/// `slots[].bytes` that field of every element.
pub(super) fn covers(path: &str, leaf: &str) -> bool {
    covered(path, leaf).is_some()
}

/// What the path names in a leaf's own path, if it covers it: `slots[3]` of `slots[3].bytes` for
/// `slots[]`.
pub(super) fn covered<'l>(path: &str, leaf: &'l str) -> Option<&'l str> {
    let mut parts = path.split("[]");
    let mut rest = leaf.strip_prefix(parts.next()?)?;
    for part in parts {
        let (index, behind) = rest.strip_prefix('[')?.split_once(']')?;
        if !index.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        rest = behind.strip_prefix(part)?;
    }
    let whole = path.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']);
    whole.then(|| &leaf[..leaf.len() - rest.len()])
}

#[cfg(test)]
mod tests {
    use super::{covered, covers};

    #[test]
    fn a_path_covers_what_lies_within_it() {
        for (path, leaf) in [("", "a.b"), ("a", "a"), ("a", "a.b"), ("a", "a[3]"), ("a.b", "a.b")] {
            assert!(covers(path, leaf), "{path:?} {leaf:?}");
        }
        for (path, leaf) in [("a", "ab"), ("a.b", "a"), ("b", "a.b"), ("a", ""), ("a[]", "a.b")] {
            assert!(!covers(path, leaf), "{path:?} {leaf:?}");
        }
        for (path, leaf, named) in [
            ("a[]", "a[3].b", "a[3]"),
            ("a[].b", "a[12].b[1]", "a[12].b"),
            ("[][]", "[1][2]", "[1][2]"),
            ("a", "a[3].b", "a"),
            ("", "a", ""),
        ] {
            assert_eq!(covered(path, leaf), Some(named), "{path:?}");
        }
    }
}
