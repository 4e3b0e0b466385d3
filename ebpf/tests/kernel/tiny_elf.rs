//! Executables of a hundred bytes, so that a thousand of them start in a second.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::{fs, io, thread};

/// Runs a program that the test has just written.
pub(crate) fn run(program: &mut Command) -> io::Result<(u32, ExitStatus)> {
    loop {
        match program.spawn() {
            // A process that another thread has forked meanwhile holds the file open for writing
            // until it becomes another program itself.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => thread::yield_now(),
            Err(error) => return Err(error),
            Ok(mut child) => return Ok((child.id(), child.wait()?)),
        }
    }
}

/// Writes an executable of x86-64 that exits with 0.
pub(crate) fn write_exit(path: &Path) {
    let code = [
        0xb8, 60, 0, 0, 0, // mov eax, 60: exit
        0x31, 0xff, // xor edi, edi
        0x0f, 0x05, // syscall
    ];
    let base: u64 = 0x40_0000;
    let size = 64 + 56 + code.len() as u64;
    let mut elf = header(2, 62);
    let words = [base + 64 + 56, 64, 0];
    elf.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let segment = [0, base, base, size, size, 0x1000];
    elf.extend(segment.iter().flat_map(|word| word.to_le_bytes()));
    write(path, elf, &code);
}

/// Writes an executable of i386 that makes one system call and exits with 0.
pub(crate) fn write_i386_call(path: &Path, number: u32) {
    let mut code = vec![0xb8]; // mov eax, number
    code.extend(number.to_le_bytes());
    code.extend([
        0xcd, 0x80, // int 0x80
        0xb8, 1, 0, 0, 0, // mov eax, 1: exit
        0x31, 0xdb, // xor ebx, ebx
        0xcd, 0x80, // int 0x80
    ]);
    let base: u32 = 0x40_0000;
    let size = 52 + 32 + u32::try_from(code.len()).expect("short code");
    let mut elf = header(1, 3);
    let words = [base + 52 + 32, 52, 0, 0];
    elf.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    elf.extend([52, 0, 32, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let segment = [1, 0, base, base, size, size, 5, 0x1000];
    elf.extend(segment.iter().flat_map(|word| word.to_le_bytes()));
    write(path, elf, &code);
}

/// The ELF header up to its entry point.
fn header(class: u8, machine: u8) -> Vec<u8> {
    let mut header = vec![0x7f, b'E', b'L', b'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.extend([2, 0, machine, 0, 1, 0, 0, 0]);
    header
}

fn write(path: &Path, mut elf: Vec<u8>, code: &[u8]) {
    elf.extend(code);
    fs::write(path, elf).expect("the executable");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable mode");
}
