//! The sum of a per-CPU value over its CPUs.

use super::error::{NotSummable, Unsummed};
use super::leaf::{push_index, push_name};
use super::plan::{Plan, Shape, Step};
use super::scalar::{Load, Meaning, Scalar};
use super::schema::ByteOrder;

/// Integers of one shape, back to back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    offset: usize,
    load: Load,
    count: usize,
}

impl Plan {
    /// Whether the values of all CPUs can be added, and if not, which part stands in the way.
    pub fn summable(&self) -> Result<(), NotSummable> {
        self.runs().map(|_| ())
    }

    /// Adds the values of all CPUs, `stride` bytes apart: integers at their own width, wrapping
    /// as C does; without a schema 64-bit words. Padding is zero.
    pub fn sum_per_cpu(
        &self,
        each: &[u8],
        stride: usize,
        cpus: usize,
    ) -> Result<Vec<u8>, NotSummable> {
        let mut sum = vec![0; self.size];
        self.sum_per_cpu_into(each, stride, cpus, &mut sum)?;
        Ok(sum)
    }

    /// The same into the caller's bytes, as many as the type has.
    pub fn sum_per_cpu_into(
        &self,
        each: &[u8],
        stride: usize,
        cpus: usize,
        sum: &mut [u8],
    ) -> Result<(), NotSummable> {
        let size = self.size;
        let fits = stride >= size
            && sum.len() == size
            && stride.checked_mul(cpus).is_some_and(|needs| needs <= each.len());
        if !fits {
            let why = Unsummed::Length { got: each.len(), cpus, size, stride };
            return Err(NotSummable { path: String::new(), why });
        }
        let runs = self.runs()?;
        sum.fill(0);
        if stride == 0 {
            return Ok(());
        }
        for value in each.chunks_exact(stride).take(cpus) {
            for run in runs {
                run.add(value, sum);
            }
        }
        Ok(())
    }

    fn runs(&self) -> Result<&[Run], NotSummable> {
        self.runs
            .get_or_init(|| {
                let mut collector =
                    Collector { steps: &self.steps, path: String::new(), runs: Vec::new() };
                collector.part(0, 0)?;
                Ok(collector.runs)
            })
            .as_deref()
            .map_err(Clone::clone)
    }
}

impl Run {
    #[inline]
    fn add(&self, value: &[u8], sum: &mut [u8]) {
        let width = self.load.bytes();
        let range = self.offset..self.offset + width * self.count;
        let (Some(value), Some(sum)) = (value.get(range.clone()), sum.get_mut(range)) else {
            return;
        };
        // What nearly every counter is.
        if self.load == (Load::Int { size: 8, order: ByteOrder::HOST }) {
            for (total, word) in sum.as_chunks_mut::<8>().0.iter_mut().zip(value.as_chunks::<8>().0)
            {
                let new = u64::from_ne_bytes(*total).wrapping_add(u64::from_ne_bytes(*word));
                *total = new.to_ne_bytes();
            }
            return;
        }
        for (total, number) in sum.chunks_exact_mut(width).zip(value.chunks_exact(width)) {
            let old = self.load.get_wide(total);
            let new = old.wrapping_add(self.load.get_wide(number));
            let (old, _) = self.load.place(old);
            let (new, _) = self.load.place(new);
            // Bitfields share their bytes with others.
            for ((total, old), new) in total.iter_mut().zip(old).zip(new) {
                *total ^= old ^ new;
            }
        }
    }
}

struct Collector<'a> {
    steps: &'a [Step],
    path: String,
    runs: Vec<Run>,
}

