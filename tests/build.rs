//! Compiles the tests' own eBPF programs in `bpf/` with clang, once for all tests.
//!
//! `CLANG` names another clang than the one in `PATH`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs};

const SOURCES: &str = "bpf";

fn main() -> ExitCode {
    // The directory stands for every file in it.
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CLANG");

    let clang = env::var("CLANG").ok().filter(|name| !name.is_empty());
    let clang = clang.unwrap_or_else(|| "clang".into());
    let out = PathBuf::from(required("OUT_DIR"));
    for entry in fs::read_dir(SOURCES).expect("the directory of the sources") {
        let source = entry.expect("a file").file_name().into_string().expect("a plain name");
        let Some(name) = source.strip_suffix(".bpf.c") else { continue };
        let object = out.join(format!("{name}.o"));
        if let Err(reason) = compile(&clang, &source, &object) {
            println!("cargo::error={SOURCES}/{source}: {reason}");
            return ExitCode::FAILURE;
        }
        strip(&object);
    }
    ExitCode::SUCCESS
}

fn compile(clang: &str, source: &str, object: &Path) -> Result<(), String> {
    let architecture = required("CARGO_CFG_TARGET_ARCH");
    let (kernel, multiarch) = match architecture.as_str() {
        "x86_64" => ("x86", "x86_64"),
        "aarch64" => ("arm64", "aarch64"),
        other => (other, other),
    };
    let little = required("CARGO_CFG_TARGET_ENDIAN") == "little";
    let run = Command::new(clang)
        .current_dir(SOURCES)
        .args(["-c", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"])
        .args(["-target", if little { "bpfel" } else { "bpfeb" }, "-mcpu=v3"])
        .arg(format!("-D__TARGET_ARCH_{kernel}"))
        // Debian and Ubuntu keep <asm/…> in a directory for each architecture.
        .args(["-idirafter", &format!("/usr/include/{multiarch}-linux-gnu")])
        .arg(source)
        .arg("-o")
        .arg(object)
        .output()
        .map_err(|error| format!("cannot run {clang}: {error}; install clang and libbpf-dev"))?;
    if run.status.success() {
        return Ok(());
    }
    // A line break would end the message.
    let said = String::from_utf8_lossy(&run.stderr).replace('\n', " / ");
    Err(format!("{clang} could not compile it: {said}"))
}

/// Drops DWARF and keeps BTF. Without llvm-strip the object is only larger.
fn strip(object: &Path) {
    let _ = Command::new("llvm-strip").arg("-g").arg(object).stderr(Stdio::null()).status();
}

/// A variable that cargo always sets.
fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("{name}: {error}; run this by cargo"))
}
