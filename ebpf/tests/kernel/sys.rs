//! The system calls that have no safe binding: all unsafe code of these tests.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::{mem, ptr, slice};

use libc::{c_int, c_long, c_void};

/// `enum bpf_attach_type`; headers before 6.6 lack these.
pub(crate) const TCX_INGRESS: u32 = 46;
pub(crate) const TCX_EGRESS: u32 = 47;

/// Gives this thread mount and network namespaces of its own.
pub(crate) fn unshare_mounts_and_network() -> io::Result<()> {
    // SAFETY: without CLONE_FILES no descriptor table changes under anyone else.
    check(c_long::from(unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET) }))?;
    Ok(())
}

/// Makes any system call without arguments.
pub(crate) fn syscall(number: u32) -> c_long {
    // SAFETY: the tests use only numbers that no table has.
    unsafe { libc::syscall(c_long::from(number)) }
}

/// The program or map at a pin.
pub(crate) fn open_pin(path: &str) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct ObjGet {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    const BPF_OBJ_GET: c_int = 7;
    let path = CString::new(path)?;
    let mut attr = ObjGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: this command reads `attr` and the text it points to, which outlive the call.
    unsafe { bpf(BPF_OBJ_GET, &mut attr) }
}

/// Attaches a program to an interface until the link is dropped.
pub(crate) fn attach_tcx(program: &OwnedFd, ifindex: u32, kind: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct LinkCreate {
        prog_fd: c_int,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
        tcx: [u64; 2],
    }
    const BPF_LINK_CREATE: c_int = 28;
    let mut attr = LinkCreate {
        prog_fd: program.as_raw_fd(),
        target_ifindex: ifindex,
        attach_type: kind,
        flags: 0,
        tcx: [0; 2],
    };
    // SAFETY: this command reads `attr`, which has no pointers.
    unsafe { bpf(BPF_LINK_CREATE, &mut attr) }
}

/// Attaches a program to a raw tracepoint until the link is dropped.
pub(crate) fn attach_raw_tracepoint(program: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct RawTracepointOpen {
        name: u64,
        prog_fd: c_int,
        padding: u32,
    }
    const BPF_RAW_TRACEPOINT_OPEN: c_int = 17;
    let name = CString::new(name)?;
    let mut attr =
        RawTracepointOpen { name: name.as_ptr() as u64, prog_fd: program.as_raw_fd(), padding: 0 };
    // SAFETY: this command reads `attr` and the text it points to, which outlive the call.
    unsafe { bpf(BPF_RAW_TRACEPOINT_OPEN, &mut attr) }
}

/// Attaches a program to a tracepoint, on all CPUs, until the perf event is dropped.
pub(crate) fn attach_tracepoint(program: &OwnedFd, id: u64) -> io::Result<OwnedFd> {
    /// The first version of `struct perf_event_attr`, 64 bytes.
    #[repr(C)]
    struct PerfEvent {
        kind: u32,
        size: u32,
        config: u64,
        rest: [u64; 6],
    }
    const PERF_TYPE_TRACEPOINT: u32 = 2;
    const PERF_EVENT_IOC_ENABLE: libc::Ioctl = 0x2400;
    const PERF_EVENT_IOC_SET_BPF: libc::Ioctl = 0x4004_2408;
    const EVERY_PROCESS: c_int = -1;
    const FIRST_CPU: c_int = 0;
    const NO_GROUP: c_int = -1;
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    let attr = PerfEvent { kind: PERF_TYPE_TRACEPOINT, size: 64, config: id, rest: [0; 6] };
    // SAFETY: the kernel reads as many bytes of `attr` as it says it has.
    let fd = check(unsafe {
        let flags = PERF_FLAG_FD_CLOEXEC;
        let attr = &raw const attr;
        libc::syscall(libc::SYS_perf_event_open, attr, EVERY_PROCESS, FIRST_CPU, NO_GROUP, flags)
    })?;
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    let event = unsafe { OwnedFd::from_raw_fd(c_int::try_from(fd).expect("a descriptor")) };
    let fd = event.as_raw_fd();
    // SAFETY: the argument is a descriptor.
    check(c_long::from(unsafe { libc::ioctl(fd, PERF_EVENT_IOC_SET_BPF, program.as_raw_fd()) }))?;
    // SAFETY: without an argument.
    check(c_long::from(unsafe { libc::ioctl(fd, PERF_EVENT_IOC_ENABLE, 0) }))?;
    Ok(event)
}

/// # Safety
/// `attr` must be as long as the kernel's own for this command, its pointers valid, and the command
/// one that returns a new descriptor.
unsafe fn bpf<Attr>(command: c_int, attr: &mut Attr) -> io::Result<OwnedFd> {
    let attr: *mut Attr = attr;
    // SAFETY: as the caller promises.
    let fd = check(unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<Attr>()) })?;
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(c_int::try_from(fd).expect("a descriptor")) })
}

