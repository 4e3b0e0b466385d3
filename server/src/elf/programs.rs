//! From the library's relocated functions to program plans.

use aya_obj::Object;
use aya_obj::generated::bpf_insn;

use super::ElfError;
use super::btf::{Btf, Kind};
use super::host::Host;
use super::image::Malformed;
use super::plan::ProgramPlan;
use super::prepare::Prepared;
use super::sections::{AttachBtf, Meaning};

/// The object's programs in the file's order.
pub(super) fn plan(
    object: &Object,
    prepared: &Prepared<'_>,
    host: &Host,
) -> Result<Vec<ProgramPlan>, ElfError> {
    let mut programs: Vec<_> = object.programs.iter().collect();
    programs.sort_by_key(|(_, program)| program.function_key());
    let mut kernel = KernelBtf { host, types: None };
    let mut plans = Vec::with_capacity(programs.len());
    for (name, program) in programs {
        let function = object
            .functions
            .get(&program.function_key())
            .ok_or_else(|| Malformed(format!("program {name:?} has no code")))?;
        let meaning = prepared
            .meaning(program.section_index)
            .ok_or_else(|| Malformed(format!("program {name:?} is in no program section")))?;
        let section = prepared.image.sections[program.section_index].name;
        let attach_btf_id = match &meaning.attach_btf {
            Some(target) if meaning.autoload => kernel.find(name, section, target)?,
            // Whoever wants it loaded hears then what is missing.
            Some(target) => kernel.find(name, section, target).unwrap_or(0),
            None => 0,
        };
        let Meaning { kind, autoload, .. } = meaning.clone();
        plans.push(ProgramPlan {
            name: name.clone(),
            section: section.to_owned(),
            kind,
            autoload,
            attach_btf_id,
            insns: function.instructions.iter().copied().flat_map(encode).collect(),
            func_info: function.func_info.func_info_bytes(),
            func_info_rec_size: 8 * u32::from(function.func_info.len() > 0),
            line_info: function.line_info.line_info_bytes(),
            line_info_rec_size: 16 * u32::from(function.line_info.len() > 0),
        });
    }
    Ok(plans)
}

/// As the kernel reads it.
fn encode(insn: bpf_insn) -> [u8; 8] {
    let [off0, off1] = insn.off.to_ne_bytes();
    let [imm0, imm1, imm2, imm3] = insn.imm.to_ne_bytes();
    [insn.code, insn.dst_reg() | insn.src_reg() << 4, off0, off1, imm0, imm1, imm2, imm3]
}

/// The kernel's BTF, read when first needed.
struct KernelBtf<'a> {
    host: &'a Host,
    types: Option<Btf>,
}

impl KernelBtf<'_> {
    fn find(&mut self, program: &str, section: &str, what: &AttachBtf) -> Result<u32, ElfError> {
        let (name, kind) = match what {
            AttachBtf::Unnamed => {
                return Err(ElfError::UnsupportedSection {
                    section: section.to_owned(),
                    program: program.to_owned(),
                    reason: "does not name what to attach to".to_owned(),
                });
            }
            AttachBtf::Function(name) => (name, Kind::Func),
            AttachBtf::Typedef(name) => (name, Kind::Typedef),
        };
        self.get()?.find(name, kind)?.ok_or_else(|| ElfError::Kernel {
            reason: format!("program {program} ({section}): the kernel has no {name} to attach to"),
        })
    }

    fn get(&mut self) -> Result<&Btf, ElfError> {
        if self.types.is_none() {
            self.types = Some(Btf::parse(&self.host.vmlinux()?)?);
        }
        Ok(self.types.as_ref().expect("just read"))
    }
}
