//! `bpfgate link`.

use bpfgate_client::name::{ObjectName, ProgramName};
use clap::Subcommand;

use crate::complete;
use crate::target::TargetArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum LinkCommand {
    /// Attach a program
    Attach {
        /// OBJECT/PROGRAM
        #[arg(add = complete::program())]
        program: ProgramName,
        #[command(flatten)]
        target: Box<TargetArgs>,
    },
    /// List the attachments
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this object
        #[arg(add = complete::object())]
        object: Option<ObjectName>,
    },
    /// End attachments
    #[command(visible_alias = "rm")]
    Detach {
        /// Their ids, which `bpfgate link list` shows; one that fails does not stop the others
        #[arg(value_name = "LINK", required = true, add = complete::link())]
        ids: Vec<u64>,
    },
}
