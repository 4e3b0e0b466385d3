//! What a process holds, as /proc tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::kernel::{Id, Kind};

/// What a process holds at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Maps, programs, links and type information that it has a descriptor of.
    pub ids: BTreeSet<Id>,
    /// Descriptors by what they are of: `anon_inode:bpf-map`, `/dev/null`.
    pub descriptors: BTreeMap<String, usize>,
    /// Sockets of every kind, its listeners and its clients' connections among them.
    pub sockets: usize,
    /// Packet sockets: where socket filters are attached.
    pub packet_sockets: usize,
    /// Threads.
    pub threads: usize,
}

impl Held {
    /// Reads what the process with that id holds.
    pub fn by(pid: u32) -> io::Result<Self> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let packet = packet_inodes(&process)?;
        let mut held =
            Self { threads: fs::read_dir(process.join("task"))?.count(), ..Self::default() };
        for entry in fs::read_dir(process.join("fd"))? {
            let entry = entry?;
            // It may be closed while we look.
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let target = target.to_string_lossy().into_owned();
            if let Some(inode) = target.strip_prefix("socket:[") {
                held.sockets += 1;
                held.packet_sockets += usize::from(packet.contains(inode.trim_end_matches(']')));
                continue;
            }
            *held.descriptors.entry(target).or_default() += 1;
            let info = process.join("fdinfo").join(entry.file_name());
            held.ids.extend(ids(&fs::read_to_string(info).unwrap_or_default()));
        }
        Ok(held)
    }

    /// All descriptors but sockets.
    pub fn files(&self) -> usize {
        self.descriptors.values().sum()
    }

    /// Whether that is no more than `baseline`, clients' connections and idle threads aside.
    pub fn is_only(&self, baseline: &Self) -> bool {
        self.ids == baseline.ids
            && self.descriptors == baseline.descriptors
            && self.packet_sockets == baseline.packet_sockets
    }
}

/// `map_id:\t17` and the like; the lines of other descriptors say nothing of these.
fn ids(fdinfo: &str) -> impl Iterator<Item = Id> {
    fdinfo.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let kind = match name {
            "map_id" => Kind::Map,
            "prog_id" => Kind::Program,
            "link_id" => Kind::Link,
            "btf_id" => Kind::Btf,
            _ => return None,
        };
        Some(Id(kind, value.trim().parse().ok()?))
    })
}

/// Of the packet sockets in the process's network namespace: the last column.
fn packet_inodes(process: &Path) -> io::Result<BTreeSet<String>> {
    let table = fs::read_to_string(process.join("net/packet"))?;
    Ok(table.lines().skip(1).filter_map(|l| l.split_whitespace().last()).map(Into::into).collect())
}
