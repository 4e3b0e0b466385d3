//! Values told apart by one of their fields.

use super::condition::{Comparison, Condition, Network};
use super::error::{EncodeError, Problem, candidates, shorten};
use super::form::Name;
use super::leaf::Leaf;
use super::plan::{Plan, Shape, Step};
use super::scalar::{Meaning, Scalar};

/// Takes values in which one number, address or text is as wanted. Made by [`Plan::matcher`] and
/// [`Leaf::matcher`].
#[derive(Debug, Clone)]
pub struct Matcher {
    leaf: Leaf,
    comparison: Comparison,
    /// Of what has an order, by that; ascending.
    numbers: Vec<u128>,
    /// Of others, texts up to their first NUL; ascending.
    bytes: Vec<Box<[u8]>>,
    prefixes: Vec<Box<str>>,
    networks: Vec<Network>,
}

/// The number that a name stands for beside those of the type: on the agent's host, say.
pub type Numbers<'a> = &'a dyn Fn(&str) -> Option<u64>;

impl Plan {
    /// What takes values of this type in which the field is as the condition has it, both as people
    /// write them: `rx.bytes`, `args[0]`; `6`, `0x1f`, the name of an enum's value, `10.0.0.1`, text.
    pub fn matcher(&self, field: &str, condition: &Condition) -> Result<Matcher, EncodeError> {
        let leaves = self.leaves();
        let leaf = leaves.iter().find(|leaf| leaf.path() == field).ok_or_else(|| {
            let known = leaves.iter().map(Leaf::path).filter(|path| !path.is_empty());
            let (name, known) = (shorten(field), candidates(field, known));
            EncodeError::new("", Problem::UnknownField { name, known })
        })?;
        leaf.matcher(condition, &|_| None).map_err(|error| error.within(field))
    }
}

impl Leaf {
    /// What takes values in which this is as the condition has it.
    pub fn matcher(
        &self,
        condition: &Condition,
        numbers: Numbers<'_>,
    ) -> Result<Matcher, EncodeError> {
        let wrong = |problem| EncodeError::new("", problem);
        let mut matcher = self.matcher_of_none(condition.comparison());
        for value in condition.values() {
            matcher.take(value, numbers)?;
        }
        if !matches!(condition.comparison(), Comparison::In | Comparison::NotIn)
            && matcher.numbers.is_empty()
        {
            return Err(wrong(Problem::NoOrder));
        }
        for prefix in condition.prefixes() {
            if !matches!(self.scalar().meaning, Meaning::Text | Meaning::Enum(_)) {
                return Err(wrong(Problem::NoPrefix { prefix: shorten(prefix) }));
            }
            matcher.prefixes.push(prefix.as_str().into());
        }
        for network in condition.networks() {
            if network.size() != self.scalar().load.bytes() {
                return Err(wrong(Problem::NoNetwork { network: network.to_string() }));
            }
            matcher.networks.push(*network);
        }
        Ok(matcher)
    }

    /// The same, without what this cannot be: where a pattern found it among others.
    pub fn matcher_of_some(&self, condition: &Condition, numbers: Numbers<'_>) -> Matcher {
        let mut matcher = self.matcher_of_none(condition.comparison());
        for value in condition.values() {
            // One that it cannot be is not taken.
            let _ = matcher.take(value, numbers);
        }
        matcher.prefixes = condition.prefixes().iter().map(|it| it.as_str().into()).collect();
        let size = self.scalar().load.bytes();
        matcher.networks =
            condition.networks().iter().filter(|it| it.size() == size).copied().collect();
        matcher
    }

    fn matcher_of_none(&self, comparison: Comparison) -> Matcher {
        let (numbers, bytes, prefixes, networks) = Default::default();
        Matcher { leaf: self.clone(), comparison, numbers, bytes, prefixes, networks }
    }
}

impl Matcher {
    fn take(&mut self, value: &str, numbers: Numbers<'_>) -> Result<(), EncodeError> {
        let scalar = self.leaf.scalar();
        let number =
            || numbers(value).and_then(|number| alone(scalar).parse(&number.to_string()).ok());
        let bytes = alone(scalar).parse(value).or_else(|error| number().ok_or(error))?;
        if let Some(number) = scalar.ordered(&bytes) {
            let at = self.numbers.partition_point(|known| *known < number);
            self.numbers.insert(at, number);
        } else {
            let bytes = if matches!(scalar.meaning, Meaning::Text) { text(&bytes) } else { &bytes };
            let at = self.bytes.partition_point(|known| **known < *bytes);
            self.bytes.insert(at, bytes.into());
        }
        Ok(())
    }

