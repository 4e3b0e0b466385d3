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
    List {
        /// Only those of this object
        #[arg(add = complete::object())]
        object: Option<ObjectName>,
    },
    /// End an attachment
    Detach {
        /// Its id; `bpfgate link list` shows it
        #[arg(value_name = "LINK", add = complete::link())]
        id: u64,
    },
}
