//! Calling a thread out of a system call: the verifier, for one, gives up when a signal waits.

use std::io;
use std::ptr::null_mut;
use std::sync::Once;

/// Ignored unless it is handled, so that one which comes early or late does no harm.
const SIGNAL: i32 = libc::SIGURG;

/// A thread of this process. Its number may be another's once it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadId(libc::pid_t);

/// The thread that asks. From here on it can be called.
pub fn this_thread() -> ThreadId {
    static HANDLED: Once = Once::new();
    HANDLED.call_once(handle);
    // SAFETY: gettid(2) takes nothing and cannot fail.
    ThreadId(unsafe { libc::gettid() })
}

/// Calls a thread out of a system call that gives way to signals. One that is not in such a call
/// notices nothing.
pub fn interrupt(thread: ThreadId) -> io::Result<()> {
    // SAFETY: the signal is handled by a function that does nothing, in whatever thread of this
    // process it arrives.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.0, SIGNAL) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn nothing(_: i32) {}

fn handle() {
    // SAFETY: all zeros is a valid sigaction without flags: calls are interrupted, not restarted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
    // SAFETY: the action is valid, its handler touches nothing, and nobody wants the old one.
    let result = unsafe { libc::sigaction(SIGNAL, &raw const action, null_mut()) };
    assert_eq!(result, 0, "the kernel takes a handler for any signal that can be handled");
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_thread_is_called_out_of_its_sleep() {
        let (send, receive) = mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            send.send(this_thread()).unwrap();
            let time = libc::timespec { tv_sec: 60, tv_nsec: 0 };
            // SAFETY: the time is valid, and nobody asks what was left of it.
            unsafe { libc::nanosleep(&raw const time, null_mut()) }
        });
        let thread = receive.recv().unwrap();
        let start = Instant::now();
        while !sleeper.is_finished() {
            interrupt(thread).ok();
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(sleeper.join().unwrap(), -1);
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
