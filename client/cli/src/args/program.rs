//! `bpfgate program`.

use bpfgate_client::name::ObjectName;
use clap::Subcommand;

use crate::complete;

#[derive(Debug, Subcommand)]
pub(crate) enum ProgramCommand {
    /// List the programs that the agent owns, or all of the host
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this object
        #[arg(add = complete::object(), conflicts_with = "all")]
        object: Option<ObjectName>,
        /// Also those that others loaded, with their pins and the processes that hold them
        #[arg(long)]
        all: bool,
        /// Only of this type: xdp, sched_cls, … as bpftool names them
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
    },
}
