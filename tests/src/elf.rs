//! The tests' own eBPF objects, as clang makes them of `bpf/*.bpf.c`.

macro_rules! objects {
    ($($(#[$about:meta])* $name:ident = $file:literal;)+) => {$(
        $(#[$about])*
        pub const $name: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/", $file, ".o"));
    )+};
}

objects! {
    /// A program for every kind of section, each counting its calls in `hits`.
    HOOKS = "hooks";
    /// Global variables in `.rodata`, `.data` and `.bss`.
    GLOBALS = "globals";
    /// Maps whose keys and values are of many types; no programs.
    TYPED = "typed";
    /// Maps of the types whose entries are printed and read back; no programs that do anything.
    FORMATS = "formats";
    /// A map whose author says how its numbers are to be shown; no programs.
    HINTS = "hints";
    /// Maps whose types say in tags what they count; no programs.
    ANNOTATED = "annotated";
    /// A map to share, and one to be pinned by its name.
    SHARED = "shared";
    /// Programs that write records into a ring buffer and a perf buffer.
    EVENTS = "events";
    /// Maps whose entries only programs make: storage of cgroups, stacks.
    KEPT = "kept";
    /// Writes more records into a ring buffer than anybody reads.
    BURST = "burst";
    /// Maps whose slots lead to programs, devices, CPUs, cgroups and maps, and who goes there.
    REFERENCES = "references";
    /// Maps that the kernel makes with BTF only: storage, and values with spin locks; no programs.
    SPECIAL = "special";
    /// A map of type `struct_ops`, for bpftool.
    CONGESTION = "congestion";
    /// Counts sent bytes as the kernel's first samples did, in a map that a plain struct defines.
    SOCKEX_OLD = "sockex_old";
    /// The same with a map that BTF defines.
    SOCKEX_BTF = "sockex_btf";
    /// A program that the verifier refuses.
    REJECTED = "rejected";
    /// A program that the verifier refuses with a long log.
    LONG_LOG = "long_log";
    /// A bloom filter of 16 MiB; no programs.
    LARGE_FILTER = "large_filter";
    /// A map of maps of 256 MiB each; no programs.
    LARGE_INNER = "large_inner";
    /// Programs that the verifier takes seconds for.
    SLOW = "slow";
    /// Two hundred maps of one struct with 20,000 members; no programs.
    WIDE = "wide";
    /// The same, where each map has a type of its own for its keys.
    WIDE_KEYS = "wide_keys";
    /// For kernels with kprobes.
    KPROBE = "kprobe";
    /// For kernels with BPF trampolines.
    FENTRY = "fentry";
    /// For kernels with BPF as a security module.
    LSM = "lsm";
}
