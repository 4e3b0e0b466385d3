//! From a plan to maps and programs in the kernel, with what the agent knows of them. Blocking.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::SystemTime;

use bpfgate_ebpf::{Builtin, KeyName};
use bpfgate_proto::name::{MapName, MapRef, ObjectName, ProgramName};
use bpfgate_proto::value::nearest;
use bytes::Bytes;

use super::footprint::{btf_bytes, note_bytes, object_bytes, program_bytes};
use super::kernel_memory::KernelCharge;
use super::object::{Holdings, Object, Program, ProgramRoom, SharedMap};
use super::room::Room;
use super::schemas::{Meaning, Schemas};
use super::{
    About, Error, Identity, Labels, Map, RecordTypes, Registry, annotations, kind, sources,
};
use crate::broker::{self, LoadedProgram, Stop};
use crate::elf::{MapPlan, ObjectPlan, ProgramPlan};
use crate::host_names::HostName;
use crate::ledger::{Account, Charge};
use crate::watch::{CounterKind, CounterSpec};

/// An object that is parsed.
pub(super) struct Making {
    pub name: ObjectName,
    pub sha256: [u8; 32],
    pub builtin: Option<&'static Builtin>,
    pub plan: ObjectPlan,
    /// For the plan.
    pub _charge: Charge,
    pub shared: BTreeMap<String, MapRef>,
    pub labels: Labels,
    pub counters: BTreeMap<String, Vec<CounterSpec>>,
    /// Names of maps whose counters the caller declared.
    pub asked: Vec<String>,
    /// All of the verifier's log is wanted.
    pub keep_log: bool,
    pub account: Account,
}

/// What became of it, without a name yet: its maps, and warnings.
pub(super) type Made = (Object, Vec<Arc<Map>>, Vec<String>);

/// What a plan takes of the limits.
struct Rooms {
    btf: KernelCharge,
    /// In the plan's order; `None` for a map that is shared.
    maps: Vec<Option<Room>>,
    /// In the plan's order, without those that are not to be loaded.
    programs: Vec<ProgramRoom>,
}

impl Making {
    /// Checks what can be checked, then asks the kernel, until it is told to stop.
    pub(super) fn make(self, registry: &Registry, stop: &Stop) -> Result<Made, Error> {
        let Self { name, plan, .. } = &self;
        check_names(name, plan)?;
        let shared = registry.find_shared(plan, &self.shared, &self.account)?;
        check_counters(plan, &self.counters)?;
        let own = self.account.charge(object_bytes(plan, &self.labels))?;
        let Rooms { btf, maps: rooms, programs } = registry.rooms(name, plan, &shared)?;

        let fds = shared.iter().map(|(&at, map)| (at, map.sys().as_fd())).collect();
        let loaded = broker::load(plan, &fds, self.keep_log, stop)?;
        let mut warnings = plan.warnings.clone();
        let maps = self.maps(loaded.maps, rooms, registry, &mut warnings)?;
        warnings.extend(unused_counters(plan, &shared, &self.asked));
        let program = |(loaded, room): (LoadedProgram, _)| {
            let name = ProgramName::new(name, &loaded.name)?;
            Ok(Arc::new(Program { name, loaded, _room: room }))
        };
        let programs = loaded.programs.into_iter().zip(programs).map(program);
        let shared = shared.into_iter().map(|(at, map)| {
            let member = MapName::in_object(name, &plan.maps[at].name)?;
            Ok(SharedMap { member, map })
        });
        let holdings = Holdings {
            maps: maps.iter().filter_map(|map| map.name().cloned()).collect(),
            shared: shared.collect::<Result<_, Error>>()?,
        };
        let object = Object {
            programs: programs.collect::<Result<_, Error>>()?,
            name: self.name,
            builtin: self.builtin.map(|builtin| builtin.name.to_owned()),
            sha256: self.sha256,
            holdings: holdings.into(),
            labels: self.labels,
            loaded_at: SystemTime::now(),
            _room: (btf, own),
        };
        Ok((object, maps, warnings))
    }

