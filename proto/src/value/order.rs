//! How scalars compare: which is less, and which are told apart by their texts.

use super::scalar::{Meaning, Scalar, extend_wide};

impl Scalar {
    /// Other bits always have another text.
    pub(super) fn is_told_apart(&self) -> bool {
        match &self.meaning {
            Meaning::Unsigned
            | Meaning::Signed
            | Meaning::HexNumber
            | Meaning::Bool
            | Meaning::Pointer
            | Meaning::Ipv4
            | Meaning::Ipv6
            | Meaning::Mac
            // Only tries have them, which have no two entries of one prefix.
            | Meaning::Prefix
            | Meaning::Opaque => true,
            Meaning::Enum(names) => names.are_distinct(),
            // The digit 5 and the number 5, one NaN and another, what is behind a NUL.
            Meaning::Char | Meaning::Float | Meaning::Text => false,
        }
    }

    /// What it is among all that it can be, such that the less is the less. `None` for texts and
    /// bytes, which have no order.
    pub(super) fn ordered(&self, at: &[u8]) -> Option<u128> {
        const SIGN: u128 = 1 << 127;
        let bits = self.load.bits();
        match &self.meaning {
            Meaning::Text | Meaning::Opaque | Meaning::Prefix => None,
            Meaning::Ipv4 | Meaning::Ipv6 | Meaning::Mac => {
                let own = at.get(..self.load.bytes()).unwrap_or_default();
                Some(own.iter().fold(0, |number, byte| number << 8 | u128::from(*byte)))
            }
            Meaning::Float => {
                let double = match self.load.bytes() {
                    4 => f32::from_bits(u32::try_from(self.load.get(at)).ok()?).into(),
                    _ => f64::from_bits(self.load.get(at)),
                };
                // Zero is zero, whatever its sign.
                let raw = if double == 0.0 { 0 } else { double.to_bits() };
                let sign = 1 << 63;
                Some(u128::from(if raw & sign == 0 { raw | sign } else { !raw }))
            }
            _ if self.is_signed() => {
                Some(extend_wide(self.load.get_wide(at), bits).cast_unsigned() ^ SIGN)
            }
            _ => Some(self.load.get_wide(at)),
        }
    }
}
