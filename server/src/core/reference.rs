//! What the entries of a map stand for, by names: from a name to what the kernel takes, and from
//! what the kernel tells back to a name.
//!
//! The kernel takes descriptors and tells ids. A descriptor's number means something only in this
//! process and only while it is open, so none is ever taken from a caller or told to one.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use bpfgate_proto::name::{MapRef, ProgramName};
use bpfgate_proto::reference::{ReferenceKind, SocketRef};

use super::kind::{holds_events, type_name};
use super::object::{Program, program_list};
use super::unfit::{ReferenceProblem, check_program};
use super::{CpuMode, Error, Locking, Map, Registry, UpdateMode};
use crate::{broker, sys};

/// What an entry shall stand for, as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A map that the agent owns.
    Map(MapRef),
    /// A program that the agent owns.
    Program(ProgramName),
    /// A network interface.
    Device {
        /// Its name in the agent's network namespace.
        interface: String,
        /// To run on a packet before it is sent.
        program: Option<ProgramName>,
    },
    /// The queue of the CPU that the key says.
    Cpu {
        /// Packets that may wait.
        queue_size: u32,
        /// To run on a packet there.
        program: Option<ProgramName>,
    },
    /// A directory of the cgroup file system.
    Cgroup(String),
    /// A socket of another process.
    Socket(SocketRef),
    /// A process, by its id.
    Process(u32),
    /// A file, by its path.
    File(String),
}

/// What an entry stands for, as far as the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Referent {
    /// A map, by its name if the agent owns it.
    Map(MapRef),
    /// A program.
    Program(ProgramId),
    /// A network interface.
    Device {
        /// Its name in the agent's network namespace.
        interface: String,
        /// Runs on a packet before it is sent.
        program: Option<ProgramId>,
    },
    /// A CPU's queue.
    Cpu {
        /// Packets that may wait.
        queue_size: u32,
        /// Runs on a packet there.
        program: Option<ProgramId>,
    },
    /// A socket, by its cookie.
    Socket(u64),
}

/// A program in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramId {
    /// One that the agent owns.
    Owned(ProgramName),
    /// Any other, or one whose object was unloaded, by the kernel's id.
    Other(u32),
}

/// A key that stands for something else.
#[derive(Debug)]
pub struct HeldKey {
    bytes: [u8; 4],
    /// The number in `bytes` means something only as long as this is open.
    _fd: OwnedFd,
}

impl HeldKey {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the kernel takes for a value.
struct Slot {
    bytes: Vec<u8>,
    /// What the numbers in `bytes` stand for has to stay open until the kernel has looked.
    _held: Vec<Held>,
}

#[allow(dead_code, reason = "held for their descriptors")]
enum Held {
    Map(Arc<Map>),
    Program(Arc<Program>),
    Fd(OwnedFd),
}

impl Reference {
    /// What kind of thing it names.
    pub fn kind(&self) -> ReferenceKind {
        match self {
            Self::Map(_) => ReferenceKind::Map,
            Self::Program(_) => ReferenceKind::Program,
            Self::Device { .. } => ReferenceKind::Device,
            Self::Cpu { .. } => ReferenceKind::Cpu,
            Self::Cgroup(_) => ReferenceKind::Cgroup,
            Self::Socket(_) => ReferenceKind::Socket,
            Self::Process(_) => ReferenceKind::Process,
            Self::File(_) => ReferenceKind::File,
        }
    }
}

impl Registry {
    /// The program of that name.
    pub fn program(&self, name: &ProgramName) -> Result<Arc<Program>, Error> {
        let object = self.object(&name.object)?;
        object.program(&name.program).cloned().ok_or_else(|| Error::NoProgram {
            name: name.clone(),
            hint: format!("{} has {}", object.name, program_list(&object)),
        })
    }