    /// What the agent knows of the maps that the kernel made.
    fn maps(
        &self,
        made: Vec<Option<crate::sys::Map>>,
        rooms: Vec<Option<Room>>,
        registry: &Registry,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Arc<Map>>, Error> {
        let blob = self.plan.btf.as_ref().map(|blob| Bytes::copy_from_slice(blob));
        // As long as a map has it, for the names of its records' types.
        let bytes = blob.as_ref().map_or(0, |blob| blob.len() as u64);
        let blob_charge = Arc::new(self.account.charge(bytes)?);
        let mut schemas = match &blob {
            Some(blob) => Schemas::new(blob, &self.account)
                .inspect_err(|error| tracing::warn!(%error, "an object's BTF cannot be used"))
                .ok(),
            None => None,
        };
        let mut maps = Vec::new();
        for ((sys, planned), room) in made.into_iter().zip(&self.plan.maps).zip(rooms) {
            let Some((sys, mut room)) = sys.zip(room) else { continue };
            let name = MapName::in_object(&self.name, &planned.name)?;
            let identity = Identity::Owned { name, object: Some(self.name.clone()) };
            let mut about = self.about(planned, schemas.as_ref());
            let mut meaning = Meaning::default();
            if let (Some(blob), Some(schemas)) = (&blob, &mut schemas) {
                // The plan's ids, not the map's: the kernel takes none for some types. A ring has
                // neither key nor value; what it declares as its value are its records.
                let ids = (planned.btf_key_type_id, planned.btf_value_type_id);
                if planned.key_size > 0 || planned.value_size > 0 {
                    meaning = schemas.of(ids, &sys)?;
                }
                if kind::has_events(planned.map_type) {
                    let record = self.record(&planned.name);
                    let (records, charge) =
                        RecordTypes::of_object(blob, schemas, planned.map_type, record, ids.1)?;
                    about.records = records;
                    room.own.extend(charge.into_iter().chain([blob_charge.clone()]));
                }
            }
            room.own.push(Arc::new(self.account.charge(note_bytes(&about))?));
            let meaning = meaning.with_sums(&sys, &self.account)?;
            let map = Map::new(identity, sys, about, meaning, room);
            let map = Arc::new(map.mapped_within(registry.limits()));
            let asked = self.counters.get(&planned.name).map_or(0, Vec::len);
            warnings.extend(sources::check_counters(&map, asked)?);
            maps.push(map);
        }
        Ok(maps)
    }

    /// What the caller, the author and the built-in say of a map.
    fn about(&self, planned: &MapPlan, schemas: Option<&Schemas<'_>>) -> About {
        let mut counters = self.counters.get(&planned.name).cloned().unwrap_or_default();
        let mut host_names = host_names(self.builtin, &planned.name);
        if let Some(library) = schemas.map(Schemas::library) {
            // The loader knows better than the author.
            let noted = annotations::counters(library, planned.btf_value_type_id).into_iter();
            let new = |spec: &CounterSpec| !counters.iter().any(|known| known.field == spec.field);
            let noted: Vec<_> = noted.filter(new).collect();
            counters.extend(noted);
            host_names.extend(annotations::host_names(library, planned.btf_key_type_id));
        }
        let inner = planned.inner.as_deref().map(|inner| Box::new(broker::map_request(inner)));
        let labels = self.labels.clone();
        About { counters, host_names, labels, inner, ..About::default() }
    }

    /// The type of a map's records, if the built-in says it.
    fn record(&self, map: &str) -> Option<&'static str> {
        let records = self.builtin.map_or(&[][..], |builtin| builtin.records);
        records.iter().find(|known| known.map == map).map(|known| known.record)
    }
}

impl Registry {
    /// What a plan takes of the limits, before the kernel is asked for any of it.
    fn rooms(
        &self,
        object: &ObjectName,
        plan: &ObjectPlan,
        shared: &BTreeMap<usize, Arc<Map>>,
    ) -> Result<Rooms, Error> {
        let programs = || plan.programs.iter().filter(|program| program.autoload);
        self.check_seats(plan.maps.len() - shared.len(), programs().count())?;
        let types = plan.btf.as_ref().map_or(0, |blob| btf_bytes(blob.len()));
        let btf = self.kernel_memory().charge(|| format!("the BTF of object {object}"), types)?;
        let room = |(at, map): (usize, &MapPlan)| {
            if shared.contains_key(&at) {
                return Ok(None);
            }
            let name = MapName::in_object(object, &map.name)?;
            Ok(Some(self.room(&name, &broker::map_request(map))?))
        };
        let maps = plan.maps.iter().enumerate().map(room).collect::<Result<_, Error>>()?;
        let room = |program: &ProgramPlan| {
            let what = || format!("program {object}/{}", program.name);
            let kernel = self.kernel_memory().charge(what, program_bytes(program))?;
            Ok(ProgramRoom { _seat: self.program_seats.take()?, _kernel: kernel })
        };
        let programs = programs().map(room).collect::<Result<_, Error>>()?;
        Ok(Rooms { btf, maps, programs })
    }

