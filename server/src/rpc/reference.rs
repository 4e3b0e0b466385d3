//! Entries whose key or value stands for something else. Finding it can mean to walk procfs, so
//! all of this runs where it may block.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::v1::reference::To;
use tonic::Status;

use super::Shared;
use super::names::KeyNames;
use super::typed::{Given, key_bytes, value_bytes};
use crate::core::{CpuMode, Error, Locking, Map, ProgramId, Reference, Referent, UpdateMode};
use crate::layer::Call;

/// A value by a key that stands for something else.
pub(super) async fn lookup(
    shared: &Shared,
    call: &Arc<Call>,
    map: &Arc<Map>,
    key: pb::Reference,
    cpu: CpuMode,
    locking: Locking,
) -> Result<Vec<u8>, Status> {
    let key = reference("key_reference", key)?;
    let (registry, map) = (shared.registry.clone(), map.clone());
    let work = move || {
        let key = registry.held_key(&map, &key)?;
        map.lookup_held(&key, cpu, locking)
    };
    shared.work(call, work).await
}

/// Writes a value by a key that stands for something else.
pub(super) async fn update(
    shared: &Shared,
    call: &Arc<Call>,
    map: Arc<Map>,
    key: pb::Reference,
    value: Option<Given>,
    mode: UpdateMode,
    locking: Locking,
) -> Result<(), Status> {
    let key = reference("key_reference", key)?;
    let registry = shared.registry.clone();
    let mut held = call.account().empty();
    let work = move || {
        let value = value_bytes(&map, value, &mut held)?;
        let key = registry.held_key(&map, &key)?;
        map.update_held(&key, &value, mode, locking)
    };
    shared.work(call, work).await
}

/// Removes the entry of a key that stands for something else.
pub(super) async fn delete(
    shared: &Shared,
    call: &Arc<Call>,
    map: Arc<Map>,
    key: pb::Reference,
) -> Result<(), Status> {
    let key = reference("key_reference", key)?;
    let registry = shared.registry.clone();
    let work = move || {
        let key = registry.held_key(&map, &key)?;
        map.delete_held(&key)
    };
    shared.work(call, work).await
}

/// Makes an entry stand for something.
pub(super) async fn point(
    shared: &Shared,
    call: &Arc<Call>,
    map: Arc<Map>,
    (key, names): (Option<Given>, Option<KeyNames>),
    to: pb::Reference,
    mode: UpdateMode,
) -> Result<(), Status> {
    let to = reference("reference", to)?;
    let registry = shared.registry.clone();
    let mut held = call.account().empty();
    let work = move || {
        let key = key_bytes(&map, key, names.as_ref(), &mut held)?;
        registry.point(&map, &key, &to, mode)
    };
    shared.work(call, work).await
}

/// What a value that was read stands for, if that is not the bytes themselves.
pub(super) async fn told(
    shared: &Shared,
    call: &Arc<Call>,
    map: &Arc<Map>,
    value: &[u8],
) -> Result<Option<pb::Reference>, Status> {
    if map.value_kind().is_none() {
        return Ok(None);
    }
    let (registry, map, value) = (shared.registry.clone(), map.clone(), value.to_vec());
    let referent = shared.work(call, move || Ok(registry.referent(&map, &value))).await?;
    Ok(referent.map(message))
}

/// What an entry shall stand for, as a request names it.
pub(super) fn reference(field: &'static str, wire: pb::Reference) -> Result<Reference, Error> {
    let wrong = |problem: String| Error::Invalid { field, problem };
    let Some(to) = wire.to else {
        return Err(wrong("says nothing: name what the entry stands for".to_owned()));
    };
    let bad = |error: &dyn std::error::Error| wrong(error.to_string());
    let name = |text: String| text.parse().map_err(|error| bad(&error));
    let program = |text: String| match text.as_str() {
        "" => Ok(None),
        _ => name(text).map(Some),
    };
    Ok(match to {
        To::Map(text) => Reference::Map(text.parse().map_err(|error| bad(&error))?),
        To::Program(text) => Reference::Program(name(text)?),
        To::Device(pb::DeviceReference { interface, program: text }) => {
            Reference::Device { interface, program: program(text)? }
        }
        To::Cpu(pb::CpuReference { queue_size, program: text }) => {
            Reference::Cpu { queue_size, program: program(text)? }
        }
        To::Cgroup(path) => Reference::Cgroup(path),
        To::Socket(text) => Reference::Socket(text.parse().map_err(|error| bad(&error))?),
        To::Process(id) => Reference::Process(id),
        To::File(path) => Reference::File(path),
    })
}

/// A name as answers have it.
pub(super) fn message(referent: Referent) -> pb::Reference {
    let text = |program: ProgramId| match program {
        ProgramId::Owned(name) => name.to_string(),
        ProgramId::Other(id) => format!("id:{id}"),
    };
    let optional = |program: Option<ProgramId>| program.map(text).unwrap_or_default();
    match referent {
        Referent::Map(reference) => To::Map(reference.to_string()),
        Referent::Program(program) => To::Program(text(program)),
        Referent::Device { interface, program } => {
            To::Device(pb::DeviceReference { interface, program: optional(program) })
        }
        Referent::Cpu { queue_size, program } => {
            To::Cpu(pb::CpuReference { queue_size, program: optional(program) })
        }
        Referent::Socket(cookie) => To::Socket(format!("cookie:{cookie}")),
    }
    .into()
}
