//! Many entries in one call.

use bpfgate_proto::v1;
use bpfgate_proto::value::{EncodedValue, json_to_value, value_to_json};
use bytes::{Bytes, BytesMut};

use crate::entries::Chunk;
use crate::error::Error;
use crate::maps::Maps;
use crate::{CpuMode, UpdateMode};

impl Maps {
    /// The values of many keys in one call; a key without an entry is no error.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` if there is no such map, `INVALID_ARGUMENT` for keys that are not of its size or
    /// type, `RESOURCE_EXHAUSTED` for more than fits one answer.
    pub async fn lookup_batch(
        &self,
        map: &str,
        keys: impl Into<Keys>,
        cpu: CpuMode,
    ) -> Result<FoundValues, Error> {
        let answer = self.lookup_batch_as(map, keys.into(), cpu, false).await?;
        FoundValues::new(answer).map_err(|what| Error::protocol("LookupBatch", what))
    }

    /// Key and value, by the map's schema, of those keys that have an entry.
    ///
    /// # Errors
    ///
    /// As [`Self::lookup_batch`]; `FAILED_PRECONDITION` (`NO_SCHEMA`) for a map without a schema.
    pub async fn lookup_batch_typed(
        &self,
        map: &str,
        keys: impl Into<Keys>,
        cpu: CpuMode,
    ) -> Result<Vec<(serde_json::Value, serde_json::Value)>, Error> {
        let answer = self.lookup_batch_as(map, keys.into(), cpu, true).await?;
        Ok(typed_entries(&answer.typed_entries).collect())
    }

    /// The same for each key in the request's order, `None` for one without an entry.
    ///
    /// # Errors
    ///
    /// As [`Self::lookup_batch_typed`].
    pub async fn lookup_batch_each(
        &self,
        map: &str,
        keys: impl Into<Keys>,
        cpu: CpuMode,
    ) -> Result<Vec<Option<(serde_json::Value, serde_json::Value)>>, Error> {
        let answer = self.lookup_batch_as(map, keys.into(), cpu, true).await?;
        let v1::LookupBatchResponse { count, found, typed_entries: entries, .. } = answer;
        let there = |at: usize| at / 8 < found.len() && bit(&found, at);
        let mut entries = typed_entries(&entries);
        Ok((0..count as usize).map(|at| there(at).then(|| entries.next()).flatten()).collect())
    }

    async fn lookup_batch_as(
        &self,
        map: &str,
        keys: Keys,
        cpu: CpuMode,
        typed: bool,
    ) -> Result<v1::LookupBatchResponse, Error> {
        let call = self.client.call("LookupBatch");
        let (keys, typed_keys) = keys.into_fields();
        let (map, cpu, wide_sums) = (map.to_owned(), cpu.into(), self.wide_sums);
        let request = v1::LookupBatchRequest {
            map,
            keys,
            typed_keys,
            cpu,
            typed,
            wide_sums,
            resolve: self.resolve.clone(),
            resolve_declared: self.resolve_declared,
        };
        let request = call.request(request);
        call.answer(self.rpc().lookup_batch(request).await)
    }

    /// Writes many entries in one call, in order up to the first that the kernel does not take:
    /// how many were written, which [`crate::RpcError::applied`] tells of an error too.
    ///
    /// A call takes as much as one message; [`Self::restore`] takes any number.
    ///
    /// # Errors
    ///
    /// As [`Self::update`] of the first entry that was not written; those before it stay.
    pub async fn update_batch(
        &self,
        map: &str,
        entries: impl Into<EntryBatch>,
        mode: UpdateMode,
    ) -> Result<u64, Error> {
        let call = self.client.call("UpdateBatch");
        let mut entries = entries.into().entries;
        let typed_entries = std::mem::take(&mut entries.typed_entries);
        let request = call.request(v1::UpdateBatchRequest {
            map: map.to_owned(),
            entries: Some(entries),
            typed_entries,
            mode: mode.into(),
            unlocked: false,
        });
        Ok(call.answer(self.rpc().update_batch(request).await)?.applied)
    }

