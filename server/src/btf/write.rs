//! From the types of the API to BTF, so that a map of a declared layout tells everybody what its
//! bytes mean: bpftool, the verifier, another agent.
//!
//! BTF cannot say all that a layout can. Bytes of which only the number is known become an array,
//! fields without a name that are padding are left out, and what is no C name becomes one or goes.
//! How a value is shown is a note on a typedef, as `super::hint` reads it.

use std::collections::HashMap;

use bpfgate_proto::value::{Display, Encoding, EnumValue, Field, Kind, Type};

/// Most parts of one type: the kernel counts them in 16 bits.
const PARTS_MAX: usize = u16::MAX as usize;
/// The kernel's `KSYM_NAME_LEN`, less its NUL.
const NAME_MAX: usize = 511;
/// Where a bitfield may start at most: its offset has 24 bits.
const BIT_OFFSET_MAX: u32 = (1 << 24) - 1;

/// BTF with a map's types in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// As `BPF_BTF_LOAD` takes it.
    pub blob: Vec<u8>,
    /// Of the key; 0 for a map without keys.
    pub key_type_id: u32,
    /// Of the value.
    pub value_type_id: u32,
}

/// BTF with these two types; `None` for a type that BTF cannot have.
pub fn write(key: Option<&Type>, value: &Type) -> Option<Written> {
    let mut writer = Writer { types: Vec::new(), names: vec![0], known: HashMap::new(), count: 0 };
    let key_type_id = match key {
        Some(key) => writer.ty(key)?,
        None => 0,
    };
    let value_type_id = writer.ty(value)?;
    Some(Written { blob: writer.blob(), key_type_id, value_type_id })
}

/// Numbers of `BTF_KIND_*`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
enum BtfKind {
    Int = 1,
    Pointer = 2,
    Array = 3,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Typedef = 8,
    Float = 16,
    DeclarationTag = 17,
    Enum64 = 19,
}

struct Writer {
    types: Vec<u8>,
    names: Vec<u8>,
    /// Types and names that are there already: a layout says `__u64` at every use of it.
    known: HashMap<Vec<u8>, u32>,
    count: u32,
}

impl Writer {
    fn blob(&self) -> Vec<u8> {
        const HEADER: u32 = 24;
        let length = |section: &[u8]| u32::try_from(section.len()).unwrap_or(u32::MAX);
        let (types, names) = (length(&self.types), length(&self.names));
        let mut blob = 0xeb9f_u16.to_ne_bytes().to_vec();
        blob.extend([1, 0]);
        for word in [HEADER, 0, types, types, names] {
            blob.extend(word.to_ne_bytes());
        }
        blob.extend(&self.types);
        blob.extend(&self.names);
        blob
    }

    /// Where a name is; 0 for none.
    fn name(&mut self, name: &str) -> Option<u32> {
        if name.is_empty() {
            return Some(0);
        }
        // The first byte keeps names and types apart.
        let entry = [b"\0", name.as_bytes()].concat();
        if let Some(&at) = self.known.get(&entry) {
            return Some(at);
        }
        let at = u32::try_from(self.names.len()).ok()?;
        self.names.extend(name.as_bytes());
        self.names.push(0);
        self.known.insert(entry, at);
        Some(at)
    }

    /// The id of a type that is there or is added now. `size` is the id of the type that it refers
    /// to where the kind has it so.
    fn put(
        &mut self,
        kind: BtfKind,
        flag: bool,
        name: &str,
        size: u32,
        rows: &Rows,
    ) -> Option<u32> {
        let entry = self.entry(kind, flag, name, size, rows)?;
        let known = [b"\x01", entry.as_slice()].concat();
        if let Some(&id) = self.known.get(&known) {
            return Some(id);
        }
        let id = self.append(&entry);
        self.known.insert(known, id);
        Some(id)
    }

    fn append(&mut self, entry: &[u8]) -> u32 {
        self.types.extend(entry);
        self.count += 1;
        self.count
    }

    /// A type's bytes.
    fn entry(
        &mut self,
        kind: BtfKind,
        flag: bool,
        name: &str,
        size: u32,
        rows: &Rows,
    ) -> Option<Vec<u8>> {
        let parts = u32::from(u16::try_from(rows.parts).ok()?);
        let info = u32::from(flag) << 31 | (kind as u32) << 24 | parts;
        let mut entry = Vec::with_capacity(12 + 4 * rows.words.len());
        for word in [self.name(name)?, info, size].iter().chain(&rows.words) {
            entry.extend(word.to_ne_bytes());
        }
        Some(entry)
    }

