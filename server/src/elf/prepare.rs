//! Reads an object file's skeleton before the library does: what every section is for, and what
//! the library would get wrong without a word.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::ElfError;
use super::image::{
    Image, Malformed, SHN_UNDEF, SHT_NOBITS, SHT_PROGBITS, SHT_REL, SHT_RELA, read_u32,
};
use super::sections::{self, BadName, Meaning};

/// More than any data section the kernel would take as one array element in practice.
const DATA_MAX: u64 = 256 << 20;

/// What a section is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// Programs of one kind.
    Program(Box<Meaning>),
    /// Functions that programs call.
    Text,
    /// Global variables.
    Data,
    /// Maps that BTF defines.
    Maps,
    /// Maps as `struct bpf_map_def`.
    LegacyMaps,
    Btf,
    BtfExt,
    /// Nothing that matters: debug information, symbols, relocations.
    Other,
}

/// An object file, understood and found sound as far as its skeleton goes.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) image: Image<'a>,
    /// By section index.
    pub(super) roles: Vec<Role>,
    pub(super) license: String,
    pub(super) warnings: Vec<String>,
}

/// One global variable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variable<'a> {
    /// Its section's name.
    pub(super) section: &'a str,
    /// In the section, in bytes.
    pub(super) offset: u64,
    /// In bytes.
    pub(super) size: u64,
}

impl<'a> Prepared<'a> {
    pub(super) fn read(elf: &'a [u8]) -> Result<Self, ElfError> {
        let image = Image::parse(elf)?;
        let roles = (0..image.sections.len())
            .map(|index| role(&image, index))
            .collect::<Result<Vec<_>, _>>()?;
        let mut prepared = Self { license: license(&image)?, image, roles, warnings: Vec::new() };
        prepared.warn_of_old_sections();
        prepared.check_names()?;
        prepared.check_functions()?;
        prepared.check_relocations()?;
        prepared.check_legacy_maps()?;
        Ok(prepared)
    }

    /// What the section is for, if it has programs.
    pub(super) fn meaning(&self, section: usize) -> Option<&Meaning> {
        match self.roles.get(section) {
            Some(Role::Program(meaning)) => Some(meaning),
            _ => None,
        }
    }

