//! From a type to the steps of its plan. Checks everything that a schema can get wrong, so that
//! nothing behind it has to.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::error::{PlanError, PlanProblem};
use super::form::Name;
use super::names::Names;
use super::plan::{Shape, Step, fields};
use super::scalar::{Load, Meaning, Scalar};
use super::schema::{ByteOrder, Display, Encoding, Field, Kind, Type};
use super::wire::{MAX_DEPTH, MAX_NODES};

/// Most values that one decoding may give: arrays multiply.
const MAX_VALUES: u64 = 1 << 20;

/// The steps, and how many values they give in all.
pub(super) fn steps(ty: &Type, order: ByteOrder) -> Result<(Vec<Step>, u64), PlanError> {
    let mut compiler = Compiler { steps: Vec::new(), order, path: Vec::new() };
    let values = compiler.part(ty, Name::default(), 0, 1)?;
    Ok((compiler.steps, values))
}

fn raw(len: usize, meaning: Meaning) -> Scalar {
    Scalar { load: Load::Raw { len }, meaning }
}

struct Compiler {
    steps: Vec<Step>,
    order: ByteOrder,
    /// Names of the fields that led here.
    path: Vec<String>,
}

impl Compiler {
    /// Compiles what is `offset` bytes into its surroundings; returns how many values it gives.
    fn part(
        &mut self,
        ty: &Type,
        name: Name,
        offset: usize,
        depth: usize,
    ) -> Result<u64, PlanError> {
        if depth > MAX_DEPTH {
            return Err(self.problem(PlanProblem::TooDeep));
        }
        let size = ty.size as usize;
        if let Some(scalar) = self.scalar(ty)? {
            self.push(name, offset, size, Shape::Scalar(scalar))?;
            return Ok(1);
        }
        let values = match &ty.kind {
            Kind::Record { is_union, fields } => {
                let shape = Shape::Record { is_union: *is_union, anonymous: false };
                let at = self.push(name, offset, size, shape)?;
                let values = self.fields(ty, fields, offset, depth)?;
                self.steps[at].end = self.steps.len();
                self.check_names(at)?;
                values
            }
            Kind::Array { element, length, .. } => {
                let stride = element.size as usize;
                // Elements without bytes are none: nothing would bound their number.
                let length = if stride == 0 { 0 } else { *length as usize };
                if length.saturating_mul(stride) > size {
                    return Err(self.problem(PlanProblem::Array { length, stride, size }));
                }
                let at = self.push(name, offset, size, Shape::Array { length, stride })?;
                let each = self.part(element, Name::default(), 0, depth + 1)?;
                self.steps[at].end = self.steps.len();
                each.saturating_mul(length as u64)
            }
            // All others are scalars.
            Kind::Integer { .. }
            | Kind::Float
            | Kind::Enum { .. }
            | Kind::Pointer
            | Kind::Opaque { .. } => 0,
        };
        let values = values.saturating_add(1);
        if values > MAX_VALUES {
            return Err(self.problem(PlanProblem::TooManyValues));
        }
        Ok(values)
    }

    fn fields(
        &mut self,
        record: &Type,
        fields: &[Field],
        base: usize,
        depth: usize,
    ) -> Result<u64, PlanError> {
        let mut values = 0_u64;
        for Field { name, ty, bit_offset, bit_size } in fields {
            let is_record = matches!(ty.kind, Kind::Record { .. });
            if name.is_empty() && !is_record {
                // Padding: nobody can address it.
                continue;
            }
            self.path.push(name.clone());
            let bits = if *bit_size > 0 { u64::from(*bit_size) } else { u64::from(ty.size) * 8 };
            let whole = *bit_size > 0 || bit_offset.is_multiple_of(8);
            if !whole || u64::from(*bit_offset) + bits > u64::from(record.size) * 8 {
                return Err(self.problem(PlanProblem::Outside { record: record.name.clone() }));
            }
            let offset = base + *bit_offset as usize / 8;
            if *bit_size > 0 {
                let scalar = self.bitfield(ty, bit_offset % 8, *bit_size)?;
                let size = scalar.load.bytes();
                self.push(Name::new(name), offset, size, Shape::Scalar(scalar))?;
                values = values.saturating_add(1);
            } else if name.is_empty() {
                let at = self.steps.len();
                let own = self.part(ty, Name::default(), offset, depth + 1)?;
                if let Shape::Record { anonymous, .. } = &mut self.steps[at].shape {
                    *anonymous = true;
                    values = values.saturating_add(own);
                } else {
                    // An address without a name: nobody can address it either.
                    self.steps.truncate(at);
                }
            } else {
                values =
                    values.saturating_add(self.part(ty, Name::new(name), offset, depth + 1)?);
            }
            self.path.pop();
        }
        Ok(values)
    }