impl Collector<'_> {
    fn part(&mut self, at: usize, base: usize) -> Result<(), NotSummable> {
        let step = &self.steps[at];
        let offset = base + step.offset;
        match &step.shape {
            Shape::Scalar(scalar) => {
                let (load, count) = self.scalar(scalar, at == 0)?;
                self.push(Run { offset, load, count });
            }
            Shape::Record { is_union, .. } => {
                let mut field = at + 1;
                if *is_union && self.steps.get(field).is_some_and(|first| first.end < step.end) {
                    return Err(self.not("a union"));
                }
                while field < step.end {
                    let before = push_name(&mut self.path, self.steps[field].name.as_str());
                    self.part(field, base)?;
                    self.path.truncate(before);
                    field = self.steps[field].end;
                }
            }
            Shape::Array { length, stride } => {
                for index in 0..*length {
                    let before = push_index(&mut self.path, index);
                    self.part(at + 1, offset + index * stride)?;
                    self.path.truncate(before);
                }
            }
        }
        Ok(())
    }

    fn scalar(&self, scalar: &Scalar, whole: bool) -> Result<(Load, usize), NotSummable> {
        let what = match scalar.meaning {
            Meaning::Unsigned | Meaning::Signed | Meaning::HexNumber => {
                return Ok((scalar.load, 1));
            }
            Meaning::Opaque if whole => {
                let size = scalar.load.bytes();
                if !size.is_multiple_of(8) {
                    let why = Unsummed::NoWords { size };
                    return Err(NotSummable { path: String::new(), why });
                }
                return Ok((Load::Int { size: 8, order: ByteOrder::HOST }, size / 8));
            }
            Meaning::Bool => "a bool",
            Meaning::Char => "a character",
            Meaning::Enum(_) => "an enum",
            Meaning::Float => "a float",
            Meaning::Pointer => "a pointer",
            Meaning::Text => "a text",
            Meaning::Ipv4 | Meaning::Ipv6 | Meaning::Mac => "an address",
            Meaning::Opaque => "a run of bytes",
        };
        Err(self.not(what))
    }

    fn not(&self, what: &'static str) -> NotSummable {
        NotSummable { path: self.path.clone(), why: Unsummed::Kind(what) }
    }

    /// Grows the last run where it can.
    fn push(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last)
                if last.load == run.load
                    && matches!(run.load, Load::Int { .. })
                    && last.offset + last.load.bytes() * last.count == run.offset =>
            {
                last.count += run.count;
            }
            _ => self.runs.push(run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{
        array, big_endian, bitfield, boolean, character, enumeration, float, pointer, record,
        signed, structure, union, unsigned,
    };
    use super::super::schema::Type;
    use super::*;

    fn sum(ty: &Type, each: &[u8], stride: usize, cpus: usize) -> Result<Vec<u8>, String> {
        let plan = Plan::compile(ty).unwrap();
        plan.sum_per_cpu(each, stride, cpus).map_err(|error| error.to_string())
    }

    #[test]
    fn integers_are_added_at_their_own_width() {
        let ty = structure(vec![("a", unsigned(1)), ("b", signed(2)), ("c", big_endian(4))]);
        let one = [255, 9, 255, 255, 0, 0, 0, 255];
        let two = [3, 9, 4, 0, 0, 0, 0, 1];
        assert_eq!(sum(&ty, &[one, two].concat(), 8, 2), Ok(vec![2, 0, 3, 0, 0, 0, 1, 0]));
        let words: Vec<u8> =
            [[u64::MAX, 7], [2, 8]].concat().iter().flat_map(|n| n.to_ne_bytes()).collect();
        let added: Vec<u8> = [1, 15_u64].iter().flat_map(|n| n.to_ne_bytes()).collect();
        assert_eq!(sum(&array(unsigned(8), 2), &words, 16, 2), Ok(added.clone()));
        assert_eq!(Plan::opaque(16).sum_per_cpu(&words, 16, 2), Ok(added));
        // The kernel rounds each CPU's value up to 8 bytes.
        assert_eq!(
            sum(&unsigned(4), &[1, 0, 0, 0, 9, 9, 9, 9, 2, 0, 0, 0, 9, 9, 9, 9], 8, 2),
            Ok(vec![3, 0, 0, 0])
        );
    }

    #[test]
    fn bitfields_do_not_spill_into_each_other() {
        let fields = vec![bitfield("a", unsigned(1), 0, 3), bitfield("b", unsigned(1), 3, 5)];
        let ty = record("struct b", 1, false, fields);
        assert_eq!(sum(&ty, &[0b0000_1111, 0b0001_0010], 1, 2), Ok(vec![0b0001_1001]));
    }

    #[test]
    fn what_has_no_sum_is_named() {
        for (ty, what) in [
            (float(8), "a float"),
            (pointer(), "a pointer"),
            (boolean(), "a bool"),
            (array(character(), 8), "a text"),
            (enumeration(4, false, &[]), "an enum"),
            (Type::opaque(8), "a run of bytes"),
            (union(vec![("a", unsigned(8)), ("b", unsigned(4))]), "a union"),
        ] {
            let ty = structure(vec![("n", unsigned(8)), ("x", structure(vec![("y", ty)]))]);
            let said = sum(&ty, &vec![0; ty.size as usize], ty.size as usize, 1).unwrap_err();
            assert_eq!(said, format!("x.y: {what} has no sum over the CPUs"));
        }
        let said = Plan::opaque(4).summable().unwrap_err().to_string();
        assert!(said.starts_with("4 bytes of unknown meaning"), "{said}");
        assert!(Plan::opaque(8).summable().is_ok());
    }

    #[test]
    fn too_few_bytes_are_refused() {
        for (each, stride, cpus) in [(15, 8, 2), (16, 4, 2), (16, usize::MAX, 2)] {
            let said = sum(&unsigned(8), &vec![0; each], stride, cpus).unwrap_err();
            assert!(said.contains("do not hold"), "{said}");
        }
        assert_eq!(sum(&unsigned(8), &[], 8, 0), Ok(vec![0; 8]));
        assert_eq!(sum(&structure(vec![]), &[], 0, 4), Ok(vec![]));
    }
}
