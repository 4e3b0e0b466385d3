//! The named numbers of an enum.

use super::address::HEX;
use super::number::Whole;
use super::scalar::extend;
use super::schema::EnumValue;

/// The named numbers of an enum.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) signed: bool,
    /// In order of declaration.
    declared: Vec<(Box<str>, u64)>,
    /// Places in `declared` by number; one for each number, the first declared.
    sorted: Vec<usize>,
    /// Of the shortest and the longest name.
    lengths: (usize, usize),
}

impl Names {
    /// Numbers are taken at the enum's own width, so that -1 is the same however it was written:
    /// older compilers write it as unsigned and 32 bits wide. A name that would be read as bytes
    /// or as a number, which no compiler writes, is none.
    pub(super) fn new(values: &[EnumValue], signed: bool, bits: u32) -> Self {
        let unused = 64_u32.saturating_sub(bits).min(63);
        let widen = |value: u64| {
            if signed { extend(value, bits) } else { value << unused >> unused }
        };
        let declared: Vec<(Box<str>, u64)> = values
            .iter()
            .filter(|EnumValue { name, .. }| {
                !name.starts_with(HEX) && Whole::from_text(name).is_none()
            })
            .map(|EnumValue { name, value }| (Box::from(name.as_str()), widen(*value)))
            .collect();
        let mut sorted: Vec<_> = (0..declared.len()).collect();
        sorted.sort_by_key(|&at| declared[at].1);
        sorted.dedup_by_key(|at| declared[*at].1);
        let lengths = declared.iter().map(|(name, _)| name.len());
        let lengths = (lengths.clone().min().unwrap_or(usize::MAX), lengths.max().unwrap_or(0));
        Self { signed, declared, sorted, lengths }
    }

    /// Whether no two numbers have one name.
    pub(super) fn are_distinct(&self) -> bool {
        let mut names: Vec<&str> = self.sorted.iter().map(|&at| &*self.declared[at].0).collect();
        names.sort_unstable();
        names.windows(2).all(|pair| pair[0] != pair[1])
    }

    /// The number's name.
    pub(super) fn name(&self, number: u64) -> Option<&str> {
        let at = self.sorted.binary_search_by_key(&number, |&at| self.declared[at].1).ok()?;
        Some(&self.declared[self.sorted[at]].0)
    }

    /// The name's number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.declared.iter().find(|(known, _)| **known == *name).map(|(_, number)| *number)
    }

    /// Bytes of the shortest name; of none, more than any has.
    pub(super) fn shortest(&self) -> usize {
        self.lengths.0
    }

    /// Bytes of the longest name.
    pub(super) fn longest(&self) -> usize {
        self.lengths.1
    }

    /// In order of declaration.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(|(name, _)| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_names_for_a_number_is_shown() {
        let values = [("A", 1), ("B", 0xffff_ffff), ("C", 1)];
        let values = values.map(|(name, value)| EnumValue { name: name.to_owned(), value });
        let names = Names::new(&values, true, 32);
        assert_eq!(names.name(1), Some("A"));
        assert_eq!(names.name(u64::MAX), Some("B"));
        assert_eq!(names.name(0xffff_ffff), None);
        assert_eq!((names.number("C"), names.number("D")), (Some(1), None));
    }
}
