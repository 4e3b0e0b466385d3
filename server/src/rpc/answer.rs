//! What an answer with a value takes, known before the value is read.

use bpfgate_proto::value::{Bounds, Plan};

use crate::core::{CpuMode, Error, Map};

/// What other fields of an answer take, names and references among them.
const REST: u64 = 8 << 10;
/// Values up to here are copied, and typed ones written, in less than 100 µs.
const SHORT_RAW: u64 = 64 << 10;
const SHORT_TYPED: u64 = 8 << 10;

/// What an answer with one value of a map takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// The value as the kernel gives it.
    read: u64,
    /// The same as it is sent.
    raw: u64,
    /// Of the typed value; nothing if that was not asked for.
    typed: Bounds,
    most: u64,
}

impl Answer {
    /// Fails for an answer that cannot be sent, and for a typed one without types.
    pub(super) fn of(map: &Map, cpu: CpuMode, typed: bool, most: u64) -> Result<Self, Error> {
        let read = map.sys().value_len() as u64;
        let raw = map.value_len(cpu) as u64;
        let none = Bounds { least: 0, most: 0 };
        let typed = if typed { value_bounds(map, cpu)?.framed() } else { none };
        let answer = Self { read, raw, typed, most };
        answer.fits(typed.least)?;
        Ok(answer)
    }

    /// That even the largest typed value can be sent: for what is gone when it was read.
    pub(super) fn must_fit(&self, map: &Map) -> Result<(), Error> {
        self.fits(self.typed.most).map_err(|error| match error {
            Error::TooLarge { what, asked, limit } => {
                let what = format!("{what} with an entry that is taken out of map {}", map.text());
                Error::TooLarge { what, asked, limit }
            }
            other => other,
        })
    }

    fn fits(&self, typed: u64) -> Result<(), Error> {
        let asked = self.raw.saturating_add(typed).saturating_add(REST.min(self.most / 2));
        if asked <= self.most {
            return Ok(());
        }
        Err(Error::TooLarge { what: "the answer".to_owned(), asked, limit: self.most })
    }

    /// Bytes that the typed value may have.
    pub(super) fn typed_room(&self) -> usize {
        let room = self.typed.most.min(self.most.saturating_sub(self.raw));
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Bytes of memory: what is read, what is made of it, and the encoded answer.
    pub(super) fn bytes(&self) -> u64 {
        // What is not summed is sent as it was read.
        let sum = if self.raw == self.read { 0 } else { self.raw };
        let typed = self.typed_room() as u64;
        self.read + sum + typed + (self.raw + typed) + REST
    }

    /// Whether it may be read and written where the request runs.
    pub(super) fn is_short(&self) -> bool {
        self.read <= SHORT_RAW && self.typed_room() as u64 <= SHORT_TYPED
    }
}

/// The typed value of a key: one, or a list of one for each CPU.
pub(super) fn value_bounds(map: &Map, cpu: CpuMode) -> Result<Bounds, Error> {
    let one = plan(map, "value", map.plan_of_value(cpu))?.protobuf_bounds();
    Ok(match map.sys().cpus() {
        Some(cpus) if cpu == CpuMode::Each => one.framed().times(cpus as u64).framed(),
        _ => one,
    })
}

/// A typed entry's message, or a half of it.
pub(super) fn entry_bounds(
    map: &Map,
    cpu: CpuMode,
    (key, value): (bool, bool),
) -> Result<Bounds, Error> {
    let none = Bounds { least: 0, most: 0 };
    let key = if key { plan(map, "key", map.key_plan())?.protobuf_bounds().framed() } else { none };
    let value = if value { value_bounds(map, cpu)?.framed() } else { none };
    Ok(key.and(value).framed())
}

/// How to read a map's keys or values, if that is known.
pub(super) fn plan<'m>(
    map: &Map,
    what: &'static str,
    plan: Option<&'m Plan>,
) -> Result<&'m Plan, Error> {
    plan.ok_or_else(|| Error::NoSchema { map: map.text().to_owned(), what })
}
