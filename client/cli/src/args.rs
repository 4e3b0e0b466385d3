//! The command line as types. Whatever is accepted here can be carried out or refused by the
//! agent; nothing is parsed again further in.

#![allow(clippy::doc_markdown, reason = "these comments are the help texts")]

use std::path::PathBuf;
use std::time::Duration;

use bpfgate_client::name::{MapRef, ObjectName, ProgramName};
use bpfgate_client::v1::{CounterSelector, MapType};
use bpfgate_client::{DEFAULT_ENDPOINT, Endpoint, UpdateMode, parse_selector};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;
use crate::render::Format;
use crate::values::{
    Counter, MapCounter, Pair, Scalar, duration, flags, hex_or_decimal, inner_map, label, map_ref,
    map_type, pair,
};

pub(crate) use crate::target::TargetArgs;

/// Read, write and watch eBPF maps through a bpfgate agent, without a capability.
#[derive(Debug, Parser)]
#[command(name = "bpfgate", version, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where the agent listens: unix:PATH or http://HOST:PORT
    #[arg(long, global = true, env = "BPFGATE_ENDPOINT", hide_env_values = true, default_value = DEFAULT_ENDPOINT)]
    #[arg(help_heading = "Global options")]
    pub(crate) endpoint: Endpoint,
    /// How to print; in JSON 64-bit numbers out of maps are strings
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    #[arg(value_name = "FORMAT", help_heading = "Global options")]
    pub(crate) output: Format,
    /// How long to wait for an answer: 500ms, 10s, 2m
    #[arg(long, global = true, default_value = "10s", value_parser = duration)]
    #[arg(value_name = "DURATION", help_heading = "Global options")]
    pub(crate) timeout: Duration,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Maps and their entries
    #[command(subcommand)]
    Map(MapCommand),
    /// Loaded ELF files: their programs and maps
    #[command(subcommand)]
    Object(ObjectCommand),
    /// Where programs are attached
    #[command(subcommand)]
    Link(LinkCommand),
    /// Numbers in maps as they change
    #[command(subcommand)]
    Watch(WatchCommand),
    /// The agent, and who you are to it
    #[command(subcommand)]
    Agent(AgentCommand),
}

const DATA_HELP: &str = "\
KEY and VALUE follow the map's schema:
  6  -1  0x1f  true  ENUM_NAME        a number, by its type
  10.0.0.1  fe80::1  aa:bb:cc:dd:ee:ff  an address
  '{\"saddr\":\"10.0.0.1\",\"dport\":443}'  a struct, as JSON
  hex:0a000001                        the bytes themselves; always works
A KEY or VALUE that starts with '-' and is no number goes behind `--`.";

