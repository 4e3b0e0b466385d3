//! The batched RPCs of `MapService`: packed or typed entries in, long work, a count and a bitmap out.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::EncodedValue;
use bytes::Bytes;
use tonic::Status;

use super::Shared;
use super::answer::entry_bounds;
use super::map_convert::{cpu_mode, locking, update_mode};
use super::names::KeyNames;
use super::reference::reference;
use super::typed::{ENTRY_BYTES, TypedEntries, typed_entry_bytes, typed_key_bytes};
use crate::core::{
    CpuMode, Error, Finder, Found, KeyList, Map, Packed, Reference, Remover, Writer,
};
use crate::layer::Call;
use crate::ledger::{Account, Charge};

pub(super) async fn lookup(
    shared: &Shared,
    call: &Arc<Call>,
    wire: pb::LookupBatchRequest,
) -> Result<pb::LookupBatchResponse, Status> {
    let pb::LookupBatchRequest {
        map,
        keys,
        typed_keys,
        cpu,
        typed,
        wide_sums,
        resolve,
        resolve_declared,
    } = wire;
    let (map, most) = (shared.find_map(call, &map).await?, shared.most());
    let cpu = cpu_mode(cpu)?;
    if !typed && !wide_sums {
        map.check_sum_is_one_value(cpu)?;
    }
    let shown = KeyNames::of(shared, &map, resolve.clone(), resolve_declared)?;
    let names = KeyNames::of_key(shared, &map, resolve, !typed_keys.is_empty())?;
    let (keys, _charge) = key_list(shared, call, &map, (keys, typed_keys), names).await?;
    // Once as they are read, and once more encoded.
    call.hold(2 * Finder::bytes(&map, &keys, cpu, most)?)?;
    let finder = Finder::new(map, keys, cpu, most)?;
    let finder = shared.work_steps(call, finder, Finder::find_slice).await?;
    let found = finder.finish();
    if !typed {
        let Found { map: _, keys, values, stride, found } = found;
        return Ok(pb::LookupBatchResponse {
            count: count(keys.len()),
            values: values.into(),
            value_stride: count(stride),
            found: found.into(),
            typed_entries: Vec::new(),
        });
    }
    let entries = found.entries().count() as u64;
    let bounds = entry_bounds(&found.map, cpu, (true, true))?;
    if bounds.least.saturating_mul(entries) > most {
        let what = format!("the typed entries of map {}", found.map.text());
        let asked = bounds.least.saturating_mul(entries);
        return Err(Error::TooLarge { what, asked, limit: most }.into());
    }
    let each = bounds.most.saturating_add(shown.bytes());
    let room = each.saturating_mul(entries).min(most);
    call.hold(2 * room + entries * ENTRY_BYTES)?;
    shared.work(call, move || typed_answer(found, cpu, room, &shown)).await
}

fn typed_answer(
    found: Found,
    cpu: CpuMode,
    room: u64,
    names: &KeyNames,
) -> Result<pb::LookupBatchResponse, Error> {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    let mut entries = TypedEntries::new(&found.map, cpu, room, names);
    for (key, value) in found.entries() {
        entries.add(Some(key), Some(value))?;
    }
    let typed_entries = entries.finish((true, true));
    let Found { map: _, keys, values: _, stride, found } = found;
    Ok(pb::LookupBatchResponse {
        count: count(keys.len()),
        values: Bytes::new(),
        value_stride: count(stride),
        found: found.into(),
        typed_entries,
    })
}

pub(super) async fn update(
    shared: &Shared,
    call: &Arc<Call>,
    wire: pb::UpdateBatchRequest,
) -> Result<pb::UpdateBatchResponse, Status> {
    let pb::UpdateBatchRequest { map, entries, typed_entries, mode, unlocked } = wire;
    let (map, most) = (shared.find_map(call, &map).await?, shared.most());
    let registry = shared.registry.clone();
    let writer = Writer::new(registry, map.clone(), update_mode(mode)?, locking(unlocked))?;
    let account = call.account().clone();
    let entries = entries.unwrap_or_default();
    let names = KeyNames::of(shared, &map, Vec::new(), true)?;
    let pack = move || packed(&map, entries, typed_entries, &names, most, &account);
    let (entries, _charge) = shared.work(call, pack).await?;
    let work = shared.work_steps(call, (writer, entries), |(writer, entries)| {
        writer.write_slice(entries)?;
        Ok(entries.is_empty())
    });
    let (writer, _) = work.await?;
    Ok(pb::UpdateBatchResponse { applied: writer.applied() })
}

pub(super) async fn delete(
    shared: &Shared,
    call: &Arc<Call>,
    wire: pb::DeleteBatchRequest,
) -> Result<pb::DeleteBatchResponse, Status> {
    let pb::DeleteBatchRequest { map, keys, typed_keys, missing_ok, resolve } = wire;
    let map = shared.find_map(call, &map).await?;
    let names = KeyNames::of_key(shared, &map, resolve, !typed_keys.is_empty())?;
    let (keys, _charge) = key_list(shared, call, &map, (keys, typed_keys), names).await?;
    let remover = Remover::new(map, keys, missing_ok)?;
    let (applied, found) = shared.work_steps(call, remover, Remover::remove_slice).await?.finish();
    Ok(pb::DeleteBatchResponse { applied, found: found.into() })
}

