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
