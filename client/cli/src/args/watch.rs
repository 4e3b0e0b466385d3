//! `bpfgate watch`.

use std::num::NonZeroU32;
use std::time::Duration;

use bpfgate_client::name::MapRef;
use bpfgate_client::v1::CounterSelector;
use bpfgate_client::{EventFilter, LabelResolution, parse_selector};
use clap::{Args, Subcommand, ValueEnum};

use crate::board::Sort;
use crate::complete;
use crate::values::{bytes, duration, map_ref};

#[derive(Debug, Subcommand)]
pub(crate) enum WatchCommand {
    /// Follow counters: a live table on a terminal, lines elsewhere
    Counters(CountersArgs),
    /// Follow the records that programs write into a ring buffer or a perf buffer
    Events(EventsArgs),
}

const SELECTOR_HELP: &str = "\
A SELECTOR is MAP[{CONDITION,…}][:FIELD,…]; none means everything:
  proto-counters/stats               all of one map
  'proto-counters/*'                 all maps of one object
  'flows{dport=443|80}:bytes'        one field, of keys with one of two ports
  'flows{saddr!=10.0.0.1}'           all but one key
  'flows{saddr=10.0.0.0/8,dport<1024}'  a network, and ports below
  'by_comm{comm=ba*|\"a,b\"}'          what begins so, or a text as it is
A CONDITION is LABEL, one of = != < <= > >=, and VALUE[|VALUE…]: numbers, or names that they have
here (TCP, eth0, root). A key that is one value has the label \"key\".

Lines are only printed for what changed: time (when it was read), map, labels, field, value, rate
(per second since it was last known), and with -o json, jsonl and csv kind, unit, start_time and
buckets. With --sort or --top all keys that come first are printed with every reading, in order.
Values are exact; docs/counters.md says more.

  bpfgate watch counters flows --once --sort rate --top 10 -o json     the ten fastest, once

^C, SIGTERM and --duration end a watch with exit code 0. When the agent goes away a watch waits for
it, says so, and goes on.";

#[derive(Debug, Args)]
#[command(after_help = SELECTOR_HELP)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct CountersArgs {
    /// What to follow
    #[arg(value_name = "SELECTOR", value_parser = parse_selector, add = complete::selector())]
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
    /// Keys by name where it is known what their numbers stand for: openat, TCP, eth0, alice
    #[arg(long)]
    pub(crate) names: bool,
    /// A label by name though nobody declared what it stands for, as in uid=user; WHAT is one of
    /// ifindex, cgroup, user, syscall, protocol, ip, number
    #[arg(long, value_name = "LABEL=WHAT")]
    pub(crate) resolve: Vec<LabelResolution>,
    /// Also what is zero and never moved
    #[arg(long)]
    pub(crate) all: bool,
    /// Only what has this in its map's name, its key or its field, in small or capital letters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
    /// What comes first; --once by rate reads twice, --interval apart [default: rate; with --once
    /// name, or value with --top]
    #[arg(long, value_enum, value_name = "BY")]
    pub(crate) sort: Option<Sort>,
    /// At most this many keys of each map: those that come first of all that there are
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<NonZeroU32>,
    /// With -o csv: a column for each label. One that first comes later has none
    #[arg(long)]
    pub(crate) wide: bool,
    /// End with exit code 5 when the connection is lost, instead of waiting for the agent
    #[arg(long)]
    pub(crate) no_reconnect: bool,
}

/// Where a watch of events begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// With the records that waited in the buffer
    Oldest,
    /// With what is written from now on
    Now,
}

const EVENTS_HELP: &str = "\
Whoever watches first gets what waited in the buffer (--from now leaves it out); others get what
comes. TIME is when a record was written: as the kernel noted it in a perf buffer, as the record
itself says in a field that is tagged as its clock, or else when the agent read it. Of a record that
waited it is not known otherwise, and empty.

What is lost on the way is told on standard error. ^C, --count and --duration end a watch with exit
code 0, and so does the end of the map.";

#[derive(Debug, Args)]
#[command(after_help = EVENTS_HELP)]
pub(crate) struct EventsArgs {
    /// OBJECT/MAP, MAP, id:N or pin:PATH
    #[arg(value_name = "MAP", value_parser = map_ref, add = complete::events())]
    pub(crate) map: MapRef,
    /// What the records are: a type of the map's object, as in "struct exec_event"
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) record_type: Option<String>,
    /// Only records in which a field is so: pid=7, comm=ba*|sh, dport>=1024, daddr=10.0.0.0/8; all of
    /// them, if given again
    #[arg(long = "filter", value_name = "CONDITION")]
    pub(crate) filters: Vec<EventFilter>,
    /// End after so many records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// End after this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// Where to begin in a buffer that nobody has read for a while
    #[arg(long, value_enum, default_value_t = From::Oldest)]
    pub(crate) from: From,
    /// What may wait at the agent before records are lost: 65536, 4MiB [default: the agent's]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) queue_bytes: Option<u64>,
}
