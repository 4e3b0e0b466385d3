//! One number or text in bytes: where its bits are, and what they mean.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::address::{HEX, Prefix};
use super::form::Form;
use super::names::Names;
use super::schema::ByteOrder;

/// One number or text.
#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub(super) load: Load,
    pub(super) meaning: Meaning,
}

/// Which bits, counted from the scalar's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Whole bytes, 1 to 16 of them.
    Int { size: u8, order: ByteOrder },
    /// `bits` of the integer in `span` bytes, above its lowest `shift` bits. At most 128 in all.
    Bits { span: u8, shift: u8, bits: u8, order: ByteOrder },
    /// Bytes that are no integer.
    Raw { len: usize },
}

/// What the bits mean.
#[derive(Debug, Clone)]
pub(super) enum Meaning {
    Unsigned,
    Signed,
    /// An integer shown in hexadecimal.
    HexNumber,
    Bool,
    Char,
    Enum(Arc<Names>),
    /// 4 or 8 bytes.
    Float,
    Pointer,
    /// Characters up to the first NUL.
    Text,
    Ipv4,
    Ipv6,
    Mac,
    /// The key of an LPM trie: a length in bits, in the host's order, and an address.
    Prefix,
    Opaque,
}

impl Load {
    /// `bits` of bytes that begin `skip` bits before them, counted as a field's offset is. `None`
    /// if they lie in more than 16 bytes.
    pub(super) fn bitfield(skip: u32, bits: u32, order: ByteOrder) -> Option<Self> {
        let span = (skip + bits).div_ceil(8);
        let shift = match order {
            ByteOrder::Little => skip,
            ByteOrder::Big => span * 8 - skip - bits,
        };
        let narrow = |number: u32| u8::try_from(number).ok();
        let (span, shift, bits) = (narrow(span)?, narrow(shift)?, narrow(bits)?);
        (span <= 16).then_some(Self::Bits { span, shift, bits, order })
    }

    /// The order of its bytes; of what is no number the host's.
    pub(super) fn order(self) -> ByteOrder {
        match self {
            Self::Int { order, .. } | Self::Bits { order, .. } => order,
            Self::Raw { .. } => ByteOrder::HOST,
        }
    }

    /// How many bits it has.
    pub(super) fn bits(self) -> u32 {
        match self {
            Self::Int { size, .. } => u32::from(size) * 8,
            Self::Bits { bits, .. } => u32::from(bits),
            Self::Raw { .. } => 0,
        }
    }

    /// How many bytes it touches.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Int { size, .. } => size.into(),
            Self::Bits { span, .. } => span.into(),
            Self::Raw { len } => len,
        }
    }

    /// The bits as a number, those above 64 cut off. `at` starts with the scalar.
    #[expect(clippy::cast_possible_truncation, reason = "the low 64 bits are what is asked for")]
    #[inline]
    pub(super) fn get(self, at: &[u8]) -> u64 {
        match self {
            Self::Int { size, order } => match (size, order) {
                (1, _) => at.first().copied().unwrap_or_default().into(),
                (2, ByteOrder::Little) => chunk(at).map_or(0, u16::from_le_bytes).into(),
                (2, ByteOrder::Big) => chunk(at).map_or(0, u16::from_be_bytes).into(),
                (4, ByteOrder::Little) => chunk(at).map_or(0, u32::from_le_bytes).into(),
                (4, ByteOrder::Big) => chunk(at).map_or(0, u32::from_be_bytes).into(),
                (8, ByteOrder::Little) => chunk(at).map_or(0, u64::from_le_bytes),
                (8, ByteOrder::Big) => chunk(at).map_or(0, u64::from_be_bytes),
                _ => self.get_wide(at) as u64,
            },
            Self::Bits { .. } => self.get_wide(at) as u64,
            Self::Raw { len } => {
                let mut word = [0; 8];
                let taken = at.get(..len.min(8)).unwrap_or_default();
                word[..taken.len()].copy_from_slice(taken);
                u64::from_ne_bytes(word)
            }
        }
    }

    /// The bits as a number.
    pub(super) fn get_wide(self, at: &[u8]) -> u128 {
        let (span, order) = match self {
            Self::Int { size, order } => (size, order),
            Self::Bits { span, order, .. } => (span, order),
            Self::Raw { .. } => return self.get(at).into(),
        };
        let whole = at.get(..span.into()).unwrap_or_default();
        let push = |number: u128, byte: &u8| number << 8 | u128::from(*byte);
        let number = match order {
            ByteOrder::Little => whole.iter().rev().fold(0, push),
            ByteOrder::Big => whole.iter().fold(0, push),
        };
        match self {
            Self::Bits { shift, bits, .. } => number >> shift & mask(bits.into()),
            Self::Int { .. } | Self::Raw { .. } => number,
        }
    }

    /// A number's low bits, in place in bytes that are zero elsewhere: at most 16.
    pub(super) fn place(self, number: u128) -> ([u8; 16], usize) {
        let (span, order, number) = match self {
            Self::Int { size, order } => (size, order, number & mask(u32::from(size) * 8)),
            Self::Bits { span, shift, bits, order } => {
                (span, order, (number & mask(bits.into())) << shift)
            }
            Self::Raw { .. } => return ([0; 16], 0),
        };
        let span = usize::from(span);
        let mut bytes = [0; 16];
        match order {
            ByteOrder::Little => bytes.copy_from_slice(&number.to_le_bytes()),
            ByteOrder::Big => {
                bytes[..span].copy_from_slice(&number.to_be_bytes()[16 - span..]);
            }
        }
        (bytes, span)
    }
}

