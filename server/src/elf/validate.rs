//! Checks a plan as if a stranger had sent it: the process that made it has read a stranger's file.
//!
//! What the kernel checks by itself is left to it. What matters here is what the kernel would believe
//! because the agent says it: descriptors in instructions, lengths, names.

use std::collections::HashSet;
use std::os::fd::RawFd;

use bpfgate_proto::name::{MapName, ObjectName, ProgramName};

use super::ElfError;
use super::image::Malformed;
use super::plan::{MapPlan, ObjectPlan, ProgramPlan};

const INSN: usize = 8;
/// The kernel's `BPF_COMPLEXITY_LIMIT_INSNS`: it takes no more for a privileged caller.
const INSNS_MAX: usize = 1_000_000;
/// The kernel's `BTF_MAX_SIZE`.
const BTF_MAX: usize = 16 << 20;
const MAPS_MAX: usize = 1024;
const PROGRAMS_MAX: usize = 1024;
const WARNINGS_MAX: usize = 64;
/// The longest text in an error, a warning or a section's name.
const TEXT_MAX: usize = 1000;
/// The longest licence that the kernel reads.
const LICENSE_MAX: usize = 127;

/// `BPF_LD | BPF_IMM | BPF_DW`, which takes two slots.
const LD_IMM64: u8 = 0x18;
/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `BPF_PSEUDO_MAP_FD` and `BPF_PSEUDO_MAP_VALUE`.
const MAP_REFERENCES: [u8; 2] = [1, 2];
/// `BPF_PSEUDO_FUNC`.
const PSEUDO_FUNC: u8 = 4;
/// `BPF_PSEUDO_CALL`.
const PSEUDO_CALL: u8 = 1;

/// The plan, if it is sound.
pub(super) fn plan(mut plan: ObjectPlan) -> Result<ObjectPlan, ElfError> {
    check(plan.license.len() <= LICENSE_MAX && !plan.license.contains('\0'), || {
        "its licence is not a short text".to_owned()
    })?;
    check(plan.btf.as_ref().is_none_or(|btf| btf.len() <= BTF_MAX), || {
        format!("its BTF has more than {BTF_MAX} bytes")
    })?;
    check(plan.maps.len() <= MAPS_MAX, || format!("it has more than {MAPS_MAX} maps"))?;
    check(plan.programs.len() <= PROGRAMS_MAX, || {
        format!("it has more than {PROGRAMS_MAX} programs")
    })?;
    check(!plan.maps.is_empty() || !plan.programs.is_empty(), || {
        "it has neither programs nor maps".to_owned()
    })?;
    // Any object's name serves to check those of its members.
    let object: ObjectName = "object".parse().expect("a plain word is a name");
    let mut names = HashSet::new();
    for map in &plan.maps {
        MapName::in_object(&object, &map.name).map_err(|e| Malformed(format!("its {e}")))?;
        check(names.insert(&map.name), || format!("it has two maps named {}", map.name))?;
        check_map(map)?;
    }
    let mut names = HashSet::new();
    for program in &plan.programs {
        ProgramName::new(&object, &program.name).map_err(|e| Malformed(format!("its {e}")))?;
        check(names.insert(&program.name), || {
            format!("it has two programs named {}", program.name)
        })?;
        check_program(program, plan.maps.len())?;
    }
    plan.warnings.truncate(WARNINGS_MAX);
    for warning in &mut plan.warnings {
        shorten(warning);
    }
    Ok(plan)
}

/// The error with texts of bounded length: it may quote the file.
pub(super) fn error(mut error: ElfError) -> ElfError {
    match &mut error {
        ElfError::Invalid { reason } | ElfError::Kernel { reason } => shorten(reason),
        ElfError::UnsupportedSection { section, program, reason } => {
            for text in [section, program, reason] {
                shorten(text);
            }
        }
        ElfError::Global { name, reason } => {
            shorten(name);
            shorten(reason);
        }
        ElfError::Crashed
        | ElfError::TooLarge { .. }
        | ElfError::TooSlow { .. }
        | ElfError::Spawn(_) => {}
    }
    error
}

