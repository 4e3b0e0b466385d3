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
    /// "rx.bytes", "slots[3]"; empty where the type is itself a scalar.
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

    /// As a label's value: without quotes.
    pub fn text(&self, bytes: &[u8]) -> String {
        text::bare(&self.scalar, bytes.get(self.offset..).unwrap_or_default())
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
