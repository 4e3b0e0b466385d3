//! What a map can need when it is full. A map that allocates as it fills fails late and takes the
//! agent with it, so the worst is charged before the kernel is asked.

use aya_obj::generated::bpf_map_type as types;

use super::{About, Labels};
use crate::broker::MapRequest;
use crate::elf::{ObjectPlan, ProgramPlan};
use crate::sys;

/// A bucket, and `struct htab_elem` or the like, with what the allocator rounds up.
const ENTRY: u64 = 80;
/// A pointer to something that is charged elsewhere.
const POINTER: u64 = 8;
/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;
/// `struct bpf_map` and what a type has beside its entries.
const MAP: u64 = 4096;
/// What a text takes in a list, beside its bytes.
const NOTE: u64 = 160;
/// What the agent has of a program, its names aside.
const PROGRAM: u64 = 1024;

/// Bytes that a map can need at its worst, with the map that stands for its inner ones. Storage
/// maps are charged without entries: these belong to sockets, files and tasks, and so does their
/// number.
pub(super) fn worst_bytes(map: &MapRequest) -> u64 {
    let is = |kinds: &[types]| kinds.iter().any(|&kind| kind as u32 == map.map_type);
    let cpus = sys::possible_cpus() as u64;
    let page = rustix::param::page_size() as u64;
    let entries = u64::from(map.max_entries);
    let value = u64::from(map.value_size).next_multiple_of(8);
    let key = u64::from(map.key_size).next_multiple_of(8);
    // Hashes round their buckets up to a power of two, and keep a few entries for each CPU.
    let spare = cpus.saturating_mul(if is(&[types::BPF_MAP_TYPE_HASH]) { 1 } else { 128 });
    let hashed = |value: u64| {
        let entry = value.saturating_add(key + ENTRY);
        entry.saturating_mul(entries.saturating_add(spare.min(entries)))
    };
    let inner = map.inner.as_deref().map_or(0, worst_bytes);

    let contents = if is(&[types::BPF_MAP_TYPE_ARRAY]) {
        let values = value.saturating_mul(entries);
        // Values that can be mapped have pages of their own.
        if map.flags & MMAPABLE == 0 { values } else { values.saturating_add(2 * page) }
    } else if is(&[types::BPF_MAP_TYPE_PERCPU_ARRAY]) {
        (value * cpus + POINTER).saturating_mul(entries)
    } else if is(&[types::BPF_MAP_TYPE_PERCPU_HASH, types::BPF_MAP_TYPE_LRU_PERCPU_HASH]) {
        hashed(value * cpus + POINTER)
    } else if is(&[
        types::BPF_MAP_TYPE_PROG_ARRAY,
        types::BPF_MAP_TYPE_PERF_EVENT_ARRAY,
        types::BPF_MAP_TYPE_CGROUP_ARRAY,
        types::BPF_MAP_TYPE_ARRAY_OF_MAPS,
        types::BPF_MAP_TYPE_XSKMAP,
        types::BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
        types::BPF_MAP_TYPE_SOCKMAP,
    ]) {
        POINTER * entries
    } else if is(&[types::BPF_MAP_TYPE_CPUMAP]) {
        /// The longest queue for packets, in pointers, and its owner.
        const QUEUE: u64 = (16_384 + 64) * POINTER;
        QUEUE * entries
    } else if is(&[types::BPF_MAP_TYPE_QUEUE, types::BPF_MAP_TYPE_STACK]) {
        // One place more, to tell a full queue from an empty one.
        u64::from(map.value_size).saturating_mul(entries + 1)
    } else if is(&[types::BPF_MAP_TYPE_BLOOM_FILTER]) {
        filter_bytes(entries, map.map_extra)
    } else if is(&[types::BPF_MAP_TYPE_LPM_TRIE]) {
        // Every second node can be one that only leads to others.
        (value + key + ENTRY).saturating_mul(2 * entries)
    } else if is(&[types::BPF_MAP_TYPE_RINGBUF, types::BPF_MAP_TYPE_USER_RINGBUF]) {
        // The kernel's and the user's position have pages of their own.
        entries + 3 * page
    } else if is(&[types::BPF_MAP_TYPE_ARENA]) {
        page * entries
    } else if is(&[
        types::BPF_MAP_TYPE_SK_STORAGE,
        types::BPF_MAP_TYPE_INODE_STORAGE,
        types::BPF_MAP_TYPE_TASK_STORAGE,
        types::BPF_MAP_TYPE_CGRP_STORAGE,
        types::BPF_MAP_TYPE_CGROUP_STORAGE,
        types::BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
    ]) {
        value + ENTRY
    } else {
        hashed(value)
    };
    contents.saturating_add(inner).saturating_add(MAP)
}

/// Bytes that the kernel keeps for a type blob: itself, and a pointer and two numbers for each type.
pub(super) fn btf_bytes(blob: usize) -> u64 {
    3 * blob as u64 + MAP
}

