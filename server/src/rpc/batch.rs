//! The batched RPCs of `MapService`: packed or typed entries in, work on the blocking pool, a count
//! and a bitmap out.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::EncodedValue;
use bytes::Bytes;
use tonic::Status;

use super::map_convert::{cpu_mode, locking, update_mode};
use super::stint::in_stints;
use super::typed::{typed_entry, typed_entry_bytes, typed_key_bytes};
use super::{Shared, blocking};
use crate::core::{CpuMode, Error, Finder, Found, KeyList, Map, Packed, Remover, Writer};

pub(super) async fn lookup(
    shared: &Shared,
    wire: pb::LookupBatchRequest,
) -> Result<pb::LookupBatchResponse, Status> {
    let pb::LookupBatchRequest { map, keys, typed_keys, cpu, typed } = wire;
    let (map, most) = (shared.find_map(&map).await?, most(shared));
    let cpu = cpu_mode(cpu)?;
    let keys = key_list(&map, keys, typed_keys, most).await?;
    let finder = Finder::new(map, keys, cpu, most)?;
    let finder = in_stints(finder, Finder::find_slice).await?;
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
    blocking(move || typed_answer(found, cpu, most)).await
}

fn typed_answer(found: Found, cpu: CpuMode, most: u64) -> Result<pb::LookupBatchResponse, Error> {
    let mut typed_entries = Vec::new();
    let mut size = Size::new(format!("the typed entries of map {}", found.map.text()), most);
    for (key, value) in found.entries() {
        let entry = typed_entry(&found.map, Some(key), Some(value), cpu)?;
        size.add(prost::Message::encoded_len(&entry))?;
        typed_entries.push(entry);
    }
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
    wire: pb::UpdateBatchRequest,
) -> Result<pb::UpdateBatchResponse, Status> {
    let pb::UpdateBatchRequest { map, entries, typed_entries, mode, unlocked } = wire;
    let (map, most) = (shared.find_map(&map).await?, most(shared));
    let writer = Writer::new(map.clone(), update_mode(mode)?, locking(unlocked))?;
    let pack = move || packed(&map, entries.unwrap_or_default(), typed_entries, most);
    let entries = blocking(pack).await?;
    let (writer, _) = in_stints((writer, entries), |(writer, entries)| {
        writer.write_slice(entries)?;
        Ok(entries.is_empty())
    })
    .await?;
    Ok(pb::UpdateBatchResponse { applied: writer.applied() })
}

pub(super) async fn delete(
    shared: &Shared,
    wire: pb::DeleteBatchRequest,
) -> Result<pb::DeleteBatchResponse, Status> {
    let pb::DeleteBatchRequest { map, keys, typed_keys, missing_ok } = wire;
    let (map, most) = (shared.find_map(&map).await?, most(shared));
    let keys = key_list(&map, keys, typed_keys, most).await?;
    let remover = Remover::new(map, keys, missing_ok)?;
    let (applied, found) = in_stints(remover, Remover::remove_slice).await?.finish();
    Ok(pb::DeleteBatchResponse { applied, found: found.into() })
}

/// Bytes that a batch may take, either way: as many as a message.
pub(super) fn most(shared: &Shared) -> u64 {
    shared.registry.limits().max_message_bytes
}

/// Entries as a request has them: packed, or typed beside or among the packed.
pub(super) fn packed(
    map: &Map,
    wire: pb::PackedEntries,
    mut typed: Vec<pb::TypedEntry>,
    most: u64,
) -> Result<Packed, Error> {
    let pb::PackedEntries { count: number, keys, values, resume_token: _, typed_entries } = wire;
    if typed.is_empty() {
        typed = typed_entries;
    } else if !typed_entries.is_empty() {
        return Err(both("entries.typed_entries", "typed_entries"));
    }
    if typed.is_empty() {
        return Packed::new(map, number, keys, values);
    }
    if !keys.is_empty() || !values.is_empty() {
        return Err(both("entries.keys", "typed_entries"));
    }
    let mut size = Size::new(format!("the entries for map {}", map.text()), most);
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    for (index, entry) in (0..).zip(&typed) {
        let (key, value) = typed_entry_bytes(map, entry)
            .map_err(|source| Error::Entry { index, source: Box::new(source) })?;
        size.add(key.len() + value.len())?;
        keys.extend(key);
        values.extend(value);
    }
    Packed::new(map, count(typed.len()), keys.into(), values.into())
}

async fn key_list(
    map: &Arc<Map>,
    packed: Bytes,
    typed: Vec<EncodedValue>,
    most: u64,
) -> Result<KeyList, Status> {
    if typed.is_empty() {
        return Ok(KeyList::new(map, "keys", packed)?);
    }
    if !packed.is_empty() {
        return Err(both("keys", "typed_keys").into());
    }
    let map = map.clone();
    blocking(move || {
        let mut size = Size::new(format!("the keys for map {}", map.text()), most);
        let mut keys = Vec::new();
        for (index, key) in (0..).zip(&typed) {
            let key = typed_key_bytes(&map, key)
                .map_err(|source| Error::Entry { index, source: Box::new(source) })?;
            size.add(key.len())?;
            keys.extend(key);
        }
        KeyList::new(&map, "typed_keys", keys.into())
    })
    .await
}

fn both(field: &'static str, other: &str) -> Error {
    Error::Invalid { field, problem: format!("and {other} are both given: give one") }
}

/// What typed values take as bytes, or bytes as typed values, can be far more than they were.
pub(super) struct Size {
    what: String,
    bytes: u64,
    most: u64,
}

impl Size {
    pub(super) fn new(what: String, most: u64) -> Self {
        Self { what, bytes: 0, most }
    }

    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes as u64;
        if self.bytes <= self.most {
            return Ok(());
        }
        let what = std::mem::take(&mut self.what);
        Err(Error::TooLarge { what, asked: self.bytes, limit: self.most })
    }
}

/// Bounded by the bytes of a message.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
