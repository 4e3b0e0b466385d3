//! Lists of the whole host, what others made included.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::nearest;
use tonic::Status;

use super::convert::timestamp;
use super::map_convert::{known_spec, map_message};
use super::program_convert::{object_name, program_message};
use super::status::invalid;
use super::{Shared, fits};
use crate::broker::{self, Holder, HostMap, HostProgram, PROGRAM_TYPES, program_type_name};
use crate::core::{Map, MapFilter, Program, Whereabouts};
use crate::layer::Call;

/// What a map or program takes in a list, as a message and encoded.
pub(super) const LISTED_BYTES: u64 = 4 << 10;

pub(super) async fn maps(
    shared: &Shared,
    call: &Arc<Call>,
    filter: MapFilter,
) -> Result<pb::ListMapsResponse, Status> {
    let (registry, held, most) = (shared.registry.clone(), call.clone(), shared.most());
    let list = move || {
        let found = registry.whereabouts();
        let (own, others) = (registry.maps(&filter), registry.others_maps(&filter)?);
        held.hold((own.len() + others.len()) as u64 * LISTED_BYTES)?;
        let own = own.iter().map(|map| own_map(map, &found));
        let maps = own.chain(others.iter().map(|map| others_map(map, &found))).collect();
        let holders_hidden = found.hidden().unwrap_or_default();
        fits("the list of maps", pb::ListMapsResponse { maps, holders_hidden }, most)
    };
    shared.work(call, list).await
}

pub(super) async fn programs(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::ListProgramsRequest,
) -> Result<pb::ListProgramsResponse, Status> {
    let pb::ListProgramsRequest { all, object, types } = request;
    let object = if object.is_empty() { None } else { Some(object_name(&object)?) };
    if let Some(unknown) = types.iter().find(|kind| !PROGRAM_TYPES.contains(&kind.as_str())) {
        let unknown: String = unknown.chars().take(80).collect();
        let problem = format!(
            "{unknown:?} is no type of program; there are {}{}",
            PROGRAM_TYPES[1..].join(", "),
            nearest(&unknown, PROGRAM_TYPES[1..].iter().copied())
        );
        return Err(invalid("types", problem));
    }
    let (registry, held, most) = (shared.registry.clone(), call.clone(), shared.most());
    let list = move || {
        let found = if all { registry.whereabouts() } else { Whereabouts::default() };
        let own = registry.programs(object.as_ref())?;
        let others = if all && object.is_none() { registry.others_programs()? } else { Vec::new() };
        held.hold((own.len() + others.len()) as u64 * LISTED_BYTES)?;
        let own = own.iter().filter_map(|program| own_program(program, &found));
        let others = others.iter().map(|program| listed(program, None, &found));
        let wanted = |listed: &pb::ListedProgram| {
            let kind = listed.program.as_ref().map(|program| &program.r#type);
            types.is_empty() || kind.is_some_and(|kind| types.contains(kind))
        };
        let programs = own.chain(others).filter(wanted).collect();
        let holders_hidden = found.hidden().unwrap_or_default();
        fits("the list of programs", pb::ListProgramsResponse { programs, holders_hidden }, most)
    };
    shared.work(call, list).await
}

fn own_map(map: &Map, found: &Whereabouts) -> pb::Map {
    let message = map_message(map, false);
    let id = map.sys().info().id;
    let mut pins = message.pins.clone();
    let others = found.pins.maps.get(&id).into_iter().flatten();
    pins.extend(others.filter(|pin| !message.pins.contains(pin)).cloned());
    pb::Map { pins, holders: holders(found.holders.maps.get(&id)), ..message }
}

/// What the kernel alone tells of a map.
fn others_map(map: &HostMap, found: &Whereabouts) -> pb::Map {
    let HostMap { info, memory, frozen } = map;
    pb::Map {
        id: info.id,
        kernel_name: info.name.to_text(),
        spec: Some(known_spec(info)),
        ownership: pb::Ownership::Foreign.into(),
        memory_bytes: *memory,
        frozen: *frozen,
        btf_id: info.btf_id,
        pins: found.pins.maps.get(&info.id).cloned().unwrap_or_default(),
        holders: holders(found.holders.maps.get(&info.id)),
        ..pb::Map::default()
    }
}

/// `None` if the kernel does not tell of it, which it does of a descriptor that is open.
fn own_program(program: &Program, found: &Whereabouts) -> Option<pb::ListedProgram> {
    let known = broker::program(program.loaded.fd.as_fd()).ok()?;
    Some(listed(&known, Some(program), found))
}

fn listed(program: &HostProgram, own: Option<&Program>, found: &Whereabouts) -> pb::ListedProgram {
    let HostProgram { info, stats, maps, memory } = program;
    let kind = program_type_name(info.prog_type).to_owned();
    let message = own.map_or_else(
        || pb::Program {
            name: String::new(),
            id: info.id,
            tag: info.tag.to_vec().into(),
            r#type: kind.clone(),
            section: String::new(),
            instructions: info.instructions,
        },
        program_message,
    );
    let stats = pb::ProgramStats {
        program: message.name.clone(),
        id: info.id,
        r#type: kind,
        run_count: stats.run_count,
        run_time_ns: stats.run_time_ns,
        recursion_misses: stats.recursion_misses,
    };
    pb::ListedProgram {
        program: Some(message),
        kernel_name: info.name.to_text(),
        created_by_uid: info.created_by_uid,
        loaded_at: Some(timestamp(since_boot(info.load_time))),
        memory_bytes: *memory,
        map_ids: maps.clone(),
        stats: Some(stats),
        pins: found.pins.programs.get(&info.id).cloned().unwrap_or_default(),
        holders: holders(found.holders.programs.get(&info.id)),
    }
}

fn holders(known: Option<&Vec<Holder>>) -> Vec<pb::Holder> {
    let message =
        |Holder { pid, command }: &Holder| pb::Holder { pid: *pid, command: command.clone() };
    known.into_iter().flatten().map(message).collect()
}

/// A time of `CLOCK_BOOTTIME` by the clock on the wall.
fn since_boot(nanoseconds: u64) -> SystemTime {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = Duration::try_from(now).unwrap_or_default();
    let age = now.saturating_sub(Duration::from_nanos(nanoseconds));
    SystemTime::now() - age
}
