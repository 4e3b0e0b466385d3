//! One map as the agent knows it: its descriptor, what its bytes mean, whose it is.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::time::SystemTime;

use bpfgate_proto::name::{MapName, ObjectName};
use bpfgate_proto::value::{Plan, Schema};

use super::RecordTypes;
use super::capability::{self, Capabilities};
use super::mapped::Shared;
use super::pins::Pins;
use super::room::Room;
use crate::broker::MapRequest;
use crate::watch::{CounterSpec, HostName};
use crate::{btf, sys};

/// Notes of the caller's own.
pub type Labels = BTreeMap<String, String>;

/// What a map is called and whose it is.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Loaded or created here.
    Owned {
        /// Its stable name.
        name: MapName,
        /// The object it belongs to.
        object: Option<ObjectName>,
    },
    /// Opened from elsewhere, read-only: "id:7", "pin:a/b".
    Adopted(String),
}

/// What the agent was told of a map, or knows by itself.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// What its bytes mean.
    pub schema: Option<Schema>,
    /// What its numbers count.
    pub counters: Vec<CounterSpec>,
    /// What its key's fields stand for on this host, by label.
    pub host_names: Vec<(String, HostName)>,
    /// Notes.
    pub labels: Labels,
    /// Of an event buffer: what the records are.
    pub records: RecordTypes,
    /// For a map of maps: what every inner map looks like.
    pub inner: Option<Box<MapRequest>>,
    /// Where its memory is, if somebody said.
    pub numa_node: Option<u32>,
}

/// A map in the kernel that requests can reach.
#[derive(Debug)]
pub struct Map {
    identity: Identity,
    text: String,
    sys: sys::Map,
    about: About,
    key_plan: Option<Plan>,
    value_plan: Option<Plan>,
    /// Adds per-CPU values, by words where nothing is known of them.
    sum_plan: Plan,
    created_at: SystemTime,
    capabilities: Capabilities,
    shared: Shared,
    pub(super) pins: Pins,
    /// Last: given back once the descriptor and the shared memory are gone.
    _room: Room,
}

impl Map {
    /// A map that was made or opened just now.
    pub(super) fn new(identity: Identity, sys: sys::Map, about: About, room: Room) -> Self {
        let value_size = sys.info().value_size as usize;
        // A schema that does not fit the map was refused or dropped before.
        let plan = |ty: Option<&_>, size: usize| {
            ty.and_then(|ty| Plan::compile(ty).ok()).filter(|plan| plan.size() == size)
        };
        let schema = about.schema.as_ref();
        let key_plan = plan(schema.and_then(|schema| schema.key.as_ref()), sys.key_len());
        let value_plan = plan(schema.and_then(|schema| schema.value.as_ref()), value_size);
        let sum_plan = value_plan.clone().unwrap_or_else(|| Plan::opaque(value_size));
        let text = match &identity {
            Identity::Owned { name, .. } => name.to_string(),
            Identity::Adopted(reference) => reference.clone(),
        };
        let owned = matches!(identity, Identity::Owned { .. });
        let capabilities = capability::of(&sys, owned);
        let created_at = SystemTime::now();
        let id = sys.info().id;
        let room = Room { kernel: room.kernel.of_map(id), ..room };
        Self {
            identity,
            text,
            sys,
            about,
            key_plan,
            value_plan,
            sum_plan,
            created_at,
            capabilities,
            shared: Shared::default(),
            pins: Pins::default(),
            _room: room,
        }
    }

    /// Values are read through memory that the kernel shares.
    pub(super) fn share(&mut self, shared: Shared) {
        self.shared = shared;
        self.capabilities.mmap = true;
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What it is called and whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its name, if the agent owns it.
    pub fn name(&self) -> Option<&MapName> {
        match &self.identity {
            Identity::Owned { name, .. } => Some(name),
            Identity::Adopted(_) => None,
        }
    }

    /// The object it belongs to.
    pub fn object(&self) -> Option<&ObjectName> {
        match &self.identity {
            Identity::Owned { object, .. } => object.as_ref(),
            Identity::Adopted(_) => None,
        }
    }

    /// Its name or reference, for messages.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The descriptor and the kernel's sizes.
    pub fn sys(&self) -> &sys::Map {
        &self.sys
    }

    /// What its bytes mean, what its numbers count, and the caller's notes.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Bytes of a key to typed values and back.
    pub fn key_plan(&self) -> Option<&Plan> {
        self.key_plan.as_ref()
    }

    /// Bytes of a value, on one CPU, to typed values and back.
    pub fn value_plan(&self) -> Option<&Plan> {
        self.value_plan.as_ref()
    }

    /// Adds the values of all CPUs.
    pub(super) fn sum_plan(&self) -> &Plan {
        &self.sum_plan
    }

    /// When the agent made or opened it.
    pub fn created_at(&self) -> SystemTime {
        self.created_at
    }

    /// Which operations it has.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Where the agent pinned it, below its bpffs.
    pub fn pins(&self) -> Vec<String> {
        self.pins.paths()
    }

    /// Bytes that the kernel charges for it, and whether it is frozen.
    pub fn memory(&self) -> io::Result<(u64, bool)> {
        sys::map_memory(self.sys.as_fd())
    }

    /// Bytes from one CPU's value to the next.
    pub fn cpu_stride(&self) -> usize {
        (self.sys.info().value_size as usize).next_multiple_of(8)
    }
}

/// What BTF says of a map's bytes, by the type ids of key and value; nothing if that cannot be read.
pub(super) fn schema_of(blob: &[u8], (key, value): (u32, u32), map: &sys::Map) -> Option<Schema> {
    if (key, value) == (0, 0) {
        return None;
    }
    let info = map.info();
    match btf::compile_schema(blob, key, value, info.key_size, info.value_size) {
        Ok(schema) => Some(schema),
        Err(error) => {
            tracing::warn!(id = info.id, %error, "a map's BTF cannot be used");
            None
        }
    }
}