/// A raw packet socket on one interface.
pub(crate) struct PacketSocket(File);

impl PacketSocket {
    /// One to write frames to, which receives none.
    pub(crate) fn sender(ifindex: u32) -> io::Result<Self> {
        let socket = Self::open()?;
        socket.bind(ifindex, 0)?;
        Ok(socket)
    }

    /// One that shows a program every packet of the interface.
    pub(crate) fn filter(ifindex: u32, program: &OwnedFd) -> io::Result<Self> {
        let socket = Self::open()?;
        let fd = program.as_raw_fd();
        // SAFETY: the option's value is a descriptor, four bytes, read before the call returns.
        check(c_long::from(unsafe {
            libc::setsockopt(
                socket.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_BPF,
                (&raw const fd).cast(),
                socklen::<c_int>(),
            )
        }))?;
        socket.bind(ifindex, u16::try_from(libc::ETH_P_ALL).expect("an ethertype"))?;
        Ok(socket)
    }

    /// Without a protocol it receives nothing until it is bound to one.
    fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: returns a new descriptor or an error.
        let fd = check(c_long::from(unsafe { libc::socket(libc::AF_PACKET, kind, 0) }))?;
        // SAFETY: the kernel has just made it, and nobody else knows of it.
        Ok(Self(unsafe { File::from_raw_fd(c_int::try_from(fd).expect("a descriptor")) }))
    }

    fn bind(&self, ifindex: u32, protocol: u16) -> io::Result<()> {
        // SAFETY: all zeros is a valid value of it.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).expect("a family");
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = ifindex.cast_signed();
        let fd = self.0.as_raw_fd();
        // SAFETY: the address is of the length given.
        check(c_long::from(unsafe {
            libc::bind(fd, (&raw const address).cast(), socklen::<libc::sockaddr_ll>())
        }))?;
        Ok(())
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        let sent = (&self.0).write(frame).expect("send a frame");
        assert_eq!(sent, frame.len());
    }

    /// Whether a packet waits in the socket's queue.
    pub(crate) fn has_received(&self) -> bool {
        let mut byte = [0];
        match io::Read::read(&mut &self.0, &mut byte) {
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => panic!("receive: {error}"),
        }
    }
}

/// A ring buffer's memory: a page with the consumer's position, one with the producer's, and the
/// data twice in a row, so that a record at the end is in one piece.
pub(crate) struct Ring {
    consumer: *mut c_void,
    producer: *mut c_void,
    page: usize,
    size: usize,
}

impl Ring {
    pub(crate) fn map(ring: BorrowedFd<'_>, size: usize) -> io::Result<Self> {
        let page = rustix::param::page_size();
        let map = |length: usize, protection: c_int, offset: usize| {
            let offset = libc::off_t::try_from(offset).expect("an offset");
            let fd = ring.as_raw_fd();
            // SAFETY: a new mapping where the kernel likes.
            let memory = unsafe {
                libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, offset)
            };
            if memory == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(memory) }
        };
        let consumer = map(page, libc::PROT_READ | libc::PROT_WRITE, 0)?;
        let producer = map(page + 2 * size, libc::PROT_READ, page)?;
        Ok(Self { consumer, producer, page, size })
    }

    /// Takes all records that are there.
    pub(crate) fn take(&mut self) -> Vec<Vec<u8>> {
        const BUSY: u32 = 1 << 31;
        const HEADER: usize = 8;
        // SAFETY: both pages begin with a position, aligned, that the kernel accesses atomically.
        let (consumed, produced) =
            unsafe { (&*self.consumer.cast::<AtomicU64>(), &*self.producer.cast::<AtomicU64>()) };
        let mut position = consumed.load(Ordering::Relaxed);
        let mut records = Vec::new();
        while position < produced.load(Ordering::Acquire) {
            let offset =
                self.page + (usize::try_from(position).expect("64 bits") & (self.size - 1));
            // SAFETY: a record's header is within the data, aligned to 8, and ours to read until
            // the position is past it.
            let record = unsafe { self.producer.byte_add(offset) };
            // SAFETY: as above.
            let length = unsafe { &*record.cast::<AtomicU32>() }.load(Ordering::Acquire);
            if length & BUSY != 0 {
                break;
            }
            let length = length as usize;
            // SAFETY: the kernel says that many bytes follow the header, and has finished them.
            let bytes = unsafe { slice::from_raw_parts(record.byte_add(HEADER).cast(), length) };
            records.push(bytes.to_vec());
            position += (HEADER + length).next_multiple_of(8) as u64;
            consumed.store(position, Ordering::Release);
        }
        records
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: these are the mappings that `map` made, and no reference to them is left.
        unsafe {
            libc::munmap(self.consumer, self.page);
            libc::munmap(self.producer, self.page + 2 * self.size);
        }
    }
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("a small type")
}

fn check(returned: c_long) -> io::Result<c_long> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}
