//! One number or text of a type, read without a look at the rest.

use super::plan::{Shape, Step};
use super::scalar::{Meaning, Scalar};
use super::text;

/// One scalar (or one char array, or one address) of a type.
#[derive(Debug, Clone)]
pub struct Leaf {
    path: String,
    offset: usize,
    scalar: Scalar,
}

impl Leaf {
    /// `rx.bytes`, `slots[3]`; empty where the type is itself a scalar.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// An integer or enum of at most 64 bits: can be a counter. No characters, no addresses.
    pub fn is_number(&self) -> bool {
        let bits = self.scalar.load.bits();
        let number = match &self.scalar.meaning {
            Meaning::Unsigned
            | Meaning::Signed
            | Meaning::HexNumber
            | Meaning::Bool
            | Meaning::Enum(_) => true,
            Meaning::Char
            | Meaning::Float
            | Meaning::Pointer
            | Meaning::Text
            | Meaning::Ipv4
            | Meaning::Ipv6
            | Meaning::Mac
            | Meaning::Prefix
            | Meaning::Opaque => false,
        };
        number && (1..=64).contains(&bits)
    }

    /// `read` gives two's complement.
    pub fn is_signed(&self) -> bool {
        self.scalar.is_signed()
    }

    /// Its number in the bytes of a value, sign-extended if it is signed. Of what is no number
    /// the first 64 bits. Bytes that end before it read as zero.
    #[inline]
    pub fn read(&self, bytes: &[u8]) -> u64 {
        self.scalar.number(bytes.get(self.offset..).unwrap_or_default())
    }

    /// From the value's start, in bytes.
    #[cfg(test)]
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    pub(super) fn scalar(&self) -> &Scalar {
        &self.scalar
    }

    /// The bytes of a value that it is read from.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.offset..self.offset + self.scalar.load.bytes()).unwrap_or_default()
    }

    /// Sets the bits of a value that its text tells apart from all others in their place. A text
    /// ends at its first NUL, for one, so what follows is told by none of its bits.
    pub fn mark_told(&self, told: &mut [u8]) {
        let size = self.scalar.load.bytes();
        let Some(own) = told.get_mut(self.offset..self.offset + size) else { return };
        if self.scalar.is_told_apart() {
            let (bits, placed) = self.scalar.load.place(u128::MAX);
            let bits = if placed == 0 { &[] } else { &bits[..size] };
            let bits = bits.iter().copied().chain(std::iter::repeat(u8::MAX));
            own.iter_mut().zip(bits).for_each(|(own, bits)| *own |= bits);
        }
    }

    /// As a label's value: without quotes.
    pub fn text(&self, bytes: &[u8]) -> String {
        let mut text = String::new();
        self.append_text(bytes, &mut text);
        text
    }

    /// The same, behind what there is.
    pub fn append_text(&self, bytes: &[u8], out: &mut String) {
        text::append_bare(&self.scalar, bytes.get(self.offset..).unwrap_or_default(), out);
    }

    /// What that text has at most, in bytes: known before it is made, for the names of an enum's
    /// values can be as long as the object that they came in.
    pub fn text_bytes(&self, bytes: &[u8]) -> usize {
        text::bare_bytes(&self.scalar, bytes.get(self.offset..).unwrap_or_default())
    }
}

/// The first `most` leaves of these steps.
pub(super) fn collect(steps: &[Step], most: usize) -> Vec<Leaf> {
    let mut collector = Collector { steps, most, path: String::new(), leaves: Vec::new() };
    collector.part(0, 0);
    collector.leaves
}

struct Collector<'a> {
    steps: &'a [Step],
    most: usize,
    path: String,
    leaves: Vec<Leaf>,
}

impl Collector<'_> {
    fn part(&mut self, at: usize, base: usize) {
        if self.leaves.len() >= self.most {
            return;
        }
        let step = &self.steps[at];
        match &step.shape {
            Shape::Scalar(scalar) => self.leaves.push(Leaf {
                path: self.path.clone(),
                offset: base + step.offset,
                scalar: scalar.clone(),
            }),
            Shape::Record { .. } => {
                let mut field = at + 1;
                while field < step.end {
                    let name = self.steps[field].name.as_str();
                    let before = push_name(&mut self.path, name);
                    self.part(field, base);
                    self.path.truncate(before);
                    field = self.steps[field].end;
                }
            }
            Shape::Array { length, stride } => {
                for index in 0..*length {
                    if self.leaves.len() >= self.most {
                        return;
                    }
                    let before = push_index(&mut self.path, index);
                    self.part(at + 1, base + step.offset + index * stride);
                    self.path.truncate(before);
                }
            }
        }
    }
}