impl Scalar {
    /// Below zero is possible.
    pub(super) fn is_signed(&self) -> bool {
        match &self.meaning {
            Meaning::Signed => true,
            Meaning::Enum(names) => names.signed,
            Meaning::Unsigned
            | Meaning::HexNumber
            | Meaning::Bool
            | Meaning::Char
            | Meaning::Float
            | Meaning::Pointer
            | Meaning::Text
            | Meaning::Ipv4
            | Meaning::Ipv6
            | Meaning::Mac
            | Meaning::Prefix
            | Meaning::Opaque => false,
        }
    }

    /// The number, sign-extended if it is signed; of more than 64 bits the lowest.
    #[inline]
    pub(super) fn number(&self, at: &[u8]) -> u64 {
        let raw = self.load.get(at);
        if self.is_signed() { extend(raw, self.load.bits()) } else { raw }
    }

    /// Gives the value to whatever builds the outcome.
    #[inline]
    pub(super) fn render<F: Form>(&self, at: &[u8], form: &mut F) -> F::Value {
        let bits = self.load.bits();
        match &self.meaning {
            Meaning::Unsigned if bits > 64 => {
                form.plain(format_args!("{}", self.load.get_wide(at)))
            }
            Meaning::Signed if bits > 64 => {
                form.plain(format_args!("{}", extend_wide(self.load.get_wide(at), bits)))
            }
            Meaning::Unsigned => form.unsigned(self.load.get(at), bits),
            Meaning::Signed => form.signed(extend(self.load.get(at), bits).cast_signed(), bits),
            Meaning::HexNumber | Meaning::Pointer => form.hex_number(self.load.get_wide(at)),
            Meaning::Bool => match self.load.get_wide(at) {
                0 => form.truth(false),
                1 => form.truth(true),
                // C reads these as true, but written back they would not be the same.
                other if bits > 64 => form.plain(format_args!("{other}")),
                _ => form.unsigned(self.load.get(at), bits),
            },
            Meaning::Char => match self.load.get(at) {
                printable @ 0x20..=0x7e => {
                    let byte = [u8::try_from(printable).unwrap_or_default()];
                    form.text(&String::from_utf8_lossy(&byte))
                }
                // A char of eBPF has a sign.
                other => form.signed(extend(other, bits).cast_signed(), bits),
            },
            Meaning::Enum(names) => {
                let number = self.number(at);
                match names.name(number) {
                    Some(name) => form.text(name),
                    None if names.signed => form.signed(number.cast_signed(), bits),
                    None => form.unsigned(number, bits),
                }
            }
            Meaning::Float => self.render_float(at, form),
            Meaning::Text => match self.text(at) {
                Some(text) => form.text(text),
                None => form.hex(self.raw(at)),
            },
            Meaning::Ipv4 => form.ipv4(chunk(at).unwrap_or_default()),
            Meaning::Ipv6 => {
                let octets = chunk::<16>(at).unwrap_or_default();
                form.plain(format_args!("{}", Ipv6Addr::from(octets)))
            }
            Meaning::Mac => form.mac(chunk(at).unwrap_or_default()),
            Meaning::Prefix => match Prefix::of(self.raw(at)) {
                Some(prefix) => form.plain(format_args!("{prefix}")),
                None => form.hex(self.raw(at)),
            },
            Meaning::Opaque => form.hex(self.raw(at)),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "4 bytes have 32 bits")]
    fn render_float<F: Form>(&self, at: &[u8], form: &mut F) -> F::Value {
        let raw = self.load.get(at);
        if self.load.bits() == 64 {
            return form.double(f64::from_bits(raw));
        }
        let single = f32::from_bits(raw as u32);
        // The shortest decimal that reads back as this f32: 0.1, not 0.10000000149011612.
        let short = single.to_string().parse().unwrap_or_else(|_| f64::from(single));
        form.double(short)
    }

