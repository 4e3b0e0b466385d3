//! Why the kernel does not take something for an entry. Its own answer is EINVAL for nearly all of
//! it.

use std::io;

use aya_obj::generated::{bpf_attach_type as attach, bpf_map_type as types};

use super::object::Program;
use super::{Error, Map, Reference, Registry, UpdateMode, type_name};
use crate::broker::{self, MapRequest};

/// What an entry was to stand for, or how that was said.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceProblem {
    /// Bytes where the kernel would take the number of a descriptor: one of the agent's own.
    #[error(
        "the {what}s of map {map}, a {map_type}, stand for something else and are not given as \
         bytes: give a reference to {form}"
    )]
    Needed {
        /// The map as the caller named it.
        map: String,
        /// As bpftool names it.
        map_type: String,
        /// "key" or "value".
        what: &'static str,
        /// To what, and how to write it.
        form: &'static str,
    },
    /// A reference to something that this map has no entries for.
    #[error("{given} cannot be a {what} of map {map}, which takes {form}")]
    WrongKind {
        /// The map as the caller named it.
        map: String,
        /// "key" or "value".
        what: &'static str,
        /// "a program".
        given: &'static str,
        /// What would be right.
        form: &'static str,
    },
    /// The kernel does not take it for an entry of this map.
    #[error("{named} does not fit map {map}: {problem}")]
    Unfit {
        /// The map as the caller named it.
        map: String,
        /// What was to become an entry.
        named: String,
        /// Why not.
        problem: String,
    },
}

impl Registry {
    /// Says what `refused` means for this map and what it was to stand for.
    pub(super) fn why_unfit(
        &self,
        map: &Map,
        key: &[u8],
        reference: &Reference,
        mode: UpdateMode,
        refused: io::Error,
    ) -> Error {
        let map_type = map.sys().info().map_type;
        let general = map.entry_error("update an entry of", key, refused);
        let errno = match &general {
            Error::Kernel { source, .. } => source.raw_os_error(),
            Error::Unsupported { .. } => Some(libc::EOPNOTSUPP),
            _ => return general,
        };
        if errno == Some(libc::EINVAL) && mode != UpdateMode::Any && has_fixed_slots(map_type) {
            let problem = format!(
                "the slots of a {} are written with ANY only: each is always there",
                type_name(map_type)
            );
            return Error::Invalid { field: "mode", problem };
        }
        let problem = match (reference, errno) {
            (Reference::Map(inner), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                let inner = self.map(inner).ok();
                inner.and_then(|inner| difference(map.about().inner.as_ref()?, &inner)).unwrap_or(
                    "it differs from what every inner map has to look like, or its type cannot be \
                     an inner map"
                        .into(),
                )
            }
            (Reference::Program(_), Some(libc::EINVAL)) => "all programs of a prog_array have to \
                be of one type and attach type, which is that of the first one and of those that \
                use the map"
                .into(),
            (Reference::Device { program: Some(_), .. }, Some(libc::EINVAL)) => {
                "the program's kind (\"xdp.frags\" or not) is not that of the map's users".into()
            }
            (Reference::Cpu { .. }, Some(libc::EOVERFLOW)) => {
                "a CPU's queue holds 16384 packets at most".into()
            }
            (Reference::Cpu { .. }, Some(libc::ENODEV)) => {
                let name = "of that number on this host".into();
                return broker::Error::NoTarget { what: "CPU", name }.into();
            }
            (Reference::Socket(_), Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EBADFD)) => {
                socket_rule(map_type).into()
            }
            _ => return general,
        };
        map.unfit(reference, problem)
    }
}

impl Map {
    pub(super) fn unfit(&self, reference: &Reference, problem: String) -> Error {
        let named = match reference {
            Reference::Map(name) => name.to_string(),
            Reference::Program(name) => name.to_string(),
            Reference::Device { interface, .. } => interface.clone(),
            Reference::Cpu { .. } => "the CPU".into(),
            Reference::Cgroup(path) | Reference::File(path) => path.clone(),
            Reference::Socket(socket) => socket.to_string(),
            Reference::Process(id) => format!("process {id}"),
        };
        ReferenceProblem::Unfit { map: self.text().to_owned(), named, problem }.into()
    }
}

/// Whether a program runs where a slot of this kind leads. The kernel calls it a lack of memory if
/// not.
pub(super) fn check_program(
    map: &Map,
    reference: &Reference,
    program: &Program,
) -> Result<(), Error> {
    let (want, section) = match reference {
        Reference::Device { .. } => (attach::BPF_XDP_DEVMAP, "xdp/devmap"),
        Reference::Cpu { .. } => (attach::BPF_XDP_CPUMAP, "xdp/cpumap"),
        Reference::Map(_)
        | Reference::Program(_)
        | Reference::Cgroup(_)
        | Reference::Socket(_)
        | Reference::Process(_)
        | Reference::File(_) => return Ok(()),
    };
    if program.loaded.kind.expected_attach_type == want as u32 {
        return Ok(());
    }
    let problem = format!(
        "{} is of section {:?}, and programs that run there are of section {section:?}",
        program.name, program.loaded.section
    );
    Err(map.unfit(reference, problem))
}

/// Whether every slot is there from the start, so that the kernel knows no NOEXIST or EXIST.
fn has_fixed_slots(map_type: u32) -> bool {
    let fixed = [
        types::BPF_MAP_TYPE_PROG_ARRAY,
        types::BPF_MAP_TYPE_CGROUP_ARRAY,
        types::BPF_MAP_TYPE_ARRAY_OF_MAPS,
    ];
    fixed.iter().any(|&kind| kind as u32 == map_type)
}

fn socket_rule(map_type: u32) -> &'static str {
    if map_type == types::BPF_MAP_TYPE_XSKMAP as u32 {
        "an xskmap holds AF_XDP sockets"
    } else if map_type == types::BPF_MAP_TYPE_REUSEPORT_SOCKARRAY as u32 {
        "a reuseport_sockarray holds sockets with SO_REUSEPORT that listen, or are bound for UDP, \
         and are in no other one"
    } else {
        "a socket map holds TCP sockets that listen or are connected, and UDP and UNIX sockets that \
         are bound or connected"
    }
}

/// The first property in which a map differs from what every inner map has to look like.
fn difference(want: &MapRequest, map: &Map) -> Option<String> {
    /// The array's own size may differ then.
    const BPF_F_INNER_MAP: u32 = 1 << 12;
    let have = map.sys().info();
    if have.map_type != want.map_type {
        let (have, want) = (type_name(have.map_type), type_name(want.map_type));
        return Some(format!("it is a {have}, and inner maps have to be a {want}"));
    }
    let array = have.map_type == types::BPF_MAP_TYPE_ARRAY as u32;
    let fixed_size = array && want.flags & BPF_F_INNER_MAP == 0;
    let numa = |request: &MapRequest| if request.numa_node.is_some() { 1 << 2 } else { 0 };
    let rows = [
        ("key_size", have.key_size, want.key_size, true),
        ("value_size", have.value_size, want.value_size, true),
        ("flags", have.flags, want.flags | numa(want), true),
        ("max_entries", have.max_entries, want.max_entries, fixed_size),
    ];
    let (field, have, want, _) = rows.into_iter().find(|(_, a, b, counts)| *counts && a != b)?;
    Some(format!("its {field} is {have}, and inner maps have {want}"))
}
