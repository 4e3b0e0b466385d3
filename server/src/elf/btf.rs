//! BTF as bytes: enough to find a type by name and to mend what compilers leave open.

use std::collections::{HashMap, HashSet};

use super::image::{Malformed, read_u16, read_u32};

const MAGIC: u16 = 0xeb9f;
const HEADER_SIZE: usize = 24;
const VAR_STATIC: u32 = 0;
const FUNC_STATIC: u32 = 0;
const FUNC_GLOBAL: u32 = 1;

/// `BTF_KIND_*` of those types that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Typedef = 8,
    Func = 12,
    Var = 14,
    DataSec = 15,
}

/// A BTF blob taken apart into types and strings.
#[derive(Debug, Clone)]
pub(super) struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
}

/// One type's head.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u32,
    /// Offset in the type section.
    at: usize,
    name: u32,
    kind: u32,
    /// Members, parameters or variables that follow; a function's linkage.
    vlen: u32,
    size_or_type: u32,
}

/// A `struct btf_var_secinfo`, the variable's name with it.
struct SectionVar {
    name: String,
    linkage: u32,
    words: [u32; 3],
}

impl Btf {
    pub(super) fn parse(blob: &[u8]) -> Result<Self, Malformed> {
        let bad = |what| Malformed(format!("its BTF {what}"));
        let header = |at| read_u32(blob, at).map(|n| n as usize);
        if read_u16(blob, 0)? != MAGIC {
            return Err(bad("has the wrong magic number"));
        }
        let body = header(4)?;
        let part = |offset: usize, len: usize| {
            let start = body.checked_add(offset)?;
            blob.get(start..start.checked_add(len)?).map(<[u8]>::to_vec)
        };
        let types =
            part(header(8)?, header(12)?).ok_or_else(|| bad("has types outside its section"))?;
        let strings =
            part(header(16)?, header(20)?).ok_or_else(|| bad("has strings outside its section"))?;
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            return Err(bad("has unterminated strings"));
        }
        Ok(Self { types, strings })
    }

    /// The blob again, in the order header, types, strings.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut blob = Vec::with_capacity(HEADER_SIZE + self.types.len() + self.strings.len());
        blob.extend(MAGIC.to_le_bytes());
        blob.extend([1, 0]);
        blob.extend(24_u32.to_le_bytes());
        blob.extend(0_u32.to_le_bytes());
        blob.extend(len(&self.types));
        blob.extend(len(&self.types));
        blob.extend(len(&self.strings));
        blob.extend(&self.types);
        blob.extend(&self.strings);
        blob
    }

    /// The string at an offset; empty if there is none.
    pub(super) fn string(&self, at: u32) -> &[u8] {
        let bytes = self.strings.get(at as usize..).unwrap_or(&[]);
        bytes.split(|&byte| byte == 0).next().unwrap_or(&[])
    }

    /// Adds a string; its offset.
    pub(super) fn add_string(&mut self, text: &str) -> Result<u32, Malformed> {
        let at = u32::try_from(self.strings.len())
            .map_err(|_| Malformed::new("its BTF strings are too large"))?;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        Ok(at)
    }

    /// The id of the first type of that name and kind.
    pub(super) fn find(&self, name: &str, kind: Kind) -> Result<Option<u32>, Malformed> {
        for entry in self.entries() {
            let entry = entry?;
            if entry.kind == kind as u32 && self.string(entry.name) == name.as_bytes() {
                return Ok(Some(entry.id));
            }
        }
        Ok(None)
    }

    /// The id of the data section's type, if its size is the given one.
    pub(super) fn find_section(&self, name: &str, size: u32) -> Result<Option<u32>, Malformed> {
        for entry in self.entries() {
            let entry = entry?;
            if entry.kind == Kind::DataSec as u32
                && entry.size_or_type == size
                && self.string(entry.name) == name.as_bytes()
            {
                return Ok(Some(entry.id));
            }
        }
        Ok(None)
    }

    /// Fills in what clang leaves to the loader, as libbpf does: data sections get their sizes
    /// from the ELF file, their variables the offsets of the symbols, in order.
    pub(super) fn fix_sections(
        &mut self,
        sizes: &HashMap<&str, u64>,
        offsets: &HashMap<&str, u64>,
    ) -> Result<(), Malformed> {
        let entries = self.entries().collect::<Result<Vec<_>, _>>()?;
        let heads: HashMap<u32, Entry> = entries.iter().map(|entry| (entry.id, *entry)).collect();
        for section in entries.iter().filter(|entry| entry.kind == Kind::DataSec as u32) {
            let name = String::from_utf8_lossy(self.string(section.name)).into_owned();
            let mut vars = self.section_vars(section, &heads)?;
            if section.size_or_type == 0 {
                let size = sizes
                    .get(name.as_str())
                    .and_then(|&size| u32::try_from(size).ok())
                    .ok_or_else(|| Malformed(format!("its BTF names no section {name:?} of it")))?;
                self.write(section.at + 8, size);
                for var in vars.iter_mut().filter(|var| var.linkage != VAR_STATIC) {
                    let offset = offsets
                        .get(var.name.as_str())
                        .and_then(|&offset| u32::try_from(offset).ok())
                        .ok_or_else(|| Malformed(format!("variable {} has no symbol", var.name)))?;
                    var.words[1] = offset;
                }
            }
            vars.sort_by_key(|var| var.words[1]);
            for (index, var) in vars.iter().enumerate() {
                for (word, &value) in var.words.iter().enumerate() {
                    self.write(section.at + 12 + index * 12 + word * 4, value);
                }
            }
        }
        Ok(())
    }

    /// Marks the named global functions static, so that the verifier checks them with their callers.
    pub(super) fn hide_functions(&mut self, hidden: &HashSet<&str>) -> Result<(), Malformed> {
        let entries = self.entries().collect::<Result<Vec<_>, _>>()?;
        for entry in entries {
            let is_hidden = entry.kind == Kind::Func as u32
                && entry.vlen == FUNC_GLOBAL
                && std::str::from_utf8(self.string(entry.name)).is_ok_and(|n| hidden.contains(n));
            if is_hidden {
                self.write(entry.at + 4, (Kind::Func as u32) << 24 | FUNC_STATIC);
            }
        }
        Ok(())
    }

    fn section_vars(
        &self,
        section: &Entry,
        heads: &HashMap<u32, Entry>,
    ) -> Result<Vec<SectionVar>, Malformed> {
        let mut vars = Vec::new();
        for index in 0..section.vlen as usize {
            let at = section.at + 12 + index * 12;
            let word = |n: usize| read_u32(&self.types, at + n * 4);
            let words = [word(0)?, word(1)?, word(2)?];
            let Some(head) = heads.get(&words[0]).filter(|head| head.kind == Kind::Var as u32)
            else {
                return Err(Malformed::new("a data section in its BTF holds no variables"));
            };
            vars.push(SectionVar {
                name: String::from_utf8_lossy(self.string(head.name)).into_owned(),
                linkage: read_u32(&self.types, head.at + 12)?,
                words,
            });
        }
        Ok(vars)
    }

    fn write(&mut self, at: usize, value: u32) {
        self.types[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn entries(&self) -> impl Iterator<Item = Result<Entry, Malformed>> + '_ {
        let mut at = 0;
        let mut id = 0;
        std::iter::from_fn(move || {
            if at >= self.types.len() {
                return None;
            }
            id += 1;
            let entry = read_entry(&self.types, at, id);
            at = match &entry {
                Ok((_, next)) => *next,
                Err(_) => self.types.len(),
            };
            Some(entry.map(|(entry, _)| entry))
        })
    }
}

/// The type at an offset and where the next one begins.
fn read_entry(types: &[u8], at: usize, id: u32) -> Result<(Entry, usize), Malformed> {
    let info = read_u32(types, at + 4)?;
    let (kind, vlen) = (info >> 24 & 0x1f, info & 0xffff);
    let extra = match kind {
        // Pointers, typedefs, qualifiers, forward declarations, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // An integer's encoding, a variable's linkage, a declaration tag's index.
        1 | 14 | 17 => 4,
        3 => 12,
        // Structures, unions, data sections, 64-bit enums.
        4 | 5 | 15 | 19 => 12 * vlen as usize,
        // Enums and prototypes.
        6 | 13 => 8 * vlen as usize,
        kind => return Err(Malformed(format!("its BTF has a type of unknown kind {kind}"))),
    };
    let next = at + 12 + extra;
    if next > types.len() {
        return Err(Malformed::new("its BTF ends within a type"));
    }
    let entry = Entry {
        id,
        at,
        name: read_u32(types, at)?,
        kind,
        vlen,
        size_or_type: read_u32(types, at + 8)?,
    };
    Ok((entry, next))
}
