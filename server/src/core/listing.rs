//! Lists of what the registry has. The lock is held for copies of pointers only; what fits is found
//! behind it, however long that takes.

use std::sync::Arc;

use bpfgate_proto::name::{MapGlob, ObjectName};

use super::object::{Link, Object, Program};
use super::{Labels, Map, Registry};

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

impl MapFilter {
    fn fits(&self, map: &Map) -> bool {
        let Self { names, types, labels } = self;
        let named = |glob: &MapGlob| map.name().is_some_and(|name| glob.matches(name));
        (types.is_empty() || types.contains(&map.sys().info().map_type))
            && contains(map.labels(), labels)
            && (names.is_empty() || names.iter().any(named))
    }
}

impl Registry {
    /// All maps, in order of name.
    pub fn all_maps(&self) -> Vec<Arc<Map>> {
        self.read().maps().values().cloned().collect()
    }

    /// The maps that fit, in order of name. May take a while.
    pub fn maps(&self, filter: &MapFilter) -> Vec<Arc<Map>> {
        let mut maps = self.all_maps();
        maps.retain(|map| filter.fits(map));
        maps
    }

    /// The map as it is called now, if the agent still owns it.
    pub fn now(&self, map: &Map) -> Option<Arc<Map>> {
        let there = self.owned_by_id(map.sys().info().id)?;
        there.is(map).then_some(there)
    }

    /// The agent owns a map of that id.
    pub fn has_map_id(&self, id: u32) -> bool {
        self.read().map_of_id(id).is_some()
    }

    pub(super) fn owned_by_id(&self, id: u32) -> Option<Arc<Map>> {
        self.read().map_of_id(id).cloned()
    }

    pub(super) fn program_by_id(&self, id: u32) -> Option<Arc<Program>> {
        self.read().program_of_id(id).cloned()
    }

    /// The objects with all these labels, in order of name.
    pub fn objects(&self, labels: &Labels) -> Vec<Arc<Object>> {
        let mut objects: Vec<_> = self.read().objects().values().cloned().collect();
        objects.retain(|object| contains(&object.labels, labels));
        objects
    }

    /// All links, or those of one object, in order of id.
    pub fn links(&self, object: Option<&ObjectName>) -> Vec<Arc<Link>> {
        let mut links: Vec<_> = self.read().links.values().cloned().collect();
        links.retain(|link| object.is_none_or(|object| link.program.object == *object));
        links
    }
}

fn contains(all: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| all.get(key) == Some(value))
}
