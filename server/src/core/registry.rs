//! Everything that the agent owns, under stable names.
//!
//! One lock guards the names and is never held across a system call. Whatever is taken out is
//! dropped behind it, because closing a descriptor can detach a program or free a map.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use bpfgate_proto::name::{MapName, MapRef, ObjectName, ProgramName};
use bpfgate_proto::value::Schema;
use tokio::sync::watch;
use tracing::info;

use super::footprint::note_bytes;
use super::kept_logs::KeptLogs;
use super::loading::Loads;
use super::names::{HandedOver, Names};
use super::object::{Link, Object};
use super::pins::Bpffs;
use super::room::Room;
use super::schemas::Meaning;
use super::seats::{Seat, Seats};
use super::{About, Error, Identity, KernelMemory, Limits, Map, NoRoom, described};
use crate::broker::{self, MapRequest, Target};
use crate::ledger::{Account, Ledger};

/// Everything that the agent owns, under stable names.
#[derive(Debug)]
pub struct Registry {
    names: RwLock<Names>,
    changed: watch::Sender<u64>,
    limits: Limits,
    kernel_memory: KernelMemory,
    map_seats: Seats,
    pub(super) program_seats: Seats,
    foreign_seats: Seats,
    pub(super) perf_seats: Seats,
    loads: Loads,
    kept_logs: KeptLogs,
    /// Of requests that have no account of their own.
    nobody: Account,
    /// Where `pin:` references lead.
    bpffs: Bpffs,
}

/// A map to make.
#[derive(Debug)]
pub struct CreateMap {
    /// What to make it of; the name in it is the map's.
    pub request: MapRequest,
    /// Its parsed name.
    pub name: MapName,
    /// What its bytes mean.
    pub layout: Option<Schema>,
    /// Its counters and labels, and what its records are.
    pub about: About,
    /// Who pays for what the agent has to remember.
    pub account: Account,
}

impl Registry {
    /// Owns nothing yet.
    pub fn new(limits: Limits, bpffs: Option<OwnedFd>, ledger: &Ledger) -> Self {
        let foreign = "maps of others open at once";
        Self {
            names: RwLock::default(),
            changed: watch::Sender::new(0),
            kernel_memory: KernelMemory::new(limits.max_kernel_bytes),
            map_seats: Seats::new("maps", "max_maps", limits.max_maps),
            program_seats: Seats::new("programs", "max_programs", limits.max_programs),
            foreign_seats: Seats::new(foreign, "max_foreign_maps", limits.max_foreign_maps),
            perf_seats: Seats::new("perf buffers", "max_perf_buffers", limits.max_perf_buffers),
            loads: Loads::new(limits.max_loads),
            kept_logs: KeptLogs::default(),
            nobody: ledger.own("requests of nobody", limits.max_memory_bytes / 2),
            limits,
            bpffs: Bpffs::new(bpffs),
        }
    }

    pub(super) fn loads(&self) -> &Loads {
        &self.loads
    }

    pub(super) fn kept_logs(&self) -> &KeptLogs {
        &self.kept_logs
    }

    /// The account of what the agent reads and learns on nobody's word: its sweeps.
    pub fn no_callers_account(&self) -> Account {
        self.nobody.clone()
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
        Ok(Room { _seat: seat, kernel, own: Vec::new() })
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
        self.read().maps().get(name).cloned()
    }

    /// The map that a reference names. By id or pin it is opened for this one request, read-only,
    /// unless the agent owns it. Blocking only then.
    pub fn map(&self, reference: &MapRef) -> Result<Arc<Map>, Error> {
        self.map_for(reference, &self.nobody)
    }

