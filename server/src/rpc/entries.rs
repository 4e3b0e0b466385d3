//! Entries of a map, one at a time.
//!
//! What an answer takes is charged before the kernel is asked. Small values are read where the
//! request runs, which takes a microsecond; large ones wait their turn in the queue of long work.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bytes::Bytes;
use tonic::Status;

use super::answer::Answer;
use super::map_convert::{cpu_mode, locking, update_mode};
use super::names::KeyNames;
use super::typed::{Given, is_short, is_short_key, is_typed, key_bytes, typed_value, value_bytes};
use super::{Shared, reference};
use crate::core::{CpuMode, Error, Map, Operation};
use crate::layer::Call;

pub(super) async fn lookup(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::LookupRequest,
) -> Result<pb::LookupResponse, Status> {
    let pb::LookupRequest { map, key, cpu, typed, unlocked, wide_sums, resolve } = request;
    let cpu = cpu_mode(cpu)?;
    let map = shared.find_map(call, &map).await?;
    map.check_operation(Operation::Lookup)?;
    let raw = raw_value(&map, cpu, typed, wide_sums)?;
    let answer = Answer::of(&map, cpu, typed, shared.most())?;
    call.hold(answer.bytes())?;
    let locking = locking(unlocked);
    let typed = move |map: &_, value: &_| {
        typed.then(|| typed_value(map, value, cpu, answer.typed_room())).transpose()
    };
    if let Some(pb::lookup_request::Key::KeyReference(key)) = key {
        let value = reference::lookup(shared, call, &map, key, cpu, locking).await?;
        let typed_value = typed(&map, &value)?;
        return Ok(pb::LookupResponse { value: raw(value), typed_value, reference: None });
    }
    let key = Given::of(key);
    let names = KeyNames::of_key(shared, &map, resolve, is_typed(key.as_ref()))?;
    let short = answer.is_short() && is_short_key(key.as_ref(), names.as_ref());
    let (held, read) = (call.account().empty(), map.clone());
    let work = move || {
        let mut held = held;
        let key = key_bytes(&read, key, names.as_ref(), &mut held)?;
        let value = read.lookup(&key, cpu, locking)?;
        let typed_value = typed(&read, &value)?;
        Ok((value, typed_value))
    };
    let (value, typed_value) = shared.by_size(call, short, work).await?;
    let reference = reference::told(shared, call, &map, &value).await?;
    Ok(pb::LookupResponse { value: raw(value), typed_value, reference })
}

/// What an answer has of a value's bytes. Those of a sum that are not one CPU's value go only to
/// who said that it knows: nobody else finds numbers in them that are none.
fn raw_value(
    map: &Map,
    cpu: CpuMode,
    typed: bool,
    wide_sums: bool,
) -> Result<impl FnOnce(Vec<u8>) -> Bytes + use<>, Error> {
    let as_one = if wide_sums { Ok(()) } else { map.check_sum_is_one_value(cpu) };
    let known = as_one.is_ok();
    if !typed {
        as_one?;
    }
    Ok(move |value: Vec<u8>| if known { value.into() } else { Bytes::new() })
}

pub(super) async fn update(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::UpdateRequest,
) -> Result<pb::UpdateResponse, Status> {
    let pb::UpdateRequest { map, key, value, mode, unlocked, resolve } = request;
    let mode = update_mode(mode)?;
    let map = shared.find_map(call, &map).await?;
    map.check_operation(Operation::Update)?;
    let locking = locking(unlocked);
    // One value for all CPUs is repeated for each.
    call.hold(map.sys().value_len() as u64)?;
    let typed = matches!(key, Some(pb::update_request::Key::TypedKey(_)));
    let names = KeyNames::of_key(shared, &map, resolve, typed)?;
    let mut held = call.account().empty();
    match (key, value) {
        (Some(pb::update_request::Key::KeyReference(key)), value) => {
            let value = Given::of(value);
            reference::update(shared, call, map, key, value, mode, locking).await?;
        }
        (key, Some(pb::update_request::Value::Reference(to))) => {
            let key = Given::of(key);
            reference::point(shared, call, map, (key, names), to, mode).await?;
        }
        (key, value) => {
            let (key, value) = (Given::of(key), Given::of(value));
            let short = is_short_key(key.as_ref(), names.as_ref()) && is_short(value.as_ref());
            let work = move || {
                let key = key_bytes(&map, key, names.as_ref(), &mut held)?;
                let value = value_bytes(&map, value, &mut held)?;
                map.update(&key, &value, mode, locking)
            };
            shared.by_size(call, short, work).await?;
        }
    }
    Ok(pb::UpdateResponse {})
}

