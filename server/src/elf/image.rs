//! The ELF file's skeleton: section headers, symbols and relocations, every offset checked.
//!
//! Only what BPF object files are: ELF64, little-endian, relocatable, machine BPF.

/// `e_machine` of BPF.
const EM_BPF: u16 = 247;
const ET_REL: u16 = 1;
const EHDR_SIZE: usize = 64;
const SHDR_SIZE: usize = 64;
const SYM_SIZE: usize = 24;
const REL_SIZE: usize = 16;

pub(super) const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
pub(super) const SHT_RELA: u32 = 4;
pub(super) const SHT_NOBITS: u32 = 8;
pub(super) const SHT_REL: u32 = 9;
const SHF_EXECINSTR: u64 = 4;
/// Of symbols that are declared elsewhere.
pub(super) const SHN_UNDEF: u16 = 0;

/// What is wrong with the file: a clause, to follow "not a valid BPF object: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) String);

impl Malformed {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A parsed skeleton over the file's bytes.
#[derive(Debug)]
pub(super) struct Image<'a> {
    data: &'a [u8],
    /// By section index; the first is the null section.
    pub(super) sections: Vec<Section<'a>>,
    /// By symbol index; the first is the null symbol.
    pub(super) symbols: Vec<Symbol<'a>>,
    /// Which section holds the section names.
    pub(super) names_index: usize,
}

/// One section header.
#[derive(Debug, Clone)]
pub(super) struct Section<'a> {
    pub(super) name: &'a str,
    /// `sh_type`.
    pub(super) kind: u32,
    flags: u64,
    /// Of the contents in the file; meaningless for `SHT_NOBITS`.
    offset: u64,
    /// In bytes; for anything but `SHT_NOBITS` the file has them all.
    pub(super) size: u64,
    link: u32,
    /// For relocations: the section they apply to.
    pub(super) info: u32,
    /// Where the header itself is in the file.
    pub(super) header_at: usize,
}

impl Section<'_> {
    /// Holds instructions.
    pub(super) fn is_code(&self) -> bool {
        self.kind == SHT_PROGBITS && self.flags & SHF_EXECINSTR != 0 && self.size > 0
    }
}

/// One symbol.
#[derive(Debug, Clone)]
pub(super) struct Symbol<'a> {
    pub(super) name: &'a str,
    info: u8,
    other: u8,
    /// The section it is in, or a reserved index.
    pub(super) section: u16,
    /// Offset in its section.
    pub(super) value: u64,
    /// In bytes.
    pub(super) size: u64,
}

impl Symbol<'_> {
    pub(super) fn is_function(&self) -> bool {
        self.info & 0xf == 2
    }

    pub(super) fn is_object(&self) -> bool {
        self.info & 0xf == 1
    }

    /// Stands for its whole section.
    pub(super) fn is_section(&self) -> bool {
        self.info & 0xf == 3
    }

    pub(super) fn is_local(&self) -> bool {
        self.info >> 4 == 0
    }

    /// `__hidden` in C: global to the linker, not to the verifier.
    pub(super) fn is_hidden(&self) -> bool {
        matches!(self.other & 3, 1 | 2)
    }
}

