//! What is true of all maps of a type: facts that no answer of the kernel tells.

use aya_obj::generated::bpf_map_type as types;
pub(super) use bpfgate_proto::map_type::is_indexed;
use bpfgate_proto::reference::ReferenceKind;

fn is(map_type: u32, kinds: &[types]) -> bool {
    kinds.iter().any(|&kind| kind as u32 == map_type)
}

/// Whether keys are numbers of the caller's descriptors. Bytes from elsewhere would name the
/// agent's own.
pub(super) fn keys_are_descriptors(map_type: u32) -> bool {
    ReferenceKind::of_keys(map_type).is_some()
}

/// Whether an update takes the number of one of the caller's descriptors, or of an interface or a
/// queue with such a number beside it.
pub(super) fn values_are_references(map_type: u32) -> bool {
    ReferenceKind::of_values(map_type).is_some() || holds_events(map_type)
}

/// Whether the slots are for who reads events, which is the agent.
pub(super) fn holds_events(map_type: u32) -> bool {
    is(map_type, &[types::BPF_MAP_TYPE_PERF_EVENT_ARRAY])
}

/// Whether programs write records into it that user space takes out.
pub fn has_events(map_type: u32) -> bool {
    is(map_type, &[types::BPF_MAP_TYPE_RINGBUF, types::BPF_MAP_TYPE_PERF_EVENT_ARRAY])
}

/// Whether values are what programs and users put there, to be followed as numbers over time.
pub(super) fn has_counters(map_type: u32) -> bool {
    const PLAIN: [types; 7] = [
        types::BPF_MAP_TYPE_HASH,
        types::BPF_MAP_TYPE_LRU_HASH,
        types::BPF_MAP_TYPE_PERCPU_HASH,
        types::BPF_MAP_TYPE_LRU_PERCPU_HASH,
        types::BPF_MAP_TYPE_LPM_TRIE,
        types::BPF_MAP_TYPE_ARRAY,
        types::BPF_MAP_TYPE_PERCPU_ARRAY,
    ];
    is(map_type, &PLAIN)
}

/// Whether keys are prefixes.
pub(super) fn is_trie(map_type: u32) -> bool {
    is(map_type, &[types::BPF_MAP_TYPE_LPM_TRIE])
}

/// Whether values are looked for rather than taken in turn.
pub(super) fn is_filter(map_type: u32) -> bool {
    is(map_type, &[types::BPF_MAP_TYPE_BLOOM_FILTER])
}

/// Whether sockets are its values, of which the kernel says EINVAL where others say ENOENT.
pub(super) fn is_sockmap(map_type: u32) -> bool {
    is(map_type, &[types::BPF_MAP_TYPE_SOCKMAP])
}

/// Whether the kernel says of a removal that it worked where there was nothing.
pub(super) fn removes_blindly(map_type: u32) -> bool {
    is(map_type, &[types::BPF_MAP_TYPE_DEVMAP, types::BPF_MAP_TYPE_CPUMAP])
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