pub(super) async fn delete(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::DeleteRequest,
) -> Result<pb::DeleteResponse, Status> {
    let pb::DeleteRequest { map, key, resolve } = request;
    let map = shared.find_map(call, &map).await?;
    map.check_operation(Operation::Delete)?;
    // Some types are read first.
    call.hold(map.sys().value_len() as u64)?;
    match key {
        Some(pb::delete_request::Key::KeyReference(key)) => {
            reference::delete(shared, call, map, key).await?;
        }
        key => {
            let (key, mut held) = (Given::of(key), call.account().empty());
            let names = KeyNames::of_key(shared, &map, resolve, is_typed(key.as_ref()))?;
            let short = is_short_key(key.as_ref(), names.as_ref());
            let work = move || map.delete(&key_bytes(&map, key, names.as_ref(), &mut held)?);
            shared.by_size(call, short, work).await?;
        }
    }
    Ok(pb::DeleteResponse {})
}

pub(super) async fn lookup_and_delete(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::LookupAndDeleteRequest,
) -> Result<pb::LookupAndDeleteResponse, Status> {
    let pb::LookupAndDeleteRequest { map, key, cpu, typed, unlocked, wide_sums, resolve } = request;
    let cpu = cpu_mode(cpu)?;
    let map = shared.find_map(call, &map).await?;
    map.check_operation(Operation::LookupAndDelete)?;
    let raw = raw_value(&map, cpu, typed, wide_sums)?;
    let answer = Answer::of(&map, cpu, typed, shared.most())?;
    answer.must_fit(&map)?;
    call.hold(answer.bytes())?;
    let (key, mut held) = (Given::of(key), call.account().empty());
    let names = KeyNames::of_key(shared, &map, resolve, is_typed(key.as_ref()))?;
    let short = answer.is_short() && is_short_key(key.as_ref(), names.as_ref());
    let work = move || {
        let key = key_bytes(&map, key, names.as_ref(), &mut held)?;
        let value = map.lookup_and_delete(&key, cpu, locking(unlocked))?;
        let typed = typed.then(|| typed_value(&map, &value, cpu, answer.typed_room()));
        Ok((value, typed.transpose()?))
    };
    let (value, typed_value) = shared.by_size(call, short, work).await?;
    Ok(pb::LookupAndDeleteResponse { value: raw(value), typed_value })
}

pub(super) async fn push(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::PushRequest,
) -> Result<pb::PushResponse, Status> {
    let pb::PushRequest { map, value, replace_oldest } = request;
    let map = shared.find_map(call, &map).await?;
    map.check_operation(Operation::Push)?;
    let (value, mut held) = (Given::of(value), call.account().empty());
    let short = is_short(value.as_ref());
    let work = move || {
        let value = value_bytes(&map, value, &mut held)?;
        map.push(&value, replace_oldest)
    };
    shared.by_size(call, short, work).await?;
    Ok(pb::PushResponse {})
}

pub(super) async fn pop(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::PopRequest,
) -> Result<pb::PopResponse, Status> {
    let pb::PopRequest { map, typed } = request;
    let map = shared.find_map(call, &map).await?;
    let answer = Answer::of(&map, CpuMode::Each, typed, shared.most())?;
    answer.must_fit(&map)?;
    call.hold(answer.bytes())?;
    let work = move || {
        let value = map.pop()?;
        let typed = typed.then(|| typed_value(&map, &value, CpuMode::Each, answer.typed_room()));
        Ok((value, typed.transpose()?))
    };
    let (value, typed_value) = shared.by_size(call, answer.is_short(), work).await?;
    Ok(pb::PopResponse { value: value.into(), typed_value })
}

pub(super) async fn peek(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::PeekRequest,
) -> Result<pb::PeekResponse, Status> {
    let pb::PeekRequest { map, value, typed } = request;
    let map = shared.find_map(call, &map).await?;
    let answer = Answer::of(&map, CpuMode::Each, typed, shared.most())?;
    call.hold(answer.bytes())?;
    let (wanted, mut held) = (Given::of(value), call.account().empty());
    let short = answer.is_short() && is_short(wanted.as_ref());
    let work = move || {
        let wanted = match wanted {
            Some(value) => Some(value_bytes(&map, Some(value), &mut held)?),
            None => None,
        };
        let value = map.peek(wanted.as_deref())?;
        let typed = typed.then(|| typed_value(&map, &value, CpuMode::Each, answer.typed_room()));
        Ok((value, typed.transpose()?))
    };
    let (value, typed_value) = shared.by_size(call, short, work).await?;
    Ok(pb::PeekResponse { value: value.into(), typed_value })
}
