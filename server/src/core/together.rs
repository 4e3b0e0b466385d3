//! What the values of all CPUs of a per-CPU map are together.

use bpfgate_proto::value::{Plan, Summed, Sums, Type};

use super::{CpuMode, Error, Map};
use crate::ledger::{Account, Charge, Exhausted};

/// The values of all CPUs as one: wide enough for sums, with lists of what has none.
#[derive(Debug)]
pub(super) struct Together {
    sums: Sums,
    /// Its type and how to read it, where it has other bytes than one CPU's value.
    own: Option<(Type, Plan)>,
    /// What this takes.
    _charge: Option<Charge>,
}

impl Together {
    /// Of values of that type, of which nothing may be known.
    pub(super) fn of(
        value: Option<&Type>,
        size: usize,
        cpus: usize,
        account: &Account,
    ) -> Result<Self, Exhausted> {
        let Some(value) = value else { return Ok(Self::of_bytes(size, cpus)) };
        for summed in Summed::ways(value, cpus) {
            let charge = account.charge(summed.memory())?;
            if let Ok(together) = Self::compile(summed, Some(charge)) {
                return Ok(together);
            }
        }
        Ok(Self::of_bytes(size, cpus))
    }

    /// Of values of which nothing is known.
    pub(super) fn of_bytes(size: usize, cpus: usize) -> Self {
        let summed = Summed::of_bytes(size, cpus);
        Self::compile(summed, None).expect("a number, or a list of bytes")
    }

    fn compile(
        summed: Summed,
        charge: Option<Charge>,
    ) -> Result<Self, bpfgate_proto::value::PlanError> {
        let Summed { ty, sums, adds: _ } = summed;
        let own = match ty {
            Some(ty) => {
                let plan = Plan::compile(&ty)?;
                Some((ty, plan))
            }
            None => None,
        };
        Ok(Self { sums, own, _charge: charge })
    }
}

impl Map {
    /// Bytes of a value as [`Map::lookup`] gives it.
    pub fn value_len(&self, cpu: CpuMode) -> usize {
        match (cpu, self.together()) {
            (CpuMode::Sum, Some(together)) => together.sums.size(),
            _ => self.sys().value_len(),
        }
    }

    /// What the sum over CPUs is, where it has other bytes than one CPU's value.
    pub fn sum_type(&self) -> Option<&Type> {
        Some(&self.together()?.own.as_ref()?.0)
    }

    /// How to read a value: one CPU's, or the sum.
    pub fn plan_of_value(&self, cpu: CpuMode) -> Option<&Plan> {
        let sum = || Some(&self.together()?.own.as_ref()?.1);
        let value = self.value_plan()?;
        match cpu {
            CpuMode::Sum => Some(sum().unwrap_or(value)),
            CpuMode::Each => Some(value),
        }
    }

    /// Fails where a caller would take the bytes of a sum for those of one CPU's value.
    pub fn check_sum_is_one_value(&self, cpu: CpuMode) -> Result<(), Error> {
        if cpu == CpuMode::Each || self.sum_type().is_none() {
            return Ok(());
        }
        let value = self.about().schema.as_ref().and_then(|schema| schema.value.as_ref());
        let (path, what) = value
            .and_then(Type::first_outgrown)
            .unwrap_or_else(|| (String::new(), "a value of which nothing is known but its size"));
        let field = if path.is_empty() { "the value".to_owned() } else { path };
        Err(Error::WideSum { map: self.text().to_owned(), field, what })
    }

    /// The values of all CPUs as one, in place of `sum`; a map that is not per-CPU has only itself.
    pub(super) fn sum_into(&self, each: &[u8], sum: &mut [u8]) {
        let Some(together) = self.together() else { return sum.copy_from_slice(each) };
        together.sums.add(each, self.cpu_stride(), sum).expect("the map's own lengths");
    }

    /// The same, as bytes of their own.
    pub(super) fn sum(&self, value: Vec<u8>) -> Vec<u8> {
        let Some(together) = self.together() else { return value };
        let mut sum = vec![0; together.sums.size()];
        self.sum_into(&value, &mut sum);
        sum
    }
}
