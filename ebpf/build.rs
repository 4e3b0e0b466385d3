//! Compiles the built-in programs in `bpf/` with clang.
//!
//! `CLANG` names another clang than the one in `PATH`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, io};

const SOURCES: &str = "bpf";
const PROGRAMS: [&str; 4] = ["exec_events", "if_counters", "proto_counters", "syscall_counters"];

/// What to do about most failures here.
const PACKAGES: &str = "install the packages clang and libbpf-dev \
    (Debian, Ubuntu: apt-get install clang libbpf-dev)";

fn main() -> ExitCode {
    // The directory stands for every file in it.
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CLANG");

    let clang = env::var_os("CLANG").filter(|name| !name.is_empty());
    let clang = clang.unwrap_or_else(|| "clang".into());
    let out = PathBuf::from(required("OUT_DIR"));
    for program in PROGRAMS {
        let object = out.join(format!("{program}.o"));
        if let Err(reason) = compile(&clang, program, &object) {
            for line in reason.lines() {
                println!("cargo::error={line}");
            }
            return ExitCode::FAILURE;
        }
        strip(&clang, &object);
    }
    ExitCode::SUCCESS
}

fn compile(clang: &OsString, program: &str, object: &Path) -> Result<(), String> {
    let architecture = required("CARGO_CFG_TARGET_ARCH");
    let little = required("CARGO_CFG_TARGET_ENDIAN") == "little";
    let mut command = Command::new(clang);
    command
        // From here names are short, so no path of this machine gets into the object's line table.
        .current_dir(SOURCES)
        .args(["-c", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        .arg("-fdebug-compilation-dir=.")
        .args(["-target", if little { "bpfel" } else { "bpfeb" }])
        // Linux 5.8 is the oldest with ring buffers, and it knows this instruction set. The default
        // is another with every clang.
        .arg("-mcpu=v3")
        .arg(format!("-D__TARGET_ARCH_{}", kernel_architecture(&architecture)))
        // Debian and Ubuntu keep <asm/…> in a directory for each architecture.
        .args(["-idirafter", &format!("/usr/include/{}", multiarch(&architecture))])
        .arg(format!("{program}.bpf.c"))
        .arg("-o")
        .arg(object);

    let name = clang.display();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!("cannot find {name}, which compiles eBPF programs: {PACKAGES}"));
        }
        Err(error) => return Err(format!("cannot run {name}: {error}")),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let advice = if said.contains("file not found") {
        format!("a header is missing: {PACKAGES}")
    } else if said.contains("unknown target") || said.contains("No available targets") {
        format!("{name} cannot compile for eBPF: {PACKAGES}, or name another clang in CLANG")
    } else {
        format!("{name} could not compile it")
    };
    Err(format!("{SOURCES}/{program}.bpf.c: {advice}\n{said}"))
}

/// Drops DWARF, which nothing reads, and keeps BTF. Without llvm-strip the object is only larger.
fn strip(clang: &OsString, object: &Path) {
    let clang = Path::new(clang);
    let name = clang.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // clang-18 comes with llvm-strip-18, in the same directory.
    let version = name.strip_prefix("clang").unwrap_or_default();
    let beside = clang.with_file_name(format!("llvm-strip{version}"));
    for tool in [beside, PathBuf::from("llvm-strip")] {
        let run = Command::new(tool).arg("-g").arg(object).stderr(Stdio::null()).status();
        if run.is_ok_and(|status| status.success()) {
            return;
        }
    }
}

/// The architecture as libbpf's headers name it.
fn kernel_architecture(architecture: &str) -> &str {
    match architecture {
        "x86" | "x86_64" => "x86",
        "aarch64" => "arm64",
        "powerpc64" => "powerpc",
        "riscv64" => "riscv",
        "s390x" => "s390",
        "loongarch64" => "loongarch",
        other => other,
    }
}

/// The architecture as Debian names its directories.
fn multiarch(architecture: &str) -> String {
    let architecture = match architecture {
        "powerpc64" => "powerpc64le",
        other => other,
    };
    format!("{architecture}-linux-gnu")
}

/// A variable that cargo always sets.
fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}; run this by cargo"))
}
