//! `bpfgate map`.

use std::path::PathBuf;

use bpfgate_client::UpdateMode;
use bpfgate_client::name::MapRef;
use bpfgate_client::v1::{MapSpec, MapType};
use clap::{Args, Subcommand, ValueEnum};

use crate::complete;
use crate::shown::Resolve;
use crate::values::{
    Counter, Pair, Scalar, flags, hex_or_decimal, inner_map, label, map_ref, map_type,
};

const DATA_HELP: &str = "\
KEY and VALUE follow the map's schema:
  6  -1  0x1f  true  ENUM_NAME        a number, by its type
  10.0.0.1  fe80::1  aa:bb:cc:dd:ee:ff  an address
  10.0.0.0/8  2001:db8::/32           a prefix, in an lpm_trie
  TCP  eth0  alice  openat            a name of the agent's host, where the map's maker declared one
  '{\"saddr\":\"10.0.0.1\",\"dport\":443}'  a struct, as JSON
  hex:0a000001                        the bytes themselves
In maps whose slots lead to something else, by its name: a map, OBJECT/PROGRAM, eth0 or
eth0=OBJECT/PROGRAM, queue=64, /sys/fs/cgroup/a, tcp:127.0.0.1:80.
A KEY or VALUE that starts with '-' and is no number goes behind `--`.";

#[derive(Debug, Subcommand)]
pub(crate) enum MapCommand {
    /// List the maps that the agent owns, or all of the host
    #[command(visible_alias = "ls")]
    List {
        /// Names, in which `*` and `?` may stand for characters other than `/`
        #[arg(value_name = "PATTERN")]
        patterns: Vec<String>,
        /// Only maps of this type
        #[arg(long = "type", value_name = "TYPE", value_parser = map_type)]
        types: Vec<MapType>,
        /// Only maps with this label
        #[arg(long = "label", value_name = "K=V", value_parser = label)]
        labels: Vec<Pair>,
        /// Also those that others made, with their pins and the processes that hold them; PATTERNs
        /// are then for the kernel's names
        #[arg(long)]
        all: bool,
    },
    /// Show all that is known of a map
    Show {
        #[command(flatten)]
        map: MapArg,
    },
    /// Make a map that the agent owns
    Create(Box<CreateArgs>),
    /// Forget maps made by `map create`; the kernel frees each with its last user
    #[command(visible_alias = "rm")]
    Drop {
        #[command(flatten)]
        maps: MapsArg,
    },
    /// Remove all entries of the agent's maps, or set them to zero
    #[command(after_help = CLEAR_HELP)]
    Clear {
        #[command(flatten)]
        maps: MapsArg,
    },
    /// Read entries by their keys
    #[command(after_help = DATA_HELP)]
    Lookup(LookupArgs),
    /// Write one entry
    #[command(after_help = DATA_HELP)]
    Update(UpdateArgs),
    /// Remove entries
    #[command(after_help = DATA_HELP)]
    Delete {
        #[command(flatten)]
        map: MapArg,
        /// Of the entries; several go in one call, up to the first that has none
        #[arg(value_name = "KEY", required = true, allow_negative_numbers = true)]
        keys: Vec<String>,
        /// A key without an entry is no failure
        #[arg(long)]
        missing_ok: bool,
        #[command(flatten)]
        fields: FieldArgs,
    },
    /// Add a value to a queue, a stack or a bloom filter
    #[command(after_help = DATA_HELP)]
    Push {
        #[command(flatten)]
        map: MapArg,
        /// What to add
        #[arg(allow_negative_numbers = true)]
        value: String,
        /// In a full queue or stack, drop the oldest value to make room
        #[arg(long)]
        replace_oldest: bool,
    },
    /// Take the next value out of a queue or a stack
    Pop {
        #[command(flatten)]
        map: MapArg,
    },
    /// Read what pop would take, or ask a bloom filter for VALUE
    Peek {
        #[command(flatten)]
        map: MapArg,
        /// For bloom filters, and only for these
        #[arg(allow_negative_numbers = true)]
        value: Option<String>,
    },
    /// Read a whole map
    #[command(after_help = DUMP_HELP)]
    Dump(DumpArgs),
    /// Write the entries that dump printed
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreArgs),
    /// Forbid all writes but those of eBPF programs, for good
    Freeze {
        #[command(flatten)]
        map: MapArg,
    },
    /// Keep a map in the kernel under a path, also without the agent
    Pin {
        #[command(flatten)]
        map: MapArg,
        /// Below the agent's bpffs, as in pin:PATH; no dots in it
        path: String,
    },
    /// Remove a pin of one of the agent's maps
    Unpin {
        /// Below the agent's bpffs, as in pin:PATH
        path: String,
    },
}

