//! `bpfgate watch`.

use std::time::Duration;

use bpfgate_client::parse_selector;
use bpfgate_client::v1::CounterSelector;
use clap::{Args, Subcommand};

use crate::board::Sort;
use crate::values::duration;

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

Lines are only printed for what changed. ^C and --duration end a watch with exit code 0. When the
agent goes away a watch waits for it, says so, and goes on.";

#[derive(Debug, Args)]
#[command(after_help = SELECTOR_HELP)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
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
    /// Only what has this in its map's name, its key or its field, in small or capital letters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
    /// What comes first, in the live table and with --once [default: rate, and name with --once]
    #[arg(long, value_enum, value_name = "BY")]
    pub(crate) sort: Option<Sort>,
    /// At most this many keys of each map, in the live table and with --once
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// End with exit code 5 when the connection is lost, instead of waiting for the agent
    #[arg(long)]
    pub(crate) no_reconnect: bool,
}