/// Puts descriptors where the plan has positions: `fds[n]` stands for the plan's map `n`. The
/// instructions must be those of a plan with as many maps.
pub fn bind_maps(insns: &mut [u8], fds: &[RawFd]) {
    let mut at = 0;
    while at < insns.len() {
        let insn = &mut insns[at..at + INSN];
        if insn[0] == LD_IMM64 && MAP_REFERENCES.contains(&(insn[1] >> 4)) {
            let map = immediate(insn) as usize;
            insn[4..].copy_from_slice(&fds[map].to_ne_bytes());
        }
        at += if insn[0] == LD_IMM64 { 2 * INSN } else { INSN };
    }
}

fn check_map(map: &MapPlan) -> Result<(), Malformed> {
    let name = &map.name;
    check(map.map_type != 0, || format!("map {name} has no type"))?;
    let fits = |initial: &Vec<u8>| initial.len() as u64 == u64::from(map.value_size);
    check(map.initial.as_ref().is_none_or(fits), || {
        format!("map {name} has contents of another size than its value")
    })?;
    check(map.inner.is_some() == map.is_map_of_maps(), || {
        format!("map {name} does not say rightly what maps it holds")
    })
}

fn check_program(program: &ProgramPlan, maps: usize) -> Result<(), Malformed> {
    let name = &program.name;
    check(program.section.len() <= TEXT_MAX, || {
        format!("program {name} is in an endless section")
    })?;
    let count = program.insns.len() / INSN;
    check(program.insns.len().is_multiple_of(INSN) && (1..=INSNS_MAX).contains(&count), || {
        format!("program {name} has {} bytes of instructions", program.insns.len())
    })?;
    for (what, records, size, right) in [
        ("function", &program.func_info, program.func_info_rec_size, 8),
        ("line", &program.line_info, program.line_info_rec_size, 16),
    ] {
        let sound = match size {
            0 => records.is_empty(),
            size => size == right && records.len().is_multiple_of(right as usize),
        };
        check(sound, || format!("program {name} has strange {what} records"))?;
    }
    check_instructions(program, maps)
}

/// No instruction may name a descriptor of the agent's: only maps, and those by position.
fn check_instructions(program: &ProgramPlan, maps: usize) -> Result<(), Malformed> {
    let name = &program.name;
    let mut at = 0;
    while at < program.insns.len() {
        let insn = &program.insns[at..at + INSN];
        let source = insn[1] >> 4;
        match insn[0] {
            LD_IMM64 => {
                let whole = program.insns.get(at + INSN).is_some_and(|&code| code == 0);
                check(whole, || format!("program {name} has half an instruction"))?;
                let sound = match source {
                    0 | PSEUDO_FUNC => true,
                    source if MAP_REFERENCES.contains(&source) => (immediate(insn) as usize) < maps,
                    _ => false,
                };
                check(sound, || {
                    format!("program {name} refers to something that is no map of the object")
                })?;
                at += 2 * INSN;
            }
            CALL => {
                check(matches!(source, 0 | PSEUDO_CALL), || {
                    format!("program {name} calls a kernel function, which is not supported")
                })?;
                at += INSN;
            }
            _ => at += INSN,
        }
    }
    Ok(())
}

fn immediate(insn: &[u8]) -> u32 {
    u32::from_ne_bytes([insn[4], insn[5], insn[6], insn[7]])
}

fn check(sound: bool, reason: impl FnOnce() -> String) -> Result<(), Malformed> {
    if sound { Ok(()) } else { Err(Malformed(reason())) }
}

fn shorten(text: &mut String) {
    if text.len() > TEXT_MAX {
        let cut = (0..=TEXT_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
}
