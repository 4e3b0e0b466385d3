//! BTF types to those of the API.

use std::collections::HashMap;

use bpfgate_proto::value::{Display, Encoding, EnumValue, Field, Kind, Type};

use super::BtfError;
use super::hint::{self, Tag};
use super::raw::{Btf, Entry, Kind as RawKind};
use crate::ledger::Charge;

/// The API carries no deeper trees.
const MAX_DEPTH: u32 = 32;
/// Nor larger ones: types, fields and named enum values.
const MAX_NODES: usize = 65_536;
/// Typedefs and qualifiers on the way to a type; more are a circle.
const MAX_HOPS: u32 = 64;
/// What a node of the tree takes, its name aside.
const NODE: usize = 2 * size_of::<Field>() + 64;
/// Memory is paid for in pieces of this size.
const PIECE: u64 = 16 << 10;
/// In BPF, wherever it runs.
const POINTER_SIZE: u32 = 8;

/// Compiles one tree.
pub(super) struct Compiler<'a> {
    btf: &'a Btf<'a>,
    nodes: usize,
    /// Of the part at hand.
    path: String,
    tags: Vec<Tag>,
    /// Pays for the tree while it grows.
    charge: Option<&'a mut Charge>,
    /// Paid for and not used yet, in bytes.
    paid: u64,
}

