//! Broken and hostile files cost a process, never the agent.

use std::fs;
use std::time::{Duration, Instant};

use bpfgate_server::elf::{ElfError, ObjectPlan, ParseLimits};

use crate::support::{Harness, compile_object};

/// Longer than any answer may take here, on a busy machine and without optimisation.
const BOUND: Duration = Duration::from_secs(30);

async fn bounded(harness: &Harness, elf: Vec<u8>, what: &str) -> Result<ObjectPlan, ElfError> {
    let start = Instant::now();
    let answer = harness.parse(elf).await;
    assert!(start.elapsed() < BOUND, "{what} took {:?}", start.elapsed());
    if let Err(ElfError::Spawn(source)) = &answer {
        panic!("{what}: {source}");
    }
    answer
}

async fn refused(elf: Vec<u8>, part: &str) {
    let said = bounded(&Harness::default(), elf, part).await.unwrap_err().to_string();
    assert!(said.contains(part), "{said}");
}

#[tokio::test]
async fn what_is_no_bpf_object_is_told_so() {
    let object = compile_object("everything.c");
    refused(Vec::new(), "empty").await;
    refused(b"#!/bin/sh\n".to_vec(), "not an ELF file").await;
    refused(object[..20].to_vec(), "ends within").await;
    refused(vec![0; 1 << 20], "not an ELF file").await;
    refused(fs::read("/proc/self/exe").unwrap(), "not for BPF").await;
    let changed = |at: usize, byte: u8| {
        let mut object = object.clone();
        object[at] = byte;
        object
    };
    refused(changed(4, 1), "32-bit").await;
    refused(changed(5, 2), "big-endian").await;
}

#[tokio::test]
async fn truncated_files_are_refused() {
    let object = compile_object("everything.c");
    let harness = Harness::default();
    for len in (0..object.len()).step_by(object.len() / 150) {
        let answer = bounded(&harness, object[..len].to_vec(), &format!("{len} bytes")).await;
        assert!(answer.is_err(), "the first {len} bytes are no object");
    }
}

#[tokio::test]
async fn forged_sizes_cost_no_memory() {
    let object = compile_object("everything.c");
    let harness = Harness::default();
    let word = |at: usize| u64::from_le_bytes(object[at..at + 8].try_into().unwrap());
    let table = usize::try_from(word(40)).unwrap();
    let count = usize::from(u16::from_le_bytes([object[60], object[61]]));
    for section in 1..count {
        for size in [1_u64 << 40, u64::MAX, u64::from(u32::MAX)] {
            let mut forged = object.clone();
            let at = table + section * 64 + 32;
            forged[at..at + 8].copy_from_slice(&size.to_le_bytes());
            let what = format!("section {section} of {size} bytes");
            let error = bounded(&harness, forged, &what).await.expect_err(&what);
            assert!(matches!(error, ElfError::Invalid { .. }), "{what}: {error}");
        }
    }
}

#[tokio::test]
async fn memory_is_bounded() {
    let limits = ParseLimits { memory: 24 << 20, ..Default::default() };
    let mut object = compile_object("everything.c");
    object.resize(64 << 20, 0);
    let error = Harness::new(limits).parse(object).await.unwrap_err();
    assert!(matches!(error, ElfError::TooLarge { .. }), "{error}");
}