    fn push(
        &mut self,
        name: Name,
        offset: usize,
        size: usize,
        shape: Shape,
    ) -> Result<usize, PlanError> {
        let at = self.steps.len();
        if at == MAX_NODES {
            return Err(self.problem(PlanProblem::TooManyValues));
        }
        self.steps.push(Step { name, offset, size, shape, end: at + 1 });
        Ok(at)
    }

    /// JSON can hold only one of two fields with the same name.
    fn check_names(&self, at: usize) -> Result<(), PlanError> {
        let mut names: Vec<&str> = fields(&self.steps, at).map(|step| step.name.as_str()).collect();
        names.sort_unstable();
        match names.array_windows().find(|[one, other]| one == other) {
            Some([name, _]) => Err(self.problem(PlanProblem::Twice { name: (*name).to_owned() })),
            None => Ok(()),
        }
    }

    /// What is read in one go; `None` for records and arrays.
    fn scalar(&self, ty: &Type) -> Result<Option<Scalar>, PlanError> {
        let size = ty.size as usize;
        let scalar = match &ty.kind {
            Kind::Integer { encoding, big_endian, display } => {
                let load = self.integer(ty, *big_endian, 1..=16)?;
                let meaning = match (display, encoding) {
                    (Display::Plain, Encoding::Char) if size == 1 => Meaning::Char,
                    (Display::Plain, Encoding::Unsigned | Encoding::Char) => Meaning::Unsigned,
                    (Display::Plain, Encoding::Signed) => Meaning::Signed,
                    (_, Encoding::Bool) => Meaning::Bool,
                    (Display::Hex, _) => Meaning::HexNumber,
                    (Display::Ipv4 | Display::Ipv6 | Display::Mac, _) => {
                        self.address(*display, size)?.unwrap_or(Meaning::Unsigned)
                    }
                };
                Scalar { load, meaning }
            }
            Kind::Float => {
                let load = self.integer(ty, false, 4..=8)?;
                if !matches!(size, 4 | 8) {
                    return Err(self.problem(PlanProblem::Size { what: "a float", size }));
                }
                Scalar { load, meaning: Meaning::Float }
            }
            Kind::Enum { signed, values } => {
                let load = self.integer(ty, false, 1..=8)?;
                let names = Names::new(values, *signed, load.bits());
                Scalar { load, meaning: Meaning::Enum(Arc::new(names)) }
            }
            Kind::Pointer => {
                Scalar { load: self.integer(ty, false, 1..=8)?, meaning: Meaning::Pointer }
            }
            Kind::Opaque { display } => {
                raw(size, self.address(*display, size)?.unwrap_or(Meaning::Opaque))
            }
            // The kernel's own address types say what they are.
            Kind::Record { .. } if size == 4 && ty.name == "struct in_addr" => {
                raw(size, Meaning::Ipv4)
            }
            Kind::Record { .. } if size == 16 && ty.name == "struct in6_addr" => {
                raw(size, Meaning::Ipv6)
            }
            Kind::Record { .. } => return Ok(None),
            Kind::Array { element, display, .. } => match self.address(*display, size)? {
                Some(meaning) => raw(size, meaning),
                None if *display == Display::Hex => raw(size, Meaning::Opaque),
                None if is_char(element) => raw(size, Meaning::Text),
                None => return Ok(None),
            },
        };
        Ok(Some(scalar))
    }

    fn bitfield(&self, ty: &Type, skip: u32, bits: u32) -> Result<Scalar, PlanError> {
        let problem = || self.problem(PlanProblem::Bitfield { bits });
        let whole = self.scalar(ty)?.ok_or_else(problem)?;
        let meaning = match whole.meaning {
            Meaning::Unsigned | Meaning::Char | Meaning::Ipv4 | Meaning::Ipv6 | Meaning::Mac => {
                Meaning::Unsigned
            }
            Meaning::Signed | Meaning::HexNumber | Meaning::Bool | Meaning::Enum(_) => {
                whole.meaning
            }
            Meaning::Float
            | Meaning::Pointer
            | Meaning::Text
            | Meaning::Prefix
            | Meaning::Opaque => {
                return Err(problem());
            }
        };
        if bits > whole.load.bits() {
            return Err(problem());
        }
        let load = Load::bitfield(skip, bits, self.order).ok_or_else(problem)?;
        Ok(Scalar { load, meaning })
    }

