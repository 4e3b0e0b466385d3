//! Everything that the agent owns, under stable names.
//!
//! One lock guards the names and is never held across a system call. Whatever is taken out is
//! dropped behind it, because closing a descriptor can detach a program or free a map.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use bpfgate_proto::name::{MapGlob, MapName, MapRef, ObjectName, ProgramName};
use tokio::sync::watch;
use tracing::info;

use super::map::schema_of;
use super::object::{Link, Object};
use super::pins::Bpffs;
use super::room::Room;
use super::seats::{Seat, Seats};
use super::{About, Error, Identity, KernelMemory, Labels, Limits, Map, NoRoom, described};
use crate::broker::{self, MapRequest, Target};

/// Everything that the agent owns, under stable names.
#[derive(Debug)]
pub struct Registry {
    state: RwLock<State>,
    changed: watch::Sender<u64>,
    limits: Limits,
    kernel_memory: KernelMemory,
    map_seats: Seats,
    pub(super) program_seats: Seats,
    foreign_seats: Seats,
    pub(super) perf_seats: Seats,
    /// Where `pin:` references lead.
    bpffs: Bpffs,
}

#[derive(Debug, Default)]
struct State {
    maps: BTreeMap<MapName, Arc<Map>>,
    objects: BTreeMap<ObjectName, Arc<Object>>,
    /// Names of objects that are being loaded.
    loading: BTreeSet<ObjectName>,
    links: BTreeMap<u64, Arc<Link>>,
    last_link: u64,
    stopping: bool,
}

/// A map to make.
#[derive(Debug)]
pub struct CreateMap {
    /// What to make it of; the name in it is the map's.
    pub request: MapRequest,
    /// Its parsed name.
    pub name: MapName,
    /// Its layout, counters and labels.
    pub about: About,
}

/// Which maps to list; empty lists mean all.
#[derive(Debug, Default)]
pub struct MapFilter {
    /// One must fit.
    pub names: Vec<MapGlob>,
    /// One must be it.
    pub types: Vec<u32>,
    /// All must be there.
    pub labels: Labels,
}

impl Registry {
    /// Owns nothing yet.
    pub fn new(limits: Limits, bpffs: Option<OwnedFd>) -> Self {
        let foreign = "maps of others open at once";
        Self {
            state: RwLock::default(),
            changed: watch::Sender::new(0),
            kernel_memory: KernelMemory::new(limits.max_kernel_bytes),
            map_seats: Seats::new("maps", "max_maps", limits.max_maps),
            program_seats: Seats::new("programs", "max_programs", limits.max_programs),
            foreign_seats: Seats::new(foreign, "max_foreign_maps", limits.max_foreign_maps),
            perf_seats: Seats::new("perf buffers", "max_perf_buffers", limits.max_perf_buffers),
            limits,
            bpffs: Bpffs::new(bpffs),
        }
    }

    /// What all maps and programs take together.
    pub fn kernel_memory(&self) -> &KernelMemory {
        &self.kernel_memory
    }

    /// Room for a map, before the kernel is asked for it.
    pub(super) fn room(&self, name: &MapName, request: &MapRequest) -> Result<Room, Error> {
        let bytes = self.limits.check_map(name, request)?;
        let seat = self.map_seats.take()?;
        let kernel = self.kernel_memory.charge(|| format!("map {name}"), bytes)?;
        Ok(Room { _seat: seat, kernel })
    }

    /// Refuses an object with more maps and programs than there is room for.
    pub(super) fn check_seats(&self, maps: usize, programs: usize) -> Result<(), Error> {
        self.map_seats.check(maps)?;
        Ok(self.program_seats.check(programs)?)
    }

