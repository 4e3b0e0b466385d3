//! `bpfgate object`.

use std::path::PathBuf;
use std::time::Duration;

use bpfgate_client::name::ObjectName;
use clap::{Args, Subcommand};

use crate::complete;
use crate::values::{MapCounter, Pair, duration, label, pair};

#[derive(Debug, Subcommand)]
pub(crate) enum ObjectCommand {
    /// Load an ELF file, or one of the agent's built-in programs
    Load(LoadArgs),
    /// List the loaded objects
    #[command(visible_alias = "ls")]
    List {
        /// Only objects with this label
        #[arg(long = "label", value_name = "K=V", value_parser = label)]
        labels: Vec<Pair>,
    },
    /// Show an object, its programs and its maps
    Show {
        /// Of the object
        #[arg(add = complete::object())]
        name: ObjectName,
    },
    /// Show how often programs ran and how long that took
    ///
    /// The kernel counts only while its statistics are on: with --for, or with the sysctl
    /// kernel.bpf_stats_enabled.
    Stats {
        /// Only the programs of this object
        #[arg(add = complete::object())]
        name: Option<ObjectName>,
        /// Turn the kernel's statistics on for so long and show what was counted in it
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        time: Option<Duration>,
    },
    /// Detach objects' programs and forget their programs and maps
    ///
    /// A map that another object shares becomes that one's.
    #[command(visible_alias = "rm")]
    Unload {
        /// Of the objects; one that fails does not stop the others
        #[arg(value_name = "NAME", required = true, add = complete::object())]
        names: Vec<ObjectName>,
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
    /// If the verifier rejects it, show all of its log, up to 16 MiB, not the last 20 lines
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
    #[arg(long, value_name = "NAME", add = complete::builtin())]
    pub(crate) builtin: Option<String>,
}
