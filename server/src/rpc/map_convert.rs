//! Messages of MapService to the core's types and back.

use std::sync::Arc;

use bpfgate_proto::name::{MapGlob, MapName, MapRef};
use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::{self, Plan, Schema, Type};
use tonic::Status;

use super::convert::{counters_from, counters_to, labels_from, labels_to, timestamp};
use super::names::key_name;
use super::status::invalid;
use crate::broker::MapRequest;
use crate::core::{
    About, Capabilities, CpuMode, CreateMap, Error, Identity, Limits, Locking, Map, MapFilter,
    Parts, RecordTypes, UpdateMode, has_events, type_name,
};
use crate::ledger::Account;
use crate::sys::MapInfo;

/// A map reference as a request has it.
pub(super) fn map_ref(text: &str) -> Result<MapRef, Status> {
    Ok(text.parse::<MapRef>().map_err(Error::from)?)
}

/// A map name as a request has it.
pub(super) fn map_name(text: &str) -> Result<MapName, Status> {
    Ok(text.parse::<MapName>().map_err(Error::from)?)
}

/// Refuses a list that costs more to look through than one request may.
pub(super) fn check_list(field: &'static str, len: usize, limits: &Limits) -> Result<(), Status> {
    let most = limits.max_patterns;
    if len <= most as usize {
        return Ok(());
    }
    Err(invalid(field, format!("are {len}, and a request has {most} at most (max_patterns)")))
}

pub(super) fn create_map(
    wire: pb::CreateMapRequest,
    limits: &Limits,
    account: Account,
) -> Result<CreateMap, Status> {
    let pb::CreateMapRequest { name, spec, layout, counters, labels, record_type } = wire;
    let name = map_name(&name)?;
    let spec = spec.ok_or_else(|| invalid("spec", "is missing: say what to make"))?;
    let request = map_request(name.as_str().to_owned(), spec, 0)?;
    let layout = layout.map(|layout| declared_schema(layout, &request)).transpose()?;
    check_list("counters", counters.len(), limits)?;
    let counters = counters_from(counters)?;
    let labels = labels_from(labels)?;
    let own = record_type.map(|ty| declared_record(ty, &request)).transpose()?;
    let records = RecordTypes { own: own.map(Arc::new), clock: None, btf: None };
    let about = About { counters, labels, records, ..About::default() };
    Ok(CreateMap { request, name, layout, about, account })
}

