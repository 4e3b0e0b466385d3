//! Adds the values of all CPUs of a per-CPU map. What they become is [`super::widen`]'s.

use super::error::WrongLength;
use super::scalar::{Load, extend_wide};
use super::schema::ByteOrder;

/// How the values of all CPUs become one.
#[derive(Debug)]
pub struct Sums {
    /// Bytes of one CPU's value.
    pub(super) one: usize,
    /// Bytes of what they become.
    pub(super) all: usize,
    pub(super) acts: Vec<Act>,
}

/// What happens to a part of each CPU's value. Places are in bytes, from the start of the value or
/// of the innermost array's element.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Integers of one shape, back to back, are added to as many of `wide` bytes.
    Add { load: Load, signed: bool, from: usize, to: usize, wide: u8, count: usize },
    /// Goes into a list that has one of these for each CPU.
    List { from: usize, to: usize, size: usize },
    /// The same of a bitfield, which gets bytes of its own.
    ListBits { load: Load, signed: bool, from: usize, to: usize, size: usize },
    /// The same for every element of an array.
    Each { from: usize, to: usize, strides: (usize, usize), count: usize, acts: Vec<Act> },
}

impl Sums {
    /// Bytes of what the values become.
    pub fn size(&self) -> usize {
        self.all
    }

    /// Puts the values of all CPUs together, `stride` bytes apart. Sums beyond their 64 or 128
    /// bits wrap. Padding is zero.
    pub fn add(&self, each: &[u8], stride: usize, sum: &mut [u8]) -> Result<(), WrongLength> {
        let (one, all) = (self.one, self.all);
        if stride < one || sum.len() != all || stride > 0 && !each.len().is_multiple_of(stride) {
            return Err(WrongLength { got: each.len(), one, stride, all });
        }
        sum.fill(0);
        if stride == 0 {
            return Ok(());
        }
        for (cpu, value) in each.chunks_exact(stride).enumerate() {
            for act in &self.acts {
                act.run(cpu, value, sum);
            }
        }
        Ok(())
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> u64 {
        let acts = self.acts.iter().map(Act::memory).fold(0, u64::saturating_add);
        acts.saturating_add(4 * size_of::<Act>() as u64)
    }
}

impl Act {
    /// The acts of an element for the whole array; integers without gaps are one run.
    pub(super) fn each(
        mut acts: Vec<Self>,
        (from, to): (usize, usize),
        strides: (usize, usize),
        length: usize,
    ) -> Self {
        if let [Self::Add { load: load @ Load::Int { size, .. }, from: 0, to: 0, wide, .. }] =
            acts[..]
            && let Some(Self::Add { signed, count, .. }) = acts.pop()
        {
            if strides == (count * usize::from(size), count * usize::from(wide)) {
                return Self::Add { load, signed, from, to, wide, count: count * length };
            }
            acts.push(Self::Add { load, signed, from: 0, to: 0, wide, count });
        }
        Self::Each { from, to, strides, count: length, acts }
    }

    fn memory(&self) -> u64 {
        let own = 2 * size_of::<Self>() as u64;
        match self {
            Self::Each { acts, .. } => {
                acts.iter().map(Self::memory).fold(3 * own, u64::saturating_add)
            }
            Self::Add { .. } | Self::List { .. } | Self::ListBits { .. } => own,
        }
    }

    #[inline]
    fn run(&self, cpu: usize, value: &[u8], sum: &mut [u8]) {
        match self {
            // What nearly every counter is.
            &Self::Add {
                load: Load::Int { size: 8, order: ByteOrder::HOST },
                from,
                to,
                count,
                ..
            } => {
                let bytes = count * 8;
                let (Some(value), Some(sum)) =
                    (value.get(from..from + bytes), sum.get_mut(to..to + bytes))
                else {
                    return;
                };
                let totals = sum.as_chunks_mut::<8>().0.iter_mut();
                for (total, word) in totals.zip(value.as_chunks::<8>().0) {
                    let new = u64::from_ne_bytes(*total).wrapping_add(u64::from_ne_bytes(*word));
                    *total = new.to_ne_bytes();
                }
            }
            &Self::Add { load, signed, from, to, wide, count } => {
                let (width, wide) = (load.bytes(), usize::from(wide));
                let (Some(value), Some(sum)) =
                    (value.get(from..from + width * count), sum.get_mut(to..to + wide * count))
                else {
                    return;
                };
                let total = Load::Int { size: if wide == 8 { 8 } else { 16 }, order: load.order() };
                for (sum, number) in sum.chunks_exact_mut(wide).zip(value.chunks_exact(width)) {
                    let new = total.get_wide(sum).wrapping_add(widened(load, signed, number));
                    sum.copy_from_slice(&total.place(new).0[..wide]);
                }
            }
            &Self::List { from, to, size } => {
                let to = to + cpu * size;
                if let (Some(value), Some(list)) =
                    (value.get(from..from + size), sum.get_mut(to..to + size))
                {
                    list.copy_from_slice(value);
                }
            }
            &Self::ListBits { load, signed, from, to, size } => {
                let to = to + cpu * size;
                let own = Load::Int { size: u8::try_from(size).unwrap_or(16), order: load.order() };
                if let (Some(value), Some(list)) = (value.get(from..), sum.get_mut(to..to + size)) {
                    let number = widened(load, signed, value);
                    list.copy_from_slice(&own.place(number).0[..size]);
                }
            }
            Self::Each { from, to, strides, count, acts } => {
                for index in 0..*count {
                    let value = value.get(from + index * strides.0..).unwrap_or_default();
                    let Some(sum) = sum.get_mut(to + index * strides.1..) else { return };
                    for act in acts {
                        act.run(cpu, value, sum);
                    }
                }
            }
        }
    }
}

fn widened(load: Load, signed: bool, at: &[u8]) -> u128 {
    let number = load.get_wide(at);
    if signed { extend_wide(number, load.bits()).cast_unsigned() } else { number }
}
