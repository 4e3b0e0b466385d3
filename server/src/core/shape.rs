//! What the kernel wants of a new map, said before it answers EINVAL to all of it.
//!
//! Only rules that the kernel's own code has; what is not here is the kernel's to judge.

use aya_obj::generated::bpf_map_type as types;

use super::Error;
use crate::broker::MapRequest;

/// Largest value of a per-CPU map: `PCPU_MIN_UNIT_SIZE`.
const PER_CPU_VALUE_MAX: u32 = 32_768;
const BPF_F_NO_PREALLOC: u32 = 1;

/// Refuses a map that the kernel would refuse, and says why.
pub(super) fn check(map: &MapRequest) -> Result<(), Error> {
    let is = |kinds: &[types]| kinds.iter().any(|&kind| kind as u32 == map.map_type);
    let indexed = is(&[
        types::BPF_MAP_TYPE_ARRAY,
        types::BPF_MAP_TYPE_PERCPU_ARRAY,
        types::BPF_MAP_TYPE_PROG_ARRAY,
        types::BPF_MAP_TYPE_PERF_EVENT_ARRAY,
        types::BPF_MAP_TYPE_CGROUP_ARRAY,
        types::BPF_MAP_TYPE_ARRAY_OF_MAPS,
        types::BPF_MAP_TYPE_DEVMAP,
        types::BPF_MAP_TYPE_CPUMAP,
        types::BPF_MAP_TYPE_SOCKMAP,
        types::BPF_MAP_TYPE_XSKMAP,
    ]);
    let hashed = is(&[
        types::BPF_MAP_TYPE_HASH,
        types::BPF_MAP_TYPE_PERCPU_HASH,
        types::BPF_MAP_TYPE_LRU_HASH,
        types::BPF_MAP_TYPE_LRU_PERCPU_HASH,
    ]);
    let per_cpu = is(&[
        types::BPF_MAP_TYPE_PERCPU_ARRAY,
        types::BPF_MAP_TYPE_PERCPU_HASH,
        types::BPF_MAP_TYPE_LRU_PERCPU_HASH,
    ]);
    let keyless = is(&[
        types::BPF_MAP_TYPE_QUEUE,
        types::BPF_MAP_TYPE_STACK,
        types::BPF_MAP_TYPE_BLOOM_FILTER,
    ]);
    let ring = is(&[types::BPF_MAP_TYPE_RINGBUF, types::BPF_MAP_TYPE_USER_RINGBUF]);
    let trie = is(&[types::BPF_MAP_TYPE_LPM_TRIE]);

    let MapRequest { key_size, value_size, max_entries, flags, .. } = *map;
    if indexed && key_size != 4 {
        return wrong("spec.key_size", key_size, "the key of this type is an index of 4 bytes");
    }
    if (keyless || ring) && key_size != 0 {
        return wrong("spec.key_size", key_size, "this type has no keys, so it must be 0");
    }
    if ring && value_size != 0 {
        return wrong("spec.value_size", value_size, "this type has no values, so it must be 0");
    }
    if trie && !(5..=260).contains(&key_size) {
        let rule = "the key is a prefix length of 4 bytes and 1 to 256 bytes of address";
        return wrong("spec.key_size", key_size, rule);
    }
    if trie && flags & BPF_F_NO_PREALLOC == 0 {
        return wrong("spec.flags", flags, "this type needs BPF_F_NO_PREALLOC (1)");
    }
    if hashed && key_size == 0 {
        return wrong("spec.key_size", key_size, "a key has 1 byte at least");
    }
    if (indexed || hashed || keyless || trie) && value_size == 0 {
        return wrong("spec.value_size", value_size, "a value has 1 byte at least");
    }
    if per_cpu && value_size > PER_CPU_VALUE_MAX {
        return wrong("spec.value_size", value_size, "a per-CPU value has at most 32768 bytes");
    }
    if max_entries == 0 && (indexed || hashed || keyless || trie) {
        return wrong("spec.max_entries", max_entries, "a map holds 1 entry at least");
    }
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    if ring && !(max_entries.is_power_of_two() && max_entries.is_multiple_of(page)) {
        let rule = "a ring's size in bytes is a power of two and a multiple of the page size";
        return wrong("spec.max_entries", max_entries, rule);
    }
    Ok(())
}

fn wrong(field: &'static str, value: u32, rule: &str) -> Result<(), Error> {
    Err(Error::Invalid { field, problem: format!("{value} does not do: {rule}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_refuses_is_named() {
        let map = |map_type, key_size, value_size, max_entries| MapRequest {
            map_type,
            key_size,
            value_size,
            max_entries,
            ..MapRequest::default()
        };
        for (map, word) in [
            (map(2, 5, 8, 1), "spec.key_size: 5"),
            (map(2, 4, 0, 1), "spec.value_size: 0"),
            (map(1, 0, 8, 1), "spec.key_size: 0"),
            (map(1, 4, 8, 0), "spec.max_entries: 0"),
            (map(6, 4, 32_776, 1), "32768"),
            (map(11, 8, 8, 1), "NO_PREALLOC"),
            (map(11, 4, 8, 1), "prefix"),
            (map(22, 4, 8, 1), "no keys"),
            (map(27, 0, 0, 5000), "power of two"),
        ] {
            let said = check(&map).unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        }
        for good in [map(1, 4, 8, 1), map(2, 4, 1, 1), map(22, 0, 8, 1), map(27, 0, 0, 4096)] {
            check(&good).unwrap();
        }
    }
}