    /// The key of a map whose keys stand for something else. Blocking.
    pub fn held_key(&self, map: &Map, reference: &Reference) -> Result<HeldKey, Error> {
        map.check_kind("key", map.key_kind(), reference)?;
        let fd = match reference {
            Reference::Socket(socket) => broker::socket(socket),
            Reference::File(path) => broker::file(path),
            Reference::Process(id) => broker::process(*id),
            Reference::Cgroup(path) => broker::cgroup(path),
            Reference::Map(_)
            | Reference::Program(_)
            | Reference::Device { .. }
            | Reference::Cpu { .. } => {
                return Err(map.wrong_kind("key", map.key_kind(), reference));
            }
        };
        let fd = fd.map_err(|error| in_field("key_reference", error))?;
        Ok(HeldKey { bytes: sys::fd_bytes(fd.as_fd()), _fd: fd })
    }

    /// Makes an entry stand for something. Blocking.
    pub fn point(
        &self,
        map: &Map,
        key: &[u8],
        reference: &Reference,
        mode: UpdateMode,
    ) -> Result<(), Error> {
        map.check_kind("value", map.value_kind(), reference)?;
        let slot = self.slot(map, reference)?;
        match map.try_write(key, &slot.bytes, mode, Locking::Unlocked)? {
            Ok(()) => Ok(()),
            Err(refused) => Err(self.why_unfit(map, key, reference, mode, refused)),
        }
    }

    /// What the value of an entry stands for; `None` for a map whose values are plain bytes.
    pub fn referent(&self, map: &Map, value: &[u8]) -> Option<Referent> {
        let number = |at: usize| {
            let bytes = value.get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let program = || number(4).filter(|&id| id != 0).map(|id| self.program_id(id));
        Some(match map.value_kind()? {
            ReferenceKind::Map => {
                let id = number(0)?;
                let owned = self.owned_by_id(id);
                let name = owned.as_ref().and_then(|map| map.name());
                Referent::Map(name.cloned().map_or(MapRef::Id(id), MapRef::Name))
            }
            ReferenceKind::Program => Referent::Program(self.program_id(number(0)?)),
            ReferenceKind::Device => {
                let index = number(0)?;
                let gone = || format!("index:{index}");
                let interface = broker::ifname(index).unwrap_or_else(gone);
                Referent::Device { interface, program: program() }
            }
            ReferenceKind::Cpu => Referent::Cpu { queue_size: number(0)?, program: program() },
            ReferenceKind::Socket => Referent::Socket(u64::from_ne_bytes(value.try_into().ok()?)),
            // The kernel tells nothing of these.
            ReferenceKind::Cgroup | ReferenceKind::Process | ReferenceKind::File => return None,
        })
    }

    fn program_id(&self, id: u32) -> ProgramId {
        self.program_by_id(id)
            .map_or(ProgramId::Other(id), |program| ProgramId::Owned(program.name.clone()))
    }

    fn slot(&self, map: &Map, reference: &Reference) -> Result<Slot, Error> {
        let mut held = Vec::new();
        let mut program = |name: &ProgramName| {
            let program = self.program(name)?;
            check_program(map, reference, &program)?;
            let bytes = sys::fd_bytes(program.loaded.fd.as_fd());
            held.push(Held::Program(program));
            Ok::<_, Error>(bytes)
        };
        let mut bytes = Vec::with_capacity(8);
        match reference {
            Reference::Map(name) => {
                let inner = self.map(name)?;
                // A program could write through the outer map what the agent only may read.
                if inner.name().is_none() {
                    return Err(Error::ReadOnly { map: inner.text().to_owned() });
                }
                bytes.extend(sys::fd_bytes(inner.sys().as_fd()));
                held.push(Held::Map(inner));
            }
            Reference::Program(name) => bytes.extend(program(name)?),
            Reference::Device { interface, program: name } => {
                let index = broker::ifindex(interface);
                let index = index.map_err(|error| in_field("reference", error))?;
                bytes.extend(index.to_ne_bytes());
                bytes.extend(name.as_ref().map(&mut program).transpose()?.into_iter().flatten());
            }
            Reference::Cpu { queue_size, program: name } => {
                // For the kernel this means to remove the entry.
                if *queue_size == 0 {
                    let problem = "queue_size has to be 1 at least".into();
                    return Err(Error::Invalid { field: "reference", problem });
                }
                bytes.extend(queue_size.to_ne_bytes());
                bytes.extend(name.as_ref().map(&mut program).transpose()?.into_iter().flatten());
            }
            Reference::Cgroup(path) => {
                let fd = broker::cgroup(path).map_err(|error| in_field("reference", error))?;
                bytes.extend(sys::fd_bytes(fd.as_fd()));
                held.push(Held::Fd(fd));
            }
            Reference::Socket(socket) => {
                let fd = broker::socket(socket).map_err(|error| in_field("reference", error))?;
                bytes.extend(sys::fd_bytes(fd.as_fd()));
                held.push(Held::Fd(fd));
            }
            Reference::Process(_) | Reference::File(_) => {
                return Err(map.wrong_kind("value", map.value_kind(), reference));
            }
        }
        let size = map.value_size();
        if bytes.len() > size {
            let problem = format!(
                "its values have {size} bytes, which is no room for a program; make the map with \
                 values of 8"
            );
            return Err(map.unfit(reference, problem));
        }
        // A descriptor in a value of 8 bytes, or no program.
        if cfg!(target_endian = "big") && matches!(reference, Reference::Socket(_)) {
            bytes.splice(0..0, std::iter::repeat_n(0, size - bytes.len()));
        }
        bytes.resize(size, 0);
        Ok(Slot { bytes, _held: held })
    }
}

impl Map {
    /// What its keys stand for; `None` for plain bytes.
    pub fn key_kind(&self) -> Option<ReferenceKind> {
        ReferenceKind::of_keys(self.sys().info().map_type)
    }

