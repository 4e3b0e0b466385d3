//! Objects, their programs, and where these are attached.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use bpfgate_proto::name::{MapName, ObjectName, ProgramName};

use super::kernel_memory::KernelCharge;
use super::seats::Seat;
use super::{Error, Labels, Map};
use crate::broker::{Attachment, LoadedProgram, Target};
use crate::elf::AutoAttach;
use crate::ledger::Charge;

/// One loaded ELF file.
#[derive(Debug)]
pub struct Object {
    /// As its loader chose.
    pub name: ObjectName,
    /// The built-in it was made from.
    pub builtin: Option<String>,
    /// Of the file.
    pub sha256: [u8; 32],
    /// In the file's order.
    pub programs: Vec<Arc<Program>>,
    /// Its maps. They change when an object goes whose map it shares.
    pub(super) holdings: RwLock<Holdings>,
    /// Notes.
    pub labels: Labels,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// The kernel's memory for its types, and the agent's for this.
    pub(super) _room: (KernelCharge, Charge),
}

/// The maps of an object.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// Names of its own: those that it brought and those that were handed over to it.
    pub maps: Vec<MapName>,
    /// Those that it shares, which are others'.
    pub shared: Vec<SharedMap>,
}

/// A map that an object uses and that is another's, kept alive by it.
#[derive(Debug, Clone)]
pub struct SharedMap {
    /// What it would be called if it were this object's own.
    pub member: MapName,
    /// As it is called now.
    pub map: Arc<Map>,
}

impl Object {
    /// Its maps, as they are now.
    pub fn holdings(&self) -> RwLockReadGuard<'_, Holdings> {
        self.holdings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be changed under the lock of all names only.
    pub(super) fn holdings_mut(&self) -> RwLockWriteGuard<'_, Holdings> {
        self.holdings.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program of that function name.
    pub fn program(&self, name: &str) -> Option<&Arc<Program>> {
        self.programs.iter().find(|program| program.name.program == name)
    }
}

/// A program in the kernel.
#[derive(Debug)]
pub struct Program {
    /// OBJECT/PROGRAM.
    pub name: ProgramName,
    /// Its descriptor, type and section.
    pub loaded: LoadedProgram,
    /// Last: given back once the descriptor is gone.
    pub(super) _room: ProgramRoom,
}

/// What a program takes of the agent's limits.
#[derive(Debug)]
pub(super) struct ProgramRoom {
    /// Its descriptor.
    pub _seat: Seat,
    /// The kernel's memory for its code.
    pub _kernel: KernelCharge,
}

/// A program attached somewhere, until it is dropped.
#[derive(Debug)]
pub struct Link {
    /// The agent's own number.
    pub id: u64,
    /// Which program.
    pub program: ProgramName,
    /// Where.
    pub target: Target,
    /// Keeps it attached.
    pub attachment: Attachment,
    /// When.
    pub attached_at: SystemTime,
}

/// For messages: the names of an object's programs.
pub(super) fn program_list(object: &Object) -> String {
    let names: Vec<_> = object.programs.iter().map(|p| p.name.program.as_str()).collect();
    if names.is_empty() { "no programs".into() } else { names.join(", ") }
}

/// The target that a program's own section names.
pub(super) fn own_target(program: &Program) -> Result<Target, Error> {
    Ok(match program.loaded.kind.auto_attach.clone() {
        AutoAttach::Tracepoint { category, name } => Target::Tracepoint { category, name },
        AutoAttach::RawTracepoint { name } => Target::RawTracepoint { name },
        AutoAttach::Kprobe { symbol, offset, on_return } => {
            Target::Kprobe { symbol, offset, on_return }
        }
        AutoAttach::Uprobe { path, symbol, offset, on_return } => {
            Target::Uprobe { path, symbol, offset, on_return, pid: None }
        }
        AutoAttach::Tracing { .. } => Target::Tracing,
        AutoAttach::None | AutoAttach::Iter { .. } | AutoAttach::Tcx { .. } => {
            let section = &program.loaded.section;
            let problem = format!(
                "section {section:?} of {} does not say where; name a target",
                program.name
            );
            return Err(Error::Invalid { field: "target", problem });
        }
    })
}