    /// What the file has for the first section of that role.
    pub(super) fn contents(&self, role: &Role) -> Option<&'a [u8]> {
        Some(self.image.contents(self.roles.iter().position(|have| have == role)?))
    }

    /// The global variables by name; `None` where one name stands for several.
    pub(super) fn variables(&self) -> BTreeMap<&'a str, Option<Variable<'a>>> {
        let mut variables = BTreeMap::new();
        for symbol in &self.image.symbols {
            let section = usize::from(symbol.section);
            if !symbol.is_object() || self.roles.get(section) != Some(&Role::Data) {
                continue;
            }
            let section = self.image.sections[section].name;
            let variable = Variable { section, offset: symbol.value, size: symbol.size };
            variables
                .entry(symbol.name)
                .and_modify(|several| *several = None)
                .or_insert(Some(variable));
        }
        variables
    }

    /// Sizes of the sections by name.
    pub(super) fn section_sizes(&self) -> HashMap<&'a str, u64> {
        self.image.sections.iter().skip(1).map(|section| (section.name, section.size)).collect()
    }

    /// Offsets of global symbols by name.
    pub(super) fn global_offsets(&self) -> HashMap<&'a str, u64> {
        let global = self.image.symbols.iter().filter(|symbol| !symbol.is_local());
        global.map(|symbol| (symbol.name, symbol.value)).collect()
    }

    /// Global functions that the file does not export.
    pub(super) fn hidden_functions(&self) -> HashSet<&'a str> {
        let hidden = |symbol: &&super::image::Symbol<'_>| {
            symbol.is_function() && !symbol.is_local() && symbol.is_hidden()
        };
        self.image.symbols.iter().filter(hidden).map(|symbol| symbol.name).collect()
    }

    fn warn_of_old_sections(&mut self) {
        for (section, role) in self.image.sections.iter().zip(&self.roles) {
            if let Role::Program(meaning) = role
                && let Some(modern) = meaning.modern
            {
                let name = section.name;
                self.warnings.push(format!(
                    "section {name:?} is taken as {modern:?}: old names work, SEC({modern:?}) is the \
                     one that libbpf takes since 1.0"
                ));
            }
        }
    }

    /// Names tie the type information to sections, so those that matter must differ.
    fn check_names(&self) -> Result<(), Malformed> {
        let mut seen = HashSet::new();
        for (section, role) in self.image.sections.iter().zip(&self.roles) {
            if *role != Role::Other && !seen.insert(section.name) {
                return Err(Malformed(format!("it has two sections named {:?}", section.name)));
            }
        }
        Ok(())
    }

    fn check_functions(&self) -> Result<(), Malformed> {
        for (index, role) in self.roles.iter().enumerate() {
            if !matches!(role, Role::Program(_) | Role::Text) {
                continue;
            }
            let section = &self.image.sections[index];
            let functions = self.image.functions_in(index);
            if functions.is_empty() {
                return Err(Malformed(format!("section {:?} has no functions", section.name)));
            }
            for function in functions {
                let end = function.value.checked_add(function.size);
                let sound = function.size > 0
                    && function.size % 8 == 0
                    && function.value % 8 == 0
                    && end.is_some_and(|end| end <= section.size);
                if !sound {
                    let (name, section) = (function.name, section.name);
                    return Err(Malformed(format!(
                        "function {name:?} does not lie within its section {section:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn check_relocations(&mut self) -> Result<(), Malformed> {
        for index in 1..self.image.sections.len() {
            let section = &self.image.sections[index];
            let (kind, target) = (section.kind, section.info as usize);
            if !matches!(kind, SHT_REL | SHT_RELA) {
                continue;
            }
            match self.roles.get(target) {
                Some(Role::Program(_) | Role::Text) if kind == SHT_REL => {
                    self.check_code_relocations(index, target)?;
                }
                Some(Role::Program(_) | Role::Text) => {
                    let name = self.image.sections[target].name;
                    return Err(Malformed(format!(
                        "section {name:?} has relocations with addends, which BPF has not"
                    )));
                }
                Some(Role::Maps) if !self.image.contents(index).is_empty() => {
                    self.warnings.push(
                        "initial entries of maps (`.values = {…}`) are not filled in".to_owned(),
                    );
                }
                Some(Role::Data) if !self.image.contents(index).is_empty() => {
                    let name = self.image.sections[target].name;
                    self.warnings.push(format!(
                        "pointers to other variables in section {name} are left as zero"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the library would relocate wrongly, or not at all, without saying so.
    fn check_code_relocations(&self, index: usize, target: usize) -> Result<(), Malformed> {
        let place = self.image.sections[target].name;
        for symbol in self.image.relocated(index)? {
            let name = symbol.name;
            if symbol.section == SHN_UNDEF {
                return Err(Malformed(format!(
                    "section {place:?} uses {name:?}, which the file does not define \
                     (kernel configuration values and kernel functions are not supported)"
                )));
            }
            let to = usize::from(symbol.section);
            match self.roles.get(to) {
                Some(Role::Maps | Role::LegacyMaps) if symbol.is_section() => {
                    return Err(Malformed(format!(
                        "section {place:?} uses a static map; maps must not be static"
                    )));
                }
                Some(Role::Program(_)) => {
                    let (name, to) = match name {
                        "" => ("a function", self.image.sections[to].name),
                        name => (name, self.image.sections[to].name),
                    };
                    return Err(Malformed(format!(
                        "section {place:?} refers to {name} in program section {to:?}; \
                         only functions without SEC() can be called"
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The library copies these definitions without a look, the pinning word included.
    fn check_legacy_maps(&self) -> Result<(), Malformed> {
        let Some(index) = self.roles.iter().position(|role| *role == Role::LegacyMaps) else {
            return Ok(());
        };
        let contents = self.image.contents(index);
        for symbol in &self.image.symbols {
            if usize::from(symbol.section) != index || symbol.is_section() {
                continue;
            }
            let bad = || Malformed(format!("map {:?} has a strange definition", symbol.name));
            let start = usize::try_from(symbol.value).map_err(|_| bad())?;
            let size = usize::try_from(symbol.size).map_err(|_| bad())?;
            let definition =
                start.checked_add(size).and_then(|end| contents.get(start..end)).ok_or_else(bad)?;
            let sound = match size {
                20 | 24 => true,
                28.. => read_u32(definition, 24)? <= 1,
                _ => false,
            };
            if !sound {
                return Err(bad());
            }
        }
        Ok(())
    }
}

fn role(image: &Image<'_>, index: usize) -> Result<Role, ElfError> {
    let section = &image.sections[index];
    let name = section.name;
    let is = |word: &str| {
        name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if section.is_code() {
        if is(".text") {
            return Ok(Role::Text);
        }
        return match sections::read(name) {
            Ok(meaning) => Ok(Role::Program(Box::new(meaning))),
            Err(bad) => Err(unsupported(image, index, bad)),
        };
    }
    if index == 0 || section.size == 0 {
        return Ok(Role::Other);
    }
    let (role, wanted) = match name {
        ".maps" => (Role::Maps, SHT_PROGBITS),
        "maps" => (Role::LegacyMaps, SHT_PROGBITS),
        ".BTF" => (Role::Btf, SHT_PROGBITS),
        ".BTF.ext" => (Role::BtfExt, SHT_PROGBITS),
        _ if is(".data") || is(".rodata") => (Role::Data, SHT_PROGBITS),
        _ if is(".bss") => (Role::Data, SHT_NOBITS),
        _ => return Ok(Role::Other),
    };
    if section.kind != wanted {
        return Err(Malformed(format!("section {name:?} has ELF type {}", section.kind)).into());
    }
    if section.size > DATA_MAX {
        let size = section.size;
        return Err(Malformed(format!("section {name:?} claims {size} bytes")).into());
    }
    Ok(role)
}

fn unsupported(image: &Image<'_>, index: usize, bad: BadName) -> ElfError {
    let program = image.functions_in(index).first().map_or("", |function| function.name);
    let reason = match bad {
        BadName::Unknown => "is no section name that libbpf knows".to_owned(),
        BadName::Refused(why) => why.to_owned(),
        BadName::Malformed(right) => format!("is not complete: {right}"),
    };
    let section = image.sections[index].name.to_owned();
    ElfError::UnsupportedSection { section, program: program.to_owned(), reason }
}

fn license(image: &Image<'_>) -> Result<String, Malformed> {
    let Some(index) = image.find("license") else {
        return Ok(String::new());
    };
    let text = image.contents(index).split(|&byte| byte == 0).next().unwrap_or(&[]);
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() < 128);
    text.map(str::to_owned).ok_or_else(|| Malformed::new("its licence is not a short text"))
}
