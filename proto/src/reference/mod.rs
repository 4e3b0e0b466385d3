//! References: what an entry of a map stands for, by a name that the agent knows, and the text
//! that people write for it.
//!
//! | kind | text |
//! |---|---|
//! | map | `MAP`, `OBJECT/MAP`, `id:7`, `pin:PATH` |
//! | program | `OBJECT/PROGRAM` |
//! | device | `eth0`, `eth0=OBJECT/PROGRAM` |
//! | CPU | `64`, `queue=64`, `queue=64,program=OBJECT/PROGRAM` |
//! | cgroup, file | an absolute path |
//! | socket | `tcp:127.0.0.1:80`, `udp:[::1]:53-[::1]:4000`, `inode:12345`, `cookie:7` |
//! | process | `1234` |

use std::fmt;

use crate::map_type::from_kernel;
use crate::name::{MapRef, NameError, ProgramName, shorten};
use crate::v1::reference::To;
use crate::v1::{CpuReference, DeviceReference, MapType, Reference};

mod socket;

pub use socket::{Protocol, SocketRef};

/// Why a text is no reference of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// A map's or program's name in it.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Anything else.
    #[error("{what} {text:?} is not valid: {rule}")]
    Bad {
        /// "socket", "CPU", …
        what: &'static str,
        /// As it was written, cut short.
        text: String,
        /// What would be right.
        rule: &'static str,
    },
}

/// What the keys or the values of a map stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReferenceKind {
    /// Another map.
    Map,
    /// A program.
    Program,
    /// A network interface, and perhaps a program.
    Device,
    /// The queue of a CPU, and perhaps a program.
    Cpu,
    /// A directory of the cgroup file system.
    Cgroup,
    /// A socket.
    Socket,
    /// A process.
    Process,
    /// A file.
    File,
}

impl ReferenceKind {
    /// What the values of a map of that type (`enum bpf_map_type`) lead to; `None` for plain
    /// bytes.
    pub fn of_values(map_type: u32) -> Option<Self> {
        Some(match from_kernel(map_type)? {
            MapType::ArrayOfMaps | MapType::HashOfMaps => Self::Map,
            MapType::ProgArray => Self::Program,
            MapType::Devmap | MapType::DevmapHash => Self::Device,
            MapType::Cpumap => Self::Cpu,
            MapType::CgroupArray => Self::Cgroup,
            MapType::Sockmap
            | MapType::Sockhash
            | MapType::Xskmap
            | MapType::ReuseportSockarray => Self::Socket,
            _ => return None,
        })
    }

    /// Whose storage an entry of a map of that type (`enum bpf_map_type`) is; `None` for keys of
    /// plain bytes.
    pub fn of_keys(map_type: u32) -> Option<Self> {
        Some(match from_kernel(map_type)? {
            MapType::SkStorage => Self::Socket,
            MapType::InodeStorage => Self::File,
            MapType::TaskStorage => Self::Process,
            MapType::CgrpStorage => Self::Cgroup,
            _ => return None,
        })
    }

    /// "a map", "an interface".
    pub fn noun(self) -> &'static str {
        match self {
            Self::Map => "a map",
            Self::Program => "a program",
            Self::Device => "an interface",
            Self::Cpu => "a CPU's queue",
            Self::Cgroup => "a cgroup",
            Self::Socket => "a socket",
            Self::Process => "a process",
            Self::File => "a file",
        }
    }

    /// How people write one.
    pub fn form(self) -> &'static str {
        match self {
            Self::Map => "a map: MAP, OBJECT/MAP, id:N or pin:PATH",
            Self::Program => "a program: OBJECT/PROGRAM",
            Self::Device => "an interface: NAME or NAME=OBJECT/PROGRAM",
            Self::Cpu => "a CPU's queue: queue=PACKETS or queue=PACKETS,program=OBJECT/PROGRAM",
            Self::Cgroup => "a cgroup: the absolute path of its directory",
            Self::Socket => {
                "a socket: tcp:LOCAL, tcp:LOCAL-REMOTE, udp:…, inode:N or cookie:N, as in \
                 tcp:127.0.0.1:80"
            }
            Self::Process => "a process: its id",
            Self::File => "a file: its absolute path",
        }
    }

    /// Reads what people write.
    pub fn parse(self, text: &str) -> Result<Reference, ReferenceError> {
        let to = match self {
            Self::Map => To::Map(text.parse::<MapRef>()?.to_string()),
            Self::Program => To::Program(program(text)?),
            Self::Device => {
                let (interface, program) = match text.split_once('=') {
                    Some((interface, name)) => (interface, self::program(name)?),
                    None => (text, String::new()),
                };
                if interface.is_empty() || interface.contains('/') {
                    return Err(bad("interface", text, "write NAME or NAME=OBJECT/PROGRAM"));
                }
                To::Device(DeviceReference { interface: interface.to_owned(), program })
            }
            Self::Cpu => To::Cpu(cpu(text)?),
            Self::Cgroup => To::Cgroup(path("cgroup", text)?),
            Self::Socket => To::Socket(text.parse::<SocketRef>()?.to_string()),
            Self::Process => match text.parse::<u32>() {
                Ok(id) if id > 0 => To::Process(id),
                _ => return Err(bad("process", text, "give its id, a number from 1")),
            },
            Self::File => To::File(path("file", text)?),
        };
        Ok(Reference { to: Some(to) })
    }
}

