//! The BTF format: types by id, nothing copied.
//!
//! Our own reader, because the bytes may come from anyone: the available crate copies every name
//! for every type that has it (a megabyte of BTF can ask for gigabytes), and refuses a whole
//! object for one bitfield in the old encoding.

use super::BtfError;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER: usize = 24;
/// The kernel's `KSYM_NAME_LEN`: no name that it accepts is longer.
const NAME_MAX: usize = 512;
/// The kernel's `BTF_MAX_SIZE`.
const SIZE_MAX: usize = 16 << 20;
/// What the declaration tags that are for us start with.
const TAG_PREFIX: &str = "bpfgate:";
/// Member number of a declaration tag for the type itself: -1.
const WHOLE: u32 = u32::MAX;

/// A parsed blob.
pub(super) struct Btf<'a> {
    big_endian: bool,
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts in `types`; the first has id 1.
    starts: Vec<u32>,
    /// Declaration tags that are for us, sorted: whose, of which member, offset of the text.
    tags: Vec<[u32; 3]>,
}

/// What a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    /// const, volatile, restrict or a type tag.
    Qualifier,
    Function,
    FunctionPrototype,
    Variable,
    DataSection,
    Float,
    DeclarationTag,
    Enum64,
}

impl Kind {
    fn new(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Int,
            2 => Self::Pointer,
            3 => Self::Array,
            4 => Self::Struct,
            5 => Self::Union,
            6 => Self::Enum,
            7 => Self::Forward,
            8 => Self::Typedef,
            9 | 10 | 11 | 18 => Self::Qualifier,
            12 => Self::Function,
            13 => Self::FunctionPrototype,
            14 => Self::Variable,
            15 => Self::DataSection,
            16 => Self::Float,
            17 => Self::DeclarationTag,
            19 => Self::Enum64,
            _ => return None,
        })
    }

    /// Words behind the type's header: for each of its members, or at all.
    fn words(self, members: usize) -> usize {
        match self {
            Self::Int | Self::Variable | Self::DeclarationTag => 1,
            Self::Array => 3,
            Self::Struct | Self::Union | Self::DataSection | Self::Enum64 => 3 * members,
            Self::Enum | Self::FunctionPrototype => 2 * members,
            Self::Pointer
            | Self::Forward
            | Self::Typedef
            | Self::Qualifier
            | Self::Function
            | Self::Float => 0,
        }
    }
}

/// One type.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) kind: Kind,
    /// Of structs and unions: offsets carry bitfield sizes. Of enums: signed.
    pub(super) flag: bool,
    /// Offset of its name.
    pub(super) name: u32,
    /// Size in bytes, or the id of the type that it refers to: its kind tells which.
    pub(super) size_or_type: u32,
    words: &'a [u8],
    big_endian: bool,
}

impl Entry<'_> {
    /// The words behind its header, in rows of so many.
    pub(super) fn rows<const N: usize>(&self) -> impl Iterator<Item = [u32; N]> + '_ {
        let word = |bytes: &[u8]| word(bytes, self.big_endian);
        self.words.chunks_exact(4 * N).map(move |row| {
            let mut words = row.chunks_exact(4).map(word);
            std::array::from_fn(|_| words.next().unwrap_or_default())
        })
    }

    /// The first words behind its header, 0 for any that it lacks.
    pub(super) fn row<const N: usize>(&self) -> [u32; N] {
        self.rows().next().unwrap_or([0; N])
    }
}

