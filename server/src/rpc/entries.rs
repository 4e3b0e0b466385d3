//! Entries of a map, one at a time.

use bpfgate_proto::v1 as pb;
use tonic::Status;

use super::map_convert::{cpu_mode, locking, update_mode};
use super::typed::{key_bytes, typed_value, value_bytes};
use super::{Shared, reference};
use crate::core::{CpuMode, Error, Map, Operation};

pub(super) async fn lookup(
    shared: &Shared,
    request: pb::LookupRequest,
) -> Result<pb::LookupResponse, Status> {
    let pb::LookupRequest { map, key, cpu, typed, unlocked } = request;
    let cpu = cpu_mode(cpu)?;
    let map = shared.find_map(&map).await?;
    map.check_operation(Operation::Lookup)?;
    let locking = locking(unlocked);
    let (value, reference) = match key {
        Some(pb::lookup_request::Key::KeyReference(key)) => {
            (reference::lookup(shared, &map, key, cpu, locking).await?, None)
        }
        key => {
            let key = key_bytes(&map, key)?;
            let value = map.lookup(&key, cpu, locking)?;
            let reference = reference::told(shared, &map, &value).await?;
            (value, reference)
        }
    };
    let typed_value = typed.then(|| typed_value(&map, &value, cpu)).transpose()?;
    Ok(pb::LookupResponse { value: value.into(), typed_value, reference })
}

pub(super) async fn update(
    shared: &Shared,
    request: pb::UpdateRequest,
) -> Result<pb::UpdateResponse, Status> {
    let pb::UpdateRequest { map, key, value, mode, unlocked } = request;
    let mode = update_mode(mode)?;
    let map = shared.find_map(&map).await?;
    map.check_operation(Operation::Update)?;
    let locking = locking(unlocked);
    match (key, value) {
        (Some(pb::update_request::Key::KeyReference(key)), value) => {
            let value = value_bytes(&map, value)?;
            reference::update(shared, map, key, value, mode, locking).await?;
        }
        (key, Some(pb::update_request::Value::Reference(to))) => {
            let key = key_bytes(&map, key)?;
            reference::point(shared, map, key, to, mode).await?;
        }
        (key, value) => {
            let key = key_bytes(&map, key)?;
            let value = value_bytes(&map, value)?;
            map.update(&key, &value, mode, locking)?;
        }
    }
    Ok(pb::UpdateResponse {})
}

pub(super) async fn delete(
    shared: &Shared,
    request: pb::DeleteRequest,
) -> Result<pb::DeleteResponse, Status> {
    let pb::DeleteRequest { map, key } = request;
    let map = shared.find_map(&map).await?;
    map.check_operation(Operation::Delete)?;
    match key {
        Some(pb::delete_request::Key::KeyReference(key)) => {
            reference::delete(shared, map, key).await?;
        }
        key => map.delete(&key_bytes(&map, key)?)?,
    }
    Ok(pb::DeleteResponse {})
}

pub(super) async fn lookup_and_delete(
    shared: &Shared,
    request: pb::LookupAndDeleteRequest,
) -> Result<pb::LookupAndDeleteResponse, Status> {
    let pb::LookupAndDeleteRequest { map, key, cpu, typed, unlocked } = request;
    let cpu = cpu_mode(cpu)?;
    let map = shared.find_map(&map).await?;
    map.check_operation(Operation::LookupAndDelete)?;
    let key = key_bytes(&map, key)?;
    check_types(&map, typed)?;
    let value = map.lookup_and_delete(&key, cpu, locking(unlocked))?;
    let typed_value = typed.then(|| typed_value(&map, &value, cpu)).transpose()?;
    Ok(pb::LookupAndDeleteResponse { value: value.into(), typed_value })
}

pub(super) async fn push(
    shared: &Shared,
    request: pb::PushRequest,
) -> Result<pb::PushResponse, Status> {
    let pb::PushRequest { map, value, replace_oldest } = request;
    let map = shared.find_map(&map).await?;
    map.check_operation(Operation::Push)?;
    let value = value_bytes(&map, value)?;
    map.push(&value, replace_oldest)?;
    Ok(pb::PushResponse {})
}

pub(super) async fn pop(
    shared: &Shared,
    request: pb::PopRequest,
) -> Result<pb::PopResponse, Status> {
    let pb::PopRequest { map, typed } = request;
    let map = shared.find_map(&map).await?;
    check_types(&map, typed)?;
    let value = map.pop()?;
    let typed_value = typed.then(|| typed_value(&map, &value, CpuMode::Each)).transpose()?;
    Ok(pb::PopResponse { value: value.into(), typed_value })
}

pub(super) async fn peek(
    shared: &Shared,
    request: pb::PeekRequest,
) -> Result<pb::PeekResponse, Status> {
    let pb::PeekRequest { map, value, typed } = request;
    let map = shared.find_map(&map).await?;
    let wanted = match value {
        Some(value) => Some(value_bytes(&map, Some(value))?),
        None => None,
    };
    let value = map.peek(wanted.as_deref())?;
    let typed_value = typed.then(|| typed_value(&map, &value, CpuMode::Each)).transpose()?;
    Ok(pb::PeekResponse { value: value.into(), typed_value })
}

/// What is taken out must not be lost because nobody can say what it means.
fn check_types(map: &Map, typed: bool) -> Result<(), Error> {
    if typed && map.value_plan().is_none() {
        return Err(Error::NoSchema { map: map.text().to_owned(), what: "value" });
    }
    Ok(())
}