impl Reference {
    /// Another map, by its reference: `MAP`, `OBJECT/MAP`, `id:7`, `pin:PATH`.
    pub fn map(reference: impl Into<String>) -> Self {
        To::Map(reference.into()).into()
    }

    /// A program: `OBJECT/PROGRAM`.
    pub fn program(name: impl Into<String>) -> Self {
        To::Program(name.into()).into()
    }

    /// A network interface, by its name.
    pub fn device(interface: impl Into<String>) -> Self {
        let (interface, program) = (interface.into(), String::new());
        To::Device(DeviceReference { interface, program }).into()
    }

    /// The queue of a CPU, with room for so many packets.
    pub fn cpu(queue_size: u32) -> Self {
        To::Cpu(CpuReference { queue_size, program: String::new() }).into()
    }

    /// A cgroup, by its directory.
    pub fn cgroup(path: impl Into<String>) -> Self {
        To::Cgroup(path.into()).into()
    }

    /// A socket: `tcp:LOCAL[-REMOTE]`, `udp:LOCAL[-REMOTE]`, `inode:N`.
    pub fn socket(socket: impl Into<String>) -> Self {
        To::Socket(socket.into()).into()
    }

    /// A process, by its id.
    pub fn process(id: u32) -> Self {
        To::Process(id).into()
    }

    /// A file, by its path.
    pub fn file(path: impl Into<String>) -> Self {
        To::File(path.into()).into()
    }

    /// The same with a program (`OBJECT/PROGRAM`) that runs there. Only devices and CPUs have one;
    /// others stay as they are.
    #[must_use]
    pub fn with_program(mut self, name: impl Into<String>) -> Self {
        if let Some(
            To::Device(DeviceReference { program, .. }) | To::Cpu(CpuReference { program, .. }),
        ) = &mut self.to
        {
            *program = name.into();
        }
        self
    }

    /// What it leads to; `None` for an empty message, or for a kind that is newer than this crate.
    pub fn kind(&self) -> Option<ReferenceKind> {
        Some(match self.to.as_ref()? {
            To::Map(_) => ReferenceKind::Map,
            To::Program(_) => ReferenceKind::Program,
            To::Device(_) => ReferenceKind::Device,
            To::Cpu(_) => ReferenceKind::Cpu,
            To::Cgroup(_) => ReferenceKind::Cgroup,
            To::Socket(_) => ReferenceKind::Socket,
            To::Process(_) => ReferenceKind::Process,
            To::File(_) => ReferenceKind::File,
        })
    }
}

impl From<To> for Reference {
    fn from(to: To) -> Self {
        Self { to: Some(to) }
    }
}

/// As people write it; nothing for an empty message.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            None => Ok(()),
            Some(To::Map(text) | To::Program(text) | To::Socket(text)) => f.write_str(text),
            Some(To::Cgroup(path) | To::File(path)) => f.write_str(path),
            Some(To::Process(id)) => write!(f, "{id}"),
            Some(To::Device(DeviceReference { interface, program })) => {
                f.write_str(interface)?;
                if program.is_empty() { Ok(()) } else { write!(f, "={program}") }
            }
            Some(To::Cpu(CpuReference { queue_size, program })) => {
                write!(f, "queue={queue_size}")?;
                if program.is_empty() { Ok(()) } else { write!(f, ",program={program}") }
            }
        }
    }
}

fn bad(what: &'static str, text: &str, rule: &'static str) -> ReferenceError {
    ReferenceError::Bad { what, text: shorten(text), rule }
}

fn program(text: &str) -> Result<String, ReferenceError> {
    Ok(text.parse::<ProgramName>()?.to_string())
}