impl<'a> Image<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Malformed> {
        check_header(data)?;
        let table_at = read_u64(data, 40)?;
        let count = usize::from(read_u16(data, 60)?);
        let names_index = usize::from(read_u16(data, 62)?);
        if read_u16(data, 58)? as usize != SHDR_SIZE || count == 0 {
            return Err(Malformed::new("its section header table is missing"));
        }
        if names_index >= count {
            return Err(Malformed::new("it has no section names"));
        }
        let mut sections = Vec::with_capacity(count);
        for index in 0..count {
            let at = usize::try_from(table_at)
                .ok()
                .and_then(|table| table.checked_add(index * SHDR_SIZE))
                .ok_or_else(|| Malformed::new("its section headers are outside the file"))?;
            sections.push(read_section(data, at)?);
        }
        let mut image = Self { data, sections, symbols: Vec::new(), names_index };
        for index in 1..count {
            image.check_bounds(index)?;
        }
        for index in 1..count {
            let name_at = read_u32(data, image.sections[index].header_at)?;
            image.sections[index].name = image.string(names_index, name_at)?;
        }
        image.symbols = image.read_symbols()?;
        Ok(image)
    }

    /// What the file has for the section; nothing for `SHT_NOBITS`.
    pub(super) fn contents(&self, index: usize) -> &'a [u8] {
        let section = &self.sections[index];
        if index == 0 || section.kind == SHT_NOBITS {
            return &[];
        }
        // Checked by `check_bounds`.
        &self.data[to_usize(section.offset)..to_usize(section.offset + section.size)]
    }

    /// Where the section's contents begin in the file.
    pub(super) fn offset_of(&self, index: usize) -> usize {
        to_usize(self.sections[index].offset)
    }

    /// The section of that name, if there is one.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.sections.iter().skip(1).position(|section| section.name == name).map(|at| at + 1)
    }

    /// The functions that begin in the section, in order of address.
    pub(super) fn functions_in(&self, index: usize) -> Vec<&Symbol<'a>> {
        let here = |symbol: &&Symbol<'_>| {
            symbol.is_function() && usize::from(symbol.section) == index && !symbol.name.is_empty()
        };
        let mut functions: Vec<_> = self.symbols.iter().filter(here).collect();
        functions.sort_by_key(|symbol| symbol.value);
        functions
    }

    /// The symbols that a section of type `SHT_REL` refers to, a relocation each.
    pub(super) fn relocated(&self, index: usize) -> Result<Vec<&Symbol<'a>>, Malformed> {
        let mut symbols = Vec::new();
        for record in self.contents(index).chunks_exact(REL_SIZE) {
            let symbol = to_usize(read_u64(record, 8)? >> 32);
            symbols.push(self.symbols.get(symbol).ok_or_else(|| {
                let name = self.sections[index].name;
                Malformed(format!("section {name:?} refers to no symbol {symbol}"))
            })?);
        }
        Ok(symbols)
    }

    fn check_bounds(&self, index: usize) -> Result<(), Malformed> {
        let section = &self.sections[index];
        let end = section.offset.checked_add(section.size);
        let inside = end.is_some_and(|end| end <= self.data.len() as u64);
        if section.kind != SHT_NOBITS && !inside {
            return Err(Malformed(format!("section {index} reaches past the end of the file")));
        }
        if section.is_code() && read_u64(self.data, section.header_at + 16)? != 0 {
            return Err(Malformed(format!(
                "section {index} has an address; it is not relocatable"
            )));
        }
        Ok(())
    }

    fn string(&self, table: usize, at: u32) -> Result<&'a str, Malformed> {
        let bad = || Malformed(format!("a name is outside string table {table}"));
        let bytes = self.contents(table).get(at as usize..).ok_or_else(bad)?;
        let end = bytes.iter().position(|&byte| byte == 0).ok_or_else(bad)?;
        std::str::from_utf8(&bytes[..end])
            .map_err(|_| Malformed(format!("a name in string table {table} is not UTF-8")))
    }

    fn read_symbols(&self) -> Result<Vec<Symbol<'a>>, Malformed> {
        let Some(table) = self.sections.iter().position(|section| section.kind == SHT_SYMTAB)
        else {
            return Err(Malformed::new("it has no symbol table"));
        };
        let names = self.sections[table].link as usize;
        if names == 0 || names >= self.sections.len() {
            return Err(Malformed::new("its symbol table has no names"));
        }
        let mut symbols = Vec::new();
        for record in self.contents(table).chunks_exact(SYM_SIZE) {
            symbols.push(Symbol {
                name: self.string(names, read_u32(record, 0)?)?,
                info: record[4],
                other: record[5],
                section: read_u16(record, 6)?,
                value: read_u64(record, 8)?,
                size: read_u64(record, 16)?,
            });
        }
        Ok(symbols)
    }
}

fn check_header(data: &[u8]) -> Result<(), Malformed> {
    if data.is_empty() {
        return Err(Malformed::new("it is empty"));
    }
    if !data.starts_with(b"\x7fELF") {
        return Err(Malformed::new("it is not an ELF file"));
    }
    if data.len() < EHDR_SIZE {
        return Err(Malformed::new("it ends within its ELF header"));
    }
    if data[4] != 2 {
        return Err(Malformed::new("it is a 32-bit ELF file"));
    }
    if data[5] != 1 {
        return Err(Malformed::new(
            "it is a big-endian ELF file, but this machine is little-endian; \
             compile it with -target bpfel",
        ));
    }
    let machine = read_u16(data, 18)?;
    if machine != EM_BPF {
        return Err(Malformed(format!(
            "it was compiled for ELF machine {machine}, not for BPF ({EM_BPF}); \
             compile it with -target bpf"
        )));
    }
    if read_u16(data, 16)? != ET_REL {
        return Err(Malformed::new("it is not a relocatable file, as clang -c makes"));
    }
    Ok(())
}

fn read_section(data: &[u8], at: usize) -> Result<Section<'_>, Malformed> {
    let header = at
        .checked_add(SHDR_SIZE)
        .and_then(|end| data.get(at..end))
        .ok_or_else(|| Malformed::new("its section headers are outside the file"))?;
    Ok(Section {
        name: "",
        kind: read_u32(header, 4)?,
        flags: read_u64(header, 8)?,
        offset: read_u64(header, 24)?,
        size: read_u64(header, 32)?,
        link: read_u32(header, 40)?,
        info: read_u32(header, 44)?,
        header_at: at,
    })
}

fn read<const N: usize>(data: &[u8], at: usize) -> Result<[u8; N], Malformed> {
    data.get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or_else(|| Malformed::new("it ends too early"))
}

/// The little-endian number at an offset.
pub(super) fn read_u16(data: &[u8], at: usize) -> Result<u16, Malformed> {
    read(data, at).map(u16::from_le_bytes)
}

/// The little-endian number at an offset.
pub(super) fn read_u32(data: &[u8], at: usize) -> Result<u32, Malformed> {
    read(data, at).map(u32::from_le_bytes)
}

/// The little-endian number at an offset.
pub(super) fn read_u64(data: &[u8], at: usize) -> Result<u64, Malformed> {
    read(data, at).map(u64::from_le_bytes)
}

/// An offset or size that is known to be within the file.
fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
