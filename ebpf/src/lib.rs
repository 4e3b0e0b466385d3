//! Built-in eBPF programs, as the ELF objects that clang makes of `bpf/*.bpf.c`.
//!
//! An object is data here: loading it is the agent's business. Every map with keys or values has
//! them typed in BTF. Beside each object stands what its BTF cannot say: which fields are counters.
//!
//! | built-in | program | attach to |
//! |---|---|---|
//! | `proto-counters` | `count_protocols` | a packet socket that is bound to an interface |
//! | `if-counters` | `xdp_count`, or `tcx_ingress`; `tcx_egress` | an interface |
//! | `syscall-counters` | `count_syscalls` | raw tracepoint `sys_enter` |
//! | `exec-events` | `record_exec` | tracepoint `sched:sched_process_exec` |

#![forbid(unsafe_code)]

/// A built-in object.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// What callers load it by: `proto-counters`.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// The ELF object, for the target's byte order. Starts at a multiple of 8, as parsers that
    /// read it in place need.
    pub elf: &'static [u8],
    /// The maps with counters in their values.
    pub counters: &'static [MapCounters],
    /// Which numbers in the maps' keys stand for something on the host.
    pub names: &'static [KeyName],
    /// The maps that carry records, whose type the map itself cannot say.
    pub records: &'static [MapRecords],
}

/// Which numbers in a map's values are counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapCounters {
    /// The map's name in the object.
    pub map: &'static str,
    /// One for each counter in a value.
    pub counters: &'static [Counter],
}

/// A number that only grows, as long as the object stays loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Path of the field in the value; empty for a value that is one number.
    pub field: &'static str,
    /// As in `OpenMetrics` and UCUM: `By`, `packets`, `calls`, `records`.
    pub unit: &'static str,
}

/// A number in a map's key that stands for something on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyName {
    /// The map's name in the object.
    pub map: &'static str,
    /// Path of the field in the key; empty for a key that is one number.
    pub field: &'static str,
    /// As in the tag `bpfgate:…` on a field: `ifindex`, `syscall`, `protocol`.
    pub what: &'static str,
}

/// What the records of a ring buffer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapRecords {
    /// The map's name in the object.
    pub map: &'static str,
    /// The name of a struct in the object's BTF.
    pub record: &'static str,
}

/// An ELF object at an address that its headers can be read at in place.
#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

macro_rules! object {
    ($file:literal) => {{
        static OBJECT: &Aligned<[u8]> =
            &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $file)));
        &OBJECT.0
    }};
}

const PACKETS_AND_BYTES: &[Counter] =
    &[Counter { field: "packets", unit: "packets" }, Counter { field: "bytes", unit: "By" }];
const CALLS: &[Counter] = &[Counter { field: "", unit: "calls" }];

static BUILTINS: [Builtin; 4] = [
    Builtin {
        name: "exec-events",
        summary: "a record for every program that starts",
        elf: object!("exec_events.o"),
        counters: &[MapCounters {
            map: "lost",
            counters: &[Counter { field: "", unit: "records" }],
        }],
        names: &[],
        records: &[MapRecords { map: "events", record: "exec_event" }],
    },
    Builtin {
        name: "if-counters",
        summary: "packets and bytes by interface, direction and IP protocol (XDP, tcx)",
        elf: object!("if_counters.o"),
        counters: &[
            MapCounters { map: "if_counters", counters: PACKETS_AND_BYTES },
            MapCounters { map: "if_missed", counters: &[Counter { field: "", unit: "packets" }] },
        ],
        names: &[
            KeyName { map: "if_counters", field: "ifindex", what: "ifindex" },
            KeyName { map: "if_counters", field: "protocol", what: "protocol" },
        ],
        records: &[],
    },
    Builtin {
        name: "proto-counters",
        summary: "packets and bytes by IP protocol on one interface (socket filter)",
        elf: object!("proto_counters.o"),
        counters: &[
            MapCounters { map: "by_proto", counters: &[Counter { field: "", unit: "By" }] },
            MapCounters { map: "stats", counters: PACKETS_AND_BYTES },
        ],
        names: &[
            KeyName { map: "by_proto", field: "", what: "protocol" },
            KeyName { map: "stats", field: "", what: "protocol" },
        ],
        records: &[],
    },
    Builtin {
        name: "syscall-counters",
        summary: "system calls on the whole host by number (raw tracepoint)",
        elf: object!("syscall_counters.o"),
        counters: &[
            MapCounters { map: "syscalls", counters: CALLS },
            MapCounters { map: "compat_syscalls", counters: CALLS },
            MapCounters { map: "missed", counters: CALLS },
        ],
        // 32-bit processes have numbers of their own.
        names: &[KeyName { map: "syscalls", field: "", what: "syscall" }],
        records: &[],
    },
];

/// All built-ins, by name.
pub fn all() -> &'static [Builtin] {
    &BUILTINS
}

/// The built-in of that name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|builtin| builtin.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name() {
        for builtin in all() {
            assert_eq!(find(builtin.name).unwrap().summary, builtin.summary);
        }
        assert!(all().is_sorted_by_key(|builtin| builtin.name));
        assert!(find("proto_counters").is_none());
    }

    #[test]
    fn objects_are_aligned_elf_for_bpf() {
        const EM_BPF: u16 = 247;
        for builtin in all() {
            assert!(builtin.elf.starts_with(b"\x7fELF"), "{}", builtin.name);
            assert_eq!(builtin.elf.as_ptr().align_offset(8), 0, "{}", builtin.name);
            assert_eq!(u16::from_ne_bytes([builtin.elf[18], builtin.elf[19]]), EM_BPF);
        }
    }

    #[test]
    fn declared_names_are_in_the_object() {
        let mentions = |builtin: &Builtin, name: &str| {
            let text = format!("\0{name}\0");
            builtin.elf.windows(text.len()).any(|bytes| bytes == text.as_bytes())
        };
        for builtin in all() {
            for MapCounters { map, counters } in builtin.counters {
                assert!(mentions(builtin, map), "{}: {map}", builtin.name);
                for Counter { field, .. } in *counters {
                    assert!(field.is_empty() || mentions(builtin, field), "{field}");
                }
            }
            for MapRecords { map, record } in builtin.records {
                assert!(mentions(builtin, map), "{}: {map}", builtin.name);
                assert!(mentions(builtin, record), "{}: {record}", builtin.name);
            }
        }
    }
}
