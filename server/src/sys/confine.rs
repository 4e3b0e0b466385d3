//! What a process can give up for good: its network, and the system calls that it has no use for.

use std::io;

use libc::{c_long, sock_filter};

/// `AUDIT_ARCH_*`, which says whose numbers the system calls have.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The third argument's low half.
const THIRD: u32 = if cfg!(target_endian = "little") { 32 } else { 36 };

/// Moves the calling thread to a new network namespace, where there is nobody to talk to.
pub fn leave_network() -> io::Result<()> {
    // SAFETY: no pointers, and the memory stays as it is.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Closes all descriptors but the standard streams: whoever started the process may have left it
/// some. To be called before the process has any of its own.
pub fn close_inherited() -> io::Result<()> {
    // SAFETY: nobody in this process owns one of them yet.
    check(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) as libc::c_int })
}

/// From now on the calling thread may make these system calls, and map memory that is not
/// executable; all others are EPERM. `Unsupported` where the kernel has no such filters, or nobody
/// has written down its architecture here. The thread must have set `no_new_privs`.
pub fn allow_only(calls: &[c_long]) -> io::Result<()> {
    let architecture = ARCHITECTURE.ok_or(io::ErrorKind::Unsupported)?;
    let mut program = filter(architecture, calls);
    let header = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the header leads to as many instructions as it says, and the kernel copies them.
    let result = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const header, 0, 0)
    };
    match check(result) {
        // The program is sound, so that it is the mode that the kernel does not know.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        result => result,
    }
}

fn filter(architecture: u32, calls: &[c_long]) -> Vec<sock_filter> {
    let n = u8::try_from(calls.len()).expect("jumps reach 255 instructions");
    let mut program = vec![
        load(ARCH),
        jump(libc::BPF_JEQ, architecture, 1, 0),
        end(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    program
        .extend((0..n).zip(calls).map(|(i, call)| jump(libc::BPF_JEQ, *call as u32, n + 3 - i, 0)));
    program.extend([
        jump(libc::BPF_JEQ, libc::SYS_mmap as u32, 0, 2),
        load(THIRD),
        jump(libc::BPF_JSET, libc::PROT_EXEC as u32, 0, 1),
        end(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ]);
    program
}

fn load(k: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k }
}

/// By so many instructions if the test holds, by so many if not.
fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt, jf, k }
}

fn end(k: u32) -> sock_filter {
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::UdpSocket;
    use std::{fs, ptr, thread};

    use super::*;

    /// Enough for a thread to come to its end.
    const CALLS: &[c_long] = &[
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_munmap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigprocmask,
        libc::SYS_exit,
    ];

    fn map(protection: libc::c_int) -> io::Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new memory, which nobody uses.
        let at = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let tried = thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            allow_only(CALLS)?;
            writer.write_all(b"w").unwrap();
            reader.read_exact(&mut [0]).unwrap();
            map(libc::PROT_READ | libc::PROT_WRITE).unwrap();
            Ok([
                fs::File::open("/").map(drop),
                UdpSocket::bind("127.0.0.1:0").map(drop),
                io::pipe().map(drop),
                map(libc::PROT_READ | libc::PROT_EXEC),
                rustix::thread::set_no_new_privs(true).map_err(Into::into),
            ])
        });
        let tried: io::Result<_> = tried.join().unwrap();
        for result in tried.expect("this kernel has filters") {
            let error = result.expect_err("it is not on the list");
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        }
        drop(fs::File::open("/").expect("only that thread is bound"));
    }

    #[test]
    fn every_jump_leads_to_its_end() {
        let calls: Vec<c_long> = (0..c_long::from(u8::MAX) - 3).collect();
        let program = filter(0, &calls);
        for (at, instruction) in program.iter().enumerate().skip(4).take(calls.len()) {
            let target = program[at + 1 + usize::from(instruction.jt)];
            assert_eq!(target.k, libc::SECCOMP_RET_ALLOW, "{at}");
        }
    }

    #[test]
    fn a_thread_that_left_the_network_sees_none_of_it() {
        let seen = thread::spawn(|| {
            leave_network()?;
            fs::read_to_string("/proc/thread-self/net/dev")
        });
        let devices = seen.join().unwrap().expect("tests run as root");
        let count = devices.lines().skip(2).filter(|line| !line.contains("lo:")).count();
        assert_eq!(count, 0, "{devices}");
    }
}
