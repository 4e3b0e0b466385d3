//! What the kernel wants of a new map, said before it answers EINVAL to all of it.
//!
//! Only rules that the kernel's own code has; what is not here is the kernel's to judge, flags that
//! are newer than this agent among it.

use aya_obj::generated::bpf_map_type as types;

use super::Error;
use super::kind::type_name;
use crate::broker::MapRequest;

/// Largest value of a per-CPU map: `PCPU_MIN_UNIT_SIZE`.
const PER_CPU_VALUE_MAX: u32 = 32_768;
/// Largest key of a hash of sockets: `MAX_BPF_STACK`.
const STACK_MAX: u32 = 512;

const NO_PREALLOC: u32 = 1;
const NO_COMMON_LRU: u32 = 1 << 1;
const NUMA_NODE: u32 = 1 << 2;
const STACK_BUILD_ID: u32 = 1 << 5;
const ZERO_SEED: u32 = 1 << 6;
const CLONE: u32 = 1 << 9;
const MMAPABLE: u32 = 1 << 10;
const PRESERVE_ELEMS: u32 = 1 << 11;
const INNER_MAP: u32 = 1 << 12;
const SEGV_ON_FAULT: u32 = 1 << 17;
const NO_USER_CONV: u32 = 1 << 18;
/// `RDONLY`, `WRONLY` and the same for programs.
const ACCESS: u32 = 0b1_1001_1000;

/// The flags by their names, as far as this agent knows them.
const FLAGS: [(u32, &str); 16] = [
    (NO_PREALLOC, "BPF_F_NO_PREALLOC"),
    (NO_COMMON_LRU, "BPF_F_NO_COMMON_LRU"),
    (NUMA_NODE, "BPF_F_NUMA_NODE"),
    (1 << 3, "BPF_F_RDONLY"),
    (1 << 4, "BPF_F_WRONLY"),
    (STACK_BUILD_ID, "BPF_F_STACK_BUILD_ID"),
    (ZERO_SEED, "BPF_F_ZERO_SEED"),
    (1 << 7, "BPF_F_RDONLY_PROG"),
    (1 << 8, "BPF_F_WRONLY_PROG"),
    (CLONE, "BPF_F_CLONE"),
    (MMAPABLE, "BPF_F_MMAPABLE"),
    (PRESERVE_ELEMS, "BPF_F_PRESERVE_ELEMS"),
    (INNER_MAP, "BPF_F_INNER_MAP"),
    (1 << 13, "BPF_F_LINK"),
    (SEGV_ON_FAULT, "BPF_F_SEGV_ON_FAULT"),
    (NO_USER_CONV, "BPF_F_NO_USER_CONV"),
];