fn path(what: &'static str, text: &str) -> Result<String, ReferenceError> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(text.to_owned());
    }
    Err(bad(what, text, "give an absolute path"))
}

fn cpu(text: &str) -> Result<CpuReference, ReferenceError> {
    let bad = || bad("CPU", text, "write queue=PACKETS or queue=PACKETS,program=OBJECT/PROGRAM");
    let (mut queue_size, mut program) = (None, String::new());
    for part in text.split(',') {
        match part.split_once('=').unwrap_or(("queue", part)) {
            ("queue", number) if queue_size.is_none() => {
                queue_size = Some(number.parse().ok().filter(|&size| size > 0).ok_or_else(bad)?);
            }
            ("program", name) if program.is_empty() => program = self::program(name)?,
            _ => return Err(bad()),
        }
    }
    Ok(CpuReference { queue_size: queue_size.ok_or_else(bad)?, program })
}

#[cfg(test)]
mod tests {
    use super::*;

    use ReferenceKind as K;

    #[test]
    fn references_survive_the_round_trip() {
        for (kind, text) in [
            (K::Map, "m"),
            (K::Map, "o/m"),
            (K::Map, "id:7"),
            (K::Map, "pin:a/b"),
            (K::Program, "o/p"),
            (K::Device, "eth0"),
            (K::Device, "eth0.12=o/p"),
            (K::Cpu, "queue=64"),
            (K::Cpu, "queue=64,program=o/p"),
            (K::Cgroup, "/sys/fs/cgroup/a b"),
            (K::Socket, "tcp:127.0.0.1:80"),
            (K::Socket, "udp:[::1]:53-[2001:db8::1]:4000"),
            (K::Socket, "inode:12345"),
            (K::Process, "4242"),
            (K::File, "/etc/passwd"),
        ] {
            let reference = kind.parse(text).unwrap();
            assert_eq!((reference.kind(), reference.to_string().as_str()), (Some(kind), text));
        }
        assert_eq!(K::Cpu.parse("64").unwrap(), Reference::cpu(64));
        let both = Reference::device("eth0").with_program("o/p");
        assert_eq!(K::Device.parse("eth0=o/p").unwrap(), both);
        assert_eq!(Reference::program("o/p").with_program("x/y"), Reference::program("o/p"));
    }

    #[test]
    fn bad_references_say_what_would_be_right() {
        for (kind, text, part) in [
            (K::Map, "", "empty"),
            (K::Map, "sixteen_letters_", "at most 15"),
            (K::Program, "p", "OBJECT/PROGRAM"),
            (K::Program, "id:7", "OBJECT/PROGRAM"),
            (K::Device, "", "NAME=OBJECT/PROGRAM"),
            (K::Device, "o/p", "NAME=OBJECT/PROGRAM"),
            (K::Device, "eth0=xdp", "OBJECT/PROGRAM"),
            (K::Cpu, "", "queue=PACKETS"),
            (K::Cpu, "0", "queue=PACKETS"),
            (K::Cpu, "queue=1,queue=2", "queue=PACKETS"),
            (K::Cpu, "program=o/p", "queue=PACKETS"),
            (K::Cpu, "queue=1,size=2", "queue=PACKETS"),
            (K::Cgroup, "a", "absolute path"),
            (K::File, "a\0b", "absolute path"),
            (K::Process, "0", "from 1"),
            (K::Process, "self", "from 1"),
            (K::Socket, "tcp:80", "127.0.0.1:80"),
        ] {
            let said = kind.parse(text).unwrap_err().to_string();
            assert!(said.contains(part), "{text:?}: {said}");
        }
        let long = "x".repeat(1 << 20);
        for kind in [K::Map, K::Program, K::Cpu, K::Cgroup, K::Process, K::File, K::Socket] {
            assert!(kind.parse(&long).unwrap_err().to_string().len() < 400);
        }
    }

    #[test]
    fn types_say_what_they_refer_to() {
        let kinds = |number| (K::of_keys(number), K::of_values(number));
        assert_eq!(kinds(MapType::HashOfMaps as u32), (None, Some(K::Map)));
        assert_eq!(kinds(MapType::DevmapHash as u32), (None, Some(K::Device)));
        assert_eq!(kinds(MapType::SkStorage as u32), (Some(K::Socket), None));
        // The slots of a perf_event_array are for whoever reads its events.
        assert_eq!(kinds(MapType::PerfEventArray as u32), (None, None));
        assert_eq!(kinds(MapType::Hash as u32), (None, None));
        assert_eq!(kinds(u32::MAX), (None, None));
    }
}
