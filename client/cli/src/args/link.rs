//! `bpfgate link`.

use bpfgate_client::name::{ObjectName, ProgramName};
use clap::Subcommand;

use crate::target::TargetArgs;

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