#[derive(Debug, Subcommand)]
pub(crate) enum MapCommand {
    /// List the maps that the agent owns
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
    },
    /// Show all that is known of a map
    Show {
        #[command(flatten)]
        map: MapArg,
    },
    /// Make a map that the agent owns
    Create(Box<CreateArgs>),
    /// Forget a map made by `map create`; the kernel frees it with its last user
    Drop {
        #[command(flatten)]
        map: MapArg,
    },
    /// Read one entry
    #[command(after_help = DATA_HELP)]
    Lookup {
        #[command(flatten)]
        map: MapArg,
        /// Of the entry
        #[arg(allow_negative_numbers = true)]
        key: String,
        /// A row for each CPU instead of their sum
        #[arg(long)]
        per_cpu: bool,
    },
    /// Write one entry
    #[command(after_help = DATA_HELP)]
    Update {
        #[command(flatten)]
        map: MapArg,
        /// Of the entry
        #[arg(allow_negative_numbers = true)]
        key: String,
        /// What to write; on a per-CPU map to every CPU
        #[arg(allow_negative_numbers = true)]
        value: String,
        /// any: make or replace; noexist: only make; exist: only replace
        #[arg(long, value_enum, default_value_t = Mode::Any)]
        mode: Mode,
        /// VALUE is a JSON list with one value for each CPU
        #[arg(long)]
        per_cpu: bool,
    },
    /// Remove one entry
    #[command(after_help = DATA_HELP)]
    Delete {
        #[command(flatten)]
        map: MapArg,
        /// Of the entry
        #[arg(allow_negative_numbers = true)]
        key: String,
    },
    /// Read a whole map
    Dump(DumpArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MapArg {
    /// OBJECT/MAP, MAP, id:123 or pin:PATH
    #[arg(value_name = "MAP", value_parser = map_ref)]
    pub(crate) map: MapRef,
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
    #[arg(long, value_name = "TYPE:KEY:VALUE:ENTRIES", value_parser = inner_map)]
    pub(crate) inner: Option<bpfgate_client::v1::MapSpec>,
    /// Your own notes
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub(crate) labels: Vec<Pair>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectCommand {
    /// Load an ELF file, or one of the agent's built-in programs
    Load(LoadArgs),
    /// List the loaded objects
    List {
        /// Only objects with this label
        #[arg(long = "label", value_name = "K=V", value_parser = label)]
        labels: Vec<Pair>,
    },
    /// Show an object, its programs and its maps
    Show {
        /// Of the object
        name: ObjectName,
    },
    /// Detach an object's programs and forget its programs and maps
    Unload {
        /// Of the object
        name: ObjectName,
    },
}

const LOAD_HELP: &str = "\
Examples:
  bpfgate object load pc --builtin proto-counters
  bpfgate object load fw --file fw.bpf.o --set max_rate=1000 --share flows=pc/flows
  bpfgate object load fw --file fw.bpf.o --counter stats:rx.bytes=monotonic:By";

#[derive(Debug, Args)]
#[command(after_help = LOAD_HELP)]
pub(crate) struct LoadArgs {
    /// What to call it: 1 to 63 letters, digits, `_`, `.` and `-`
    pub(crate) name: ObjectName,
    #[command(flatten)]
    pub(crate) source: LoadSource,
    /// Set a global variable before the load: a number, true, text, JSON or hex:
    #[arg(long = "set", value_name = "G=V", value_parser = pair)]
    pub(crate) globals: Vec<Pair>,
    /// Your own notes
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub(crate) labels: Vec<Pair>,
    /// Use an existing map for one of the object's
    #[arg(long = "share", value_name = "MAP=REF", value_parser = pair)]
    pub(crate) shares: Vec<Pair>,
    /// What a number in a map counts, for watches
    #[arg(long = "counter", value_name = "MAP[:FIELD]=KIND[:UNIT]")]
    pub(crate) counters: Vec<MapCounter>,
    /// If the verifier rejects it, show all that the agent sent of its log, not the last 20 lines
    #[arg(long)]
    pub(crate) full_log: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct LoadSource {
    /// The ELF file
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// A built-in program; `bpfgate agent show` lists them
    #[arg(long, value_name = "NAME")]
    pub(crate) builtin: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LinkCommand {
    /// Attach a program
    Attach {
        /// OBJECT/PROGRAM
        program: ProgramName,
        #[command(flatten)]
        target: Box<TargetArgs>,
    },
    /// List the attachments
    List {
        /// Only those of this object
        object: Option<ObjectName>,
    },
    /// End an attachment
    Detach {
        /// Its id; `bpfgate link list` shows it
        #[arg(value_name = "LINK")]
        id: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WatchCommand {
    /// Follow counters: a live table on a terminal, lines elsewhere
    Counters(CountersArgs),
}

const SELECTOR_HELP: &str = "\
A SELECTOR is MAP[{LABEL=VALUE,…}][:FIELD,…]; none means everything:
  proto-counters/stats               all of one map
  'proto-counters/*'                 all maps of one object
  'flows{dport=443|80}:bytes'        one field, of keys with one of two ports
  'flows{saddr!=10.0.0.1}'           all but one key
A key that is one value has the label \"key\".

Lines are only printed for what changed. ^C and --duration end a watch with exit code 0.";

#[derive(Debug, Args)]
#[command(after_help = SELECTOR_HELP)]
pub(crate) struct CountersArgs {
    /// What to follow
    #[arg(value_name = "SELECTOR", value_parser = parse_selector)]
    pub(crate) selectors: Vec<CounterSelector>,
    /// Time from one reading to the next
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// Print what there is now, and end
    #[arg(long, conflicts_with = "duration")]
    pub(crate) once: bool,
    /// End after this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Each CPU by itself instead of their sum
    #[arg(long)]
    pub(crate) per_cpu: bool,
    /// Also what is zero and never moved
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Show the agent's version, host, limits and built-in programs
    Show,
    /// Show who the agent takes you for
    Whoami,
}