/// What a size may be, in bytes.
enum Size {
    /// There is no such thing in this type.
    None,
    /// One of these.
    OneOf(&'static [u32]),
    /// Within these.
    Within(u32, u32),
    /// Of a stack: whole addresses.
    Addresses,
}

/// What `max_entries` may be.
enum Entries {
    /// The type has no limit of its own: 0.
    Zero,
    /// 1 and more.
    Some,
    /// Bytes of a ring.
    Ring,
}

/// What the kernel wants of a type.
struct Rules {
    key: Size,
    value: Size,
    entries: Entries,
    /// Flags without which it cannot be made.
    needs: u32,
    /// All flags that it takes.
    takes: u32,
}

const INDEX: Size = Size::OneOf(&[4]);
const ANY: Size = Size::Within(1, u32::MAX);
const PER_CPU: Size = Size::Within(1, PER_CPU_VALUE_MAX);
const POINTER: Size = Size::OneOf(&[4]);
const DESCRIPTOR: Size = Size::OneOf(&[4, 8]);

fn rules(map_type: u32) -> Option<Rules> {
    let rules = |key, value, entries, needs, takes| {
        Some(Rules { key, value, entries, needs, takes: takes | needs })
    };
    let is = |kind: types| kind as u32 == map_type;
    let hash = NO_PREALLOC | NUMA_NODE | ACCESS | ZERO_SEED;
    let lru = NO_COMMON_LRU | NUMA_NODE | ACCESS | ZERO_SEED;
    let sockets = NUMA_NODE | (ACCESS & 0b11000);
    if is(types::BPF_MAP_TYPE_HASH) {
        rules(ANY, ANY, Entries::Some, 0, hash)
    } else if is(types::BPF_MAP_TYPE_PERCPU_HASH) {
        rules(ANY, PER_CPU, Entries::Some, 0, hash & !NUMA_NODE)
    } else if is(types::BPF_MAP_TYPE_LRU_HASH) {
        rules(ANY, ANY, Entries::Some, 0, lru)
    } else if is(types::BPF_MAP_TYPE_LRU_PERCPU_HASH) {
        rules(ANY, PER_CPU, Entries::Some, 0, lru & !NUMA_NODE)
    } else if is(types::BPF_MAP_TYPE_HASH_OF_MAPS) {
        rules(ANY, POINTER, Entries::Some, 0, hash)
    } else if is(types::BPF_MAP_TYPE_ARRAY) {
        rules(INDEX, ANY, Entries::Some, 0, NUMA_NODE | MMAPABLE | ACCESS | INNER_MAP)
    } else if is(types::BPF_MAP_TYPE_PERCPU_ARRAY) {
        rules(INDEX, PER_CPU, Entries::Some, 0, ACCESS)
    } else if is(types::BPF_MAP_TYPE_PERF_EVENT_ARRAY) {
        rules(INDEX, POINTER, Entries::Some, 0, sockets | PRESERVE_ELEMS)
    } else if is(types::BPF_MAP_TYPE_PROG_ARRAY)
        || is(types::BPF_MAP_TYPE_CGROUP_ARRAY)
        || is(types::BPF_MAP_TYPE_ARRAY_OF_MAPS)
        || is(types::BPF_MAP_TYPE_XSKMAP)
    {
        rules(INDEX, POINTER, Entries::Some, 0, sockets)
    } else if is(types::BPF_MAP_TYPE_STACK_TRACE) {
        rules(INDEX, Size::Addresses, Entries::Some, 0, sockets | STACK_BUILD_ID)
    } else if is(types::BPF_MAP_TYPE_LPM_TRIE) {
        let key = Size::Within(5, 260);
        rules(key, ANY, Entries::Some, NO_PREALLOC, NUMA_NODE | ACCESS)
    } else if is(types::BPF_MAP_TYPE_DEVMAP)
        || is(types::BPF_MAP_TYPE_DEVMAP_HASH)
        || is(types::BPF_MAP_TYPE_SOCKMAP)
    {
        rules(INDEX, DESCRIPTOR, Entries::Some, 0, sockets)
    } else if is(types::BPF_MAP_TYPE_SOCKHASH) {
        rules(Size::Within(1, STACK_MAX), DESCRIPTOR, Entries::Some, 0, sockets)
    } else if is(types::BPF_MAP_TYPE_CPUMAP) {
        rules(INDEX, DESCRIPTOR, Entries::Some, 0, NUMA_NODE)
    } else if is(types::BPF_MAP_TYPE_REUSEPORT_SOCKARRAY) {
        rules(INDEX, DESCRIPTOR, Entries::Some, 0, NUMA_NODE | ACCESS)
    } else if is(types::BPF_MAP_TYPE_CGROUP_STORAGE)
        || is(types::BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE)
    {
        // An id of a cgroup, or that and an attach type.
        rules(Size::OneOf(&[8, 16]), ANY, Entries::Zero, 0, NUMA_NODE | ACCESS)
    } else if is(types::BPF_MAP_TYPE_SK_STORAGE)
        || is(types::BPF_MAP_TYPE_INODE_STORAGE)
        || is(types::BPF_MAP_TYPE_TASK_STORAGE)
        || is(types::BPF_MAP_TYPE_CGRP_STORAGE)
    {
        rules(INDEX, ANY, Entries::Zero, NO_PREALLOC, CLONE)
    } else if is(types::BPF_MAP_TYPE_QUEUE) || is(types::BPF_MAP_TYPE_STACK) {
        rules(Size::None, ANY, Entries::Some, 0, NUMA_NODE | ACCESS)
    } else if is(types::BPF_MAP_TYPE_BLOOM_FILTER) {
        rules(Size::None, ANY, Entries::Some, 0, NUMA_NODE | ZERO_SEED | ACCESS)
    } else if is(types::BPF_MAP_TYPE_RINGBUF) || is(types::BPF_MAP_TYPE_USER_RINGBUF) {
        rules(Size::None, Size::None, Entries::Ring, 0, NUMA_NODE)
    } else if is(types::BPF_MAP_TYPE_ARENA) {
        rules(Size::None, Size::None, Entries::Some, MMAPABLE, SEGV_ON_FAULT | NO_USER_CONV)
    } else {
        None
    }
}

/// Refuses a map that the kernel would refuse, and says why.
pub(super) fn check(map: &MapRequest) -> Result<(), Error> {
    check_own(map)?;
    let is = |kind: types| kind as u32 == map.map_type;
    let holds_maps = is(types::BPF_MAP_TYPE_ARRAY_OF_MAPS) || is(types::BPF_MAP_TYPE_HASH_OF_MAPS);
    let name = type_name(map.map_type);
    match &map.inner {
        Some(inner) if holds_maps => check_own(inner).map_err(|error| match error {
            Error::Invalid { field, problem } => {
                let field_name = field.trim_start_matches("spec.");
                Error::Invalid { field: "spec.inner", problem: format!("{field_name}: {problem}") }
            }
            error => error,
        }),
        Some(_) => wrong("spec.inner", format!("type {name} holds no maps: leave it out")),
        None if holds_maps => {
            wrong("spec.inner", format!("is missing: what do the maps in type {name} look like?"))
        }
        None => Ok(()),
    }
}

fn check_own(map: &MapRequest) -> Result<(), Error> {
    let is = |kind: types| kind as u32 == map.map_type;
    if is(types::BPF_MAP_TYPE_STRUCT_OPS) {
        let problem = "struct_ops maps are made by the programs that implement them".to_owned();
        return wrong("spec.type", problem);
    }
    let Some(rules) = rules(map.map_type) else { return Ok(()) };
    let name = type_name(map.map_type);
    check_size("spec.key_size", map.key_size, &rules.key, &name)?;
    check_size("spec.value_size", map.value_size, &rules.value, &name)?;
    check_entries(map.max_entries, &rules.entries, &name)?;
    check_flags(map, &rules, &name)?;
    check_extra(map, &name)
}

fn check_size(field: &'static str, size: u32, rule: &Size, name: &str) -> Result<(), Error> {
    let what = if field.ends_with("key_size") { "key" } else { "value" };
    let wanted = match *rule {
        Size::None if size == 0 => return Ok(()),
        Size::OneOf(sizes) if sizes.contains(&size) => return Ok(()),
        Size::Within(least, most) if (least..=most).contains(&size) => return Ok(()),
        Size::Addresses if size >= 8 && size.is_multiple_of(8) => return Ok(()),
        Size::None => format!("type {name} has no {what}s, so it must be 0"),
        Size::OneOf(&[one]) => format!("a {what} of type {name} has {one} bytes"),
        Size::OneOf(sizes) => {
            let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
            format!("a {what} of type {name} has {} bytes", sizes.join(" or "))
        }
        Size::Within(1, u32::MAX) => format!("a {what} has 1 byte at least"),
        Size::Within(5, 260) => format!(
            "a key of type {name} is a prefix length of 4 bytes and 1 to 256 bytes of address"
        ),
        Size::Within(least, most) => format!("a {what} of type {name} has {least} to {most} bytes"),
        Size::Addresses => {
            format!("a value of type {name} is a number of addresses of 8 bytes each")
        }
    };
    wrong(field, format!("{size} does not do: {wanted}"))
}

fn check_entries(max: u32, rule: &Entries, name: &str) -> Result<(), Error> {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    let rule = match rule {
        Entries::Zero if max != 0 => {
            format!("type {name} has as many entries as there are owners, so it must be 0")
        }
        Entries::Some if max == 0 => format!("type {name} holds 1 entry at least"),
        Entries::Ring if !(max.is_power_of_two() && max.is_multiple_of(page)) => {
            format!("the bytes of type {name} are a power of two and a multiple of {page}")
        }
        _ => return Ok(()),
    };
    wrong("spec.max_entries", format!("{max} does not do: {rule}"))
}

fn check_flags(map: &MapRequest, rules: &Rules, name: &str) -> Result<(), Error> {
    let numa = if map.numa_node.is_some() { NUMA_NODE } else { 0 };
    let flags = map.flags | numa;
    let named = |wanted: u32| {
        let names = FLAGS.iter().filter(|(flag, _)| flag & wanted != 0);
        names.map(|(flag, name)| format!("{name} ({flag})")).collect::<Vec<_>>().join(", ")
    };
    let missing = rules.needs & !flags;
    if missing != 0 {
        return wrong("spec.flags", format!("type {name} needs {}", named(missing)));
    }
    let known = FLAGS.iter().fold(0, |all, (flag, _)| all | flag);
    let odd = flags & known & !rules.takes;
    if odd & numa != 0 {
        return wrong("spec.numa_node", format!("type {name} takes no NUMA node"));
    }
    if odd != 0 {
        return wrong("spec.flags", format!("type {name} does not take {}", named(odd)));
    }
    for (one, other) in [(1 << 3, 1 << 4), (1 << 7, 1 << 8)] {
        if flags & one != 0 && flags & other != 0 {
            let both = named(one | other);
            return wrong("spec.flags", format!("{both} together leave nothing to do"));
        }
    }
    Ok(())
}

fn check_extra(map: &MapRequest, name: &str) -> Result<(), Error> {
    let is = |kind: types| kind as u32 == map.map_type;
    let extra = map.map_extra;
    let page = rustix::param::page_size() as u64;
    let rule = if is(types::BPF_MAP_TYPE_BLOOM_FILTER) {
        if extra < 16 {
            return Ok(());
        }
        "it is a number of hash functions, 1 to 15, or 0 for 5".to_owned()
    } else if is(types::BPF_MAP_TYPE_ARENA) {
        if extra.is_multiple_of(page) {
            return Ok(());
        }
        format!("it is the address of an arena, a multiple of {page}, or 0")
    } else if extra == 0 {
        return Ok(());
    } else {
        format!("type {name} has no use for it, so it must be 0")
    };
    wrong("spec.map_extra", format!("{extra} does not do: {rule}"))
}

fn wrong(field: &'static str, problem: String) -> Result<(), Error> {
    Err(Error::Invalid { field, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> MapRequest {
        MapRequest { map_type, key_size, value_size, max_entries, ..MapRequest::default() }
    }

    #[test]
    fn what_the_kernel_refuses_is_named() {
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
            (map(24, 4, 8, 7), "as many entries as there are owners"),
            (map(3, 4, 8, 1), "a value of type prog_array has 4 bytes"),
            (map(15, 4, 5, 1), "4 or 8 bytes"),
            (map(7, 4, 12, 1), "addresses of 8 bytes"),
            (map(12, 4, 4, 1), "spec.inner: is missing"),
            (map(33, 0, 0, 1), "BPF_F_MMAPABLE (1024)"),
            (map(26, 4, 8, 1), "spec.type"),
            (MapRequest { flags: NO_PREALLOC, ..map(9, 4, 8, 1) }, "take BPF_F_NO_PREALLOC (1)"),
            (MapRequest { flags: 0b11000, ..map(1, 4, 8, 1) }, "together"),
            (MapRequest { numa_node: Some(0), ..map(5, 4, 8, 1) }, "spec.numa_node"),
            (MapRequest { map_extra: 16, ..map(30, 0, 8, 1) }, "hash functions"),
            (MapRequest { map_extra: 1, ..map(1, 4, 8, 1) }, "no use for it"),
            (MapRequest { inner: Some(Box::default()), ..map(1, 4, 8, 1) }, "holds no maps"),
            (
                MapRequest { inner: Some(Box::new(map(2, 8, 8, 1))), ..map(13, 4, 4, 1) },
                "spec.inner: key_size: 8",
            ),
        ] {
            let said = check(&map).unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        }
    }

    /// Every type, made the right way, passes here and in the kernel.
    #[test]
    fn what_the_kernel_takes_is_not_refused() {
        let with = |flags, map| MapRequest { flags, ..map };
        let inner = || Some(Box::new(map(2, 4, 8, 1)));
        let storage = [24, 28, 29, 32].map(|kind| with(NO_PREALLOC, map(kind, 4, 8, 0)));
        for good in storage {
            check(&good).unwrap();
        }
        let mut all: Vec<MapRequest> =
            [1, 2, 5, 6, 9, 10, 20].iter().map(|&kind| map(kind, 4, 8, 8)).collect();
        all.extend([3, 4, 8, 14, 15, 16, 17, 18, 25].map(|kind| map(kind, 4, 4, 2)));
        all.extend([22, 23, 30].map(|kind| map(kind, 0, 12, 8)));
        all.extend([27, 31].map(|kind| map(kind, 0, 0, 4096)));
        all.extend([19, 21].map(|kind| map(kind, 8, 8, 0)));
        all.extend([12, 13].map(|kind| MapRequest { inner: inner(), ..map(kind, 4, 4, 2) }));
        all.extend([
            map(7, 4, 80, 8),
            with(NO_PREALLOC, map(11, 8, 8, 8)),
            with(MMAPABLE, map(33, 0, 0, 2)),
            with(MMAPABLE | NUMA_NODE | INNER_MAP, map(2, 4, 8, 8)),
            with(NO_PREALLOC | NUMA_NODE | ZERO_SEED | ACCESS & !0b1_0001_0000, map(1, 4, 8, 8)),
            with(NO_COMMON_LRU, map(9, 4, 8, 8)),
            with(PRESERVE_ELEMS, map(4, 4, 4, 2)),
            with(STACK_BUILD_ID, map(7, 4, 64, 8)),
            MapRequest { map_extra: 15, ..map(30, 0, 12, 8) },
            MapRequest { numa_node: Some(0), ..map(1, 4, 8, 8) },
        ]);
        for good in all {
            check(&good).unwrap();
            crate::broker::create_map(&good, None).unwrap_or_else(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                panic!("{good:?}: {error}: {cause:?}")
            });
        }
    }
}