    /// The same, where what the agent has to learn of it is on an account.
    pub fn map_for(&self, reference: &MapRef, account: &Account) -> Result<Arc<Map>, Error> {
        let absent = || Error::NoMap(reference.to_string());
        match reference {
            MapRef::Name(name) => self.read().maps().get(name).cloned().ok_or_else(absent),
            MapRef::Id(id) => {
                if let Some(map) = self.owned_by_id(*id) {
                    return Ok(map);
                }
                let seat = self.foreign_seats.take()?;
                let sys = broker::open_id(*id).map_err(|error| open_error(error, absent))?;
                self.adopt(reference, sys, seat, account)
            }
            MapRef::Pin(path) => {
                let bpffs = self.bpffs.root().ok_or_else(absent)?;
                let path = self.bpffs.below(path).map_err(|_| broker::Error::BadPin {
                    reference: reference.to_string(),
                    problem: "leads out of the agent's bpffs",
                })?;
                let seat = self.foreign_seats.take()?;
                let sys =
                    broker::open_pin(bpffs, path).map_err(|error| open_error(error, absent))?;
                let owned = self.owned_by_id(sys.info().id);
                owned.map_or_else(|| self.adopt(reference, sys, seat, account), Ok)
            }
        }
    }

    /// A map from elsewhere, with the types of its own BTF.
    fn adopt(
        &self,
        reference: &MapRef,
        sys: crate::sys::Map,
        seat: Seat,
        account: &Account,
    ) -> Result<Arc<Map>, Error> {
        let meaning = match broker::btf_of(&sys) {
            Some(blob) => Meaning::of_btf(&blob, &sys, account)?,
            None => Meaning::default(),
        };
        let meaning = meaning.with_sums(&sys, account)?;
        let room = Room { _seat: seat, kernel: self.kernel_memory.empty(), own: Vec::new() };
        let identity = Identity::Adopted(reference.to_string());
        Ok(Arc::new(Map::new(identity, sys, About::default(), meaning, room)))
    }

    /// Makes a map. Blocking.
    pub fn create_map(&self, create: CreateMap) -> Result<Arc<Map>, Error> {
        let CreateMap { request, name, layout, mut about, account } = create;
        let account = account.caller();
        about.inner.clone_from(&request.inner);
        about.numa_node = request.numa_node;
        if let Some(object) = name.object() {
            let problem = format!("{object}/… belongs to an object: leave out the '/'");
            return Err(Error::Invalid { field: "name", problem });
        }
        let mut room = self.room(&name, &request)?;
        self.read().check_free([&name])?;
        let record = about.records.own.as_ref().map_or(0, |ty| ty.memory());
        room.own.push(Arc::new(account.charge(note_bytes(&about).saturating_add(record))?));
        let meaning = match layout {
            Some(layout) => Meaning::declared(layout, request.map_type, &account)?,
            None => Meaning::default(),
        };
        let sys = described::make(&request, meaning.schema.as_deref(), &mut room.kernel)?;
        let identity = Identity::Owned { name: name.clone(), object: None };
        let meaning = meaning.with_sums(&sys, &account)?;
        let map =
            Arc::new(Map::new(identity, sys, about, meaning, room).mapped_within(&self.limits));
        super::sources::check_counters(&map, map.about().counters.len())?;
        {
            // Somebody may have come first; then this map is dropped again.
            let mut names = self.write();
            names.check_free([&name])?;
            names.insert_map(map.clone());
        }
        self.bump();
        info!(map = map.text(), id = map.sys().info().id, "map created");
        Ok(map)
    }

    /// Forgets a map made by [`Registry::create_map`]. Blocking.
    pub fn delete_map(&self, name: &MapName) -> Result<(), Error> {
        let map = {
            let mut names = self.write();
            let map = names.maps().get(name).ok_or_else(|| Error::NoMap(name.to_string()))?;
            if let Some(object) = map.object() {
                let by = format!("it belongs to object {object}; unload that instead");
                return Err(Error::InUse { what: "map", name: name.to_string(), by });
            }
            names.check_not_shared(name)?;
            names.remove_map(name)
        };
        self.bump();
        self.unpin_all(map.as_slice());
        drop(map);
        info!(map = %name, "map deleted");
        Ok(())
    }

    /// The object of that name.
    pub fn object(&self, name: &ObjectName) -> Result<Arc<Object>, Error> {
        self.read().objects().get(name).cloned().ok_or_else(|| Error::NoObject(name.clone()))
    }