impl<'a> Btf<'a> {
    pub(super) fn parse(blob: &'a [u8]) -> Result<Self, BtfError> {
        let magic = *blob.first_chunk().ok_or(BtfError::Truncated { what: "the header" })?;
        let big_endian = match (u16::from_le_bytes(magic), u16::from_be_bytes(magic)) {
            (MAGIC, _) => false,
            (_, MAGIC) => true,
            (number, _) => return Err(BtfError::Magic(number)),
        };
        let header = blob.get(..HEADER).ok_or(BtfError::Truncated { what: "the header" })?;
        if header[2] != VERSION {
            return Err(BtfError::Version(header[2]));
        }
        let at = |offset: usize| word(&header[offset..], big_endian) as usize;
        let section = |offset: usize, length: usize, what| {
            let start = at(4).checked_add(at(offset)).filter(|_| at(length) <= SIZE_MAX);
            let end = start.and_then(|start| start.checked_add(at(length)));
            start
                .zip(end)
                .and_then(|(start, end)| blob.get(start..end))
                .ok_or(BtfError::Truncated { what })
        };
        let types = section(8, 12, "the section of types")?;
        let strings = section(16, 20, "the section of names")?;
        let mut btf = Self { big_endian, types, strings, starts: Vec::new(), tags: Vec::new() };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        let mut start = 0;
        while start < self.types.len() {
            let id = u32::try_from(self.starts.len()).unwrap_or(u32::MAX).saturating_add(1);
            let header = self.types.get(start..start + 12);
            let header = header.ok_or(BtfError::Truncated { what: "the last type" })?;
            let info = word(&header[4..], self.big_endian);
            let kind = kind_of(info).ok_or(BtfError::Kind { id, kind: info >> 24 & 0x1f })?;
            self.starts.push(u32::try_from(start).unwrap_or(u32::MAX));
            if kind == Kind::DeclarationTag {
                let field = |at: usize| {
                    self.types.get(start + at..).map_or(0, |bytes| word(bytes, self.big_endian))
                };
                let (name, target, member) = (field(0), field(8), field(12));
                if self.name(name).is_ok_and(|text| text.starts_with(TAG_PREFIX)) {
                    self.tags.push([target, member, name]);
                }
            }
            start += 12 + 4 * kind.words((info & 0xffff) as usize);
        }
        if start > self.types.len() {
            return Err(BtfError::Truncated { what: "the last type" });
        }
        self.tags.sort_unstable();
        Ok(())
    }

    /// Whether anything in it has a tag that is for us.
    pub(super) fn has_tags(&self) -> bool {
        !self.tags.is_empty()
    }

    /// What stands behind "bpfgate:" in the declaration tags of a type, or of a member of it.
    pub(super) fn tags(&self, id: u32, member: Option<u32>) -> impl Iterator<Item = &'a str> {
        let whose = [id, member.unwrap_or(WHOLE)];
        let start = self.tags.partition_point(|&[id, member, _]| [id, member] < whose);
        let own =
            self.tags[start..].iter().take_while(move |&&[id, member, _]| [id, member] == whose);
        own.filter_map(|&[.., name]| self.name(name).ok()?.strip_prefix(TAG_PREFIX))
    }

    /// The type with that id; ids start at 1.
    pub(super) fn entry(&self, id: u32) -> Result<Entry<'a>, BtfError> {
        let at = (id as usize).checked_sub(1).and_then(|at| self.starts.get(at));
        let start = *at.ok_or(BtfError::NoType { id })? as usize;
        let bytes = self.types.get(start..).unwrap_or_default();
        let field = |at: usize| bytes.get(at..).map_or(0, |bytes| word(bytes, self.big_endian));
        let info = field(4);
        let kind = kind_of(info).ok_or(BtfError::Kind { id, kind: info >> 24 & 0x1f })?;
        let end = 12 + 4 * kind.words((info & 0xffff) as usize);
        Ok(Entry {
            kind,
            flag: info >> 31 == 1,
            name: field(0),
            size_or_type: field(8),
            words: bytes.get(12..end).unwrap_or_default(),
            big_endian: self.big_endian,
        })
    }

    /// Every type's id, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> {
        1..=u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }

    /// The name at that offset; empty for an anonymous type.
    pub(super) fn name(&self, offset: u32) -> Result<&'a str, BtfError> {
        let error = || BtfError::Name { offset };
        if offset == 0 {
            return Ok("");
        }
        let rest = self.strings.get(offset as usize..).ok_or_else(error)?;
        let rest = &rest[..rest.len().min(NAME_MAX)];
        let end = rest.iter().position(|&byte| byte == 0).ok_or_else(error)?;
        std::str::from_utf8(&rest[..end]).map_err(|_| error())
    }
}

fn kind_of(info: u32) -> Option<Kind> {
    Kind::new(info >> 24 & 0x1f)
}

fn word(bytes: &[u8], big_endian: bool) -> u32 {
    let bytes = bytes.first_chunk().copied().unwrap_or_default();
    if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}
