//! How many bytes a type's values take as `google.protobuf.Value`s, before one is written.

use super::address::HEX;
use super::form::NUMBER_BITS;
use super::plan::{Shape, Step};
use super::scalar::{Load, Meaning, Scalar};

/// The least and the most bytes that something takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// No value takes fewer.
    pub least: u64,
    /// No value takes more.
    pub most: u64,
}

impl Bounds {
    const fn exactly(bytes: u64) -> Self {
        Self { least: bytes, most: bytes }
    }

    /// A field's number, a length, and this behind them.
    #[must_use]
    pub fn framed(self) -> Self {
        Self { least: framed(self.least), most: framed(self.most) }
    }

    /// Both, one behind the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            least: self.least.saturating_add(other.least),
            most: self.most.saturating_add(other.most),
        }
    }

    /// So many of them.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self { least: self.least.saturating_mul(count), most: self.most.saturating_mul(count) }
    }

    fn or(self, other: Self) -> Self {
        Self { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

fn framed(bytes: u64) -> u64 {
    let length = prost::encoding::encoded_len_varint(bytes) as u64;
    bytes.saturating_add(1 + length)
}

const DOUBLE: Bounds = Bounds::exactly(9);

fn text(least: usize, most: usize) -> Bounds {
    Bounds { least: least as u64, most: most as u64 }.framed()
}

fn hex(bytes: usize) -> Bounds {
    let digits = HEX.len().saturating_add(bytes.saturating_mul(2));
    text(digits, digits)
}

/// The bounds of the part at that place.
pub(super) fn part(steps: &[Step], at: usize) -> Bounds {
    let step = &steps[at];
    match &step.shape {
        Shape::Scalar(scalar) => bounds(scalar),
        Shape::Record { .. } => fields(steps, at).framed(),
        Shape::Array { length: 0, .. } => Bounds::exactly(0).framed(),
        Shape::Array { length, .. } => part(steps, at + 1).framed().times(*length as u64).framed(),
    }
}

fn fields(steps: &[Step], at: usize) -> Bounds {
    let mut all = Bounds::exactly(0);
    let mut field = at + 1;
    while field < steps[at].end {
        let step = &steps[field];
        all = all.and(if let Shape::Record { anonymous: true, .. } = step.shape {
            fields(steps, field)
        } else {
            let name = Bounds::exactly(step.name.as_str().len() as u64).framed();
            name.and(part(steps, field).framed()).framed()
        });
        field = step.end;
    }
    all
}

fn bounds(scalar: &Scalar) -> Bounds {
    let bits = scalar.load.bits();
    // The longest decimal number of so many bits, with its sign.
    let digits = text(1, 1 + bits as usize * 31 / 100 + 1);
    let integer = if bits <= NUMBER_BITS { DOUBLE } else { digits };
    match &scalar.meaning {
        Meaning::Unsigned | Meaning::Signed => integer,
        Meaning::HexNumber | Meaning::Pointer => text(3, 2 + (bits as usize).div_ceil(4)),
        Meaning::Bool => integer.or(Bounds::exactly(2)),
        Meaning::Char => integer.or(text(1, 1)),
        Meaning::Enum(names) => {
            integer.or(text(names.shortest().min(names.longest()), names.longest()))
        }
        Meaning::Float => DOUBLE.or(text(0, "-Infinity".len())),
        Meaning::Text => text(0, scalar.load.bytes()).or(hex(scalar.load.bytes())),
        Meaning::Ipv4 => text(7, 15),
        Meaning::Ipv6 => text(2, 45),
        Meaning::Mac => text(17, 17),
        // An address and at most "/128", or its bytes.
        Meaning::Prefix => text(4, 49).or(hex(scalar.load.bytes())),
        Meaning::Opaque => match scalar.load {
            Load::Raw { len } => hex(len),
            Load::Int { .. } | Load::Bits { .. } => hex(scalar.load.bytes()),
        },
    }
}
