//! `bpfgate top`.

use std::time::Duration;

use bpfgate_client::parse_selector;
use bpfgate_client::v1::CounterSelector;
use clap::Args;

use crate::complete;
use crate::values::duration;

const KEYS_HELP: &str = "\
Keys:
  tab, arrows, 1 to 4   another pane      s   sort by the next column
  up, down, page keys   scroll            r   reverse the order
  p                     pause             /   filter: enter keeps it, esc drops it
  ?                     all keys          q   quit

How often programs run is counted only while the kernel's statistics are on, which costs every
program of the host some 20 ns a run. `top` has the agent turn them on while it runs; with
--no-stats it does not. They go off by themselves when nobody asks any more.";

#[derive(Debug, Args)]
#[command(after_help = KEYS_HELP)]
pub(crate) struct TopArgs {
    /// Only these counters; see `bpfgate watch counters --help`
    #[arg(value_name = "SELECTOR", value_parser = parse_selector, add = complete::selector())]
    pub(crate) selectors: Vec<CounterSelector>,
    /// Time from one reading to the next
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// Leave the kernel's statistics of programs as they are
    #[arg(long)]
    pub(crate) no_stats: bool,
}