    /// What is granted at most.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn bpffs(&self) -> &Bpffs {
        &self.bpffs
    }

    /// A number that changes after every map that comes or goes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The owned map of that name, without a check or a copy of the name: what most requests need.
    pub fn named(&self, name: &str) -> Option<Arc<Map>> {
        self.read().maps.get(name).cloned()
    }

    /// The map that a reference names. By id or pin it is opened for this one request, read-only,
    /// unless the agent owns it. Blocking only then.
    pub fn map(&self, reference: &MapRef) -> Result<Arc<Map>, Error> {
        let absent = || Error::NoMap(reference.to_string());
        match reference {
            MapRef::Name(name) => self.read().maps.get(name).cloned().ok_or_else(absent),
            MapRef::Id(id) => {
                if let Some(map) = self.owned_by_id(*id) {
                    return Ok(map);
                }
                let seat = self.foreign_seats.take()?;
                let sys = broker::open_id(*id).map_err(|error| open_error(error, absent))?;
                Ok(self.adopt(reference, sys, seat))
            }
            MapRef::Pin(path) => {
                let bpffs = self.bpffs.root().ok_or_else(absent)?;
                let seat = self.foreign_seats.take()?;
                let sys =
                    broker::open_pin(bpffs, path).map_err(|error| open_error(error, absent))?;
                let owned = self.owned_by_id(sys.info().id);
                Ok(owned.unwrap_or_else(|| self.adopt(reference, sys, seat)))
            }
        }
    }

    /// A map from elsewhere, with the types of its own BTF.
    fn adopt(&self, reference: &MapRef, sys: crate::sys::Map, seat: Seat) -> Arc<Map> {
        let ids = (sys.info().btf_key_type_id, sys.info().btf_value_type_id);
        let schema = broker::btf_of(&sys).and_then(|blob| schema_of(&blob, ids, &sys));
        let about = About { schema, ..About::default() };
        let room = Room { _seat: seat, kernel: self.kernel_memory.empty() };
        Arc::new(Map::new(Identity::Adopted(reference.to_string()), sys, about, room))
    }

    pub(super) fn owned_by_id(&self, id: u32) -> Option<Arc<Map>> {
        self.read().maps.values().find(|map| map.sys().info().id == id).cloned()
    }

    /// The maps that fit, in order of name.
    pub fn maps(&self, filter: &MapFilter) -> Vec<Arc<Map>> {
        let fits = |name: &MapName, map: &Map| {
            let MapFilter { names, types, labels } = filter;
            (names.is_empty() || names.iter().any(|glob| glob.matches(name)))
                && (types.is_empty() || types.contains(&map.sys().info().map_type))
                && contains(&map.about().labels, labels)
        };
        let state = self.read();
        state
            .maps
            .iter()
            .filter(|(name, map)| fits(name, map))
            .map(|(_, map)| map.clone())
            .collect()
    }

    /// All maps, in order of name.
    pub fn all_maps(&self) -> Vec<Arc<Map>> {
        self.read().maps.values().cloned().collect()
    }

    /// Makes a map. Blocking.
    pub fn create_map(&self, create: CreateMap) -> Result<Arc<Map>, Error> {
        let CreateMap { request, name, mut about } = create;
        about.inner.clone_from(&request.inner);
        about.numa_node = request.numa_node;
        if let Some(object) = name.object() {
            let problem = format!("{object}/… belongs to an object: leave out the '/'");
            return Err(Error::Invalid { field: "name", problem });
        }
        let mut room = self.room(&name, &request)?;
        self.read().check_map_names([&name])?;
        let sys = described::make(&request, about.schema.as_ref(), &mut room.kernel)?;
        let identity = Identity::Owned { name: name.clone(), object: None };
        let map = Arc::new(Map::new(identity, sys, about, room).mapped_within(&self.limits));
        super::sources::check_counters(&map, map.about().counters.len())?;
        {
            // Somebody may have come first; then this map is dropped again.
            let mut state = self.write();
            state.check_map_names([&name])?;
            state.maps.insert(name, map.clone());
        }
        self.bump();
        info!(map = map.text(), id = map.sys().info().id, "map created");
        Ok(map)
    }

    /// Forgets a map made by [`Registry::create_map`]. Blocking.
    pub fn delete_map(&self, name: &MapName) -> Result<(), Error> {
        let map = {
            let mut state = self.write();
            let map = state.maps.get(name).ok_or_else(|| Error::NoMap(name.to_string()))?;
            if let Some(object) = map.object() {
                let by = format!("it belongs to object {object}; unload that instead");
                return Err(Error::InUse { what: "map", name: name.to_string(), by });
            }
            state.check_not_shared(std::slice::from_ref(name), None)?;
            state.maps.remove(name)
        };
        self.bump();
        self.unpin_all(map.as_slice());
        drop(map);
        info!(map = %name, "map deleted");
        Ok(())
    }

    /// The object of that name.
    pub fn object(&self, name: &ObjectName) -> Result<Arc<Object>, Error> {
        self.read().objects.get(name).cloned().ok_or_else(|| Error::NoObject(name.clone()))
    }

    /// The objects with all these labels, in order of name.
    pub fn objects(&self, labels: &Labels) -> Vec<Arc<Object>> {
        let state = self.read();
        state.objects.values().filter(|o| contains(&o.labels, labels)).cloned().collect()
    }

    /// Takes the name for an object that is being loaded, until the guard goes.
    pub(super) fn reserve(&self, name: &ObjectName) -> Result<Reservation<'_>, Error> {
        let mut state = self.write();
        if state.stopping {
            return Err(Error::Stopping);
        }
        let there = state.objects.len() + state.loading.len();
        if state.objects.contains_key(name) || !state.loading.insert(name.clone()) {
            return Err(Error::NameTaken { what: "object", name: name.to_string() });
        }
        // Made first, so that its drop takes the name out again.
        drop(state);
        let reservation = Reservation { registry: self, name: name.clone() };
        if there >= self.limits.max_objects as usize {
            let limit = self.limits.max_objects.into();
            return Err(NoRoom::TooMany { what: "objects", name: "max_objects", limit }.into());
        }
        Ok(reservation)
    }

    /// Puts a loaded object and its maps under their names.
    pub(super) fn insert(&self, object: Object, maps: Vec<Arc<Map>>) -> Result<Arc<Object>, Error> {
        let object = Arc::new(object);
        {
            let mut state = self.write();
            if state.stopping {
                return Err(Error::Stopping);
            }
            // A shared map may have gone while the verifier was at work.
            for shared in &object.shared {
                let there = shared.name().and_then(|name| state.maps.get(name));
                if !there.is_some_and(|map| Arc::ptr_eq(map, shared)) {
                    return Err(Error::NoMap(shared.text().to_owned()));
                }
            }
            state.check_map_names(&object.maps)?;
            for map in maps {
                if let Some(name) = map.name() {
                    state.maps.insert(name.clone(), map);
                }
            }
            state.objects.insert(object.name.clone(), object.clone());
        }
        self.bump();
        let (programs, maps) = (object.programs.len(), object.maps.len());
        info!(object = %object.name, programs, maps, "object loaded");
        Ok(object)
    }

    /// Detaches and forgets an object, its programs and its maps. Blocking.
    pub fn unload(&self, name: &ObjectName) -> Result<(), Error> {
        let gone = {
            let mut state = self.write();
            let object = state.objects.get(name).ok_or_else(|| Error::NoObject(name.clone()))?;
            state.check_not_shared(&object.maps, Some(name))?;
            state.take_object(name)
        };
        self.bump();
        self.unpin_all(&gone.maps);
        drop(gone);
        info!(object = %name, "object unloaded");
        Ok(())
    }

    /// Attaches a program. Blocking.
    pub fn attach(&self, name: &ProgramName, target: Option<Target>) -> Result<Arc<Link>, Error> {
        let object = self.object(&name.object)?;
        let program = self.program(name)?;
        let target = match target {
            Some(target) => target,
            None => super::loading::own_target(&program)?,
        };
        self.read().check_links(self.limits.max_links)?;
        let kind = &program.loaded.kind;
        let attachment = broker::attach(program.loaded.fd.as_fd(), kind, &target)?;

        let mut state = self.write();
        // Unloaded while the kernel attached it: the attachment goes with the error.
        let there = state.objects.get(&name.object);
        if !there.is_some_and(|there| Arc::ptr_eq(there, &object)) {
            return Err(Error::NoObject(name.object.clone()));
        }
        state.check_links(self.limits.max_links)?;
        state.last_link += 1;
        let link = Arc::new(Link {
            id: state.last_link,
            program: name.clone(),
            target,
            attachment,
            attached_at: SystemTime::now(),
        });
        state.links.insert(link.id, link.clone());
        drop(state);
        info!(program = %name, link = link.id, target = link.target.describe(), "attached");
        Ok(link)
    }

    /// Detaches. Blocking.
    pub fn detach(&self, id: u64) -> Result<(), Error> {
        let link = self.write().links.remove(&id);
        link.map(drop).ok_or(Error::NoLink(id))?;
        info!(link = id, "detached");
        Ok(())
    }

    /// All links, or those of one object, in order of id.
    pub fn links(&self, object: Option<&ObjectName>) -> Vec<Arc<Link>> {
        let state = self.read();
        let fits = |link: &&Arc<Link>| object.is_none_or(|object| link.program.object == *object);
        state.links.values().filter(fits).cloned().collect()
    }

    /// Forgets everything and takes in no more. Blocking.
    pub fn clear(&self) {
        let gone = {
            let mut state = self.write();
            state.stopping = true;
            let State { maps, objects, links, .. } = &mut *state;
            (std::mem::take(links), std::mem::take(objects), std::mem::take(maps))
        };
        self.bump();
        drop(gone);
    }

    fn bump(&self) {
        self.changed.send_modify(|number| *number += 1);
    }

    // A panic elsewhere leaves the names as they were: every change is one insert or remove.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_map_names<'a>(
        &self,
        names: impl IntoIterator<Item = &'a MapName>,
    ) -> Result<(), Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        match names.into_iter().find(|name| self.maps.contains_key(*name)) {
            Some(taken) => Err(Error::map_taken(taken)),
            None => Ok(()),
        }
    }

    fn check_links(&self, limit: u32) -> Result<(), Error> {
        if self.links.len() < limit as usize {
            return Ok(());
        }
        Err(NoRoom::TooMany { what: "links", name: "max_links", limit: limit.into() }.into())
    }

    /// That no other object uses one of these maps.
    fn check_not_shared(&self, maps: &[MapName], except: Option<&ObjectName>) -> Result<(), Error> {
        let others = self.objects.values().filter(|object| Some(&object.name) != except);
        for object in others {
            let shared = object.shared.iter().filter_map(|map| map.name());
            if let Some(map) = shared.into_iter().find(|name| maps.contains(name)) {
                let by = format!("object {} shares it; unload that first", object.name);
                return Err(Error::InUse { what: "map", name: map.to_string(), by });
            }
        }
        Ok(())
    }

    /// Takes an object and all that is its own out of the names.
    fn take_object(&mut self, name: &ObjectName) -> Gone {
        let links: Vec<u64> = self
            .links
            .values()
            .filter(|link| link.program.object == *name)
            .map(|link| link.id)
            .collect();
        let links = links.iter().filter_map(|id| self.links.remove(id)).collect();
        let object = self.objects.remove(name);
        let maps = object.iter().flat_map(|object| &object.maps);
        let maps = maps.filter_map(|name| self.maps.remove(name)).collect();
        Gone { _links: links, _object: object, maps }
    }
}

/// What was taken out of the names, to be dropped behind the lock: links first, so that nothing
/// is attached any more when the rest goes.
struct Gone {
    _links: Vec<Arc<Link>>,
    _object: Option<Arc<Object>>,
    maps: Vec<Arc<Map>>,
}

/// A name taken for an object that is being loaded.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    registry: &'a Registry,
    name: ObjectName,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.registry.write().loading.remove(&self.name);
    }
}

fn open_error(error: broker::Error, absent: impl FnOnce() -> Error) -> Error {
    match &error {
        broker::Error::OpenMap { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            absent()
        }
        _ => error.into(),
    }
}

fn contains(all: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| all.get(key) == Some(value))
}