    /// What its values stand for; `None` for plain bytes.
    pub fn value_kind(&self) -> Option<ReferenceKind> {
        ReferenceKind::of_values(self.sys().info().map_type)
    }

    /// [`Map::lookup`] by a key that stands for something else.
    pub fn lookup_held(
        &self,
        key: &HeldKey,
        cpu: CpuMode,
        locking: Locking,
    ) -> Result<Vec<u8>, Error> {
        self.value_of(key.bytes(), cpu, locking)
    }

    /// [`Map::update`] by a key that stands for something else.
    pub fn update_held(
        &self,
        key: &HeldKey,
        value: &[u8],
        mode: UpdateMode,
        locking: Locking,
    ) -> Result<(), Error> {
        self.write(key.bytes(), value, mode, locking)
    }

    /// [`Map::delete`] by a key that stands for something else.
    pub fn delete_held(&self, key: &HeldKey) -> Result<(), Error> {
        self.remove(key.bytes())
    }

    /// Fails where keys as bytes would be numbers of the agent's own descriptors.
    pub fn check_keys_are_bytes(&self) -> Result<(), Error> {
        self.key_kind().map_or(Ok(()), |kind| Err(self.needs_reference("key", kind)))
    }

    /// Fails where values as bytes would be numbers of the agent's own descriptors.
    pub fn check_values_are_bytes(&self) -> Result<(), Error> {
        if holds_events(self.sys().info().map_type) {
            return self.require(false, "update");
        }
        self.value_kind().map_or(Ok(()), |kind| Err(self.needs_reference("value", kind)))
    }

    fn needs_reference(&self, what: &'static str, kind: ReferenceKind) -> Error {
        let map_type = type_name(self.sys().info().map_type);
        let map = self.text().to_owned();
        ReferenceProblem::Needed { map, map_type, what, form: kind.form() }.into()
    }

    fn check_kind(
        &self,
        what: &'static str,
        kind: Option<ReferenceKind>,
        reference: &Reference,
    ) -> Result<(), Error> {
        if kind == Some(reference.kind()) {
            return Ok(());
        }
        Err(self.wrong_kind(what, kind, reference))
    }

    fn wrong_kind(
        &self,
        what: &'static str,
        kind: Option<ReferenceKind>,
        reference: &Reference,
    ) -> Error {
        let form = kind.map_or("plain bytes", ReferenceKind::form);
        let given = reference.kind().noun();
        let map = self.text().to_owned();
        ReferenceProblem::WrongKind { map, what, given, form }.into()
    }
}

/// A name that cannot be one, in the request's own words.
fn in_field(field: &'static str, error: broker::Error) -> Error {
    match error {
        broker::Error::BadTarget { .. } => Error::Invalid { field, problem: error.to_string() },
        other => other.into(),
    }
}