const DUMP_HELP: &str = "\
Values of a per-CPU map are added up, unless --per-cpu or -o bpftool is given; what has no sum, such as
text and unions, is a list with one for each CPU.
`map restore` reads what -o json, jsonl, csv and bpftool print. The first three show what the types
do: bytes between fields and behind a text's end are lost; -o bpftool has every byte.
^C ends a dump with exit code 130 between two entries; a JSON list is then left open.";

const CLEAR_HELP: &str = "\
Nothing is asked. Entries that can be deleted are; those of arrays become zero; queues and stacks
are popped. What programs write meanwhile may stay.";

const RESTORE_HELP: &str = "\
The format is found out: JSON as a list or an object a line, CSV, or as bpftool prints it.
Entries are written in order. At the first that does not fit or is refused, and at ^C, it stops and
says how many are in the map.
  bpfgate map dump flows -o jsonl >flows.jsonl
  bpfgate map restore flows flows.jsonl
  bpfgate map dump pc/stats -o jsonl --per-cpu | ssh other bpfgate map restore pc/stats";

#[derive(Debug, Args)]
pub(crate) struct MapArg {
    /// OBJECT/MAP, MAP, id:123 or pin:PATH
    #[arg(value_name = "MAP", value_parser = map_ref, add = complete::map())]
    pub(crate) map: MapRef,
}

#[derive(Debug, Args)]
pub(crate) struct MapsArg {
    /// OBJECT/MAP, MAP, id:123 or pin:PATH; of several, one that fails does not stop the others
    #[arg(value_name = "MAP", required = true, value_parser = map_ref, add = complete::map())]
    pub(crate) maps: Vec<MapRef>,
}

/// What Update does about an entry that is or is not there.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    Any,
    Noexist,
    Exist,
}

impl From<Mode> for UpdateMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Any => Self::Any,
            Mode::Noexist => Self::Noexist,
            Mode::Exist => Self::Exist,
        }
    }
}

/// How fields are read and written.
#[derive(Debug, Args)]
pub(crate) struct FieldArgs {
    /// A field of the key by the name that its number has on the agent's host, as in uid=user, or of
    /// key or value in another form; WHAT is one of ifindex, cgroup, user, syscall, protocol, number,
    /// ip, mac, hex
    #[arg(long, value_name = "FIELD=WHAT")]
    pub(crate) resolve: Vec<Resolve>,
}