    fn ty(&mut self, ty: &Type) -> Option<u32> {
        let id = self.plain(ty)?;
        match &ty.kind {
            Kind::Integer { display, .. }
            | Kind::Array { display, .. }
            | Kind::Opaque { display } => self.shown(&ty.name, id, *display),
            Kind::Float | Kind::Enum { .. } | Kind::Record { .. } | Kind::Pointer => Some(id),
        }
    }

    /// The type under a name of its own with a note how to show it.
    fn shown(&mut self, name: &str, id: u32, display: Display) -> Option<u32> {
        /// What a note is on if it is on no field.
        const WHOLE: u32 = u32::MAX;
        let hint = match display {
            Display::Plain => return Some(id),
            Display::Ipv4 => "ipv4",
            Display::Ipv6 => "ipv6",
            Display::Mac => "mac",
            Display::Hex => "hex",
        };
        let default = format!("{hint}_t");
        let name = if is_identifier(name) { name } else { &default };
        // The same typedef may be there without the note, or with another one.
        let known = [b"\x02", hint.as_bytes(), b" ", name.as_bytes(), &id.to_ne_bytes()].concat();
        if let Some(&id) = self.known.get(&known) {
            return Some(id);
        }
        let entry = self.entry(BtfKind::Typedef, false, name, id, &Rows::NONE)?;
        let typedef = self.append(&entry);
        let (whole, note) = (Rows { parts: 0, words: vec![WHOLE] }, format!("bpfgate:{hint}"));
        let entry = self.entry(BtfKind::DeclarationTag, false, &note, typedef, &whole)?;
        self.append(&entry);
        self.known.insert(known, typedef);
        Some(typedef)
    }

    fn plain(&mut self, ty: &Type) -> Option<u32> {
        let name = ty.name.as_str();
        match &ty.kind {
            Kind::Integer { encoding, big_endian, .. } => match ty.size {
                size @ (1 | 2 | 4 | 8 | 16) => self.integer(name, size, *encoding, *big_endian),
                size => self.bytes(name, size),
            },
            Kind::Float => {
                let default = if ty.size == 4 { "float" } else { "double" };
                self.put(BtfKind::Float, false, words(name, default), ty.size, &Rows::NONE)
            }
            Kind::Enum { signed, values } => self.enumeration(name, ty.size, *signed, values),
            Kind::Record { is_union, fields } => self.record(name, ty.size, *is_union, fields),
            Kind::Array { element, length, .. } => {
                if element.size.checked_mul(*length) != Some(ty.size) {
                    return None;
                }
                let element = self.ty(element)?;
                let array = self.array(element, *length)?;
                self.typedef(name, array)
            }
            Kind::Pointer if ty.size == 8 => {
                let pointer = self.put(BtfKind::Pointer, false, "", 0, &Rows::NONE)?;
                self.typedef(name, pointer)
            }
            Kind::Pointer | Kind::Opaque { .. } => self.bytes(name, ty.size),
        }
    }

    fn integer(
        &mut self,
        name: &str,
        size: u32,
        encoding: Encoding,
        big_endian: bool,
    ) -> Option<u32> {
        let bits = size * 8;
        let (flag, default) = match encoding {
            Encoding::Unsigned => (0, format!("__u{bits}")),
            Encoding::Signed => (1, format!("__s{bits}")),
            // Of a char that is larger, nobody would know it again.
            Encoding::Char if size > 1 => (0, format!("__u{bits}")),
            Encoding::Char => (2, "char".into()),
            Encoding::Bool => (4, "bool".into()),
        };
        let rows = Rows { parts: 0, words: vec![flag << 24 | bits] };
        if !big_endian {
            return self.put(BtfKind::Int, false, words(name, &default), size, &rows);
        }
        // That a number is in network order is said by its type's name alone.
        let number = self.put(BtfKind::Int, false, &default, size, &rows)?;
        let network = format!("__be{bits}");
        let id = self.typedef(&network, number)?;
        if name == network { Some(id) } else { self.typedef(name, id) }
    }