/// Appends a field's name to a path; returns the length to cut it back to.
pub(super) fn push_name(path: &mut String, name: &str) -> usize {
    let before = path.len();
    if !path.is_empty() && !name.is_empty() {
        path.push('.');
    }
    path.push_str(name);
    before
}

/// Appends an element's index to a path; returns the length to cut it back to.
pub(super) fn push_index(path: &mut String, index: usize) -> usize {
    let before = path.len();
    path.push('[');
    path.push_str(&index.to_string());
    path.push(']');
    before
}

#[cfg(test)]
mod tests {
    use super::super::plan::Plan;
    use super::super::samples::{array, everything, signed, structure, unsigned};

    #[test]
    fn leaves_are_listed_by_path() {
        let plan = Plan::compile(&everything()).unwrap();
        let paths: Vec<_> = plan.leaves().iter().map(super::Leaf::path).collect();
        let expected = "small number large huge odd port flag letter comm state mask single double \
            task source six mac cookie blob slots[0] slots[1] slots[2] nested.a nested.b[0] \
            nested.b[1] low middle top kind word halves[0] halves[1]";
        assert_eq!(paths, expected.split_whitespace().collect::<Vec<_>>());
        let numbers: Vec<_> =
            plan.leaves().iter().filter(|leaf| !leaf.is_number()).map(super::Leaf::path).collect();
        let others = "huge letter comm single double task source six mac blob";
        assert_eq!(numbers, others.split_whitespace().collect::<Vec<_>>());
    }

    #[test]
    fn leaves_read_where_they_are() {
        let inner = structure(vec![("a", unsigned(2)), ("b", signed(2))]);
        let plan = Plan::compile(&structure(vec![("x", unsigned(4)), ("y", array(inner, 2))]));
        let plan = plan.unwrap();
        let bytes = [9, 0, 0, 0, 1, 0, 0xff, 0xff, 2, 0, 0xfe, 0xff];
        let read: Vec<_> = plan
            .leaves()
            .iter()
            .map(|leaf| (leaf.path(), leaf.read(&bytes).cast_signed(), leaf.text(&bytes)))
            .collect();
        let expected = [("x", 9), ("y[0].a", 1), ("y[0].b", -1), ("y[1].a", 2), ("y[1].b", -2)];
        assert_eq!(read, expected.map(|(path, number)| (path, number, number.to_string())));
        assert!(plan.leaves()[2].is_signed() && !plan.leaves()[1].is_signed());
        assert_eq!(plan.leaves()[3].read(&bytes[..5]), 0);
    }

    #[test]
    fn a_text_is_no_longer_than_it_was_said_to_be() {
        let plan = Plan::compile(&everything()).unwrap();
        for byte in [0, 1, 6, 0x41, 0x7f, 0x80, 0xff] {
            let bytes = vec![byte; plan.size()];
            for leaf in plan.leaves() {
                let (text, most) = (leaf.text(&bytes), leaf.text_bytes(&bytes));
                assert!(text.len() <= most, "{}: {text:?}, not {most}", leaf.path());
            }
        }
    }

    #[test]
    fn bits_that_no_text_tells_are_known() {
        let plan = Plan::compile(&everything()).unwrap();
        let told = |path: &str| {
            let leaf = plan.leaves().iter().find(|leaf| leaf.path() == path).unwrap();
            let mut told = vec![0; plan.size()];
            leaf.mark_told(&mut told);
            told.iter().map(|byte| byte.count_ones()).sum::<u32>()
        };
        for (path, bits) in [("small", 8), ("huge", 128), ("six", 128), ("mac", 48), ("state", 32)]
        {
            assert_eq!(told(path), bits, "{path}");
        }
        for path in ["letter", "comm", "double"] {
            assert_eq!(told(path), 0, "{path}");
        }
        assert!((1..8).contains(&told("low")), "a bitfield tells its own bits");
    }

    #[test]
    fn a_scalar_is_its_own_leaf() {
        let plan = Plan::compile(&unsigned(8)).unwrap();
        assert_eq!((plan.leaves().len(), plan.leaves()[0].path()), (1, ""));
        let opaque = Plan::opaque(3);
        assert_eq!(opaque.leaves()[0].text(&[1, 2, 3]), "hex:010203");
        assert!(!opaque.leaves()[0].is_number());
        let many = Plan::compile(&array(unsigned(1), 100_000)).unwrap();
        assert_eq!(many.leaves().len(), 65_536);
    }
}
