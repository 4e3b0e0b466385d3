//! What the values of all CPUs are together: a type wide enough for every sum, and the way there.
//!
//! Numbers become one of 64 bits, of 128 where they had more. What has no sum becomes a list with
//! one for each CPU. A type whose numbers are all wide enough, and that has nothing else, stays as
//! it is, to the byte.

use super::compile::is_char;
use super::leaf::push_name;
use super::scalar::Load;
use super::schema::{ByteOrder, Display, Encoding, Field, Kind, Type};
use super::sum::{Act, Sums};

#[cfg(test)]
mod tests;

/// Every part of a widened record starts at a multiple of this.
const ALIGNED: u32 = 8;

/// The values of all CPUs as one: what it is, and how it is made of theirs.
#[derive(Debug)]
pub struct Summed {
    /// `None` where it is what one CPU's value is, with the same bytes.
    pub ty: Option<Type>,
    /// Makes it.
    pub sums: Sums,
    /// Whether any number is added; otherwise it is a list of all CPUs' values.
    pub adds: bool,
}

impl Summed {
    /// Ways to put the values of so many CPUs together, the best first. The first whose type
    /// compiles is the one to take; the last always does.
    pub fn ways(ty: &Type, cpus: usize) -> impl Iterator<Item = Self> + '_ {
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        (0..3).map(move |way| match way {
            0 => Self::of(ty, cpus),
            1 => Self::listed(ty, cpus),
            _ => Self::listed(&Type::opaque(ty.size), cpus),
        })
    }

    /// Of bytes of which nothing is known: a number of 1, 2, 4 or 8 bytes, as many 64-bit words
    /// as they have, or a list.
    pub fn of_bytes(size: usize, cpus: usize) -> Self {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        match size {
            1 | 2 | 4 => Self::of(&number(size, Encoding::Unsigned, false, Display::Plain), 1),
            _ => Self::of(&Type::opaque(size), u32::try_from(cpus).unwrap_or(u32::MAX)),
        }
    }

    fn of(ty: &Type, cpus: u32) -> Self {
        let size = ty.size as usize;
        if is_bytes(ty) && size.is_multiple_of(8) {
            let load = Load::Int { size: 8, order: ByteOrder::HOST };
            let words = Act::Add { load, signed: false, from: 0, to: 0, wide: 8, count: size / 8 };
            let acts = if size == 0 { Vec::new() } else { vec![words] };
            return Self { ty: None, sums: Sums { one: size, all: size, acts }, adds: size > 0 };
        }
        let mut widening = Widening { cpus, listing: false };
        let mut acts = Vec::new();
        let wide = widening.part(ty, 0, 0, &mut acts);
        let (all, adds) = (wide.size as usize, has_sum(ty));
        let ty = (wide != *ty).then_some(wide);
        Self { ty, sums: Sums { one: size, all, acts }, adds }
    }

    fn listed(ty: &Type, cpus: u32) -> Self {
        let mut acts = Vec::new();
        let wide = Widening { cpus, listing: false }.list(ty, 0, 0, &mut acts);
        let (one, all) = (ty.size as usize, wide.size as usize);
        Self { ty: Some(wide), sums: Sums { one, all, acts }, adds: false }
    }

    /// Bytes that it takes at most, with a plan of its type and all that the plan makes.
    pub fn memory(&self) -> u64 {
        let ty = self.ty.as_ref().map_or(0, Type::memory);
        ty.saturating_add(self.sums.memory()).saturating_add(size_of::<Self>() as u64)
    }
}

struct Widening {
    cpus: u32,
    /// Nothing is added: these are members of a union.
    listing: bool,
}