    /// Whether it takes a value with these bytes. One that ends before the field does not.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let own = self.leaf.bytes(bytes);
        if own.len() != self.leaf.scalar().load.bytes() {
            return false;
        }
        let ordered = self.leaf.scalar().ordered(own);
        let compared = |taken: fn(u128, u128) -> bool| {
            ordered.zip(self.numbers.first()).is_some_and(|(own, other)| taken(own, *other))
        };
        match self.comparison {
            Comparison::In => self.lists(own, ordered),
            Comparison::NotIn => !self.lists(own, ordered),
            Comparison::Less => compared(|own, other| own < other),
            Comparison::AtMost => compared(|own, other| own <= other),
            Comparison::Greater => compared(|own, other| own > other),
            Comparison::AtLeast => compared(|own, other| own >= other),
        }
    }

    fn lists(&self, own: &[u8], ordered: Option<u128>) -> bool {
        let is_text = matches!(self.leaf.scalar().meaning, Meaning::Text);
        let bytes = if is_text { text(own) } else { own };
        ordered.is_some_and(|own| self.numbers.binary_search(&own).is_ok())
            || self.bytes.binary_search_by(|known| (**known).cmp(bytes)).is_ok()
            || self.networks.iter().any(|network| network.has(own))
            || self.begins(own, bytes)
    }

    fn begins(&self, own: &[u8], text: &[u8]) -> bool {
        let prefixes = || self.prefixes.iter();
        match &self.leaf.scalar().meaning {
            _ if self.prefixes.is_empty() => false,
            Meaning::Text => prefixes().any(|prefix| text.starts_with(prefix.as_bytes())),
            Meaning::Enum(names) => {
                let name = names.name(self.leaf.scalar().number(own));
                name.is_some_and(|name| prefixes().any(|prefix| name.starts_with(&**prefix)))
            }
            _ => false,
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
    use super::super::{Comparison, Condition};

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
            let matcher = plan
                .matcher(field, &Condition::is(value))
                .unwrap_or_else(|e| panic!("{field}: {e}"));
            assert!(matcher.matches(&with(&plan, field, value)), "{field}");
            assert!(!matcher.matches(&zeros), "{field}");
            assert!(!matcher.matches(&[]), "{field}");
        }
    }

    #[test]
    fn text_ends_at_its_first_nul() {
        let plan = Plan::compile(&everything()).unwrap();
        let matcher = plan.matcher("comm", &Condition::is("sh")).unwrap();
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
        let said = plan.matcher("smal", &Condition::is("7")).unwrap_err().to_string();
        assert!(said.contains("smal") && said.contains("small, number"), "{said}");
        let said = plan.matcher("nested", &Condition::is("7")).unwrap_err().to_string();
        assert!(said.contains("nested"), "{said}");
        let said = plan.matcher("small", &Condition::is("many")).unwrap_err().to_string();
        assert!(said.contains("small: expected") && said.contains("many"), "{said}");
        assert!(plan.matcher("small", &Condition::is("300")).is_err());
    }

    fn matcher(field: &str, comparison: Comparison, value: &str) -> super::Matcher {
        let plan = Plan::compile(&everything()).unwrap();
        let condition = Condition::new(comparison, vec![value.to_owned()], Vec::new(), &[]);
        plan.matcher(field, &condition.unwrap()).unwrap()
    }

    #[test]
    fn order_is_that_of_the_type() {
        let plan = Plan::compile(&everything()).unwrap();
        for (field, less, more) in [
            ("small", "7", "200"),
            ("number", "-3", "2"),
            ("large", "0x7fffffffffffffff", "0x8000000000000000"),
            ("huge", "5", "170141183460469231731687303715884105727"),
            ("huge", "-1", "0"),
            ("port", "255", "256"),
            ("double", "-1.5", "0.25"),
            ("source", "9.255.0.0", "10.0.0.1"),
            ("slots[2]", "9", "10"),
        ] {
            let (low, high) = (with(&plan, field, less), with(&plan, field, more));
            for (comparison, low_too, same_too, high_too) in [
                (Comparison::Less, true, false, false),
                (Comparison::AtMost, true, true, false),
                (Comparison::Greater, false, false, true),
                (Comparison::AtLeast, false, true, true),
            ] {
                let than_more = matcher(field, comparison, more);
                assert_eq!(than_more.matches(&low), low_too, "{field} {comparison:?}");
                assert_eq!(than_more.matches(&high), same_too, "{field} {comparison:?}");
                let than_less = matcher(field, comparison, less);
                assert_eq!(than_less.matches(&high), high_too, "{field} {comparison:?}");
            }
        }
    }

    #[test]
    fn beginnings_networks_and_all_but_these_are_taken() {
        let plan = Plan::compile(&everything()).unwrap();
        let of = |field: &str, comparison, values: &[&str], prefixes: &[&str], nets: &[&str]| {
            let owned = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            let nets = owned(nets);
            let condition = Condition::new(comparison, owned(values), owned(prefixes), &nets);
            plan.matcher(field, &condition.unwrap())
        };
        let bash = with(&plan, "comm", "bash");
        assert!(of("comm", Comparison::In, &[], &["ba"], &[]).unwrap().matches(&bash));
        assert!(!of("comm", Comparison::NotIn, &["sh"], &["ba"], &[]).unwrap().matches(&bash));
        assert!(of("comm", Comparison::NotIn, &["sh"], &["ab"], &[]).unwrap().matches(&bash));
        let ten = with(&plan, "source", "10.1.2.3");
        assert!(
            of("source", Comparison::In, &["1.1.1.1"], &[], &["10.0.0.0/8"]).unwrap().matches(&ten)
        );
        assert!(!of("source", Comparison::In, &[], &[], &["11.0.0.0/8"]).unwrap().matches(&ten));
        assert!(
            !of("source", Comparison::NotIn, &[], &[], &["10.1.0.0/16"]).unwrap().matches(&ten)
        );
        assert!(
            !of("small", Comparison::NotIn, &["1"], &[], &[]).unwrap().matches(&[]),
            "too short"
        );

        let said = of("comm", Comparison::Less, &["a"], &[], &[]).unwrap_err().to_string();
        assert!(said.starts_with("comm: ") && said.contains("no order"), "{said}");
        let said = of("small", Comparison::In, &[], &["1"], &[]).unwrap_err().to_string();
        assert!(said.contains("\"1\"") && said.contains("text"), "{said}");
        let said = of("small", Comparison::In, &[], &[], &["10.0.0.0/8"]).unwrap_err().to_string();
        assert!(said.contains("10.0.0.0/8") && said.contains("address"), "{said}");
    }
}
