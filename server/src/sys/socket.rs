//! Packet sockets, which socket filters attach to.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// Opens a packet socket that runs a socket filter on every packet of an interface, both ways.
/// The filter is gone when the socket is closed.
pub fn packet_socket(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    // Protocol 0 receives nothing until bind: no packet comes in before the filter.
    // SAFETY: no pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: on success the call returns a new descriptor that nobody else owns.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };

    // What a filter lets through is never read: keep the queue small.
    set_option(&socket, libc::SO_RCVBUF, 1)?;
    set_option(&socket, libc::SO_ATTACH_BPF, program.as_raw_fd())?;

    // SAFETY: all zeroes is a good sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = ifindex.cast_signed();
    // SAFETY: the address is a sockaddr_ll and the length its own.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn set_option(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option's value is an int, and the length its own.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
