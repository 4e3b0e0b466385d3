//! Types that `map create` can declare for a key or a value.

use bpfgate_client::value::{Display, Encoding, Field, Kind, Type};
use clap::ValueEnum;

use crate::exit::{Exit, Failure};

/// One number, one address, or a run of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scalar {
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    // In network byte order.
    Be16,
    Be32,
    Be64,
    Bool,
    F32,
    F64,
    Ipv4,
    Ipv6,
    Mac,
    // Keys of an lpm_trie.
    Ipv4Prefix,
    Ipv6Prefix,
    // These two need their number of bytes.
    Text,
    Bytes,
}

impl Scalar {
    /// With the size that `--key` or `--value` gave, if it was given.
    pub(crate) fn declare(self, size: Option<u32>, flag: &str) -> Result<Type, Failure> {
        let fixed = self.size();
        let size = match (fixed, size) {
            (Some(fixed), Some(given)) if fixed != given => {
                let name = self.name();
                return Err(Failure::new(
                    Exit::Usage,
                    format!(
                        "{flag} {given} contradicts {flag}-type {name}, which has {fixed} bytes; leave {flag} out"
                    ),
                ));
            }
            (Some(size), _) | (None, Some(size)) => size,
            (None, None) => {
                let name = self.name();
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{flag}-type {name} needs its number of bytes; add {flag} BYTES"),
                ));
            }
        };
        let name = match self {
            Self::Ipv4Prefix | Self::Ipv6Prefix => "struct bpf_lpm_trie_key".to_owned(),
            _ => String::new(),
        };
        Ok(Type { name, size, kind: self.kind(size) })
    }

    fn size(self) -> Option<u32> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 | Self::Be16 => Some(2),
            Self::U32 | Self::I32 | Self::Be32 | Self::F32 | Self::Ipv4 => Some(4),
            Self::U64 | Self::I64 | Self::Be64 | Self::F64 | Self::Ipv4Prefix => Some(8),
            Self::Mac => Some(6),
            Self::Ipv6 => Some(16),
            Self::Ipv6Prefix => Some(20),
            Self::Text | Self::Bytes => None,
        }
    }

    fn kind(self, size: u32) -> Kind {
        let integer =
            |encoding, big_endian| Kind::Integer { encoding, big_endian, display: Display::Plain };
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => integer(Encoding::Unsigned, false),
            Self::I8 | Self::I16 | Self::I32 | Self::I64 => integer(Encoding::Signed, false),
            Self::Be16 | Self::Be32 | Self::Be64 => integer(Encoding::Unsigned, true),
            Self::Bool => integer(Encoding::Bool, false),
            Self::F32 | Self::F64 => Kind::Float,
            Self::Ipv4 => Kind::Opaque { display: Display::Ipv4 },
            Self::Ipv6 => Kind::Opaque { display: Display::Ipv6 },
            Self::Mac => Kind::Opaque { display: Display::Mac },
            Self::Ipv4Prefix => prefix(4, Display::Ipv4),
            Self::Ipv6Prefix => prefix(16, Display::Ipv6),
            Self::Bytes => Kind::Opaque { display: Display::Plain },
            Self::Text => {
                let character =
                    Type { name: "char".to_owned(), size: 1, kind: integer(Encoding::Char, false) };
                Kind::Array { element: Box::new(character), length: size, display: Display::Plain }
            }
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What the kernel takes for the key of a trie.
fn prefix(size: u32, display: Display) -> Kind {
    let number =
        Kind::Integer { encoding: Encoding::Unsigned, big_endian: false, display: Display::Plain };
    let length = Type { name: "__u32".to_owned(), size: 4, kind: number };
    let address = Type { name: String::new(), size, kind: Kind::Opaque { display } };
    let field =
        |name: &str, ty, bit_offset| Field { name: name.to_owned(), ty, bit_offset, bit_size: 0 };
    let fields = vec![field("prefixlen", length, 0), field("data", address, 32)];
    Kind::Record { is_union: false, fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declared_type_has_its_own_size() {
        assert_eq!(Scalar::U64.declare(None, "--value").unwrap().size, 8);
        assert_eq!(Scalar::U64.declare(Some(8), "--value").unwrap().size, 8);
        assert_eq!(Scalar::Text.declare(Some(16), "--key").unwrap().size, 16);
        let said = Scalar::Ipv4.declare(Some(8), "--key").unwrap_err().message;
        assert!(said.contains("--key 8 contradicts --key-type ipv4"), "{said}");
        let said = Scalar::Bytes.declare(None, "--key").unwrap_err().message;
        assert!(said.contains("add --key BYTES"), "{said}");
    }
}
