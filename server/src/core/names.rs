//! What stands under which name, and the ways to find it. A lock is held meanwhile, so nothing here
//! asks the kernel or looks through everything for a caller.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bpfgate_proto::name::{MapName, ObjectName};

use super::object::{Link, Object, Program, SharedMap};
use super::{Error, Map};

/// What stands under which name.
#[derive(Debug, Default)]
pub(super) struct Names {
    maps: BTreeMap<MapName, Arc<Map>>,
    objects: BTreeMap<ObjectName, Arc<Object>>,
    /// Names of objects that are being loaded.
    pub(super) loading: BTreeSet<ObjectName>,
    pub(super) links: BTreeMap<u64, Arc<Link>>,
    pub(super) last_link: u64,
    /// Nothing more is taken in.
    pub(super) stopping: bool,
    map_ids: HashMap<u32, Arc<Map>>,
    program_ids: HashMap<u32, Arc<Program>>,
    /// Objects that use a map which is not their own.
    sharers: BTreeMap<MapName, BTreeSet<ObjectName>>,
}

/// What was taken out of the names, to be dropped behind the lock: links first, so that nothing
/// is attached any more when the rest goes.
#[derive(Debug, Default)]
pub(super) struct Gone {
    _links: Vec<Arc<Link>>,
    _objects: Vec<Arc<Object>>,
    pub(super) maps: Vec<Arc<Map>>,
    pub(super) handed: Vec<HandedOver>,
}

/// A map whose object went while another shared it: it is that one's now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandedOver {
    /// What it was called.
    pub from: MapName,
    /// What it is called now.
    pub to: MapName,
}

impl Names {
    pub(super) fn maps(&self) -> &BTreeMap<MapName, Arc<Map>> {
        &self.maps
    }

    pub(super) fn objects(&self) -> &BTreeMap<ObjectName, Arc<Object>> {
        &self.objects
    }

    pub(super) fn map_of_id(&self, id: u32) -> Option<&Arc<Map>> {
        self.map_ids.get(&id)
    }

    pub(super) fn program_of_id(&self, id: u32) -> Option<&Arc<Program>> {
        self.program_ids.get(&id)
    }

    /// That all these names are free.
    pub(super) fn check_free<'a>(
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

    /// That no object uses this map.
    pub(super) fn check_not_shared(&self, map: &MapName) -> Result<(), Error> {
        let Some(object) = self.sharers.get(map).and_then(BTreeSet::first) else { return Ok(()) };
        let by = format!("object {object} shares it; unload that first");
        Err(Error::InUse { what: "map", name: map.to_string(), by })
    }

    /// Puts an owned map under its name, which must be free.
    pub(super) fn insert_map(&mut self, map: Arc<Map>) {
        if let Some(name) = map.name() {
            self.map_ids.insert(map.sys().info().id, map.clone());
            self.maps.insert(name.clone(), map);
        }
    }

    pub(super) fn remove_map(&mut self, name: &MapName) -> Option<Arc<Map>> {
        let map = self.maps.remove(name)?;
        self.map_ids.remove(&map.sys().info().id);
        Some(map)
    }

    /// Puts an object and its maps under their names, which must be free.
    pub(super) fn insert_object(&mut self, object: Arc<Object>, maps: Vec<Arc<Map>>) {
        for map in maps {
            self.insert_map(map);
        }
        for program in &object.programs {
            self.program_ids.insert(program.loaded.info.id, program.clone());
        }
        for name in object.holdings().shared.iter().filter_map(|shared| shared.map.name()) {
            self.sharers.entry(name.clone()).or_default().insert(object.name.clone());
        }
        self.objects.insert(object.name.clone(), object);
    }

    /// Takes an object and all that is its own out of the names. A map that others share goes to
    /// the one of them that was loaded first.
    pub(super) fn take_object(&mut self, name: &ObjectName) -> Gone {
        let Some(object) = self.objects.remove(name) else { return Gone::default() };
        let links = self.links.extract_if(.., |_, link| link.program.object == *name);
        let links = links.map(|(_, link)| link).collect();
        for program in &object.programs {
            self.program_ids.remove(&program.loaded.info.id);
        }
        for map in object.holdings().shared.iter().filter_map(|shared| shared.map.name()) {
            if let Some(sharers) = self.sharers.get_mut(map) {
                sharers.remove(name);
                if sharers.is_empty() {
                    self.sharers.remove(map);
                }
            }
        }
        let (mut maps, mut handed) = (Vec::new(), Vec::new());
        for from in std::mem::take(&mut object.holdings_mut().maps) {
            let Some(map) = self.remove_map(&from) else { continue };
            match self.hand_over(&from, &map) {
                Some(to) => handed.push(HandedOver { from, to }),
                None => maps.push(map),
            }
        }
        Gone { _links: links, _objects: vec![object], maps, handed }
    }

    /// Gives a map that is nobody's any more to one of its sharers; its new name.
    fn hand_over(&mut self, from: &MapName, map: &Arc<Map>) -> Option<MapName> {
        let mut sharers = self.sharers.remove(from)?;
        let sharing = sharers.iter().filter_map(|name| self.objects.get(name));
        let heir = sharing.min_by_key(|object| (object.loaded_at, object.name.clone()))?.clone();
        sharers.remove(&heir.name);
        let of_map = |shared: &SharedMap| shared.map.is(map);
        let place = heir.holdings().shared.iter().position(of_map)?;
        let to = heir.holdings_mut().shared.remove(place).member;
        let new = Arc::new(map.handed_to(&heir.name, to.clone(), &heir.labels));
        heir.holdings_mut().maps.push(to.clone());
        let others = sharers.iter().filter_map(|name| self.objects.get(name));
        for object in others.chain([&heir]) {
            for shared in object.holdings_mut().shared.iter_mut().filter(|it| of_map(it)) {
                shared.map = new.clone();
            }
        }
        if !sharers.is_empty() {
            self.sharers.insert(to.clone(), sharers);
        }
        self.insert_map(new);
        Some(to)
    }

    /// Takes everything out, for good.
    pub(super) fn take_all(&mut self) -> Gone {
        let all = std::mem::take(self);
        self.stopping = true;
        self.loading = all.loading;
        self.last_link = all.last_link;
        Gone {
            _links: all.links.into_values().collect(),
            _objects: all.objects.into_values().collect(),
            maps: all.maps.into_values().collect(),
            handed: Vec::new(),
        }
    }
}
