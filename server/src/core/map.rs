//! One map as the agent knows it: its descriptor, what its bytes mean, whose it is.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::SystemTime;

use bpfgate_proto::name::{MapName, ObjectName};
use bpfgate_proto::value::{Plan, Schema, parse_prefix};

use super::RecordTypes;
use super::capability::{self, Capabilities};
use super::kind::is_trie;
use super::mapped::Shared;
use super::pins::Pins;
use super::room::Room;
use super::schemas::Meaning;
use super::together::Together;
use crate::broker::MapRequest;
use crate::host_names::HostName;
use crate::sys;
use crate::watch::CounterSpec;

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
    pub schema: Option<Arc<Schema>>,
    /// What its numbers count.
    pub counters: Vec<CounterSpec>,
    /// What its key's fields stand for on this host, by label.
    pub host_names: Vec<(String, HostName)>,
    /// Notes, until the map is made: then it has them itself.
    pub labels: Labels,
    /// Of an event buffer: what the records are.
    pub records: RecordTypes,
    /// For a map of maps: what every inner map looks like.
    pub inner: Option<Box<MapRequest>>,
    /// Where its memory is, if somebody said.
    pub numa_node: Option<u32>,
}

/// A map in the kernel that requests can reach, by what it is called now.
#[derive(Debug)]
pub struct Map {
    identity: Identity,
    text: String,
    /// The caller's own notes on it and on its object.
    labels: Labels,
    body: Arc<Body>,
}

/// What stays of a map whatever it is called.
#[derive(Debug)]
struct Body {
    sys: sys::Map,
    about: About,
    key_plan: Option<Arc<Plan>>,
    value_plan: Option<Arc<Plan>>,
    /// Of a per-CPU map.
    together: Option<Together>,
    created_at: SystemTime,
    capabilities: Capabilities,
    shared: Shared,
    pins: Pins,
    /// Last: given back once the descriptor and the shared memory are gone.
    _room: Room,
}

impl Map {
    /// A map that was made or opened just now.
    pub(super) fn new(
        identity: Identity,
        sys: sys::Map,
        about: About,
        meaning: Meaning,
        mut room: Room,
    ) -> Self {
        let Meaning { schema, key, value, together, charges } = meaning;
        room.own.extend(charges);
        let mut about = About { schema, ..about };
        let labels = std::mem::take(&mut about.labels);
        let value_size = sys.info().value_size as usize;
        // A schema that does not fit the map was refused or dropped before.
        let fitting = |plan: Option<Arc<Plan>>, size| plan.filter(|plan| plan.size() == size);
        let key_plan = fitting(key, sys.key_len());
        let value_plan = fitting(value, value_size);
        let bytes = |cpus| Together::of_bytes(value_size, cpus);
        let together = together.or_else(|| sys.cpus().map(bytes));
        let owned = matches!(identity, Identity::Owned { .. });
        let capabilities = capability::of(&sys, owned);
        let id = sys.info().id;
        let body = Body {
            sys,
            about,
            key_plan,
            value_plan,
            together,
            created_at: SystemTime::now(),
            capabilities,
            shared: Shared::default(),
            pins: Pins::default(),
            _room: Room { kernel: room.kernel.of_map(id), ..room },
        };
        Self::called(identity, labels, Arc::new(body))
    }

    fn called(identity: Identity, labels: Labels, body: Arc<Body>) -> Self {
        let text = match &identity {
            Identity::Owned { name, .. } => name.to_string(),
            Identity::Adopted(reference) => reference.clone(),
        };
        Self { identity, text, labels, body }
    }

    /// The same map as part of an object, with that object's notes.
    pub(super) fn handed_to(&self, object: &ObjectName, name: MapName, labels: &Labels) -> Self {
        let identity = Identity::Owned { name, object: Some(object.clone()) };
        Self::called(identity, labels.clone(), self.body.clone())
    }

    /// Values are read through memory that the kernel shares.
    pub(super) fn share(&mut self, shared: Shared) {
        let body = Arc::get_mut(&mut self.body).expect("a map that is being made has one name");
        body.shared = shared;
        body.capabilities.mmap = true;
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.body.shared
    }

    /// Where others of the agent's host find it.
    pub(super) fn own_pins(&self) -> &Pins {
        &self.body.pins
    }

    /// The same map in the kernel, by the same descriptor.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.body, &other.body)
    }

    /// The caller's own notes on it and on its object.
    pub fn labels(&self) -> &Labels {
        &self.labels
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
        &self.body.sys
    }

    /// What its bytes mean and its numbers count. Its labels are its own.
    pub fn about(&self) -> &About {
        &self.body.about
    }

    /// Bytes of a key to typed values and back.
    pub fn key_plan(&self) -> Option<&Plan> {
        self.body.key_plan.as_deref()
    }

    /// How to read the fields of a key that is a prefix, which is otherwise read as one text.
    pub fn fields_of_prefix(&self) -> Option<Plan> {
        let key = self.about().schema.as_ref()?.key.as_ref()?;
        is_trie(self.sys().info().map_type).then(|| Plan::compile(key).ok()).flatten()
    }

    /// The key that a prefix such as `10.0.0.0/8` is, if keys are prefixes of its length.
    pub fn prefix_of_key(&self, text: &str) -> Option<Vec<u8>> {
        let is_trie = is_trie(self.sys().info().map_type);
        is_trie.then(|| parse_prefix(text, self.sys().key_len())).flatten()
    }

    /// Bytes of a value, on one CPU, to typed values and back.
    pub fn value_plan(&self) -> Option<&Plan> {
        self.body.value_plan.as_deref()
    }

    pub(super) fn together(&self) -> Option<&Together> {
        self.body.together.as_ref()
    }

    /// When the agent made or opened it.
    pub fn created_at(&self) -> SystemTime {
        self.body.created_at
    }

    /// Which operations it has.
    pub fn capabilities(&self) -> &Capabilities {
        &self.body.capabilities
    }

    /// Where the agent pinned it, below its bpffs.
    pub fn pins(&self) -> Vec<String> {
        self.body.pins.paths()
    }

    /// Bytes that the kernel charges for it, and whether it is frozen.
    pub fn memory(&self) -> io::Result<(u64, bool)> {
        sys::memory(self.body.sys.as_fd())
    }

    /// Bytes from one CPU's value to the next.
    pub fn cpu_stride(&self) -> usize {
        (self.body.sys.info().value_size as usize).next_multiple_of(8)
    }
}

#[cfg(test)]
impl Map {
    /// One that nothing is known of.
    pub(super) fn bare(sys: sys::Map) -> Self {
        let room = Room {
            _seat: super::seats::Seats::new("maps", "max_maps", 1).take().unwrap(),
            kernel: super::KernelMemory::new(0).empty(),
            own: Vec::new(),
        };
        let identity = Identity::Adopted("m".to_owned());
        Self::new(identity, sys, About::default(), Meaning::default(), room)
    }
}
