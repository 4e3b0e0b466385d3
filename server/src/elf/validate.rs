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
        | ElfError::Memory(_)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::plan::{AutoAttach, ProgramKind};

    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

    fn ld_imm64(source: u8, immediate: u8) -> Vec<u8> {
        let mut insns = vec![0; 16];
        (insns[0], insns[1], insns[4]) = (LD_IMM64, source << 4, immediate);
        insns
    }

    fn map(name: &str) -> MapPlan {
        MapPlan {
            name: name.to_owned(),
            map_type: 1,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            flags: 0,
            map_extra: 0,
            btf_key_type_id: 0,
            btf_value_type_id: 0,
            inner: None,
            initial: None,
            read_only: false,
            pin_by_name: false,
        }
    }

    fn object(insns: &[&[u8]]) -> ObjectPlan {
        let kind = ProgramKind {
            prog_type: 1,
            expected_attach_type: 0,
            sleepable: false,
            xdp_frags: false,
            auto_attach: AutoAttach::None,
        };
        let program = ProgramPlan {
            name: "f".to_owned(),
            section: "socket".to_owned(),
            kind,
            autoload: true,
            attach_btf_id: 0,
            insns: insns.concat(),
            func_info: Vec::new(),
            func_info_rec_size: 0,
            line_info: Vec::new(),
            line_info_rec_size: 0,
        };
        ObjectPlan {
            license: String::new(),
            btf: None,
            maps: vec![map("a"), map("b")],
            programs: vec![program],
            warnings: Vec::new(),
        }
    }

    fn refusal(change: impl FnOnce(&mut ObjectPlan)) -> String {
        let mut changed = object(&[&EXIT]);
        change(&mut changed);
        plan(changed).expect_err("it must be refused").to_string()
    }

    #[test]
    fn instructions_may_name_only_maps_of_the_object() {
        // A map of the object, its value, a number, a function.
        for (source, immediate) in [(1, 1), (2, 0), (0, 200), (4, 9)] {
            assert!(plan(object(&[&ld_imm64(source, immediate), &EXIT])).is_ok(), "{source}");
        }
        // Maps that are not there; BTF objects, maps and kernel functions by the agent's descriptors.
        for (source, immediate) in [(1, 2), (2, 255), (3, 0), (5, 0), (6, 0), (15, 0)] {
            assert!(plan(object(&[&ld_imm64(source, immediate), &EXIT])).is_err(), "{source}");
        }
        assert!(plan(object(&[&[CALL, 0x10, 0, 0, 1, 0, 0, 0], &EXIT])).is_ok());
        assert!(plan(object(&[&[CALL, 0x20, 0, 0, 1, 0, 0, 0], &EXIT])).is_err());
        assert!(plan(object(&[&ld_imm64(0, 0)[..8]])).is_err(), "half an instruction");
        assert!(plan(object(&[&EXIT[..7]])).is_err());
        assert!(plan(object(&[])).is_err());
    }

    #[test]
    fn what_looks_like_a_reference_in_a_second_half_is_none() {
        let mut number = ld_imm64(0, 7);
        number[8..].copy_from_slice(&[0, 0x10, 0, 0, 9, 0, 0, 0]);
        let mut insns = [&number[..], &ld_imm64(1, 1), &EXIT].concat();
        assert!(plan(object(&[&insns])).is_ok());
        bind_maps(&mut insns, &[40, 41]);
        assert_eq!(insns[..16], number);
        assert_eq!(insns[20..24], 41_i32.to_ne_bytes());
    }

    #[test]
    fn names_and_sizes_are_checked() {
        assert!(refusal(|plan| plan.maps[0].name = "a b".to_owned()).contains("map name"));
        assert!(refusal(|plan| plan.maps[1].name = "a".to_owned()).contains("two maps named a"));
        assert!(refusal(|plan| plan.programs[0].name = "x".repeat(999)).contains("program name"));
        assert!(refusal(|plan| plan.maps[0].initial = Some(vec![0; 9])).contains("another size"));
        assert!(refusal(|plan| plan.maps[0].map_type = 13).contains("what maps it holds"));
        assert!(refusal(|plan| plan.maps[0].inner = Some(map("i").into())).contains("holds"));
        assert!(refusal(|plan| plan.programs[0].line_info = vec![0; 16]).contains("line records"));
        assert!(refusal(|plan| plan.license = "a\0b".to_owned()).contains("licence"));
        assert!(
            refusal(|plan| (plan.maps, plan.programs) = Default::default()).contains("neither")
        );
    }

    #[test]
    fn texts_are_cut() {
        let mut long = object(&[&EXIT]);
        long.warnings = vec!["é".repeat(TEXT_MAX); 100];
        let warnings = plan(long).expect("it is sound").warnings;
        assert_eq!(warnings.len(), WARNINGS_MAX);
        assert!(warnings[0].len() <= TEXT_MAX + '…'.len_utf8());
        let reason = "x".repeat(1 << 20);
        assert!(error(ElfError::Invalid { reason }).to_string().len() < 2 * TEXT_MAX);
    }
}