fn map_request(name: String, wire: pb::MapSpec, depth: u32) -> Result<MapRequest, Status> {
    let pb::MapSpec {
        r#type,
        key_size,
        value_size,
        max_entries,
        flags,
        numa_node,
        map_extra,
        inner,
    } = wire;
    let map_type = u32::try_from(r#type)
        .ok()
        .filter(|&number| number != 0)
        .ok_or_else(|| invalid("spec.type", format!("{type} is no map type; see MapType")))?;
    let inner = match inner {
        Some(_) if depth > 0 => {
            return Err(invalid("spec.inner.inner", "maps of maps nest one level only"));
        }
        Some(inner) => Some(Box::new(map_request(format!("{name}.in"), *inner, depth + 1)?)),
        None => None,
    };
    Ok(MapRequest {
        name,
        map_type,
        key_size,
        value_size,
        max_entries,
        flags,
        numa_node,
        map_extra,
        inner,
        btf_types: None,
    })
}

/// A layout that a caller declares has to fit the sizes it stands for.
fn declared_schema(wire: pb::Schema, request: &MapRequest) -> Result<Schema, Status> {
    let schema = Schema::try_from(wire).map_err(|error| invalid("layout", error.to_string()))?;
    let sides = [
        ("layout.key", "key_size", schema.key.as_ref(), request.key_size),
        ("layout.value", "value_size", schema.value.as_ref(), request.value_size),
    ];
    for (field, spec, ty, size) in sides {
        let Some(ty) = ty else { continue };
        if ty.size != size {
            return Err(invalid(field, format!("has {} bytes, spec.{spec} is {size}", ty.size)));
        }
        Plan::compile(ty).map_err(|error| invalid(field, error.to_string()))?;
    }
    Ok(Schema { source: value::SchemaSource::Declared, ..schema })
}

/// What the records of an event buffer are.
fn declared_record(wire: pb::Type, request: &MapRequest) -> Result<Type, Status> {
    const FIELD: &str = "record_type";
    if !has_events(request.map_type) {
        let map_type = type_name(request.map_type);
        return Err(invalid(FIELD, format!("a {map_type} has no records; see layout")));
    }
    let ty = Type::try_from(wire).map_err(|error| invalid(FIELD, error.to_string()))?;
    Plan::compile(&ty).map_err(|error| invalid(FIELD, error.to_string()))?;
    Ok(ty)
}

/// A map for an answer; `whole` adds what costs something to find out or to send.
pub(super) fn map_message(map: &Map, whole: bool) -> pb::Map {
    let info = map.sys().info();
    let (ownership, object) = match map.identity() {
        Identity::Owned { object, .. } => (pb::Ownership::Owned, object.as_ref()),
        Identity::Adopted(_) => (pb::Ownership::Adopted, None),
    };
    let (memory_bytes, frozen) = map.memory().unwrap_or_default();
    pb::Map {
        name: map.name().map(ToString::to_string).unwrap_or_default(),
        id: info.id,
        kernel_name: info.name.to_text(),
        spec: Some(pb::MapSpec {
            numa_node: map.about().numa_node,
            inner: map.about().inner.as_deref().map(|inner| Box::new(spec_message(inner))),
            ..known_spec(info)
        }),
        ownership: ownership.into(),
        object: object.map(ToString::to_string).unwrap_or_default(),
        value_stride: u32::try_from(map.sys().value_len()).unwrap_or(u32::MAX),
        memory_bytes,
        frozen,
        schema: map.about().schema.as_deref().filter(|_| whole).cloned().map(Into::into),
        capabilities: whole.then(|| capabilities(*map.capabilities())),
        counters: counters_to(&map.about().counters),
        labels: labels_to(map.labels()),
        created_at: Some(timestamp(map.created_at())),
        per_cpu: map.sys().cpus().is_some(),
        pins: map.pins(),
        holders: Vec::new(),
        record_type: map.about().records.own.as_deref().filter(|_| whole).cloned().map(Into::into),
        key_names: map.about().host_names.iter().filter(|_| whole).map(key_name).collect(),
        btf_id: info.btf_id,
        btf_key_type_id: info.btf_key_type_id,
        btf_value_type_id: info.btf_value_type_id,
        sum_type: map.sum_type().filter(|_| whole).cloned().map(Into::into),
    }
}

/// What the kernel tells of what a map is made of.
pub(super) fn known_spec(info: &MapInfo) -> pb::MapSpec {
    pb::MapSpec {
        r#type: info.map_type.cast_signed(),
        key_size: info.key_size,
        value_size: info.value_size,
        max_entries: info.max_entries,
        flags: info.flags,
        numa_node: None,
        map_extra: info.map_extra,
        inner: None,
    }
}

fn spec_message(request: &MapRequest) -> pb::MapSpec {
    let MapRequest {
        name: _,
        map_type,
        key_size,
        value_size,
        max_entries,
        flags,
        numa_node,
        map_extra,
        ref inner,
        btf_types: _,
    } = *request;
    pb::MapSpec {
        r#type: map_type.cast_signed(),
        key_size,
        value_size,
        max_entries,
        flags,
        numa_node,
        map_extra,
        inner: inner.as_deref().map(|inner| Box::new(spec_message(inner))),
    }
}

fn capabilities(core: Capabilities) -> pb::Capabilities {
    let Capabilities {
        lookup,
        update,
        delete,
        iterate,
        batch_lookup,
        watch_counters,
        lookup_and_delete,
        push,
        pop,
        peek,
        freeze,
        pin,
        batch_update,
        batch_delete,
        watch_events,
        lock,
        mmap,
    } = core;
    pb::Capabilities {
        lookup,
        update,
        delete,
        iterate,
        batch_lookup,
        watch_counters,
        lookup_and_delete,
        push,
        pop,
        peek,
        freeze,
        pin,
        batch_update,
        batch_delete,
        watch_events,
        lock,
        mmap,
    }
}

pub(super) fn map_filter(wire: pb::ListMapsRequest, limits: &Limits) -> Result<MapFilter, Status> {
    let pb::ListMapsRequest { names, types, labels, all: _ } = wire;
    check_list("names", names.len(), limits)?;
    check_list("types", types.len(), limits)?;
    let names = names
        .iter()
        .map(|glob| glob.parse::<MapGlob>().map_err(Error::from))
        .collect::<Result<_, _>>()?;
    let types = types
        .into_iter()
        .map(|number| {
            let known = u32::try_from(number).ok().filter(|&number| number != 0);
            known.ok_or_else(|| invalid("types", format!("{number} is no map type; see MapType")))
        })
        .collect::<Result<_, _>>()?;
    Ok(MapFilter { names, types, labels: labels_from(labels)? })
}

/// EACH if unspecified.
pub(super) fn cpu_mode(number: i32) -> Result<CpuMode, Status> {
    match pb::CpuMode::try_from(number) {
        Ok(pb::CpuMode::Unspecified | pb::CpuMode::Each) => Ok(CpuMode::Each),
        Ok(pb::CpuMode::Sum) => Ok(CpuMode::Sum),
        Err(_) => Err(invalid("cpu", format!("{number} is no CpuMode"))),
    }
}

/// A lock is taken unless the caller wants it left alone.
pub(super) fn locking(unlocked: bool) -> Locking {
    if unlocked { Locking::Unlocked } else { Locking::IfAny }
}

pub(super) fn update_mode(number: i32) -> Result<UpdateMode, Status> {
    match pb::UpdateMode::try_from(number) {
        Ok(pb::UpdateMode::Unspecified | pb::UpdateMode::Any) => Ok(UpdateMode::Any),
        Ok(pb::UpdateMode::Noexist) => Ok(UpdateMode::NoExist),
        Ok(pb::UpdateMode::Exist) => Ok(UpdateMode::Exist),
        Err(_) => Err(invalid("mode", format!("{number} is no UpdateMode"))),
    }
}

pub(super) fn parts(number: i32) -> Result<Parts, Status> {
    match pb::EntryParts::try_from(number) {
        Ok(pb::EntryParts::Unspecified | pb::EntryParts::Both) => Ok(Parts::Both),
        Ok(pb::EntryParts::Keys) => Ok(Parts::Keys),
        Ok(pb::EntryParts::Values) => Ok(Parts::Values),
        Err(_) => Err(invalid("parts", format!("{number} is no EntryParts"))),
    }
}