    /// Removes many entries in one call, in order up to the first key that has none; with
    /// `missing_ok` such keys are passed over.
    ///
    /// # Errors
    ///
    /// As [`Self::delete_entry`] of the first key that was not removed; those before it are gone,
    /// and [`crate::RpcError::applied`] tells how many.
    pub async fn delete_batch(
        &self,
        map: &str,
        keys: impl Into<Keys>,
        missing_ok: bool,
    ) -> Result<Deleted, Error> {
        let call = self.client.call("DeleteBatch");
        let (keys, typed_keys) = keys.into().into_fields();
        let map = map.to_owned();
        let resolve = self.resolve.clone();
        let request = v1::DeleteBatchRequest { map, keys, typed_keys, missing_ok, resolve };
        let request = call.request(request);
        Ok(Deleted::new(call.answer(self.rpc().delete_batch(request).await)?))
    }
}

/// Keys, all packed or all typed.
#[derive(Debug, Clone, PartialEq)]
pub enum Keys {
    /// The kernel's bytes, back to back.
    Packed(Bytes),
    /// By the map's schema; the agent converts them.
    Typed(Vec<serde_json::Value>),
}

impl From<Bytes> for Keys {
    fn from(packed: Bytes) -> Self {
        Self::Packed(packed)
    }
}

impl From<Vec<u8>> for Keys {
    fn from(packed: Vec<u8>) -> Self {
        Self::Packed(packed.into())
    }
}

impl From<Vec<serde_json::Value>> for Keys {
    fn from(typed: Vec<serde_json::Value>) -> Self {
        Self::Typed(typed)
    }
}

impl Keys {
    /// Packed and typed, of which one is empty.
    pub(crate) fn into_fields(self) -> (Bytes, Vec<EncodedValue>) {
        match self {
            Self::Packed(packed) => (packed, Vec::new()),
            Self::Typed(typed) => (Bytes::new(), typed.into_iter().map(json_to_value).collect()),
        }
    }
}

/// Entries to write together, all packed or all typed.
///
/// ```
/// use bpfgate_client::EntryBatch;
///
/// let batch: EntryBatch = (0_u32..3).map(|n| (n.to_ne_bytes(), [0; 8])).collect();
/// assert_eq!(batch.len(), 3);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EntryBatch {
    pub(crate) entries: v1::PackedEntries,
}

impl EntryBatch {
    /// `count` keys back to back, and as many values: for a per-CPU map one value for all CPUs, or
    /// `value_stride` bytes with one for each.
    pub fn packed(count: u32, keys: impl Into<Bytes>, values: impl Into<Bytes>) -> Self {
        let (keys, values) = (keys.into(), values.into());
        Self { entries: v1::PackedEntries { count, keys, values, ..Default::default() } }
    }

    /// Keys and values by the map's schema; the agent converts them.
    pub fn typed(
        entries: impl IntoIterator<Item = (serde_json::Value, serde_json::Value)>,
    ) -> Self {
        let typed = |(key, value)| v1::TypedEntry {
            key: Some(json_to_value(key)),
            value: Some(json_to_value(value)),
        };
        let typed_entries = entries.into_iter().map(typed).collect();
        Self { entries: v1::PackedEntries { typed_entries, ..Default::default() } }
    }