/// How fields are shown.
#[derive(Debug, Args)]
pub(crate) struct ShownArgs {
    /// Keys by name where it is known what their numbers stand for: openat, TCP, eth0, alice
    #[arg(long)]
    pub(crate) names: bool,
    #[command(flatten)]
    pub(crate) fields: FieldArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LookupArgs {
    #[command(flatten)]
    pub(crate) map: MapArg,
    /// Of the entries
    #[arg(value_name = "KEY", required = true, allow_negative_numbers = true)]
    pub(crate) keys: Vec<String>,
    /// A row for each CPU instead of their sum
    #[arg(long)]
    pub(crate) per_cpu: bool,
    /// Remove what was read, in one step each
    #[arg(long)]
    pub(crate) delete: bool,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) map: MapArg,
    /// Of the entry
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
    /// What to write; on a per-CPU map to every CPU
    #[arg(allow_negative_numbers = true)]
    pub(crate) value: String,
    /// any: make or replace; noexist: only make; exist: only replace
    #[arg(long, value_enum, default_value_t = Mode::Any)]
    pub(crate) mode: Mode,
    /// VALUE is a JSON list with one value for each CPU
    #[arg(long)]
    pub(crate) per_cpu: bool,
    #[command(flatten)]
    pub(crate) fields: FieldArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) map: MapArg,
    /// What dump printed; - is standard input
    #[arg(default_value = "-", hide_default_value = true)]
    pub(crate) file: PathBuf,
    /// any: make or replace; noexist: only make; exist: only replace
    #[arg(long, value_enum, default_value_t = Mode::Any)]
    pub(crate) mode: Mode,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    pub(crate) map: MapArg,
    /// Only the keys
    #[arg(long, conflicts_with_all = ["values", "per_cpu"])]
    pub(crate) keys: bool,
    /// Only the values
    #[arg(long)]
    pub(crate) values: bool,
    /// Stop after this many entries
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// A row for each CPU instead of their sum
    #[arg(long)]
    pub(crate) per_cpu: bool,
    #[command(flatten)]
    pub(crate) shown: ShownArgs,
}

const CREATE_HELP: &str = "\
Examples:
  bpfgate map create hits --type hash --key-type ipv4 --value-type u64 --max-entries 1024 \\
          --counter monotonic:packets
  bpfgate map create blobs --type lru_hash --key 12 --value 64 --max-entries 1024
  bpfgate map create tables --type array_of_maps --key 4 --value 4 --max-entries 8 \\
          --inner hash:4:8:1024";

#[derive(Debug, Args)]
#[command(after_help = CREATE_HELP)]
pub(crate) struct CreateArgs {
    /// 1 to 15 letters, digits, `_` and `.`
    pub(crate) name: String,
    /// hash, array, percpu_hash, lru_hash, lpm_trie, … as bpftool names them
    #[arg(long = "type", value_name = "TYPE", value_parser = map_type)]
    pub(crate) kind: MapType,
    /// Bytes of a key; --key-type does without
    #[arg(long, value_name = "BYTES")]
    pub(crate) key: Option<u32>,
    /// Bytes of a value; --value-type does without
    #[arg(long, value_name = "BYTES")]
    pub(crate) value: Option<u32>,
    /// Most entries, or bytes of a ring buffer
    #[arg(long, value_name = "N", value_parser = hex_or_decimal::<u32>)]
    pub(crate) max_entries: u32,
    /// What a key is; be: in network byte order, text and bytes need their size
    #[arg(long, value_name = "SCALAR", value_enum)]
    pub(crate) key_type: Option<Scalar>,
    /// What a value is
    #[arg(long, value_name = "SCALAR", value_enum)]
    pub(crate) value_type: Option<Scalar>,
    /// What the value counts, for watches: monotonic, gauge or histogram, and a unit
    #[arg(long, value_name = "KIND[:UNIT]")]
    pub(crate) counter: Option<Counter>,
    /// BPF_F_* in small letters without the BPF_F_, by commas: no_prealloc,mmapable; or a number
    #[arg(long, value_name = "FLAGS", value_parser = flags, default_value = "0")]
    #[arg(hide_default_value = true)]
    pub(crate) flags: u32,
    /// Memory on this node
    #[arg(long, value_name = "NODE")]
    pub(crate) numa_node: Option<u32>,
    /// By type: hash functions of a bloom filter, address of an arena
    #[arg(long, value_name = "N", value_parser = hex_or_decimal::<u64>, default_value = "0")]
    #[arg(hide_default_value = true)]
    pub(crate) map_extra: u64,
    /// For maps of maps: what every inner map looks like
    #[arg(long, value_name = "TYPE:KEY:VALUE:ENTRIES[:FLAGS]", value_parser = inner_map)]
    pub(crate) inner: Option<MapSpec>,
    /// Your own notes
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub(crate) labels: Vec<Pair>,
}