    /// The characters up to the first NUL; `None` if they are no text, or would be read as bytes.
    pub(super) fn text<'a>(&self, at: &'a [u8]) -> Option<&'a str> {
        let raw = self.raw(at);
        let end = raw.iter().position(|&byte| byte == 0).unwrap_or(raw.len());
        std::str::from_utf8(&raw[..end]).ok().filter(|text| !text.starts_with(HEX))
    }

    fn raw<'a>(&self, at: &'a [u8]) -> &'a [u8] {
        at.get(..self.load.bytes()).unwrap_or_default()
    }
}

fn chunk<const N: usize>(at: &[u8]) -> Option<[u8; N]> {
    at.first_chunk().copied()
}

/// The lowest `bits`, all set.
pub(super) fn mask(bits: u32) -> u128 {
    1_u128.checked_shl(bits).map_or(u128::MAX, |above| above - 1)
}

/// Sign-extends a number of so many bits.
#[inline]
pub(super) fn extend(raw: u64, bits: u32) -> u64 {
    let unused = 64_u32.saturating_sub(bits).min(63);
    ((raw << unused).cast_signed() >> unused).cast_unsigned()
}

/// The same of a number of up to 128 bits.
pub(super) fn extend_wide(raw: u128, bits: u32) -> i128 {
    let unused = 128_u32.saturating_sub(bits).min(127);
    (raw << unused).cast_signed() >> unused
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x90];

    #[test]
    fn integers_are_read_in_either_order() {
        let int = |size, order| Load::Int { size, order };
        for (load, number) in [
            (int(1, ByteOrder::Little), 0x01),
            (int(2, ByteOrder::Little), 0x0201),
            (int(2, ByteOrder::Big), 0x0102),
            (int(3, ByteOrder::Little), 0x03_0201),
            (int(3, ByteOrder::Big), 0x01_0203),
            (int(4, ByteOrder::Big), 0x0102_0304),
            (int(8, ByteOrder::Little), 0x0807_0605_0403_0201),
            (int(8, ByteOrder::Big), 0x0102_0304_0506_0708),
            (int(16, ByteOrder::Big), 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f90),
        ] {
            assert_eq!(load.get_wide(&BYTES), number, "{load:?}");
            assert_eq!(u128::from(load.get(&BYTES)), number & mask(64), "{load:?}");
            let (bytes, span) = load.place(number);
            assert_eq!(bytes[..span], BYTES[..span], "{load:?}");
            assert_eq!(load.get(&[]), 0);
        }
    }

    #[test]
    fn bitfields_are_read_and_placed() {
        let bits = |span, shift, bits, order| Load::Bits { span, shift, bits, order };
        for (load, bytes, number) in [
            (bits(1, 0, 3, ByteOrder::Little), &[0b1010_1101][..], 0b101),
            (bits(1, 3, 5, ByteOrder::Little), &[0b1010_1101], 0b10101),
            (bits(2, 6, 4, ByteOrder::Little), &[0b1100_0000, 0b0000_0010], 0b1011),
            (bits(2, 6, 4, ByteOrder::Big), &[0b0000_0010, 0b1100_0000], 0b1011),
            (
                bits(9, 4, 64, ByteOrder::Little),
                &[0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
                u64::MAX,
            ),
        ] {
            assert_eq!(load.get(bytes), number, "{load:?}");
            let (placed, span) = load.place(number.into());
            assert_eq!(load.get(&placed[..span]), number, "{load:?}");
            let outside = |(placed, whole): (&u8, &u8)| placed & !whole == 0;
            assert!(placed[..span].iter().zip(bytes).all(outside), "{load:?}");
        }
    }

    #[test]
    fn signs_reach_the_top_bit() {
        for (raw, bits, number) in
            [(0b111, 3, -1), (0b011, 3, 3), (0x80, 8, -128), (1, 1, -1), (u64::MAX, 64, -1)]
        {
            assert_eq!(extend(raw, bits).cast_signed(), number);
        }
        assert_eq!(extend_wide(u128::MAX, 128), -1);
        assert_eq!(extend_wide(1 << 71, 72), -(1 << 71));
        assert_eq!((mask(0), mask(1), mask(128)), (0, 1, u128::MAX));
    }
}