    fn integer(
        &self,
        ty: &Type,
        big_endian: bool,
        sizes: RangeInclusive<u8>,
    ) -> Result<Load, PlanError> {
        let order = if big_endian { ByteOrder::Big } else { self.order };
        match u8::try_from(ty.size) {
            Ok(size) if sizes.contains(&size) => Ok(Load::Int { size, order }),
            _ => {
                let size = ty.size as usize;
                Err(self.problem(PlanProblem::Size { what: "a number", size }))
            }
        }
    }

    fn address(&self, display: Display, size: usize) -> Result<Option<Meaning>, PlanError> {
        let (what, needs, meaning) = match display {
            Display::Plain | Display::Hex => return Ok(None),
            Display::Ipv4 => ("an IPv4 address", 4, Meaning::Ipv4),
            Display::Ipv6 => ("an IPv6 address", 16, Meaning::Ipv6),
            Display::Mac => ("an Ethernet address", 6, Meaning::Mac),
        };
        if size == needs {
            Ok(Some(meaning))
        } else {
            Err(self.problem(PlanProblem::Size { what, size }))
        }
    }

    fn problem(&self, problem: PlanProblem) -> PlanError {
        let named = self.path.iter().filter(|name| !name.is_empty());
        PlanError { path: named.cloned().collect::<Vec<_>>().join("."), problem }
    }
}

pub(super) fn is_char(ty: &Type) -> bool {
    let Kind::Integer { encoding: Encoding::Char, display: Display::Plain, .. } = ty.kind else {
        return false;
    };
    ty.size == 1
}

#[cfg(test)]
mod tests {
    use super::super::plan::Plan;
    use super::super::samples::{
        array, array_shown, bitfield, float, pointer, record, shown, structure, unsigned,
    };
    use super::*;

    fn refused(ty: &Type) -> String {
        Plan::compile(ty).unwrap_err().to_string()
    }

    #[test]
    fn sizes_that_contradict_each_other_are_refused() {
        let outside = record("struct r", 4, false, vec![bitfield("f", unsigned(4), 8, 0)]);
        let between = record("struct r", 8, false, vec![bitfield("f", unsigned(4), 4, 0)]);
        let mut short = array(unsigned(8), 4);
        short.size = 16;
        let wide = record("struct r", 8, false, vec![bitfield("f", unsigned(4), 0, 33)]);
        let no_bits = record("struct r", 8, false, vec![bitfield("f", pointer(), 0, 3)]);
        for (ty, said) in [
            (outside, r#"f lies outside of "struct r", or between its bytes"#),
            (between, r#"f lies outside of "struct r", or between its bytes"#),
            (short, "the type has 4 elements of 8 bytes in 16 bytes"),
            (wide, "f cannot be a bitfield of 33 bits"),
            (no_bits, "f cannot be a bitfield of 3 bits"),
            (unsigned(0), "the type has 0 bytes, which a number cannot have"),
            (unsigned(17), "the type has 17 bytes, which a number cannot have"),
            (float(5), "the type has 5 bytes, which a float cannot have"),
            (
                shown(8, true, Display::Ipv4),
                "the type has 8 bytes, which an IPv4 address cannot have",
            ),
            (
                structure(vec![("a", structure(vec![("b", float(2))]))]),
                "a.b has 2 bytes, which a number cannot have",
            ),
            (
                structure(vec![("m", array_shown(unsigned(1), 8, Display::Mac))]),
                "m has 8 bytes, which an Ethernet address cannot have",
            ),
        ] {
            assert_eq!(refused(&ty), said);
        }
    }

    #[test]
    fn names_must_tell_fields_apart() {
        let inner = structure(vec![("b", unsigned(1))]);
        let twice = structure(vec![("a", unsigned(1)), ("b", unsigned(1)), ("", inner)]);
        assert_eq!(refused(&twice), r#"the type has two fields named "b""#);
    }

    #[test]
    fn what_would_take_for_ever_is_refused() {
        let deep = (0..MAX_DEPTH).fold(unsigned(1), |inner, _| structure(vec![("i", inner)]));
        assert!(refused(&deep).ends_with("is nested too deep"));
        let long = array(unsigned(1), 1 << 20);
        assert_eq!(refused(&long), "the type has too many parts to be shown one by one");
        // 2^31 elements of no bytes are none.
        let nothing = array(structure(vec![]), 1 << 31);
        assert_eq!(Plan::compile(&nothing).unwrap().values(), 1);
        let wide = (0..=MAX_NODES).map(|_| bitfield("f", unsigned(1), 0, 0)).collect();
        assert!(Plan::compile(&record("union u", 1, true, wide)).is_err());
    }

    #[test]
    fn text_of_any_length_is_one_value() {
        let char = super::super::samples::character();
        assert_eq!(Plan::compile(&array(char, 1 << 24)).unwrap().values(), 1);
        assert_eq!(Plan::opaque(1 << 24).values(), 1);
    }
}
