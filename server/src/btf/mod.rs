//! From BTF, which compilers write and the kernel keeps, to the types of the API, and back.
//!
//! The bytes may come from an uploaded object before the kernel has seen them, so nothing in them
//! is trusted: no input makes this panic, recurse without end, or grow beyond a bound.

mod hint;
mod raw;
mod types;
mod write;

use bpfgate_proto::value::{Display, Kind, Plan, Schema, SchemaSource, Type};

use raw::{Btf, Kind as RawKind};
use types::Compiler;

use crate::ledger::{Account, Charge, Exhausted};

pub use hint::Tag;
pub use write::{Written, write};

/// Why BTF cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// Less than it says.
    #[error("BTF ends within {what}")]
    Truncated {
        /// Where.
        what: &'static str,
    },
    /// Something else than BTF.
    #[error("BTF starts with {0:#06x} instead of 0xeb9f")]
    Magic(u16),
    /// A version that does not exist yet.
    #[error("BTF of version {0} instead of 1")]
    Version(u8),
    /// A kind of type that is newer than this program.
    #[error("BTF type {id} is of the unknown kind {kind}")]
    Kind {
        /// The type.
        id: u32,
        /// The number of the kind.
        kind: u32,
    },
    /// An id that no type has.
    #[error("BTF has no type {id}")]
    NoType {
        /// The id.
        id: u32,
    },
    /// A name that is outside of the section, no UTF-8, or longer than the kernel allows.
    #[error("BTF has no name at {offset}")]
    Name {
        /// Where it should start.
        offset: u32,
    },
    /// Types within types, or typedefs of typedefs, beyond what the API carries.
    #[error("BTF type {id} is nested too deep")]
    TooDeep {
        /// Where the line was drawn.
        id: u32,
    },
    /// More parts than the API carries.
    #[error("BTF type {id} has too many parts")]
    TooLarge {
        /// Where the line was drawn.
        id: u32,
    },
    /// Whoever asked may not take so much memory.
    #[error(transparent)]
    Memory(Exhausted),
}

/// A global variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// ".data", ".rodata.config".
    pub section: String,
    /// As in C.
    pub name: String,
    /// What it is.
    pub ty: Type,
    /// From the start of the section, in bytes. A compiler's object file has the offsets in its
    /// symbols and relocations; its BTF has 0 until a loader has put them in.
    pub offset: u32,
    /// In bytes.
    pub size: u32,
}

/// The types of a map's key and value, by the ids that the kernel or an object has for them; 0
/// means that there is none. A type that the API cannot carry, or whose size is not the map's, is
/// opaque bytes under its name.
pub fn compile_schema(
    btf: &[u8],
    key_type_id: u32,
    value_type_id: u32,
    key_size: u32,
    value_size: u32,
) -> Result<Schema, BtfError> {
    let btf = Btf::parse(btf)?;
    let side = |id: u32, size: u32| -> Result<Option<Type>, BtfError> {
        if id == 0 {
            return Ok(None);
        }
        Ok(Some(planned(compile(&btf, id, size)?, size).0))
    };
    Ok(Schema {
        key: side(key_type_id, key_size)?,
        value: side(value_type_id, value_size)?,
        source: SchemaSource::Btf,
    })
}

/// The type as maps of values of that size have it, and its plan: opaque bytes under its name where
/// it has no plan or another size.
fn planned(ty: Type, size: u32) -> (Type, Plan) {
    if ty.size == size
        && let Ok(plan) = Plan::compile(&ty)
    {
        return (ty, plan);
    }
    let ty = Type { name: ty.name, size, kind: Kind::Opaque { display: Display::Plain } };
    let plan = Plan::compile(&ty).unwrap_or_else(|_| Plan::opaque(size as usize));
    (ty, plan)
}

/// A blob that several types are taken from.
pub struct Library<'a>(Btf<'a>);

impl<'a> Library<'a> {
    /// Looks through the blob once.
    pub fn parse(blob: &'a [u8]) -> Result<Self, BtfError> {
        Btf::parse(blob).map(Self)
    }

    /// The type with that id for keys or values of that size, as [`compile_schema`] has it, and its
    /// plan. Charged for before it is made, and with all that the plan will make when it is needed.
    pub fn compile(
        &self,
        id: u32,
        size: u32,
        account: &Account,
    ) -> Result<(Type, Plan, Charge), BtfError> {
        let mut charge = account.empty();
        let ty = match Compiler::charging(&self.0, &mut charge).ty(id) {
            Err(BtfError::TooDeep { .. } | BtfError::TooLarge { .. }) => Type::opaque(size),
            other => other?,
        };
        charge.resize(ty.memory()).map_err(BtfError::Memory)?;
        let (ty, plan) = planned(ty, size);
        charge.resize(ty.memory()).map_err(BtfError::Memory)?;
        Ok((ty, plan, charge))
    }

