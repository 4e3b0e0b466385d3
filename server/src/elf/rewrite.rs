//! A copy of the object file that the library can read: every program section gets a name it
//! knows, BTF gets what clang leaves to the loader.
//!
//! Nothing in the file moves. New section names, BTF and BTF strings are appended and the headers
//! point there; the records of `.BTF.ext` that name a renamed section are patched in place.

use std::collections::HashMap;

use super::btf::Btf;
use super::image::{Image, Malformed, read_u32};
use super::prepare::{Prepared, Role};

/// Offsets in `struct btf_ext_header` of the parts' offset and length, with the least record size.
const EXT_PARTS: [(usize, u32); 3] = [(8, 8), (16, 16), (24, 16)];

/// The copy.
pub(super) fn rewrite(elf: &[u8], prepared: &Prepared<'_>) -> Result<Vec<u8>, Malformed> {
    let image = &prepared.image;
    let mut out = elf.to_vec();
    let names = section_names(image, &prepared.roles);

    // The table may hold the symbols' names too: what is there stays where it is.
    let mut table = image.contents(image.names_index).to_vec();
    for (section, name) in image.sections.iter().zip(&names).skip(1) {
        put_u32(&mut out, section.header_at, to_u32(table.len())?);
        table.extend(name.as_bytes());
        table.push(0);
    }
    append(&mut out, image, image.names_index, &table);

    let section_with = |role| prepared.roles.iter().position(|have| *have == role);
    if let Some(index) = section_with(Role::Btf) {
        let mut btf = Btf::parse(image.contents(index))?;
        btf.fix_sections(&prepared.section_sizes(), &prepared.global_offsets())?;
        btf.hide_functions(&prepared.hidden_functions())?;
        if let Some(ext) = section_with(Role::BtfExt) {
            let start = image.offset_of(ext);
            let range = start..start + image.contents(ext).len();
            rename_in_ext(&mut out[range], &mut btf, image, &names)?;
        }
        append(&mut out, image, index, &btf.to_bytes());
    }
    Ok(out)
}

/// The sections' names in the copy, by index: those that the library goes by are kept or made
/// up, all others mean nothing to it.
fn section_names(image: &Image<'_>, roles: &[Role]) -> Vec<String> {
    let name = |(index, (section, role)): (usize, (&super::image::Section<'_>, &Role))| match role {
        Role::Program(_) => format!("socket/{index}"),
        Role::Other => format!("_{index}"),
        Role::Text | Role::Data | Role::Maps | Role::LegacyMaps | Role::Btf | Role::BtfExt => {
            section.name.to_owned()
        }
    };
    image.sections.iter().zip(roles).enumerate().map(name).collect()
}

/// `.BTF.ext` names the sections its records are about by offsets of strings in `.BTF`.
fn rename_in_ext(
    ext: &mut [u8],
    btf: &mut Btf,
    image: &Image<'_>,
    names: &[String],
) -> Result<(), Malformed> {
    let mut renamed: HashMap<Vec<u8>, u32> = HashMap::new();
    for (section, name) in image.sections.iter().zip(names) {
        if name != section.name && section.is_code() {
            renamed.insert(section.name.as_bytes().to_vec(), btf.add_string(name)?);
        }
    }
    let outside = || Malformed::new("its .BTF.ext reaches past its end");
    let header_len = read_u32(ext, 4)? as usize;
    for (field, least) in EXT_PARTS {
        if field + 8 > header_len {
            break;
        }
        let start = header_len + read_u32(ext, field)? as usize;
        let end = start + read_u32(ext, field + 4)? as usize;
        if start == end {
            continue;
        }
        let part = ext.get_mut(start..end).ok_or_else(outside)?;
        let record = read_u32(part, 0)?;
        if record < least || record % 4 != 0 {
            return Err(Malformed(format!("its .BTF.ext has records of {record} bytes")));
        }
        let mut at = 4;
        while at < part.len() {
            if let Some(&name) = renamed.get(btf.string(read_u32(part, at)?)) {
                put_u32(part, at, name);
            }
            let count = u64::from(read_u32(part, at + 4)?);
            let next = at as u64 + 8 + count * u64::from(record);
            at = usize::try_from(next).ok().filter(|&at| at <= part.len()).ok_or_else(outside)?;
        }
    }
    Ok(())
}

/// Gives a section new contents behind the end of the file.
fn append(out: &mut Vec<u8>, image: &Image<'_>, index: usize, contents: &[u8]) {
    out.resize(out.len().next_multiple_of(8), 0);
    let header = image.sections[index].header_at;
    let at = out.len() as u64;
    out[header + 24..header + 32].copy_from_slice(&at.to_le_bytes());
    out[header + 32..header + 40].copy_from_slice(&(contents.len() as u64).to_le_bytes());
    out.extend(contents);
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn to_u32(n: usize) -> Result<u32, Malformed> {
    u32::try_from(n).map_err(|_| Malformed::new("its section names are too large"))
}