impl Widening {
    /// The part's type among the sums, where it begins `to` bytes into its surroundings.
    fn part(&mut self, ty: &Type, from: usize, to: usize, acts: &mut Vec<Act>) -> Type {
        if ty.size == 0 {
            return ty.clone();
        }
        if self.listing || !has_sum(ty) {
            return self.list(ty, from, to, acts);
        }
        match &ty.kind {
            Kind::Integer { encoding, big_endian, display } => {
                let size = u8::try_from(ty.size).unwrap_or(16);
                let order = if *big_endian { ByteOrder::Big } else { ByteOrder::HOST };
                let load = Load::Int { size, order };
                let wide = if size <= 8 { 8 } else { 16 };
                let signed = is_signed(ty);
                acts.push(Act::Add { load, signed, from, to, wide, count: 1 });
                if u32::from(wide) == ty.size {
                    return ty.clone();
                }
                number(wide.into(), *encoding, *big_endian, *display)
            }
            Kind::Array { element, length, display } => {
                let mut inner = Vec::new();
                let wide = self.part(element, 0, 0, &mut inner);
                let strides = (element.size as usize, wide.size as usize);
                acts.push(Act::each(inner, (from, to), strides, *length as usize));
                if wide == **element {
                    return ty.clone();
                }
                Type {
                    name: String::new(),
                    size: wide.size.saturating_mul(*length),
                    kind: Kind::Array {
                        element: Box::new(wide),
                        length: *length,
                        display: *display,
                    },
                }
            }
            Kind::Record { is_union, fields } => {
                if is_wide(ty) {
                    for field in fields.iter().filter(|field| is_part(field)) {
                        let at = field.bit_offset as usize / 8;
                        self.part(&field.ty, from + at, to + at, acts);
                    }
                    return ty.clone();
                }
                let mut record = Vec::new();
                let mut size = 0;
                self.fields(fields, (from, to), &mut size, &mut record, acts);
                let kind = Kind::Record { is_union: *is_union, fields: record };
                Type { name: String::new(), size, kind }
            }
            Kind::Float | Kind::Enum { .. } | Kind::Pointer | Kind::Opaque { .. } => ty.clone(),
        }
    }

    /// Widened fields, each behind the one before; `size` is where the next one begins.
    fn fields(
        &mut self,
        fields: &[Field],
        (from, to): (usize, usize),
        size: &mut u32,
        record: &mut Vec<Field>,
        acts: &mut Vec<Act>,
    ) {
        for field in fields.iter().filter(|field| is_part(field)) {
            let Field { name, ty, bit_offset, bit_size } = field;
            let own = from + *bit_offset as usize / 8;
            let place = to + *size as usize;
            let wide = if *bit_size > 0 {
                let Some(wide) = self.bitfield(field, own, place, acts) else { continue };
                wide
            } else if name.is_empty() && (self.listing || !has_sum(ty)) {
                // Its members belong to the record around it, so each is a list of its own.
                if let Kind::Record { fields, .. } = &ty.kind
                    && !is_address(ty)
                {
                    let outside = std::mem::replace(&mut self.listing, true);
                    self.fields(fields, (own, to), size, record, acts);
                    self.listing = outside;
                }
                continue;
            } else {
                self.part(ty, own, place, acts)
            };
            let bit_offset = size.saturating_mul(8);
            *size = size.saturating_add(wide.size).next_multiple_of(ALIGNED);
            record.push(Field { name: name.clone(), ty: wide, bit_offset, bit_size: 0 });
        }
    }

    fn bitfield(&self, field: &Field, from: usize, to: usize, acts: &mut Vec<Act>) -> Option<Type> {
        let Field { name: _, ty, bit_offset, bit_size } = field;
        let load = Load::bitfield(bit_offset % 8, *bit_size, ByteOrder::HOST)?;
        if !self.listing && is_number(ty, true) {
            let wide = if *bit_size <= 64 { 8 } else { 16 };
            let signed = is_signed(ty);
            acts.push(Act::Add { load, signed, from, to, wide, count: 1 });
            let (encoding, display) = match &ty.kind {
                Kind::Integer { encoding: Encoding::Signed, display, .. } => {
                    (Encoding::Signed, *display)
                }
                Kind::Integer { display, .. } => (Encoding::Unsigned, *display),
                _ => (Encoding::Unsigned, Display::Plain),
            };
            let display = if display == Display::Hex { display } else { Display::Plain };
            return Some(number(wide.into(), encoding, false, display));
        }
        let signed = matches!(ty.kind, Kind::Enum { signed: true, .. });
        acts.push(Act::ListBits { load, signed, from, to, size: ty.size as usize });
        Some(self.list_of(ty.clone()))
    }

    /// One for each CPU.
    fn list(&self, ty: &Type, from: usize, to: usize, acts: &mut Vec<Act>) -> Type {
        if ty.size > 0 {
            acts.push(Act::List { from, to, size: ty.size as usize });
        }
        self.list_of(ty.clone())
    }

    fn list_of(&self, ty: Type) -> Type {
        // A list of characters would be read as a text.
        let element = if is_char(&ty) { array(ty, 1) } else { ty };
        array(element, self.cpus)
    }
}

fn array(element: Type, length: u32) -> Type {
    Type {
        name: String::new(),
        size: element.size.saturating_mul(length),
        kind: Kind::Array { element: Box::new(element), length, display: Display::Plain },
    }
}

