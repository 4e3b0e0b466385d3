//! A type compiled once: flat steps that decoding and encoding follow.

use std::sync::OnceLock;

use super::bounds::{self, Bounds};
use super::compile;
use super::error::PlanError;
use super::form::Name;
use super::leaf::{self, Leaf};
use super::scalar::{Load, Meaning, Scalar};
use super::schema::{ByteOrder, Display, Kind, Type};
use super::script::Script;
use super::wire::MAX_NODES;

/// Compiled once per type: what turns its bytes into JSON, text and numbers, and back.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) size: usize,
    /// In order of declaration, each before what it is made of. Never empty.
    pub(super) steps: Vec<Step>,
    /// All of them in all elements of all arrays are this many.
    values: u64,
    leaves: OnceLock<Vec<Leaf>>,
    bounds: OnceLock<Bounds>,
    pub(super) script: OnceLock<Script>,
}

/// One part of the type.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Empty for the whole, for an element, and for an anonymous record.
    pub(super) name: Name,
    /// From the start of the innermost array's element, or of the value, in bytes.
    pub(super) offset: usize,
    /// In bytes.
    pub(super) size: usize,
    pub(super) shape: Shape,
    /// Place of the first step that is not part of this one.
    pub(super) end: usize,
}

/// What a part is made of.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Scalar(Scalar),
    /// The steps up to `end` are its fields.
    Record {
        is_union: bool,
        /// Its fields belong to the record around it.
        anonymous: bool,
    },
    /// The next step is what each element is.
    Array {
        length: usize,
        /// From element to element, in bytes.
        stride: usize,
    },
}

impl Plan {
    /// Compiles a type for bytes in this host's order.
    pub fn compile(ty: &Type) -> Result<Self, PlanError> {
        Self::compile_for(ty, ByteOrder::HOST)
    }

    /// Compiles a type for bytes in the order of the host that they come from.
    pub fn compile_for(ty: &Type, order: ByteOrder) -> Result<Self, PlanError> {
        let (steps, values) = compile::steps(ty, order)?;
        Ok(Self::new(ty.size as usize, steps, values))
    }

    /// Without a schema: so many bytes, shown as "hex:…".
    pub fn opaque(size: usize) -> Self {
        let scalar = Scalar { load: Load::Raw { len: size }, meaning: Meaning::Opaque };
        let shape = Shape::Scalar(scalar);
        Self::new(size, vec![Step { name: Name::default(), offset: 0, size, shape, end: 1 }], 1)
    }

    /// Of the keys of an LPM trie: "10.0.0.0/8". `None` for a type that is no prefix length and
    /// address, or where nothing says that the address is one.
    pub fn prefix(ty: &Type) -> Option<Self> {
        let Kind::Record { is_union: false, fields } = &ty.kind else { return None };
        let mut parts = fields.iter().filter(|field| field.ty.size > 0);
        let (length, address, None) = (parts.next()?, parts.next()?, parts.next()) else {
            return None;
        };
        let is_length = length.ty.size == 4
            && (length.bit_offset, length.bit_size) == (0, 0)
            && matches!(length.ty.kind, Kind::Integer { big_endian: false, .. });
        let is_address = address.bit_offset == 32 && is_shown_as_address(&address.ty);
        let size = ty.size as usize;
        if !is_length || !is_address || size != 4 + address.ty.size as usize {
            return None;
        }
        let scalar = Scalar { load: Load::Raw { len: size }, meaning: Meaning::Prefix };
        let shape = Shape::Scalar(scalar);
        Some(Self::new(
            size,
            vec![Step { name: Name::default(), offset: 0, size, shape, end: 1 }],
            1,
        ))
    }

    pub(super) fn new(size: usize, steps: Vec<Step>, values: u64) -> Self {
        let (leaves, bounds, script) = Default::default();
        Self { size, steps, values, leaves, bounds, script }
    }

    /// In bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The leaves in order of declaration, those of an array one by one. Of a type that has more
    /// than 65,536 of them the first so many.
    pub fn leaves(&self) -> &[Leaf] {
        self.leaves.get_or_init(|| leaf::collect(&self.steps, MAX_NODES))
    }

    /// How many bytes one takes as a `google.protobuf.Value`.
    pub fn protobuf_bounds(&self) -> Bounds {
        *self.bounds.get_or_init(|| bounds::part(&self.steps, 0))
    }

    /// How many values a decoding has, records and lists included: a measure of its cost.
    pub fn values(&self) -> u64 {
        self.values
    }
}

/// Whether a type is an IP address by its own name or by its author's hint.
fn is_shown_as_address(ty: &Type) -> bool {
    let display = match &ty.kind {
        Kind::Integer { display, .. } | Kind::Array { display, .. } | Kind::Opaque { display } => {
            *display
        }
        Kind::Record { .. } if ty.name == "struct in_addr" => Display::Ipv4,
        Kind::Record { .. } if ty.name == "struct in6_addr" => Display::Ipv6,
        Kind::Record { .. } | Kind::Float | Kind::Enum { .. } | Kind::Pointer => return false,
    };
    matches!((display, ty.size), (Display::Ipv4, 4) | (Display::Ipv6, 16))
}

/// The fields of the record at that place, those of anonymous records among them.
pub(super) fn fields(steps: &[Step], record: usize) -> impl Iterator<Item = &Step> {
    let end = steps[record].end;
    let mut at = record + 1;
    std::iter::from_fn(move || {
        while at < end {
            let step = &steps[at];
            if let Shape::Record { anonymous: true, .. } = step.shape {
                at += 1;
                continue;
            }
            at = step.end;
            return Some(step);
        }
        None
    })
}
