//! Which operations a map has. What can be asked of the kernel without changing the map is
//! asked; the rest goes by type, because an update has no dry run.

use aya_obj::generated::bpf_map_type as types;

use crate::sys;

/// Which operations a map has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "a matrix's row is one")]
pub struct Capabilities {
    /// Read an entry.
    pub lookup: bool,
    /// Write an entry.
    pub update: bool,
    /// Remove an entry.
    pub delete: bool,
    /// Read the whole map.
    pub iterate: bool,
    /// In batches.
    pub batch_lookup: bool,
    /// Follow its numbers.
    pub watch_counters: bool,
}

impl Capabilities {
    /// For people: "lookup, update".
    pub fn list(&self) -> String {
        // No `..`: an operation added above must be named here.
        let Self { lookup, update, delete, iterate, batch_lookup: _, watch_counters } = *self;
        let named = [
            (lookup, "lookup"),
            (update, "update"),
            (delete, "delete"),
            (iterate, "iterate"),
            (watch_counters, "watch counters"),
        ];
        let has: Vec<_> = named.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        if has.is_empty() { "nothing that this agent serves yet".into() } else { has.join(", ") }
    }
}

/// How user space reaches the entries of a type.
enum Access {
    /// By key, and keys come and go.
    Keyed,
    /// By index, and every index is always there.
    Indexed,
    /// By key, but the values are the kernel's own numbers for what was put in.
    Reference,
    /// Not by lookup: queues, ring buffers, storage, arenas.
    Other,
}

fn access(map_type: u32) -> Access {
    const KEYED: [types; 5] = [
        types::BPF_MAP_TYPE_HASH,
        types::BPF_MAP_TYPE_LRU_HASH,
        types::BPF_MAP_TYPE_PERCPU_HASH,
        types::BPF_MAP_TYPE_LRU_PERCPU_HASH,
        types::BPF_MAP_TYPE_LPM_TRIE,
    ];
    const INDEXED: [types; 2] = [types::BPF_MAP_TYPE_ARRAY, types::BPF_MAP_TYPE_PERCPU_ARRAY];
    const REFERENCE: [types; 2] =
        [types::BPF_MAP_TYPE_ARRAY_OF_MAPS, types::BPF_MAP_TYPE_HASH_OF_MAPS];
    let is = |list: &[types]| list.iter().any(|&kind| kind as u32 == map_type);
    if is(&KEYED) {
        Access::Keyed
    } else if is(&INDEXED) {
        Access::Indexed
    } else if is(&REFERENCE) {
        Access::Reference
    } else {
        Access::Other
    }
}

/// Whether every index below `max_entries` is there and none beyond it.
pub(super) fn is_indexed(map_type: u32) -> bool {
    matches!(access(map_type), Access::Indexed)
}

/// Which operations a map has. `writable` is false for one that the agent does not own.
pub(super) fn of(map: &sys::Map, writable: bool) -> Capabilities {
    let access = access(map.info().map_type);
    let reads = !matches!(access, Access::Other);
    let counts = matches!(access, Access::Keyed | Access::Indexed);
    Capabilities {
        lookup: reads,
        update: writable && counts,
        delete: writable && matches!(access, Access::Keyed),
        iterate: reads,
        batch_lookup: reads && map.has_lookup_batch(),
        watch_counters: counts,
    }
}

/// As bpftool names it: `percpu_hash`; `type 40` for one that is newer than this agent.
pub fn type_name(map_type: u32) -> String {
    const NAMES: [&str; 34] = [
        "unspec",
        "hash",
        "array",
        "prog_array",
        "perf_event_array",
        "percpu_hash",
        "percpu_array",
        "stack_trace",
        "cgroup_array",
        "lru_hash",
        "lru_percpu_hash",
        "lpm_trie",
        "array_of_maps",
        "hash_of_maps",
        "devmap",
        "sockmap",
        "cpumap",
        "xskmap",
        "sockhash",
        "cgroup_storage",
        "reuseport_sockarray",
        "percpu_cgroup_storage",
        "queue",
        "stack",
        "sk_storage",
        "devmap_hash",
        "struct_ops",
        "ringbuf",
        "inode_storage",
        "task_storage",
        "bloom_filter",
        "user_ringbuf",
        "cgrp_storage",
        "arena",
    ];
    NAMES
        .get(map_type as usize)
        .map_or_else(|| format!("type {map_type}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_keeps_its_number() {
        assert_eq!(type_name(33), "arena");
        assert_eq!(type_name(34), "type 34");
    }
}
