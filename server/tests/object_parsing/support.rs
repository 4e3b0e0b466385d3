//! Objects to parse, made by the compiler that users have, and a parser of the real agent binary.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfgate_server::core::Limits;
use bpfgate_server::elf::{ElfError, ObjectPlan, ParseLimits, ParseRequest, Parser};
use bpfgate_server::ledger::Ledger;

/// Compiles one of the files in `tests/objects`.
pub(crate) fn compile_object(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects").join(name);
    compile_file(&path, &["-g"])
}

/// Compiles C for BPF.
pub(crate) fn compile_file(source: &Path, flags: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let object = dir.path().join("object.o");
    let output = Command::new("clang")
        .args(["-target", "bpf", "-O2", "-Wall", "-Wno-missing-declarations"])
        .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .args(flags)
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(&object)
        .output()
        .expect("clang runs");
    assert!(output.status.success(), "clang: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(object).expect("clang wrote the object")
}

/// A parser of the agent's binary. It is run through a descriptor, so that the unprivileged process
/// needs no way through the directories above the binary.
pub(crate) struct Harness {
    parser: Parser,
    _binary: File,
}

impl Harness {
    pub(crate) fn new(limits: ParseLimits) -> Self {
        let binary = File::open(env!("CARGO_BIN_EXE_bpfgated")).expect("the agent is built");
        let program = PathBuf::from(format!("/proc/self/fd/{}", binary.as_raw_fd()));
        Self { parser: Parser::with_program(program, limits), _binary: binary }
    }

    pub(crate) async fn parse(&self, elf: impl Into<Vec<u8>>) -> Result<ObjectPlan, ElfError> {
        self.parse_request(ParseRequest { elf: elf.into().into(), ..Default::default() }).await
    }

    pub(crate) async fn parse_request(
        &self,
        request: ParseRequest,
    ) -> Result<ObjectPlan, ElfError> {
        let account = Ledger::new(1 << 30, Limits::default().seats()).own("a test", 1 << 30);
        Ok(self.parser.parse(request, &account).await?.0)
    }
}

impl Default for Harness {
    fn default() -> Self {
        Self::new(ParseLimits::default())
    }
}