    fn enumeration(
        &mut self,
        name: &str,
        size: u32,
        signed: bool,
        values: &[EnumValue],
    ) -> Option<u32> {
        let (tag, typedef) = tagged(name, "enum ");
        // As many bits as the values need, for that is what the kernel has two kinds for.
        let narrow = |value: u64| {
            if signed { i32::try_from(value.cast_signed()).is_ok() } else { value >> 32 == 0 }
        };
        let wide = size == 8 || !values.iter().all(|value| narrow(value.value));
        let mut rows = Rows::of(values.len())?;
        for EnumValue { name, value } in values {
            let name = self.name(&identifier(name)?)?;
            let [high, low] = halves(*value);
            rows.words.extend([name, low]);
            if wide {
                rows.words.push(high);
            }
        }
        let kind = if wide { BtfKind::Enum64 } else { BtfKind::Enum };
        let id = self.put(kind, signed, &tag, size, &rows)?;
        self.typedef(typedef, id)
    }

    fn record(&mut self, name: &str, size: u32, is_union: bool, fields: &[Field]) -> Option<u32> {
        let (kind, prefix) =
            if is_union { (BtfKind::Union, "union ") } else { (BtfKind::Struct, "struct ") };
        let (tag, typedef) = tagged(name, prefix);
        let is_padding =
            |field: &&Field| field.name.is_empty() && !matches!(field.ty.kind, Kind::Record { .. });
        let mut fields: Vec<&Field> = fields.iter().filter(|field| !is_padding(field)).collect();
        // The kernel wants them in this order, whatever the declaration's.
        fields.sort_by_key(|field| field.bit_offset);
        let has_bits = fields.iter().any(|field| field.bit_size > 0);
        let mut rows = Rows::of(fields.len())?;
        for Field { name, ty, bit_offset, bit_size } in fields {
            let name = if name.is_empty() { 0 } else { self.name(&identifier(name)?)? };
            if has_bits && *bit_offset > BIT_OFFSET_MAX || *bit_size > 128 {
                return None;
            }
            rows.words.extend([name, self.ty(ty)?, bit_size << 24 | bit_offset]);
        }
        let id = self.put(kind, has_bits, &tag, size, &rows)?;
        self.typedef(typedef, id)
    }

    /// So many bytes.
    fn bytes(&mut self, name: &str, size: u32) -> Option<u32> {
        let byte = self.integer("", 1, Encoding::Unsigned, false)?;
        let array = self.array(byte, size)?;
        self.typedef(name, array)
    }

    fn array(&mut self, element: u32, length: u32) -> Option<u32> {
        let index = self.integer("", 4, Encoding::Unsigned, false)?;
        let rows = Rows { parts: 0, words: vec![element, index, length] };
        self.put(BtfKind::Array, false, "", 0, &rows)
    }

    /// The type under one more name, if that is one.
    fn typedef(&mut self, name: &str, id: u32) -> Option<u32> {
        if !is_identifier(name) {
            return Some(id);
        }
        self.put(BtfKind::Typedef, false, name, id, &Rows::NONE)
    }
}

/// What is behind a type's header.
struct Rows {
    /// Fields or values; 0 where the kind has none.
    parts: usize,
    words: Vec<u32>,
}

impl Rows {
    const NONE: Self = Self { parts: 0, words: Vec::new() };

    fn of(parts: usize) -> Option<Self> {
        (parts <= PARTS_MAX).then(|| Self { parts, words: Vec::with_capacity(3 * parts) })
    }
}

fn halves(value: u64) -> [u32; 2] {
    let half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    [half(value >> 32), half(value)]
}

/// "struct flow" is the type's own name; "`flow_t`" is a typedef of one without.
fn tagged<'a>(name: &'a str, prefix: &str) -> (String, &'a str) {
    match name.strip_prefix(prefix) {
        Some(tag) => (identifier(tag).unwrap_or_default(), ""),
        None => (String::new(), name),
    }
}

/// A number's name may have spaces, as in "unsigned int".
fn words<'a>(name: &'a str, default: &'a str) -> &'a str {
    if name.len() <= NAME_MAX && name.split(' ').all(is_identifier) { name } else { default }
}

fn is_identifier(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.len() <= NAME_MAX
        && name.starts_with(first)
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// As C would have it; `None` if there is nothing to make it of.
fn identifier(name: &str) -> Option<String> {
    if is_identifier(name) {
        return Some(name.to_owned());
    }
    let mapped: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name: String = format!("_{mapped}").chars().take(NAME_MAX).collect();
    is_identifier(&name).then_some(name)
}

#[cfg(test)]
mod tests;
