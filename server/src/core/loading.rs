//! From an ELF file's bytes to a loaded object under its name.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::SystemTime;

use bpfgate_ebpf::{Builtin, KeyName};
use bpfgate_proto::name::{MapName, MapRef, ObjectName, ProgramName};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::annotations;
use super::footprint::{btf_bytes, program_bytes};
use super::kernel_memory::KernelCharge;
use super::map::schema_of;
use super::object::{Object, Program, ProgramRoom};
use super::registry::Registry;
use super::room::Room;
use super::{About, Error, Identity, Labels, Limits, Map, RecordTypes, kind, sources};
use crate::broker::{self, LoadedProgram, Target};
use crate::elf::{AutoAttach, GlobalValue, MapPlan, ObjectPlan, ParseRequest, Parser, ProgramPlan};
use crate::watch::{CounterKind, CounterSpec, HostName};

/// Where an object's bytes come from.
#[derive(Debug)]
pub enum Source {
    /// The caller.
    Upload {
        /// The ELF file.
        elf: Bytes,
        /// Of the file.
        sha256: [u8; 32],
    },
    /// The agent itself: the built-in's name.
    Builtin(String),
}

/// An object to load.
#[derive(Debug)]
pub struct LoadRequest {
    /// Its name.
    pub name: ObjectName,
    /// Its bytes.
    pub source: Source,
    /// Global variables to set.
    pub globals: BTreeMap<String, GlobalValue>,
    /// Maps to use instead of making them, by the name in the object.
    pub shared: BTreeMap<String, MapRef>,
    /// Notes.
    pub labels: Labels,
    /// What the numbers count, by the map's name in the object.
    pub counters: BTreeMap<String, Vec<CounterSpec>>,
}

