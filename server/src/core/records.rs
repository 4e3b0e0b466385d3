//! What the records of an event buffer are. The kernel does not know: the map has no value.

use std::fmt;
use std::sync::Arc;

use aya_obj::generated::bpf_map_type as types;
use bpfgate_proto::value::{Kind, Type, nearest};
use bytes::Bytes;

use super::kernel_memory::KernelCharge;
use super::schemas::Schemas;
use super::seats::Seat;
use super::{Error, Map, Registry, annotations, kind};
use crate::btf::Library;
use crate::ledger::{Charge, Exhausted};
use crate::{btf, sys};

/// A field of a record that says when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Its path.
    pub field: String,
    /// In whose nanoseconds.
    pub source: ClockSource,
}

/// A clock that programs ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockSource {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boottime,
    /// Since 1970.
    Realtime,
}

/// What the records of an event buffer are.
#[derive(Clone, Default)]
pub struct RecordTypes {
    /// As its maker says.
    pub own: Option<Arc<Type>>,
    /// Which of its fields says when it was written.
    pub clock: Option<Clock>,
    /// The BTF of its object, where others have names.
    pub btf: Option<Bytes>,
}

impl RecordTypes {
    /// As an object says: `named` by the built-in, or the type that its BTF has for the map's
    /// value. A perf buffer's value is a descriptor, so only a struct can be meant otherwise.
    pub(super) fn of_object(
        blob: &Bytes,
        schemas: &mut Schemas<'_>,
        map_type: u32,
        named: Option<&str>,
        value_type_id: u32,
    ) -> Result<(Self, Option<Arc<Charge>>), Exhausted> {
        let is_ring = map_type == types::BPF_MAP_TYPE_RINGBUF as u32;
        let (id, own, charge) = if let Some(name) = named {
            // A built-in's.
            let (id, ty) = btf::named_type(blob, name).unzip();
            (id, ty.map(Arc::new), None)
        } else {
            let (ty, charge) = schemas.record(value_type_id)?.unzip();
            (Some(value_type_id), ty, charge)
        };
        let own =
            own.filter(|ty| named.is_some() || is_ring || matches!(ty.kind, Kind::Record { .. }));
        let clock = id.filter(|_| own.is_some());
        let clock = clock.and_then(|id| annotations::clock(schemas.library(), id));
        Ok((Self { own, clock, btf: Some(blob.clone()) }, charge))
    }
}

impl fmt::Debug for RecordTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { own, clock, btf } = self;
        let own = own.as_ref().map(|ty| &ty.name);
        f.debug_struct("RecordTypes")
            .field("own", &own)
            .field("clock", clock)
            .field("btf", &btf.as_ref().map(Bytes::len))
            .finish()
    }
}

/// What the reader of a map's records takes of the agent's limits.
#[derive(Debug)]
pub struct RecordRoom {
    _buffers: Option<(Seat, KernelCharge)>,
}

impl Registry {
    /// Room for a reader of a map's records, before its buffers are made. A ring's are the map's.
    pub fn record_room(&self, map: &Map) -> Result<RecordRoom, Error> {
        if map.is_ring() {
            return Ok(RecordRoom { _buffers: None });
        }
        let cpus = u32::try_from(sys::possible_cpus()).unwrap_or(u32::MAX);
        let buffers = cpus.min(map.sys().info().max_entries);
        let seat = self.perf_seats.take_many(buffers)?;
        let page = rustix::param::page_size() as u64;
        let each = self.limits().perf_buffer_bytes.max(page);
        let each = each.checked_next_power_of_two().unwrap_or(u64::MAX).saturating_add(4 * page);
        let bytes = each.saturating_mul(buffers.into());
        let what = || format!("the perf buffers of map {}", map.text());
        let kernel = self.kernel_memory().charge(what, bytes)?;
        Ok(RecordRoom { _buffers: Some((seat, kernel)) })
    }
}

impl Map {
    /// It is a ring buffer.
    pub fn is_ring(&self) -> bool {
        self.sys().info().map_type == types::BPF_MAP_TYPE_RINGBUF as u32
    }

    /// Fails for a map without records, and for one of somebody else's: reading takes them out.
    pub fn require_events(&self) -> Result<(), Error> {
        if kind::has_events(self.sys().info().map_type) && self.name().is_none() {
            return Err(Error::NotOurs { map: self.text().to_owned() });
        }
        self.require(self.capabilities().watch_events, "events to watch")
    }

    /// What records could be: the structs in the object's BTF.
    pub fn known_record_types(&self) -> Vec<String> {
        self.about().records.btf.as_ref().map_or_else(Vec::new, |blob| btf::record_names(blob))
    }

    /// The type of that name in the object's BTF, and its clock.
    pub fn named_record_type(&self, name: &str) -> Result<(Type, Option<Clock>), Error> {
        let invalid = |problem| Error::Invalid { field: "type", problem };
        let Some(blob) = &self.about().records.btf else {
            let problem = format!(
                "map {} belongs to no object with types in which {name:?} could be looked up",
                self.text()
            );
            return Err(invalid(problem));
        };
        let with_clock = |(id, ty)| {
            let library = Library::parse(blob).ok();
            (ty, library.and_then(|library| annotations::clock(&library, id)))
        };
        btf::named_type(blob, name).map(with_clock).ok_or_else(|| {
            let known = btf::record_names(blob);
            let near = nearest(name, known.iter().map(String::as_str));
            let known = if known.is_empty() { "no structs".to_owned() } else { known.join(", ") };
            let name: String = name.chars().take(80).collect();
            invalid(format!(
                "the object of map {} has no type {name:?}; it has {known}{near}",
                self.text()
            ))
        })
    }
}
