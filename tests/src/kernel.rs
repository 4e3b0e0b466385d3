//! What is loaded on this host, asked of bpf(2) itself: no descriptor is made, so asking keeps
//! nothing alive.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

const MAP_CREATE: libc::c_long = 0;
const PROG_LOAD: libc::c_long = 5;
const PROG_GET_NEXT_ID: libc::c_long = 11;
const MAP_GET_NEXT_ID: libc::c_long = 12;
const BTF_GET_NEXT_ID: libc::c_long = 23;
const LINK_GET_NEXT_ID: libc::c_long = 31;

/// A kind of thing with an id in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A map.
    Map,
    /// A program.
    Program,
    /// A link.
    Link,
    /// Type information.
    Btf,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub Kind, pub u32);

impl Id {
    /// Whether the kernel still has it. Needs root.
    pub fn exists(self) -> bool {
        let Self(kind, id) = self;
        let next = next(kind, id - 1);
        next.unwrap_or_else(|error| panic!("could not ask for {self:?}: {error}")) == Some(id)
    }
}

/// Every id of that kind on this host. Needs root.
pub fn all(kind: Kind) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    while let Some(id) = next(kind, ids.last().copied().unwrap_or(0))? {
        ids.push(id);
    }
    Ok(ids)
}

/// The id that follows `start`, if there is one.
pub fn next(kind: Kind, start: u32) -> io::Result<Option<u32>> {
    let command = match kind {
        Kind::Map => MAP_GET_NEXT_ID,
        Kind::Program => PROG_GET_NEXT_ID,
        Kind::Link => LINK_GET_NEXT_ID,
        Kind::Btf => BTF_GET_NEXT_ID,
    };
    let mut attr = Attr::default();
    attr.words[0] = start;
    match bpf(command, &mut attr) {
        Ok(_) => Ok(Some(attr.words[1])),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes an array of one `u64`, which goes away at once: whether this process may make maps.
pub fn create_array() -> io::Result<()> {
    let mut attr = Attr::default();
    // map_type (array), key_size, value_size, max_entries.
    attr.words[..4].copy_from_slice(&[2, 4, 8, 1]);
    let fd = bpf(MAP_CREATE, &mut attr)?;
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: this command returns a new descriptor that nobody else owns.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

/// Why the kernel does not let this process load programs of a type that attaches to a kernel
/// function. The program names type 1 as its function, which is none: a kernel that has the type
/// finds that out, one that does not refuses before.
pub fn refuses_program(prog_type: u32, attach_type: u32) -> Option<io::Error> {
    // r0 = 0; exit
    let program: [u64; 2] = [0xb7, 0x95];
    let license = c"GPL";
    let mut attr = Attr::default();
    attr.words[0] = prog_type;
    attr.words[1] = 2;
    attr.set_pointer(2, program.as_ptr().expose_provenance());
    attr.set_pointer(4, license.as_ptr().expose_provenance());
    attr.words[17] = attach_type;
    attr.words[27] = 1;
    match bpf(PROG_LOAD, &mut attr) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Some(error),
        Err(_) => None,
        Ok(_) => unreachable!("a program that attaches to no function was loaded"),
    }
}

/// As much of `union bpf_attr` as these commands read; the kernel takes the rest as zero.
#[repr(C, align(8))]
#[derive(Default)]
struct Attr {
    words: [u32; 32],
}

impl Attr {
    /// At a word's index; pointers are 64 bits wide on every host.
    fn set_pointer(&mut self, at: usize, address: usize) {
        let halves = (address as u64).to_ne_bytes();
        let (first, second) = halves.split_at(4);
        self.words[at] = u32::from_ne_bytes(first.try_into().expect("four bytes"));
        self.words[at + 1] = u32::from_ne_bytes(second.try_into().expect("four bytes"));
    }
}

fn bpf(command: libc::c_long, attr: &mut Attr) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is readable and writable for the length given, what it points to outlives
    // the call, and the kernel keeps no pointer of it.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<Attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
