//! Types and numbers out of an input's bytes. An input that ends early goes on with zeros.

use bpfgate_proto::value::{ByteOrder, Display, Encoding, EnumValue, Field, Kind, Type};

/// Takes an input apart.
pub(crate) struct Source<'a> {
    data: &'a [u8],
}

impl<'a> Source<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.data.split_first() else { return 0 };
        self.data = rest;
        byte
    }

    /// What has not been taken.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.data
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    pub(crate) fn order(&mut self) -> ByteOrder {
        if self.byte() & 1 == 0 { ByteOrder::Little } else { ByteOrder::Big }
    }

    /// Any type, now and then one that contradicts itself.
    pub(crate) fn ty(&mut self, depth: u32) -> Type {
        let mut ty = self.sound(depth);
        if self.byte() == u8::MAX {
            ty.size = u32::from(self.byte()) * u32::from(self.byte());
        }
        ty
    }

    fn sound(&mut self, depth: u32) -> Type {
        let (size, kind) = match self.byte() % if depth == 0 { 6 } else { 9 } {
            0 => self.integer(),
            1 => (if self.byte() & 1 == 0 { 4 } else { 8 }, Kind::Float),
            2 => self.enumeration(),
            3 => (8, Kind::Pointer),
            4 => (self.byte().into(), Kind::Opaque { display: self.display() }),
            5 => self.characters(),
            6 => {
                let (element, length) = (self.ty(depth - 1), u32::from(self.byte() % 9));
                let size = element.size.saturating_mul(length);
                (size, Kind::Array { element: Box::new(element), length, display: self.display() })
            }
            _ => self.record(depth),
        };
        let names = ["", "struct in_addr", "struct in6_addr", "struct s"];
        Type { name: names[usize::from(self.byte() % 4)].to_owned(), size, kind }
    }

    fn integer(&mut self) -> (u32, Kind) {
        let encoding = match self.byte() % 4 {
            0 => Encoding::Unsigned,
            1 => Encoding::Signed,
            2 => Encoding::Bool,
            _ => Encoding::Char,
        };
        let size = u32::from(self.byte() % 16) + 1;
        let big_endian = self.byte() & 1 == 1;
        (size, Kind::Integer { encoding, big_endian, display: self.display() })
    }

    fn display(&mut self) -> Display {
        match self.byte() % 16 {
            1 => Display::Ipv4,
            2 => Display::Ipv6,
            3 => Display::Mac,
            4 => Display::Hex,
            _ => Display::Plain,
        }
    }

    fn enumeration(&mut self) -> (u32, Kind) {
        let names = ["UP", "DOWN", "1", "hex:00", "true", "", "é\"\n", " x "];
        let values = names.into_iter().take(usize::from(self.byte() % 9));
        let values = values.map(|name| {
            let value = u64::from(self.byte()).wrapping_sub(u64::from(self.byte() & 1) * 256);
            EnumValue { name: name.to_owned(), value }
        });
        let values = values.collect();
        (1 << (self.byte() % 4), Kind::Enum { signed: self.byte() & 1 == 1, values })
    }

    fn characters(&mut self) -> (u32, Kind) {
        let kind =
            Kind::Integer { encoding: Encoding::Char, big_endian: false, display: Display::Plain };
        let element = Box::new(Type { name: "char".to_owned(), size: 1, kind });
        let length = self.byte() % 40;
        (length.into(), Kind::Array { element, length: length.into(), display: Display::Plain })
    }

    fn record(&mut self, depth: u32) -> (u32, Kind) {
        let is_union = self.byte() & 1 == 1;
        let names = ["a", "b", "", "c\"", "", "d e", "f"];
        let (mut at, mut size) = (0, 0);
        let mut fields = Vec::new();
        for name in names.into_iter().take(usize::from(self.byte() % 8)) {
            let ty = self.ty(depth - 1);
            let choice = self.byte();
            let (bit_offset, bit_size) = match choice % 8 {
                // Anywhere.
                0 => (u32::from(self.byte()), u32::from(self.byte() % 70)),
                1 | 2 => (at, 1 + u32::from(self.byte()) % ty.size.saturating_mul(8).max(1)),
                _ => (at.next_multiple_of(8), 0),
            };
            let bits = if bit_size > 0 { bit_size } else { ty.size.saturating_mul(8) };
            let end = bit_offset.saturating_add(bits).min(1 << 20);
            size = size.max(end.div_ceil(8));
            if !is_union {
                at = end;
            }
            fields.push(Field { name: name.to_owned(), ty, bit_offset, bit_size });
        }
        (size, Kind::Record { is_union, fields })
    }
}
