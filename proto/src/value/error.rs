//! What can be wrong with a type, with bytes, and with what people and programs write.

use std::fmt;

/// Why a type cannot be compiled: its sizes contradict each other, or it is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    pub(super) path: String,
    pub(super) problem: PlanProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanProblem {
    #[error("is nested too deep")]
    TooDeep,
    #[error("has too many parts to be shown one by one")]
    TooManyValues,
    #[error("lies outside of {record:?}, or between its bytes")]
    Outside { record: String },
    #[error("cannot be a bitfield of {bits} bits")]
    Bitfield { bits: u32 },
    #[error("has {size} bytes, which {what} cannot have")]
    Size { what: &'static str, size: usize },
    #[error("has {length} elements of {stride} bytes in {size} bytes")]
    Array { length: usize, stride: usize, size: usize },
    #[error("has two fields named {name:?}")]
    Twice { name: String },
}

impl PlanError {
    /// The part that is wrong: "rx.slots"; empty for the type as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the type" } else { &self.path };
        write!(f, "{path} {}", self.problem)
    }
}

impl std::error::Error for PlanError {}

/// Bytes of another length than the type's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{got} bytes where the type has {expected}")]
pub struct LengthError {
    /// The type's size in bytes.
    pub expected: usize,
    /// How many there were.
    pub got: usize,
}

/// Why JSON or text does not fit the type: says where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeError {
    path: String,
    problem: Problem,
    example: Option<String>,
}

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("there is no field {name:?}; there is {known}")]
    UnknownField { name: String, known: String },
    #[error("the field is missing")]
    Missing,
    #[error("the union needs one of {members}")]
    NoMember { members: String },
    #[error("contradicts another member of its union; give only one of them")]
    Contradiction,
    #[error("expected {expected}, got {got}")]
    Expected { expected: String, got: String },
    #[error("{value} is out of range, which is {min} to {max}")]
    OutOfRange { value: String, min: String, max: String },
    #[error("{name:?} is not a name of the enum; there is {known}")]
    UnknownName { name: String, known: String },
    #[error("the text has {got} bytes, at most {max} fit")]
    TextTooLong { got: usize, max: usize },
    #[error("{got} elements where there must be {expected}")]
    Length { got: usize, expected: usize },
    #[error("hex: with {got} bytes where there must be {expected}")]
    HexLength { got: usize, expected: usize },
    #[error("{got:?} is not hex: with two hexadecimal digits for each byte")]
    BadHex { got: String },
    #[error("it has no order, so it is neither less nor more than something")]
    NoOrder,
    #[error("only a text can begin with {prefix:?}")]
    NoPrefix { prefix: String },
    #[error("it holds no address of {network}")]
    NoNetwork { network: String },
    #[error("{got:?} is no JSON: {why}")]
    Syntax { got: String, why: String },
}

impl EncodeError {
    pub(super) fn new(path: &str, problem: Problem) -> Self {
        Self { path: path.to_owned(), problem, example: None }
    }

    /// As an error of that field.
    pub(super) fn within(self, field: &str) -> Self {
        Self { path: field.to_owned(), ..self }
    }

    pub(super) fn with_example(mut self, example: String) -> Self {
        self.example = Some(example);
        self
    }

    /// The field: "rx.bytes"; empty for the value as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.problem.fmt(f)?;
        match &self.example {
            Some(example) => write!(f, "; write it like {example}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for EncodeError {}

/// The values of all CPUs, or the place for what they become, are of another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{got} bytes are no values of {one} bytes, {stride} apart, for a sum of {all}")]
pub struct WrongLength {
    /// Bytes of all values.
    pub(super) got: usize,
    pub(super) one: usize,
    pub(super) stride: usize,
    pub(super) all: usize,
}

/// Enough of a text to recognise it: an error must not carry a megabyte of its cause.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The names, or the first of them.
pub(super) fn some_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 16;
    let mut names = names.peekable();
    let mut text = String::new();
    for name in names.by_ref().take(SHOWN) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(&shorten(name));
    }
    if names.peek().is_some() {
        text.push_str(", …");
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

/// The names, or the first of them, and which was meant if one is close to what was written.
pub(super) fn candidates<'a>(
    written: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> String {
    some_of(names.clone()) + &nearest(written, names)
}

/// " (did you mean …?)", or nothing.
pub fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> String {
    /// An error must not take longer than what it is about.
    const TRIED: usize = 1000;
    const LONGEST: usize = 64;
    let most = (written.chars().count() / 3).clamp(1, 3);
    let near = |name: &&str| {
        written.len() <= LONGEST && name.len() <= LONGEST && name.len().abs_diff(written.len()) <= 3
    };
    // Upper and lower case are the likeliest slip.
    let distance = |name: &str| strsim::osa_distance(&written.to_lowercase(), &name.to_lowercase());
    let candidates = names.take(TRIED).filter(near).map(|name| (distance(name), name));
    match candidates.min_by_key(|(distance, _)| *distance) {
        Some((distance, name)) if distance <= most => format!(" (did you mean {name}?)"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_what_was_meant() {
        let names = || ["packets", "bytes", "rx", "SYN_SENT"].into_iter();
        for (written, meant) in
            [("packet", "packets"), ("btyes", "bytes"), ("RX", "rx"), ("SYNSENT", "SYN_SENT")]
        {
            assert_eq!(nearest(written, names()), format!(" (did you mean {meant}?)"));
        }
        for written in ["", "errors", "tx_dropped", &"packets".repeat(20)] {
            assert_eq!(nearest(written, names()), "", "{written}");
        }
    }

    #[test]
    fn errors_stay_short() {
        let long = "é".repeat(1 << 20);
        assert_eq!(shorten(&long).chars().count(), 61);
        assert_eq!(shorten("as it is"), "as it is");
        let names: Vec<String> = (0..1000).map(|n| format!("field_{n}")).collect();
        let some = some_of(names.iter().map(String::as_str));
        assert!(some.ends_with("field_15, …"), "{some}");
        assert_eq!(some_of(std::iter::empty()), "none");
        assert_eq!(some_of(["a", "b"].into_iter()), "a, b");
    }
}