    /// Takes the name for an object that is being loaded, until the guard goes.
    pub(super) fn reserve(self: &Arc<Self>, name: &ObjectName) -> Result<Reservation, Error> {
        let mut names = self.write();
        if names.stopping {
            return Err(Error::Stopping);
        }
        let there = names.objects().len() + names.loading.len();
        if names.objects().contains_key(name) || !names.loading.insert(name.clone()) {
            return Err(Error::NameTaken { what: "object", name: name.to_string() });
        }
        // Made first, so that its drop takes the name out again.
        drop(names);
        let reservation = Reservation { registry: self.clone(), name: name.clone() };
        if there >= self.limits.max_objects as usize {
            let limit = self.limits.max_objects.into();
            return Err(NoRoom::TooMany { what: "objects", name: "max_objects", limit }.into());
        }
        Ok(reservation)
    }

    /// Puts a loaded object and its maps under their names.
    pub(super) fn insert(&self, object: Object, maps: Vec<Arc<Map>>) -> Result<Arc<Object>, Error> {
        let object = Arc::new(object);
        let mut holdings = object.holdings_mut();
        {
            let mut names = self.write();
            if names.stopping {
                return Err(Error::Stopping);
            }
            // A shared map may have gone while the verifier was at work, or be another's now.
            for shared in &mut holdings.shared {
                let there = names.map_of_id(shared.map.sys().info().id);
                let there = there.filter(|there| there.is(&shared.map)).cloned();
                shared.map = there.ok_or_else(|| Error::NoMap(shared.map.text().to_owned()))?;
            }
            names.check_free(&holdings.maps)?;
            drop(holdings);
            names.insert_object(object.clone(), maps);
        }
        self.bump();
        let (programs, maps) = (object.programs.len(), object.holdings().maps.len());
        info!(object = %object.name, programs, maps, "object loaded");
        Ok(object)
    }

    /// Detaches and forgets an object, its programs and its maps, but for those that other objects
    /// share: these are handed over. Blocking.
    pub fn unload(&self, name: &ObjectName) -> Result<Vec<HandedOver>, Error> {
        let gone = {
            let mut names = self.write();
            if !names.objects().contains_key(name) {
                return Err(Error::NoObject(name.clone()));
            }
            names.take_object(name)
        };
        self.bump();
        self.unpin_all(&gone.maps);
        let handed = gone.handed.clone();
        drop(gone);
        info!(object = %name, "object unloaded");
        for HandedOver { from, to } in &handed {
            info!(%from, %to, "a map that another object shares is that one's now");
        }
        Ok(handed)
    }

    /// Attaches a program. Blocking.
    pub fn attach(&self, name: &ProgramName, target: Option<Target>) -> Result<Arc<Link>, Error> {
        let object = self.object(&name.object)?;
        let program = self.program(name)?;
        let target = match target {
            Some(target) => target,
            None => super::object::own_target(&program)?,
        };
        self.check_links(&self.read())?;
        let kind = &program.loaded.kind;
        let attachment = broker::attach(program.loaded.fd.as_fd(), kind, &target)?;

        let mut names = self.write();
        // Unloaded while the kernel attached it: the attachment goes with the error.
        let there = names.objects().get(&name.object);
        if !there.is_some_and(|there| Arc::ptr_eq(there, &object)) {
            return Err(Error::NoObject(name.object.clone()));
        }
        self.check_links(&names)?;
        names.last_link += 1;
        let link = Arc::new(Link {
            id: names.last_link,
            program: name.clone(),
            target,
            attachment,
            attached_at: SystemTime::now(),
        });
        names.links.insert(link.id, link.clone());
        drop(names);
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

    /// Forgets everything and takes in no more. Blocking.
    pub fn clear(&self) {
        let gone = self.write().take_all();
        self.bump();
        self.tell_pins(&gone.maps);
        drop(gone);
    }

    fn check_links(&self, names: &Names) -> Result<(), Error> {
        let limit = self.limits.max_links;
        if names.links.len() < limit as usize {
            return Ok(());
        }
        Err(NoRoom::TooMany { what: "links", name: "max_links", limit: limit.into() }.into())
    }

    fn bump(&self) {
        self.changed.send_modify(|number| *number += 1);
    }

    // A panic elsewhere leaves the names as they were: every change is one insert or remove.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Names> {
        self.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.names.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name taken for an object that is being loaded.
#[derive(Debug)]
pub(super) struct Reservation {
    registry: Arc<Registry>,
    name: ObjectName,
}

impl Reservation {
    pub(super) fn name(&self) -> &ObjectName {
        &self.name
    }
}

impl Drop for Reservation {
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