/// Entries as a request has them: packed, or typed beside or among the packed. The charge is what
/// typed ones take as bytes.
pub(super) fn packed(
    map: &Map,
    wire: pb::PackedEntries,
    mut typed: Vec<pb::TypedEntry>,
    names: &KeyNames,
    most: u64,
    account: &Account,
) -> Result<(Packed, Charge), Error> {
    let mut charge = account.empty();
    let pb::PackedEntries {
        count: number,
        keys,
        values,
        resume_token: _,
        typed_entries,
        references,
    } = wire;
    if typed.is_empty() {
        typed = typed_entries;
    } else if !typed_entries.is_empty() {
        return Err(both("entries.typed_entries", "typed_entries"));
    }
    if !references.is_empty() {
        if !values.is_empty() || typed.iter().any(|entry| entry.value.is_some()) {
            return Err(both("entries.references", "values"));
        }
        return pointing(map, keys, (&typed, names), references, (most, charge));
    }
    if typed.is_empty() {
        return Ok((Packed::new(map, number, keys, values)?, charge));
    }
    if !keys.is_empty() || !values.is_empty() {
        return Err(both("entries.keys", "typed_entries"));
    }
    let each = map.sys().key_len() + map.sys().value_len();
    charge.grow(packed_bytes("entries", map, each, typed.len(), most)?)?;
    let mut scratch = account.empty();
    let (mut keys, mut values) = (
        Vec::with_capacity(typed.len() * map.sys().key_len()),
        Vec::with_capacity(typed.len() * map.sys().value_len()),
    );
    for (index, entry) in (0..).zip(&typed) {
        let (key, value) = typed_entry_bytes(map, entry, Some(names), &mut scratch)
            .map_err(|source| Error::Entry { index, source: Box::new(source) })?;
        keys.extend(key);
        values.extend(value);
        scratch.shrink(0);
    }
    Ok((Packed::new(map, count(typed.len()), keys.into(), values.into())?, charge))
}

/// Entries whose values stand for something else; their keys are packed or typed.
fn pointing(
    map: &Map,
    keys: Bytes,
    (typed, names): (&[pb::TypedEntry], &KeyNames),
    references: Vec<pb::Reference>,
    (most, mut charge): (u64, Charge),
) -> Result<(Packed, Charge), Error> {
    let convert = |(index, wire)| {
        reference("references", wire)
            .map_err(|source| Error::Entry { index, source: Box::new(source) })
    };
    charge.grow(references.len() as u64 * size_of::<Reference>() as u64)?;
    let references = (0..).zip(references).map(convert).collect::<Result<_, _>>()?;
    if typed.is_empty() {
        return Ok((Packed::pointing(map, keys, references)?, charge));
    }
    if !keys.is_empty() {
        return Err(both("entries.keys", "typed_entries"));
    }
    charge.grow(packed_bytes("entries", map, map.sys().key_len(), typed.len(), most)?)?;
    let missing = pb::TypedEntry::default().key.unwrap_or_default();
    let typed = typed.iter().map(|entry| entry.key.as_ref().unwrap_or(&missing));
    let keys = typed_keys_bytes(map, typed, Some(names), &mut charge)?;
    Ok((Packed::pointing(map, keys.into(), references)?, charge))
}

/// The bytes of typed keys, one behind the other.
fn typed_keys_bytes<'k>(
    map: &Map,
    typed: impl ExactSizeIterator<Item = &'k EncodedValue>,
    names: Option<&KeyNames>,
    held: &mut Charge,
) -> Result<Vec<u8>, Error> {
    let before = held.bytes();
    let mut keys = Vec::with_capacity(typed.len() * map.sys().key_len());
    for (index, key) in (0..).zip(typed) {
        let key = typed_key_bytes(map, key, names, held)
            .map_err(|source| Error::Entry { index, source: Box::new(source) })?;
        keys.extend(key);
        held.shrink(before);
    }
    Ok(keys)
}

async fn key_list(
    shared: &Shared,
    call: &Arc<Call>,
    map: &Arc<Map>,
    (packed, typed): (Bytes, Vec<EncodedValue>),
    names: Option<KeyNames>,
) -> Result<(KeyList, Charge), Status> {
    let mut charge = call.account().empty();
    if typed.is_empty() {
        return Ok((KeyList::new(map, "keys", packed)?, charge));
    }
    if !packed.is_empty() {
        return Err(both("keys", "typed_keys").into());
    }
    let (map, most) = (map.clone(), shared.most());
    let encode = move || {
        charge.grow(packed_bytes("keys", &map, map.sys().key_len(), typed.len(), most)?)?;
        let keys = typed_keys_bytes(&map, typed.iter(), names.as_ref(), &mut charge)?;
        Ok((KeyList::new(&map, "typed_keys", keys.into())?, charge))
    };
    shared.work(call, encode).await
}

fn both(field: &'static str, other: &str) -> Error {
    Error::Invalid { field, problem: format!("and {other} are both given: give one") }
}

/// What so many typed things take as bytes, which can be far more than they were.
fn packed_bytes(what: &str, map: &Map, each: usize, count: usize, most: u64) -> Result<u64, Error> {
    let asked = (each as u64).saturating_mul(count as u64);
    if asked <= most {
        return Ok(asked);
    }
    let what = format!("the {what} for map {}", map.text());
    Err(Error::TooLarge { what, asked, limit: most })
}

/// Bounded by the bytes of a message.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
