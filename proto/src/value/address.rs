//! Addresses and plain bytes as text, both ways.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What every run of bytes may be written as: `hex:0a0b`.
pub(super) const HEX: &str = "hex:";

/// Bytes shown as `hex:0a0b`.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEX)?;
        let digit = |number: u8| char::from_digit(number.into(), 16).unwrap_or_default();
        self.0.iter().try_for_each(|byte| {
            f.write_char(digit(byte >> 4))?;
            f.write_char(digit(byte & 15))
        })
    }
}

/// An Ethernet address.
pub(super) struct Mac(pub(super) [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ":" };
            write!(f, "{separator}{byte:02x}")?;
        }
        Ok(())
    }
}

/// The bytes of pairs of hexadecimal digits, without anything between them.
pub(super) fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

/// The address that so many bytes can hold, in network order.
pub(super) fn parse_address(text: &str, size: usize) -> Option<Vec<u8>> {
    match size {
        4 => text.parse::<Ipv4Addr>().ok().map(|address| address.octets().to_vec()),
        6 => parse_mac(text).map(|address| address.to_vec()),
        16 => text.parse::<Ipv6Addr>().ok().map(|address| address.octets().to_vec()),
        _ => None,
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut bytes = [0; 6];
    let mut parts = text.split(separator);
    for byte in &mut bytes {
        let &[high, low] = parts.next()?.as_bytes() else { return None };
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    parts.next().is_none().then_some(bytes)
}

/// The two hexadecimal digits of a byte.
#[inline]
pub(super) fn nibbles(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pairs_are_bytes() {
        for (text, bytes) in [("", vec![]), ("00fF", vec![0, 255]), ("0a", vec![10])] {
            assert_eq!(parse_hex(text), Some(bytes), "{text}");
        }
        for text in ["0", "0x0a", "0g", "0a 0b", "é"] {
            assert_eq!(parse_hex(text), None, "{text}");
        }
        assert_eq!(Hex(&[0, 255]).to_string(), "hex:00ff");
    }

    #[test]
    fn the_size_says_which_address_it_is() {
        for (text, size, first) in [
            ("10.0.0.1", 4, 10),
            ("fe80::1", 16, 0xfe),
            ("aa:bb:cc:dd:ee:ff", 6, 0xaa),
            ("AA-bb-cc-dd-ee-ff", 6, 0xaa),
        ] {
            let bytes = parse_address(text, size).expect(text);
            assert_eq!((bytes.len(), bytes[0]), (size, first));
            for other in [1, 4, 6, 8, 16] {
                assert_eq!(parse_address(text, other).is_some(), other == size, "{text} {other}");
            }
        }
        for text in ["aa:bb:cc:dd:ee", "aa:bb:cc:dd:ee:ff:00", "a:b:c:d:e:f", "aa:bb-cc:dd:ee:ff"] {
            assert_eq!(parse_address(text, 6), None, "{text}");
        }
        assert_eq!(Mac([1, 2, 3, 4, 5, 255]).to_string(), "01:02:03:04:05:ff");
    }
}