fn number(size: u32, encoding: Encoding, big_endian: bool, display: Display) -> Type {
    let bits = size * 8;
    let name = match (encoding, big_endian) {
        (_, true) => format!("__be{bits}"),
        (Encoding::Signed, false) => format!("__s{bits}"),
        (_, false) => format!("__u{bits}"),
    };
    Type { name, size, kind: Kind::Integer { encoding, big_endian, display } }
}

impl Type {
    /// The first part whose sum over CPUs needs other bytes than its own: its path, and what it
    /// is; `None` where the sums fit in place. The path is empty for the type as a whole.
    pub fn first_outgrown(&self) -> Option<(String, &'static str)> {
        if is_wide(self) {
            return None;
        }
        let mut path = String::new();
        let mut ty = self;
        loop {
            ty = match &ty.kind {
                Kind::Integer { .. } if is_number(ty, false) => {
                    return Some((path, "an integer of less than 64 bits"));
                }
                Kind::Array { element, .. } if has_sum(ty) => {
                    path.push_str("[]");
                    element
                }
                Kind::Record { is_union: false, fields } if !is_address(ty) => {
                    let narrow = |field: &&Field| field.bit_size > 0 || !is_wide(&field.ty);
                    let field = fields.iter().filter(|field| is_part(field)).find(narrow);
                    let Some(Field { name, ty, bit_size, .. }) = field else {
                        return Some((path, "a part without a sum"));
                    };
                    push_name(&mut path, name);
                    if *bit_size > 0 {
                        return Some((path, "a bitfield"));
                    }
                    ty
                }
                _ => return Some((path, "a part without a sum")),
            };
        }
    }
}

/// A field that the codec knows of.
fn is_part(field: &Field) -> bool {
    let is_record = matches!(field.ty.kind, Kind::Record { .. });
    !field.name.is_empty() || is_record && !is_address(&field.ty)
}

/// The kernel's own address types.
fn is_address(ty: &Type) -> bool {
    matches!((ty.name.as_str(), ty.size), ("struct in_addr", 4) | ("struct in6_addr", 16))
}

/// Plain bytes, whatever is in them.
fn is_bytes(ty: &Type) -> bool {
    match &ty.kind {
        Kind::Opaque { display } => *display == Display::Plain,
        Kind::Array { display, .. } => *display == Display::Hex,
        Kind::Integer { .. }
        | Kind::Float
        | Kind::Enum { .. }
        | Kind::Record { .. }
        | Kind::Pointer => false,
    }
}

/// An integer that is neither a truth, a character nor an address.
fn is_number(ty: &Type, bitfield: bool) -> bool {
    let Kind::Integer { encoding, display, .. } = &ty.kind else { return false };
    match (display, encoding) {
        (_, Encoding::Bool) => false,
        // As a bitfield each is the number of its bits.
        (Display::Ipv4 | Display::Ipv6 | Display::Mac, _) => bitfield,
        (Display::Plain, Encoding::Char) => bitfield || ty.size > 1,
        (Display::Plain | Display::Hex, _) => true,
    }
}

fn is_signed(ty: &Type) -> bool {
    let Kind::Integer { encoding, display, .. } = &ty.kind else { return false };
    (*encoding, *display) == (Encoding::Signed, Display::Plain)
}

/// Whether there is a number in it that can be added.
fn has_sum(ty: &Type) -> bool {
    match &ty.kind {
        Kind::Integer { .. } => is_number(ty, false),
        Kind::Array { element, length, display } => {
            *length > 0 && *display == Display::Plain && !is_char(element) && has_sum(element)
        }
        Kind::Record { is_union, fields } => {
            let mut parts = fields.iter().filter(|field| is_part(field));
            let overlap = *is_union && parts.clone().count() > 1;
            let sum = |field: &Field| match field.bit_size {
                0 => has_sum(&field.ty),
                _ => is_number(&field.ty, true),
            };
            !overlap && !is_address(ty) && parts.any(sum)
        }
        Kind::Float | Kind::Enum { .. } | Kind::Pointer | Kind::Opaque { .. } => false,
    }
}

/// Whether the sums of all that is in it have room where the numbers are.
fn is_wide(ty: &Type) -> bool {
    if ty.size == 0 {
        return true;
    }
    match &ty.kind {
        Kind::Integer { .. } => is_number(ty, false) && matches!(ty.size, 8 | 16),
        Kind::Array { element, .. } => has_sum(ty) && is_wide(element),
        Kind::Record { fields, .. } => {
            let mut parts = fields.iter().filter(|field| is_part(field));
            has_sum(ty) && parts.all(|field| field.bit_size == 0 && is_wide(&field.ty))
        }
        Kind::Float | Kind::Enum { .. } | Kind::Pointer | Kind::Opaque { .. } => false,
    }
}