    /// The maps to use instead of making them, by position in the plan.
    fn find_shared(
        &self,
        plan: &ObjectPlan,
        shared: &BTreeMap<String, MapRef>,
        account: &Account,
    ) -> Result<BTreeMap<usize, Arc<Map>>, Error> {
        let mut found = BTreeMap::new();
        for (member, reference) in shared {
            let Some(at) = plan.maps.iter().position(|map| map.name == *member) else {
                return Err(unknown_member("shared_maps", member, plan));
            };
            let map = self.map_for(reference, account)?;
            if map.name().is_none() {
                return Err(Error::ReadOnly { map: map.text().to_owned() });
            }
            if let Some(problem) = difference(&plan.maps[at], &map) {
                let (map, member) = (map.text().to_owned(), member.clone());
                return Err(Error::NotShareable { map, member, problem });
            }
            found.insert(at, map);
        }
        Ok(found)
    }
}

fn check_names(object: &ObjectName, plan: &ObjectPlan) -> Result<(), Error> {
    for map in &plan.maps {
        MapName::in_object(object, &map.name)?;
    }
    for program in &plan.programs {
        ProgramName::new(object, &program.name)?;
    }
    Ok(())
}

/// Warnings of counters that were asked for of maps which have their own already.
fn unused_counters(
    plan: &ObjectPlan,
    shared: &BTreeMap<usize, Arc<Map>>,
    asked: &[String],
) -> Vec<String> {
    let members = shared.iter().map(|(at, map)| (&plan.maps[*at].name, map.text()));
    let asked = members.filter(|(member, _)| asked.contains(member));
    let warning = |(member, map)| {
        format!(
            "counters of map {member} are not used: it is {map}, which says itself what it counts"
        )
    };
    asked.map(warning).collect()
}

/// What keeps a map from standing in for another: a program is verified against these.
fn difference(want: &MapPlan, map: &Map) -> Option<String> {
    let have = map.sys().info();
    let types = |number| kind::type_name(number);
    if have.map_type != want.map_type {
        return Some(format!("it is a {}, not a {}", types(have.map_type), types(want.map_type)));
    }
    let sizes = [
        ("key_size", have.key_size, want.key_size),
        ("value_size", have.value_size, want.value_size),
        ("max_entries", have.max_entries, want.max_entries),
        ("flags", have.flags, want.flags),
    ];
    let (field, have, want) = sizes.into_iter().find(|(_, have, want)| have != want)?;
    Some(format!("its {field} is {have}, not {want}"))
}

fn check_counters(
    plan: &ObjectPlan,
    counters: &BTreeMap<String, Vec<CounterSpec>>,
) -> Result<(), Error> {
    let known = |member: &&String| plan.maps.iter().any(|map| map.name == **member);
    match counters.keys().find(|member| !known(member)) {
        Some(member) => Err(unknown_member("counters", member, plan)),
        None => Ok(()),
    }
}

fn unknown_member(field: &'static str, member: &str, plan: &ObjectPlan) -> Error {
    let names: Vec<_> = plan.maps.iter().map(|map| map.name.as_str()).collect();
    let near = nearest(member, names.iter().copied());
    let problem = format!("the object has no map {member:?}; it has {}{near}", names.join(", "));
    Error::Invalid { field, problem }
}

/// What a built-in says of its own counters, unless the caller says otherwise.
pub(super) fn declare(counters: &mut BTreeMap<String, Vec<CounterSpec>>, builtin: &Builtin) {
    for map in builtin.counters {
        let spec = |counter: &bpfgate_ebpf::Counter| CounterSpec {
            field: counter.field.to_owned(),
            kind: CounterKind::Monotonic,
            unit: counter.unit.to_owned(),
        };
        let specs = || map.counters.iter().map(spec).collect();
        counters.entry(map.map.to_owned()).or_insert_with(specs);
    }
}

/// What a built-in says of its own keys, by label.
fn host_names(builtin: Option<&Builtin>, map: &str) -> Vec<(String, HostName)> {
    let names = builtin.into_iter().flat_map(|builtin| builtin.names);
    let names = names.filter(|name| name.map == map);
    let name =
        |name: &KeyName| Some((annotations::label(name.field), annotations::host_name(name.what)?));
    names.filter_map(name).collect()
}

pub(super) fn no_builtin(name: &str) -> Error {
    let known: Vec<_> = bpfgate_ebpf::all().iter().map(|builtin| builtin.name).collect();
    Error::NoBuiltin { name: name.chars().take(80).collect(), known: known.join(", ") }
}