/// Bytes that the kernel keeps for a program: its instructions, rewritten and as machine code, and
/// what it remembers of their lines. What the verifier takes meanwhile is not in it.
pub(super) fn program_bytes(plan: &ProgramPlan) -> u64 {
    let ProgramPlan { insns, func_info, line_info, .. } = plan;
    let pages = 4 * rustix::param::page_size() as u64;
    (4 * insns.len() + 2 * (func_info.len() + line_info.len())) as u64 + pages
}

/// Bytes of the agent's own memory for a map, with what callers and authors noted of it.
pub(super) fn note_bytes(about: &About) -> u64 {
    let About { schema: _, counters, host_names, labels, records: _, inner: _, numa_node: _ } =
        about;
    let counters = counters.iter().map(|counter| counter.field.len() + counter.unit.len());
    let names = host_names.iter().map(|(label, _)| label.len());
    let texts = counters.chain(names).map(|bytes| bytes as u64 + NOTE).sum::<u64>();
    MAP + texts + label_bytes(labels)
}

/// Bytes of the agent's own memory for an object with its programs, its maps aside.
pub(super) fn object_bytes(plan: &ObjectPlan, labels: &Labels) -> u64 {
    let texts = plan.programs.iter().map(|program| program.section.len() + 2 * program.name.len());
    let programs = texts.map(|bytes| bytes as u64 + PROGRAM).sum::<u64>();
    MAP + programs + plan.maps.len() as u64 * NOTE + label_bytes(labels)
}

fn label_bytes(labels: &Labels) -> u64 {
    labels.iter().map(|(key, value)| (key.len() + value.len()) as u64 + NOTE).sum()
}

/// Seven bits in five for each entry and hash function, rounded up to a power of two; never more
/// than one for each hash of 32 bits.
fn filter_bytes(entries: u64, functions: u64) -> u64 {
    const MOST: u64 = 1 << 32;
    let functions = if functions == 0 { 5 } else { functions.min(15) };
    let bits = entries.saturating_mul(functions).saturating_mul(7) / 5;
    bits.min(MOST).next_power_of_two().min(MOST) / 8 + POINTER
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::broker;

    fn map(map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> MapRequest {
        MapRequest { map_type, key_size, value_size, max_entries, ..MapRequest::default() }
    }

    #[test]
    fn the_kernel_charges_no_more_than_the_worst() {
        let with = |flags, map| MapRequest { flags, ..map };
        let inner = |inner| Some(Box::new(inner));
        let mut all: Vec<MapRequest> =
            [1, 2, 5, 6, 9, 10, 20].iter().map(|&kind| map(kind, 4, 100, 5000)).collect();
        all.iter_mut().filter(|map| map.map_type == 20).for_each(|map| map.value_size = 8);
        all.extend([3, 4, 8, 14, 15, 17, 18, 25].map(|kind| map(kind, 4, 4, 5000)));
        all.extend([22, 23, 30].map(|kind| map(kind, 0, 12, 5000)));
        all.extend([27, 31].map(|kind| map(kind, 0, 0, 1 << 16)));
        all.extend([19, 21].map(|kind| map(kind, 8, 8, 0)));
        all.extend([
            map(16, 4, 4, 2),
            map(7, 4, 80, 5000),
            with(1, map(11, 8, 8, 5000)),
            with(1, map(1, 64, 64, 5000)),
            with(1 << 10, map(33, 0, 0, 100)),
            with(1 << 10, map(2, 4, 9, 5000)),
            MapRequest { inner: inner(map(1, 8, 8, 5000)), ..map(12, 4, 4, 5000) },
            MapRequest { inner: inner(map(2, 4, 8, 5000)), ..map(13, 4, 4, 5000) },
            MapRequest { map_extra: 15, ..map(30, 0, 1, 5000) },
        ]);
        for request in all {
            let made = broker::create_map(&request, None).unwrap();
            let (charged, _) = sys::memory(made.as_fd()).unwrap();
            let worst = worst_bytes(&request);
            assert!(charged <= worst, "{charged} of {worst}: {request:?}");
        }
    }

    #[test]
    fn the_worst_grows_with_what_is_asked_for() {
        assert_eq!(worst_bytes(&map(2, 4, 12, 1000)), 16_000 + MAP);
        assert_eq!(worst_bytes(&map(22, 0, 12, 999)), 12_000 + MAP);
        let trie = worst_bytes(&map(11, 8, 8, 1000));
        assert!(trie >= 2 * 1000 * 96, "{trie}");
        let plain = map(12, 4, 4, 10);
        let inner = MapRequest { inner: Some(Box::new(map(2, 4, 8, 1 << 20))), ..plain.clone() };
        assert!(worst_bytes(&inner) > worst_bytes(&plain) + (8 << 20));
        // Five functions: seven bits an entry, in a power of two.
        assert_eq!(filter_bytes(1000, 0), 8192 / 8 + POINTER);
    }

    #[test]
    fn no_size_is_too_large_to_be_added_up() {
        for kind in 0..40 {
            let inner = map(1, u32::MAX, u32::MAX, u32::MAX);
            let largest = MapRequest {
                map_extra: u64::MAX,
                inner: Some(Box::new(inner)),
                ..map(kind, u32::MAX, u32::MAX, u32::MAX)
            };
            assert!(worst_bytes(&largest) > 1 << 60, "type {kind}");
        }
    }
}