/// A type behind its typedefs and qualifiers.
struct Resolved<'a> {
    id: u32,
    entry: Entry<'a>,
    /// The outermost typedef; empty without one.
    typedef: &'a str,
    /// `__be16`, `__be32` or `__be64` is among the typedefs.
    big_endian: bool,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(btf: &'a Btf<'a>) -> Self {
        let (path, tags) = Default::default();
        Self { btf, nodes: 0, path, tags, charge: None, paid: 0 }
    }

    /// One that charges for the tree before it grows.
    pub(super) fn charging(btf: &'a Btf<'a>, charge: &'a mut Charge) -> Self {
        Self { charge: Some(charge), ..Self::new(btf) }
    }

    pub(super) fn ty(&mut self, id: u32) -> Result<Type, BtfError> {
        self.part(id, 1)
    }

    /// Those met on the way.
    pub(super) fn into_tags(self) -> Vec<Tag> {
        self.tags
    }

    fn part(&mut self, id: u32, depth: u32) -> Result<Type, BtfError> {
        let mut ty = self.bare(id, depth)?;
        if self.btf.has_tags() {
            self.follow_tags(id, &mut ty)?;
        }
        Ok(ty)
    }

    /// The type without what its tags say of it.
    fn bare(&mut self, id: u32, depth: u32) -> Result<Type, BtfError> {
        if depth > MAX_DEPTH {
            return Err(BtfError::TooDeep { id });
        }
        self.count(id, 1)?;
        // void: only pointers have it, and these are leaves.
        if id == 0 {
            return Ok(Type::opaque(0));
        }
        let resolved = self.resolve(id)?;
        let Resolved { id, entry, typedef, big_endian } = resolved;
        let own = self.btf.name(entry.name)?;
        let size = entry.size_or_type;
        let telling = |tag: &str| match (own, typedef) {
            ("", typedef) => typedef.to_owned(),
            (own, _) => format!("{tag} {own}"),
        };
        Ok(match entry.kind {
            RawKind::Int => {
                let name = if typedef.is_empty() { own } else { typedef };
                Type { name: name.to_owned(), size, kind: integer(&entry, own, big_endian) }
            }
            RawKind::Float => {
                let name = if typedef.is_empty() { own } else { typedef };
                let kind = if matches!(size, 4 | 8) { Kind::Float } else { opaque() };
                Type { name: name.to_owned(), size, kind }
            }
            RawKind::Pointer => {
                Type { name: typedef.to_owned(), size: POINTER_SIZE, kind: Kind::Pointer }
            }
            RawKind::Array => self.array(id, &entry, typedef, depth)?,
            RawKind::Struct | RawKind::Union => {
                let is_union = entry.kind == RawKind::Union;
                let name = telling(if is_union { "union" } else { "struct" });
                let fields = self.fields(id, &entry, depth)?;
                Type { name, size, kind: Kind::Record { is_union, fields } }
            }
            RawKind::Enum | RawKind::Enum64 => {
                Type { name: telling("enum"), size, kind: self.enumeration(id, &entry)? }
            }
            RawKind::DataSection => {
                let fields = self.section(&entry, depth)?;
                let kind = Kind::Record { is_union: false, fields };
                Type { name: own.to_owned(), size, kind }
            }
            RawKind::Variable => self.part(size, depth + 1)?,
            RawKind::Forward
            | RawKind::Function
            | RawKind::FunctionPrototype
            | RawKind::DeclarationTag
            | RawKind::Typedef
            | RawKind::Qualifier => Type::opaque(0),
        })
    }

    fn count(&mut self, id: u32, nodes: usize) -> Result<(), BtfError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            return Err(BtfError::TooLarge { id });
        }
        self.pay(nodes.saturating_mul(NODE))
    }

    /// Pays in larger pieces than it is asked for.
    fn pay(&mut self, bytes: usize) -> Result<(), BtfError> {
        let Some(charge) = &mut self.charge else { return Ok(()) };
        let bytes = bytes as u64;
        if self.paid < bytes {
            let piece = bytes.max(PIECE);
            charge.grow(piece).map_err(BtfError::Memory)?;
            self.paid += piece;
        }
        self.paid -= bytes;
        Ok(())
    }

    /// The tags of the type and of the typedefs that lead to it; the outermost has the last word.
    fn follow_tags(&mut self, start: u32, ty: &mut Type) -> Result<(), BtfError> {
        let mut way = Vec::new();
        let mut id = start;
        while let Ok(entry) = self.btf.entry(id)
            && way.len() < MAX_HOPS as usize
        {
            way.push(id);
            match entry.kind {
                RawKind::Typedef | RawKind::Qualifier => id = entry.size_or_type,
                _ => break,
            }
        }
        way.into_iter().rev().try_for_each(|id| self.tag(id, None, ty))
    }

    /// The tags of one type, or of one of its members.
    fn tag(&mut self, id: u32, member: Option<u32>, ty: &mut Type) -> Result<(), BtfError> {
        for text in self.btf.tags(id, member) {
            self.count(id, 1 + (self.path.len() + text.len()) / 64)?;
            if let Some(display) = hint::display(text) {
                hint::show(ty, display);
            }
            self.tags.push(Tag { path: self.path.clone(), text: text.to_owned() });
        }
        Ok(())
    }

    /// Goes down into a part; returns the path's length to cut it back to.
    fn enter(&mut self, name: &str) -> usize {
        let before = self.path.len();
        if !self.path.is_empty() && !name.is_empty() && name != "[]" {
            self.path.push('.');
        }
        self.path.push_str(name);
        before
    }

    fn resolve(&self, start: u32) -> Result<Resolved<'a>, BtfError> {
        let (mut id, mut typedef, mut big_endian) = (start, "", false);
        for _ in 0..MAX_HOPS {
            let entry = self.btf.entry(id)?;
            match entry.kind {
                RawKind::Typedef => {
                    let name = self.btf.name(entry.name)?;
                    big_endian |= matches!(name, "__be16" | "__be32" | "__be64");
                    if typedef.is_empty() {
                        typedef = name;
                    }
                }
                RawKind::Qualifier => {}
                _ => return Ok(Resolved { id, entry, typedef, big_endian }),
            }
            id = entry.size_or_type;
        }
        Err(BtfError::TooDeep { id: start })
    }

    fn array(
        &mut self,
        id: u32,
        entry: &Entry<'_>,
        typedef: &str,
        depth: u32,
    ) -> Result<Type, BtfError> {
        let [element, _, length] = entry.row();
        let before = self.enter("[]");
        let element = self.part(element, depth + 1)?;
        self.path.truncate(before);
        let size = element.size.checked_mul(length).ok_or(BtfError::TooLarge { id })?;
        let kind = Kind::Array { element: Box::new(element), length, display: Display::Plain };
        Ok(Type { name: typedef.to_owned(), size, kind })
    }

    fn fields(
        &mut self,
        record: u32,
        entry: &Entry<'_>,
        depth: u32,
    ) -> Result<Vec<Field>, BtfError> {
        let mut fields = Vec::new();
        for (member, [name, id, offset]) in (0..).zip(entry.rows()) {
            let name = self.btf.name(name)?.to_owned();
            self.pay(name.len())?;
            let before = self.enter(&name);
            let mut ty = self.part(id, depth + 1)?;
            self.tag(record, Some(member), &mut ty)?;
            self.path.truncate(before);
            let (bit_offset, bit_size) = if entry.flag {
                (offset & 0xff_ffff, offset >> 24)
            } else {
                self.old_bitfield(id, offset)?
            };
            fields.push(Field { name, ty, bit_offset, bit_size });
        }
        Ok(fields)
    }

    /// Without the flag, a bitfield is a field whose integer has fewer bits than its bytes.
    fn old_bitfield(&self, id: u32, offset: u32) -> Result<(u32, u32), BtfError> {
        let Ok(Resolved { entry, .. }) = self.resolve(id) else { return Ok((offset, 0)) };
        if entry.kind != RawKind::Int {
            return Ok((offset, 0));
        }
        let [info] = entry.row();
        let (skip, bits) = (info >> 16 & 0xff, info & 0xff);
        let whole = entry.size_or_type.saturating_mul(8);
        if skip == 0 && bits == whole && offset.is_multiple_of(8) {
            return Ok((offset, 0));
        }
        let offset = offset.checked_add(skip).ok_or(BtfError::TooLarge { id })?;
        Ok((offset, bits))
    }

    fn enumeration(&mut self, id: u32, entry: &Entry<'_>) -> Result<Kind, BtfError> {
        let signed = entry.flag;
        let rows: Vec<(u32, u64)> = if entry.kind == RawKind::Enum64 {
            let wide = |[name, low, high]: [u32; 3]| (name, u64::from(high) << 32 | u64::from(low));
            entry.rows().map(wide).collect()
        } else {
            let widen = |value: u32| {
                if signed { i64::from(value.cast_signed()).cast_unsigned() } else { value.into() }
            };
            entry.rows().map(|[name, value]| (name, widen(value))).collect()
        };
        self.count(id, rows.len())?;
        if !matches!(entry.size_or_type, 1 | 2 | 4 | 8) {
            return Ok(opaque());
        }
        let values = rows
            .into_iter()
            .map(|(name, value)| {
                let name = self.btf.name(name)?;
                self.pay(name.len())?;
                Ok(EnumValue { name: name.to_owned(), value })
            })
            .collect::<Result<_, BtfError>>()?;
        Ok(Kind::Enum { signed, values })
    }

    fn section(&mut self, entry: &Entry<'_>, depth: u32) -> Result<Vec<Field>, BtfError> {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let mut fields = Vec::new();
        for [variable, offset, size] in entry.rows() {
            let name = self.btf.name(self.btf.entry(variable)?.name)?;
            // One variable that is too much does not hide the others.
            let (before, shorter, tags) = (self.nodes, self.enter(name), self.tags.len());
            let part = self.part(variable, depth + 1);
            self.path.truncate(shorter);
            let ty = match part {
                Ok(ty) if ty.size == size => ty,
                Ok(_) | Err(BtfError::TooDeep { .. } | BtfError::TooLarge { .. }) => {
                    self.nodes = before;
                    self.tags.truncate(tags);
                    self.count(variable, 1)?;
                    Type::opaque(size)
                }
                Err(error) => return Err(error),
            };
            // Two functions may each have a static variable of the same name.
            let times = seen.entry(name).and_modify(|times| *times += 1).or_insert(1);
            let name = if *times == 1 { name.to_owned() } else { format!("{name}#{times}") };
            let bit_offset = offset.checked_mul(8).ok_or(BtfError::TooLarge { id: variable })?;
            fields.push(Field { name, ty, bit_offset, bit_size: 0 });
        }
        Ok(fields)
    }
}

fn opaque() -> Kind {
    Kind::Opaque { display: Display::Plain }
}

fn integer(entry: &Entry<'_>, own_name: &str, big_endian: bool) -> Kind {
    const SIGNED: u32 = 1;
    const CHAR: u32 = 2;
    const BOOL: u32 = 4;
    let size = entry.size_or_type;
    let [info] = entry.row();
    let flags = info >> 24;
    let encoding = if flags & BOOL != 0 {
        Encoding::Bool
    } else if size == 1 && (flags & CHAR != 0 || own_name == "char") {
        // Compilers mark a char as a signed or unsigned integer; only its name tells.
        Encoding::Char
    } else if flags & SIGNED != 0 {
        Encoding::Signed
    } else {
        Encoding::Unsigned
    };
    if (1..=16).contains(&size) {
        Kind::Integer { encoding, big_endian, display: Display::Plain }
    } else {
        opaque()
    }
}
