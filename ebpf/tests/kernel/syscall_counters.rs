//! `syscall-counters`: each call once, under its number, wherever on the host it is made.
//!
//! A program sees the calls of all tests, so each test has numbers of its own, which no table has.

use std::os::fd::OwnedFd;
use std::process::Command;
use std::thread;

use crate::bpftool::Object;
use crate::sandbox::{self, Sandbox};
use crate::{sys, tiny_elf};

const NO_SUCH_NUMBER: u64 = 0xffff_ffff;
const X32_BIT: u32 = 0x4000_0000;

fn attach(sandbox: &Sandbox) -> (Object, OwnedFd) {
    let object = sandbox.load("syscall-counters");
    let program = sys::open_pin(&object.program_path("count_syscalls")).expect("the program");
    let link = sys::attach_raw_tracepoint(&program, "sys_enter").expect("a link");
    (object, link)
}

fn calls(object: &Object, map: &str, number: u32) -> u64 {
    object.numbers(map).get(&number.into()).copied().unwrap_or_default()
}

#[test]
fn calls_from_all_threads_count() {
    const NUMBER: u32 = 1001;
    const CALLS: u64 = 10_000;
    const THREADS: u64 = 4;
    sandbox::run(|sandbox| {
        let (object, link) = attach(sandbox);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| (0..CALLS).for_each(|_| assert_eq!(sys::syscall(NUMBER), -1)));
            }
        });
        assert_eq!(calls(&object, "syscalls", NUMBER), THREADS * CALLS);
        assert_eq!(calls(&object, "compat_syscalls", NUMBER), 0);
        drop(link);
        sys::syscall(NUMBER);
        assert_eq!(calls(&object, "syscalls", NUMBER), THREADS * CALLS, "detached");
    });
}

#[test]
fn numbers_that_no_table_has_share_an_entry() {
    const CALLS: u32 = 5000;
    sandbox::run(|sandbox| {
        let (object, _link) = attach(sandbox);
        (0..CALLS).for_each(|nth| assert_eq!(sys::syscall(1024 + nth), -1));
        let counted = object.numbers("syscalls");
        assert!(counted[&NO_SUCH_NUMBER] >= CALLS.into(), "{counted:?}");
        assert!(
            counted
                .keys()
                .all(|number| number & !u64::from(X32_BIT) < 1024 || *number == NO_SUCH_NUMBER)
        );
        assert_eq!(object.numbers("missed").len(), 0);
    });
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_32_bit_processes_count_apart() {
    const NUMBER: u32 = 1002;
    sandbox::run(|sandbox| {
        let (object, _link) = attach(sandbox);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("i386");
        tiny_elf::write_i386_call(&path, NUMBER);
        match tiny_elf::run(&mut Command::new(&path)) {
            Ok((_, status)) => assert!(status.success(), "{status}"),
            // ENOEXEC: the kernel runs no 32-bit programs.
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
                eprintln!("skipped: this kernel lacks CONFIG_IA32_EMULATION");
                return;
            }
            Err(error) => panic!("cannot run {}: {error}", path.display()),
        }
        assert_eq!(calls(&object, "compat_syscalls", NUMBER), 1);
        assert_eq!(calls(&object, "syscalls", NUMBER), 0);
        assert_eq!(object.numbers("compat_syscalls").get(&1), Some(&1), "exit");
    });
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_the_x32_abi_keep_their_bit() {
    const NUMBER: u32 = X32_BIT + 1003;
    sandbox::run(|sandbox| {
        let (object, _link) = attach(sandbox);
        sys::syscall(NUMBER);
        assert_eq!(calls(&object, "syscalls", NUMBER), 1);
    });
}
