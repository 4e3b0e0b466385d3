//! Addresses and plain bytes as text, both ways.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// The key of an LPM trie, shown as `10.0.0.0/8`.
pub(super) struct Prefix {
    address: IpAddr,
    bits: u32,
}

impl Prefix {
    /// `None` for a key that is none: more bits than the address has.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        let (bits, address) = key.split_first_chunk::<4>()?;
        let address = if let Ok(four) = <[u8; 4]>::try_from(address) {
            IpAddr::from(four)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(address).ok()?)
        };
        let bits = u32::from_ne_bytes(*bits);
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits <= most).then_some(Self { address, bits })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
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

/// The key of an LPM trie that so many bytes can be: a prefix's length in the host's order, and an
/// address. `10.0.0.0/8`; an address alone is the prefix of all of its bits.
pub fn parse_prefix(text: &str, size: usize) -> Option<Vec<u8>> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
        None => (text, None),
    };
    let address =
        parse_address(address, size.checked_sub(4).filter(|size| matches!(size, 4 | 16))?)?;
    let most = u32::try_from(address.len()).ok()? * 8;
    let bits = bits.unwrap_or(most);
    (bits <= most).then(|| [&bits.to_ne_bytes()[..], &address].concat())
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
    fn a_prefix_is_its_length_and_an_address() {
        let key = |bits: u32, address: &[u8]| [&bits.to_ne_bytes()[..], address].concat();
        assert_eq!(parse_prefix("10.0.0.0/8", 8), Some(key(8, &[10, 0, 0, 0])));
        assert_eq!(parse_prefix("10.0.0.1", 8), Some(key(32, &[10, 0, 0, 1])));
        for text in ["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/8"] {
            assert_eq!(Prefix::of(&parse_prefix(text, 8).unwrap()).unwrap().to_string(), text);
        }
        assert!(Prefix::of(&key(33, &[10, 0, 0, 1])).is_none());
        assert_eq!(parse_prefix("2001:db8::/32", 20).unwrap()[..6], key(32, &[0x20, 1]));
        for (text, size) in [
            ("10.0.0.0/33", 8),
            ("10.0.0.0/8", 20),
            ("10.0.0.0/", 8),
            ("2001:db8::/129", 20),
            ("::/0", 8),
            ("x/8", 8),
            ("10.0.0.0/8", 3),
        ] {
            assert_eq!(parse_prefix(text, size), None, "{text}");
        }
    }

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