    /// The type with that id, unless the API cannot carry it, charged for before it is made.
    pub fn type_of(&self, id: u32, account: &Account) -> Result<Option<(Type, Charge)>, BtfError> {
        let mut charge = account.empty();
        match Compiler::charging(&self.0, &mut charge).ty(id) {
            Ok(ty) => {
                charge.resize(ty.memory()).map_err(BtfError::Memory)?;
                Ok(Some((ty, charge)))
            }
            Err(error @ BtfError::Memory(_)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// What the author has noted for us on the type with that id, as [`tags`] has it.
    pub fn tags(&self, id: u32) -> Result<Vec<Tag>, BtfError> {
        tags_of(&self.0, id)
    }
}

/// What the author has noted for us on the type with that id and on its parts, in order of
/// declaration: `__attribute__((btf_decl_tag("bpfgate:…")))`. Nothing if the API cannot carry the
/// type.
pub fn tags(btf: &[u8], type_id: u32) -> Result<Vec<Tag>, BtfError> {
    tags_of(&Btf::parse(btf)?, type_id)
}

fn tags_of(btf: &Btf<'_>, type_id: u32) -> Result<Vec<Tag>, BtfError> {
    if type_id == 0 || !btf.has_tags() {
        return Ok(Vec::new());
    }
    let mut compiler = Compiler::new(btf);
    match compiler.ty(type_id) {
        Ok(_) => Ok(compiler.into_tags()),
        Err(BtfError::TooDeep { .. } | BtfError::TooLarge { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The global variables of all sections.
pub fn variables(btf: &[u8]) -> Result<Vec<Variable>, BtfError> {
    let btf = Btf::parse(btf)?;
    let mut variables = Vec::new();
    for id in btf.ids() {
        let section = btf.entry(id)?;
        if section.kind != RawKind::DataSection {
            continue;
        }
        let name = btf.name(section.name)?;
        for [variable, offset, size] in section.rows() {
            let entry = btf.entry(variable)?;
            variables.push(Variable {
                section: name.to_owned(),
                name: btf.name(entry.name)?.to_owned(),
                ty: compile(&btf, variable, size)?,
                offset,
                size,
            });
        }
    }
    Ok(variables)
}

/// The type of that name: "struct event", or just "event" for whatever has the name, typedefs
/// included, with its id. `None` if there is none, or only a declaration without its contents.
pub fn named_type(btf: &[u8], name: &str) -> Option<(u32, Type)> {
    let btf = Btf::parse(btf).ok()?;
    let (wanted, name) = match name.split_once(' ') {
        Some(("struct", name)) => (&[RawKind::Struct][..], name),
        Some(("union", name)) => (&[RawKind::Union][..], name),
        Some(("enum", name)) => (&[RawKind::Enum, RawKind::Enum64][..], name),
        _ => (
            &[
                RawKind::Struct,
                RawKind::Union,
                RawKind::Enum,
                RawKind::Enum64,
                RawKind::Typedef,
                RawKind::Int,
                RawKind::Float,
            ][..],
            name,
        ),
    };
    let id = btf.ids().find(|&id| {
        btf.entry(id).is_ok_and(|entry| {
            wanted.contains(&entry.kind) && !name.is_empty() && btf.name(entry.name) == Ok(name)
        })
    })?;
    Some((id, Compiler::new(&btf).ty(id).ok()?))
}

/// The type with that id, unless the API cannot carry it.
pub fn type_of(btf: &[u8], id: u32) -> Option<Type> {
    let btf = Btf::parse(btf).ok()?;
    Compiler::new(&btf).ty(id).ok()
}

/// The names of structs and unions as [`named_type`] takes them, or the first of them.
pub fn record_names(btf: &[u8]) -> Vec<String> {
    const MOST: usize = 32;
    let Ok(btf) = Btf::parse(btf) else { return Vec::new() };
    let name = |id| {
        let entry = btf.entry(id).ok()?;
        let tag = match entry.kind {
            RawKind::Struct => "struct",
            RawKind::Union => "union",
            _ => return None,
        };
        let name = btf.name(entry.name).ok().filter(|name| !name.is_empty())?;
        Some(format!("{tag} {name}"))
    };
    btf.ids().filter_map(name).take(MOST).collect()
}

/// A type that the API cannot carry is opaque bytes of that size.
fn compile(btf: &Btf<'_>, id: u32, size: u32) -> Result<Type, BtfError> {
    match Compiler::new(btf).ty(id) {
        Err(BtfError::TooDeep { .. } | BtfError::TooLarge { .. }) => Ok(Type::opaque(size)),
        other => other,
    }
}

#[cfg(test)]
mod against_bpftool;
#[cfg(test)]
mod against_clang;
#[cfg(test)]
mod tests;