impl Registry {
    /// Loads an object. All or nothing. The answer has warnings, of the parser and about
    /// counters.
    pub async fn load(
        self: &Arc<Self>,
        parser: &Parser,
        request: LoadRequest,
    ) -> Result<(Arc<Object>, Vec<String>), Error> {
        let LoadRequest { name, source, globals, shared, labels, mut counters } = request;
        let reservation = self.reserve(&name)?;
        let asked: Vec<String> = counters.keys().cloned().collect();
        let (elf, sha256, builtin, known) = match source {
            Source::Upload { elf, sha256 } => (elf, sha256, None, None),
            Source::Builtin(wanted) => {
                let found = bpfgate_ebpf::find(&wanted).ok_or_else(|| no_builtin(&wanted))?;
                declare(&mut counters, found);
                let elf = Bytes::from_static(found.elf);
                let sha256 = Sha256::digest(&elf).into();
                (elf, sha256, Some(wanted), Some(found))
            }
        };
        let plan = parser.parse(ParseRequest { elf, globals }).await?;
        check_names(&name, &plan)?;
        let shared = self.find_shared(&plan, &shared)?;
        check_counters(&plan, &counters)?;
        let rooms = self.rooms(&name, &plan, &shared)?;
        let unused = unused_counters(&plan, &shared, &asked);

        let object_name = name.clone();
        // The verifier can take seconds. If the caller goes away meanwhile, what comes of it is
        // dropped unseen; otherwise it gets its name below.
        let limits = self.limits().clone();
        let work = move || {
            let made = load_plan(&object_name, &plan, &shared, counters, known, rooms, &limits)?;
            Ok::<_, Error>((made, shared, plan.warnings))
        };
        let joined = tokio::task::spawn_blocking(work).await;
        let (made, shared, mut warnings) = joined.map_err(|_| Error::Stopping)??;
        let Made { maps, programs, btf, warnings: more } = made;
        warnings.extend(more.into_iter().chain(unused));
        let object = Object {
            maps: maps.iter().filter_map(|map| map.name().cloned()).collect(),
            name,
            builtin,
            sha256,
            programs,
            shared: shared.into_values().collect(),
            labels,
            loaded_at: SystemTime::now(),
            _btf: btf,
        };
        let object = self.insert(object, maps)?;
        drop(reservation);
        Ok((object, warnings))
    }

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
    ) -> Result<BTreeMap<usize, Arc<Map>>, Error> {
        let mut found = BTreeMap::new();
        for (member, reference) in shared {
            let Some(at) = plan.maps.iter().position(|map| map.name == *member) else {
                return Err(unknown_member("shared_maps", member, plan));
            };
            let map = self.map(reference)?;
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

/// What a plan takes of the limits.
struct Rooms {
    btf: KernelCharge,
    /// In the plan's order; `None` for a map that is shared.
    maps: Vec<Option<Room>>,
    /// In the plan's order, without those that are not to be loaded.
    programs: Vec<ProgramRoom>,
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

/// What the kernel made of a plan, without a name yet.
struct Made {
    maps: Vec<Arc<Map>>,
    programs: Vec<Arc<Program>>,
    btf: KernelCharge,
    /// About declarations that cannot be.
    warnings: Vec<String>,
}

fn load_plan(
    name: &ObjectName,
    plan: &ObjectPlan,
    shared: &BTreeMap<usize, Arc<Map>>,
    mut counters: BTreeMap<String, Vec<CounterSpec>>,
    builtin: Option<&Builtin>,
    rooms: Rooms,
    limits: &Limits,
) -> Result<Made, Error> {
    let Rooms { btf: btf_charge, maps: map_rooms, programs: program_rooms } = rooms;
    let records = builtin.map_or(&[][..], |builtin| builtin.records);
    let btf = plan.btf.as_ref().map(|blob| Bytes::copy_from_slice(blob));
    let fds = shared.iter().map(|(&at, map)| (at, map.sys().as_fd())).collect();
    let loaded = broker::load(plan, &fds)?;
    let (mut maps, mut warnings) = (Vec::new(), Vec::new());
    for ((sys, planned), room) in loaded.maps.into_iter().zip(&plan.maps).zip(map_rooms) {
        let Some((sys, room)) = sys.zip(room) else { continue };
        let identity = Identity::Owned {
            name: MapName::in_object(name, &planned.name)?,
            object: Some(name.clone()),
        };
        // The plan's ids, not the map's: the kernel takes none for some types.
        let ids = (planned.btf_key_type_id, planned.btf_value_type_id);
        // A ring has neither; what it declares as its value are its records.
        let has_bytes = planned.key_size > 0 || planned.value_size > 0;
        let schema = btf.as_ref().filter(|_| has_bytes).and_then(|blob| schema_of(blob, ids, &sys));
        let mut counters = counters.remove(&planned.name).unwrap_or_default();
        let asked = counters.len();
        let mut host_names = host_names(builtin, &planned.name);
        if let Some(blob) = &btf {
            // The loader knows better than the author.
            let noted = annotations::counters(blob, ids.1).into_iter();
            let new = |spec: &CounterSpec| !counters.iter().any(|known| known.field == spec.field);
            let noted: Vec<_> = noted.filter(new).collect();
            counters.extend(noted);
            host_names.extend(annotations::host_names(blob, ids.0));
        }
        let named = records.iter().find(|known| known.map == planned.name);
        let records = match &btf {
            Some(blob) if kind::has_events(planned.map_type) => {
                let named = named.map(|known| known.record);
                RecordTypes::of_object(blob, planned.map_type, named, planned.btf_value_type_id)
            }
            _ => RecordTypes::default(),
        };
        let inner = planned.inner.as_deref().map(|inner| Box::new(broker::map_request(inner)));
        let about = About { schema, counters, host_names, records, inner, ..About::default() };
        let map = Arc::new(Map::new(identity, sys, about, room).mapped_within(limits));
        warnings.extend(sources::check_counters(&map, asked)?);
        maps.push(map);
    }
    let programs = loaded
        .programs
        .into_iter()
        .zip(program_rooms)
        .map(|(loaded, room): (LoadedProgram, _)| {
            let name = ProgramName::new(name, &loaded.name)?;
            Ok(Arc::new(Program { name, loaded, _room: room }))
        })
        .collect::<Result<_, Error>>()?;
    Ok(Made { maps, programs, btf: btf_charge, warnings })
}

/// The target that a program's own section names.
pub(super) fn own_target(program: &Program) -> Result<Target, Error> {
    Ok(match program.loaded.kind.auto_attach.clone() {
        AutoAttach::Tracepoint { category, name } => Target::Tracepoint { category, name },
        AutoAttach::RawTracepoint { name } => Target::RawTracepoint { name },
        AutoAttach::Kprobe { symbol, offset, on_return } => {
            Target::Kprobe { symbol, offset, on_return }
        }
        AutoAttach::Uprobe { path, symbol, offset, on_return } => {
            Target::Uprobe { path, symbol, offset, on_return, pid: None }
        }
        AutoAttach::Tracing { .. } => Target::Tracing,
        AutoAttach::None | AutoAttach::Iter { .. } | AutoAttach::Tcx { .. } => {
            let section = &program.loaded.section;
            let problem = format!(
                "section {section:?} of {} does not say where; name a target",
                program.name
            );
            return Err(Error::Invalid { field: "target", problem });
        }
    })
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
    let problem = format!("the object has no map {member:?}; it has {}", names.join(", "));
    Error::Invalid { field, problem }
}

/// What a built-in says of its own counters, unless the caller says otherwise.
fn declare(counters: &mut BTreeMap<String, Vec<CounterSpec>>, builtin: &Builtin) {
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

fn no_builtin(name: &str) -> Error {
    let known: Vec<_> = bpfgate_ebpf::all().iter().map(|builtin| builtin.name).collect();
    Error::NoBuiltin { name: name.chars().take(80).collect(), known: known.join(", ") }
}
