//! Values told apart by one of their fields.

use super::error::{EncodeError, Problem, candidates, shorten};
use super::form::Name;
use super::leaf::Leaf;
use super::plan::{Plan, Shape, Step};
use super::scalar::{Meaning, Scalar};

/// Takes values in which one number, address or text is as wanted. Made by [`Plan::matcher`].
#[derive(Debug, Clone)]
pub struct Matcher {
    leaf: Leaf,
    /// From the value's start, in bytes.
    start: usize,
    end: usize,
    want: Want,
}

#[derive(Debug, Clone)]
enum Want {
    Number(u64),
    /// Up to the first NUL.
    Text(Box<[u8]>),
    Bytes(Box<[u8]>),
}

impl Plan {
    /// What takes values of this type in which the field has that value, both as people write
    /// them: `rx.bytes`, `args[0]`; `6`, `0x1f`, the name of an enum's value, `10.0.0.1`, text.
    pub fn matcher(&self, field: &str, value: &str) -> Result<Matcher, EncodeError> {
        let leaves = self.leaves();
        let leaf = leaves.iter().find(|leaf| leaf.path() == field).ok_or_else(|| {
            let known = leaves.iter().map(Leaf::path).filter(|path| !path.is_empty());
            let (name, known) = (shorten(field), candidates(field, known));
            EncodeError::new("", Problem::UnknownField { name, known })
        })?;
        let (start, scalar) = (leaf.offset(), leaf.scalar());
        let size = scalar.load.bytes();
        let bytes = alone(scalar).parse(value).map_err(|error| error.within(field))?;
        let want = match (&scalar.meaning, scalar.load.bits()) {
            (Meaning::Text, _) => Want::Text(text(&bytes).into()),
            (_, 1..=64) => Want::Number(scalar.number(&bytes)),
            _ => Want::Bytes(bytes.into()),
        };
        Ok(Matcher { leaf: leaf.clone(), start, end: start + size, want })
    }
}

impl Matcher {
    /// Whether it takes a value with these bytes. One that ends before the field does not.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let Some(own) = bytes.get(self.start..self.end) else { return false };
        match &self.want {
            Want::Number(number) => self.leaf.scalar().number(own) == *number,
            Want::Text(wanted) => text(own) == &**wanted,
            Want::Bytes(wanted) => own == &**wanted,
        }
    }
}

/// A plan of that scalar and nothing else.
fn alone(scalar: &Scalar) -> Plan {
    let size = scalar.load.bytes();
    let shape = Shape::Scalar(scalar.clone());
    Plan::new(size, vec![Step { name: Name::default(), offset: 0, size, shape, end: 1 }], 1)
}

fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::plan::Plan;
    use super::super::samples::everything;

    /// A value in which that field alone is not zero.
    fn with(plan: &Plan, field: &str, value: &str) -> Vec<u8> {
        let mut bytes = vec![0; plan.size()];
        let leaf = plan.leaves().iter().find(|leaf| leaf.path() == field).unwrap();
        let own = super::alone(leaf.scalar()).parse(value).unwrap();
        bytes[leaf.offset()..leaf.offset() + own.len()].copy_from_slice(&own);
        bytes
    }

    #[test]
    fn every_kind_of_field_can_be_matched() {
        let plan = Plan::compile(&everything()).unwrap();
        let zeros = vec![0; plan.size()];
        for (field, value) in [
            ("small", "7"),
            ("number", "-3"),
            ("large", "0xffffffffffffffff"),
            ("huge", "170141183460469231731687303715884105727"),
            ("port", "443"),
            ("flag", "true"),
            ("comm", "bash"),
            ("double", "1.5"),
            ("source", "10.0.0.1"),
            ("six", "fe80::1"),
            ("mac", "aa:bb:cc:dd:ee:ff"),
            ("slots[2]", "9"),
            ("nested.b[1]", "5"),
            ("middle", "3"),
        ] {
            let matcher = plan.matcher(field, value).unwrap_or_else(|e| panic!("{field}: {e}"));
            assert!(matcher.matches(&with(&plan, field, value)), "{field}");
            assert!(!matcher.matches(&zeros), "{field}");
            assert!(!matcher.matches(&[]), "{field}");
        }
    }

    #[test]
    fn text_ends_at_its_first_nul() {
        let plan = Plan::compile(&everything()).unwrap();
        let matcher = plan.matcher("comm", "sh").unwrap();
        let mut bytes = with(&plan, "comm", "sh");
        let at = plan.leaves().iter().find(|leaf| leaf.path() == "comm").unwrap().offset();
        bytes[at + 3] = b'x';
        assert!(matcher.matches(&bytes));
        bytes[at + 2] = b'x';
        assert!(!matcher.matches(&bytes));
    }

    #[test]
    fn what_cannot_match_is_named() {
        let plan = Plan::compile(&everything()).unwrap();
        let said = plan.matcher("smal", "7").unwrap_err().to_string();
        assert!(said.contains("smal") && said.contains("small, number"), "{said}");
        let said = plan.matcher("nested", "7").unwrap_err().to_string();
        assert!(said.contains("nested"), "{said}");
        let said = plan.matcher("small", "many").unwrap_err().to_string();
        assert!(said.contains("small: expected") && said.contains("many"), "{said}");
        assert!(plan.matcher("small", "300").is_err());
    }
}