    /// Keys back to back, and what the value of each shall lead to.
    pub fn pointing(keys: impl Into<Bytes>, references: Vec<v1::Reference>) -> Self {
        let count = u32::try_from(references.len()).unwrap_or(u32::MAX);
        let keys = keys.into();
        Self { entries: v1::PackedEntries { count, keys, references, ..Default::default() } }
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.typed_entries.len().max(self.entries.count as usize)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Packs keys and values that are all of one size.
impl<K: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(K, V)> for EntryBatch {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let (mut keys, mut values, mut count) = (BytesMut::new(), BytesMut::new(), 0);
        for (key, value) in entries {
            keys.extend_from_slice(key.as_ref());
            values.extend_from_slice(value.as_ref());
            count += 1;
        }
        Self::packed(count, keys, values)
    }
}

/// As another map had them, by what the values lead to if that came with them. With one half only
/// it is no entry, and the agent says so.
impl From<Chunk> for EntryBatch {
    fn from(chunk: Chunk) -> Self {
        let mut entries = v1::PackedEntries { resume_token: Bytes::new(), ..chunk.into_packed() };
        if !entries.references.is_empty() {
            entries.values = Bytes::new();
            entries.typed_entries.iter_mut().for_each(|entry| entry.value = None);
        }
        Self { entries }
    }
}

/// What there is of a list of keys.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundValues {
    answer: v1::LookupBatchResponse,
}

impl FoundValues {
    pub(crate) fn new(answer: v1::LookupBatchResponse) -> Result<Self, String> {
        let v1::LookupBatchResponse { count, values, value_stride, found, .. } = &answer;
        let (keys, stride) = (*count as usize, *value_stride as usize);
        if Some(values.len()) != keys.checked_mul(stride) || found.len() != keys.div_ceil(8) {
            let (values, found) = (values.len(), found.len());
            return Err(format!(
                "{keys} keys with {values} bytes of values at {stride} each and {found} of bits"
            ));
        }
        Ok(Self { answer })
    }

    /// How many keys were looked up.
    pub fn len(&self) -> usize {
        self.answer.count as usize
    }

    /// Whether none were.
    pub fn is_empty(&self) -> bool {
        self.answer.count == 0
    }

    /// The value of the key at that place in the request; `None` if it has no entry. Panics if
    /// there were not so many keys.
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let stride = self.answer.value_stride as usize;
        bit(&self.answer.found, at).then(|| &self.answer.values[at * stride..(at + 1) * stride])
    }

    /// For each key in the request's order its value, if there is one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        (0..self.len()).map(|at| self.get(at))
    }
}

/// What became of a list of keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Deleted {
    answer: v1::DeleteBatchResponse,
}

impl Deleted {
    pub(crate) fn new(answer: v1::DeleteBatchResponse) -> Self {
        Self { answer }
    }

    /// How many entries were removed.
    pub fn applied(&self) -> u64 {
        self.answer.applied
    }

    /// Whether the key at that place in the request had an entry.
    pub fn was_there(&self, at: usize) -> bool {
        at / 8 < self.answer.found.len() && bit(&self.answer.found, at)
    }
}

pub(crate) fn typed_entries(
    entries: &[v1::TypedEntry],
) -> impl Iterator<Item = (serde_json::Value, serde_json::Value)> {
    let json = |value: &Option<EncodedValue>| {
        value.as_ref().map_or(serde_json::Value::Null, value_to_json)
    };
    entries.iter().map(move |entry| (json(&entry.key), json(&entry.value)))
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits[at / 8] >> (at % 8) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_at_their_keys_places() {
        let answer = v1::LookupBatchResponse {
            count: 3,
            values: Bytes::from_static(b"AA\0\0CC"),
            value_stride: 2,
            found: Bytes::from_static(&[0b101]),
            typed_entries: Vec::new(),
        };
        let found = FoundValues::new(answer.clone()).unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), [Some(&b"AA"[..]), None, Some(b"CC")]);
        let short = v1::LookupBatchResponse { count: 4, ..answer };
        assert!(FoundValues::new(short).is_err());
    }

    #[test]
    fn pairs_are_packed_in_order() {
        let batch: EntryBatch = [(b"a", b"AA"), (b"b", b"BB")].into_iter().collect();
        assert_eq!(batch, EntryBatch::packed(2, &b"ab"[..], &b"AABB"[..]));
    }
}
