//! What a field or a label has to be: one language for counters and for events.

use std::net::IpAddr;
use std::str::FromStr;

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// It is one of the values, begins with one of the prefixes or is in one of the networks.
    In,
    /// It is none of these.
    NotIn,
    /// Less than the value.
    Less,
    /// Less than the value, or the same.
    AtMost,
    /// More than the value.
    Greater,
    /// More than the value, or the same.
    AtLeast,
}

/// What a field has to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Condition {
    comparison: Comparison,
    /// Ascending.
    values: Vec<String>,
    prefixes: Vec<String>,
    networks: Vec<Network>,
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Why there can be no such condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Nothing to compare with.
    #[error("it lists no values to compare with")]
    Empty,
    /// Only a single value orders.
    #[error("less and more are said of one value, not of several, a beginning or a network")]
    NotOneValue,
    /// An address without a length, or one that it cannot have.
    #[error("{0:?} is no network; write 10.0.0.0/8 or fe80::/10")]
    Network(String),
}

impl Condition {
    /// One that can be: [`Comparison::In`] and [`Comparison::NotIn`] of anything, the others of one
    /// value.
    pub fn new(
        comparison: Comparison,
        mut values: Vec<String>,
        prefixes: Vec<String>,
        networks: &[String],
    ) -> Result<Self, ConditionError> {
        let (all, patterns) = (values.len(), prefixes.len() + networks.len());
        match comparison {
            Comparison::In | Comparison::NotIn if all + patterns == 0 => {
                return Err(ConditionError::Empty);
            }
            Comparison::In | Comparison::NotIn => {}
            _ if (all, patterns) == (1, 0) => {}
            _ => return Err(ConditionError::NotOneValue),
        }
        values.sort_unstable();
        values.dedup();
        let networks = networks.iter().map(|it| it.parse()).collect::<Result<_, _>>()?;
        Ok(Self { comparison, values, prefixes, networks })
    }

    /// It is that value, as people write it.
    pub fn is(value: impl Into<String>) -> Self {
        let (prefixes, networks) = Default::default();
        Self { comparison: Comparison::In, values: vec![value.into()], prefixes, networks }
    }

    /// How it is compared.
    pub fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// With what, ascending.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// With the beginnings of which texts.
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    /// With which networks.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Whether one of the values or prefixes is this text's.
    pub fn lists(&self, text: &str) -> bool {
        self.values.binary_search_by(|value| value.as_str().cmp(text)).is_ok()
            || self.prefixes.iter().any(|prefix| text.starts_with(prefix.as_str()))
    }

    /// It says less or more.
    pub fn is_order(&self) -> bool {
        !matches!(self.comparison, Comparison::In | Comparison::NotIn)
    }

    /// How much it lists.
    pub fn count(&self) -> usize {
        self.values.len() + self.prefixes.len() + self.networks.len()
    }

    /// Whether a text or one of its names is as it has it, where no type says more: with
    /// [`Comparison::Less`] and the like as whole numbers.
    pub fn takes(&self, texts: &[&str]) -> bool {
        let number = |text: &str| text.parse::<i128>().ok();
        let compared = |taken: fn(i128, i128) -> bool| {
            let other = self.values.first().and_then(|value| number(value));
            texts.iter().any(|text| number(text).zip(other).is_some_and(|(a, b)| taken(a, b)))
        };
        match self.comparison {
            Comparison::In | Comparison::NotIn => {
                self.outcome(texts.iter().any(|text| self.lists(text)))
            }
            Comparison::Less => compared(|own, other| own < other),
            Comparison::AtMost => compared(|own, other| own <= other),
            Comparison::Greater => compared(|own, other| own > other),
            Comparison::AtLeast => compared(|own, other| own >= other),
        }
    }

    /// What comes of it, given whether one of what it lists is so.
    pub fn outcome(&self, listed: bool) -> bool {
        listed == (self.comparison != Comparison::NotIn)
    }
}

impl Network {
    /// Whether an address in network order is in it. Addresses of the other family are not.
    pub fn has(&self, bytes: &[u8]) -> bool {
        let own = match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let (whole, rest) = (usize::from(self.bits / 8), self.bits % 8);
        let mask = !(u8::MAX.checked_shr(rest.into()).unwrap_or(0));
        own.len() == bytes.len()
            && own[..whole] == bytes[..whole]
            && own.get(whole).zip(bytes.get(whole)).is_none_or(|(a, b)| (a ^ b) & mask == 0)
    }

    /// Bytes of its addresses.
    pub fn size(&self) -> usize {
        if self.address.is_ipv4() { 4 } else { 16 }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for Network {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ConditionError::Network(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?;
        Ok(Self { address, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_their_addresses_and_no_others() {
        for (network, has, hasnt) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.0"),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "255.1.2.3", "::"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("fe80::/10", "febf::1", "fec0::"),
            ("::/0", "1::", "0.0.0.0"),
        ] {
            let one: Network = network.parse().unwrap();
            let bytes = |address: &str| match address.parse().unwrap() {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            assert!(one.has(&bytes(has)) && !one.has(&bytes(hasnt)), "{network}");
            assert_eq!(one.to_string(), network);
        }
        for wrong in ["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0/8", "/8", "x/8", "1.2.3.4/-1"] {
            let said = wrong.parse::<Network>().unwrap_err().to_string();
            assert!(said.contains(wrong) && said.contains("10.0.0.0/8"), "{said}");
        }
    }

    #[test]
    fn conditions_that_cannot_be_are_refused() {
        let one = |comparison, values: &[&str], prefixes: &[&str]| {
            let owned = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect();
            Condition::new(comparison, owned(values), owned(prefixes), &[])
        };
        assert_eq!(one(Comparison::NotIn, &[], &[]), Err(ConditionError::Empty));
        for (values, prefixes) in [(&["1", "2"][..], &[][..]), (&[], &[]), (&["1"], &["2"])] {
            assert_eq!(one(Comparison::Less, values, prefixes), Err(ConditionError::NotOneValue));
        }
        let either = one(Comparison::In, &["b", "a", "b"], &["eth"]).unwrap();
        assert_eq!(either.values(), ["a", "b"]);
        assert!(either.lists("a") && either.lists("eth0") && !either.lists("ab"));
    }
}
