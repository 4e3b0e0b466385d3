//! A type compiled once: what turns its bytes into JSON and back.

use serde_json::Value as Json;

use super::schema::Type;

/// Compiled once per type: flat steps over the bytes.
#[derive(Debug, Clone)]
pub struct Plan {
    size: usize,
    leaves: Vec<Leaf>,
}

/// One scalar (or one char array, or one address) of a type.
#[derive(Debug, Clone)]
pub struct Leaf {
    path: String,
    offset: usize,
    size: usize,
}

/// Why a type cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct PlanError {
    path: String,
    why: String,
}

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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct EncodeError {
    path: String,
    why: String,
}

impl EncodeError {
    /// The field: "rx.bytes"; empty for the value as a whole.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Why the values of all CPUs have no sum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct NotSummable {
    path: String,
    why: String,
}

impl Plan {
    /// Compiles a type for bytes in this host's order.
    pub fn compile(ty: &Type) -> Result<Self, PlanError> {
        Ok(Self::opaque(ty.size as usize))
    }

    /// Without a schema: so many bytes, shown as "hex:…".
    pub fn opaque(size: usize) -> Self {
        Self { size, leaves: vec![Leaf { path: String::new(), offset: 0, size }] }
    }

    /// In bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes to JSON. Integers of more than 32 bits are strings, as in proto3 JSON.
    pub fn decode(&self, bytes: &[u8]) -> Result<Json, LengthError> {
        if bytes.len() != self.size {
            return Err(LengthError { expected: self.size, got: bytes.len() });
        }
        Ok(Json::String(self.show(bytes)))
    }

    /// JSON to bytes; padding is zero.
    pub fn encode(&self, json: &Json) -> Result<Vec<u8>, EncodeError> {
        match json {
            Json::String(text) => self.parse(text),
            _ => Err(self.wrong()),
        }
    }

    /// What people write for a key or value to bytes.
    pub fn parse(&self, text: &str) -> Result<Vec<u8>, EncodeError> {
        let digits = text.strip_prefix("hex:").ok_or_else(|| self.wrong())?;
        let nibbles = digits
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|nibble| u8::try_from(nibble).ok()))
            .collect::<Option<Vec<u8>>>()
            .filter(|nibbles| nibbles.len() == 2 * self.size)
            .ok_or_else(|| self.wrong())?;
        Ok(nibbles.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    }

    /// Compact, for tables and log lines.
    pub fn show(&self, bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        let mut text = String::from("hex:");
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Every leaf, in order of declaration.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// Adds the values of all CPUs, `stride` bytes apart: integers at their own width, wrapping
    /// as C does.
    pub fn sum_per_cpu(
        &self,
        each: &[u8],
        stride: usize,
        cpus: usize,
    ) -> Result<Vec<u8>, NotSummable> {
        let not = |why: &str| NotSummable { path: String::new(), why: why.to_owned() };
        if !self.size.is_multiple_of(8) || each.len() < stride * cpus || stride < self.size {
            return Err(not("bytes that are no 64-bit words have no sum"));
        }
        let mut sum = vec![0; self.size];
        for value in each.chunks(stride).take(cpus) {
            for (total, word) in sum.chunks_mut(8).zip(value.chunks(8)) {
                let add = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
                let new = add(total).wrapping_add(add(word));
                total.copy_from_slice(&new.to_ne_bytes());
            }
        }
        Ok(sum)
    }

    fn wrong(&self) -> EncodeError {
        let why = format!("write hex: and {} bytes in hexadecimal", self.size);
        EncodeError { path: String::new(), why }
    }
}

impl Leaf {
    /// "rx.bytes", "slots[3]"; empty where the type is itself a scalar.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// An integer or enum of at most 64 bits: can be a counter.
    pub fn is_number(&self) -> bool {
        false
    }

    /// `read` gives two's complement.
    pub fn is_signed(&self) -> bool {
        false
    }

    /// Its number in the value's bytes, sign-extended if it is signed.
    pub fn read(&self, bytes: &[u8]) -> u64 {
        let mut word = [0; 8];
        let taken = &bytes[self.offset..self.offset + self.size.min(8)];
        word[..taken.len()].copy_from_slice(taken);
        u64::from_ne_bytes(word)
    }

    /// As a label's value.
    pub fn text(&self, bytes: &[u8]) -> String {
        Plan::opaque(self.size).show(&bytes[self.offset..self.offset + self.size])
    }
}
