//! Keys and values of requests and answers: raw bytes, or typed by the map's schema.

use std::ops::Range;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::{EncodedValue, Plan};
use bytes::Bytes;
use serde_json::Value as Json;

use super::answer::plan;
use super::names::KeyNames;
use crate::core::{CpuMode, Error, Map};
use crate::ledger::Charge;

/// A key or value as a request gives it.
pub(super) enum Given {
    Raw(Bytes),
    Typed(EncodedValue),
    Reference,
}

const NO_REFERENCES: &str = "the entries of this map refer to nothing else";
/// A typed key or value up to here is read in less than 100 µs.
const SHORT: usize = 4 << 10;

/// The messages' oneofs, which are alike and yet types of their own.
macro_rules! given {
    ($($oneof:path { $raw:ident, $typed:ident $(, $reference:ident)? })*) => {$(
        impl From<$oneof> for Given {
            fn from(wire: $oneof) -> Self {
                type Wire = $oneof;
                match wire {
                    Wire::$raw(bytes) => Self::Raw(bytes),
                    Wire::$typed(value) => Self::Typed(value),
                    $(Wire::$reference(_) => Self::Reference,)?
                }
            }
        }
    )*};
}

given! {
    pb::lookup_request::Key { RawKey, TypedKey, KeyReference }
    pb::read_value_request::Key { RawKey, TypedKey, KeyReference }
    pb::update_request::Key { RawKey, TypedKey, KeyReference }
    pb::update_request::Value { RawValue, TypedValue, Reference }
    pb::delete_request::Key { RawKey, TypedKey, KeyReference }
    pb::lookup_and_delete_request::Key { RawKey, TypedKey }
    pb::push_request::Value { RawValue, TypedValue }
    pb::peek_request::Value { RawValue, TypedValue }
}

impl Given {
    pub(super) fn of(wire: Option<impl Into<Self>>) -> Option<Self> {
        wire.map(Into::into)
    }
}

/// Whether it is given by the map's schema.
pub(super) fn is_typed(given: Option<&Given>) -> bool {
    matches!(given, Some(Given::Typed(_)))
}

/// Whether a key is quickly turned into bytes: names of it may have to be read first.
pub(super) fn is_short_key(given: Option<&Given>, names: Option<&KeyNames>) -> bool {
    is_short(given) && names.is_none_or(KeyNames::is_empty)
}

/// Whether it is quickly turned into bytes.
pub(super) fn is_short(given: Option<&Given>) -> bool {
    match given {
        Some(Given::Typed(typed)) => typed.as_bytes().len() <= SHORT,
        Some(Given::Raw(bytes)) => bytes.len() <= SHORT * 16,
        Some(Given::Reference) | None => true,
    }
}

/// The bytes of a key.
pub(super) fn key_bytes(
    map: &Map,
    given: Option<Given>,
    names: Option<&KeyNames>,
    held: &mut Charge,
) -> Result<Bytes, Error> {
    match given {
        Some(Given::Raw(bytes)) => Ok(bytes),
        Some(Given::Typed(typed)) => Ok(typed_key_bytes(map, &typed, names, held)?.into()),
        Some(Given::Reference) => Err(wrong("key_reference", NO_REFERENCES)),
        None => Err(wrong("key", "is missing: give raw_key or typed_key")),
    }
}

/// The bytes of a value. For a per-CPU map a list has one for each CPU.
pub(super) fn value_bytes(
    map: &Map,
    given: Option<Given>,
    held: &mut Charge,
) -> Result<Bytes, Error> {
    match given {
        Some(Given::Raw(bytes)) => Ok(bytes),
        Some(Given::Typed(typed)) => {
            map.check_values_are_bytes()?;
            Ok(typed_value_bytes(map, &typed, held)?.into())
        }
        Some(Given::Reference) => Err(wrong("reference", NO_REFERENCES)),
        None => Err(wrong("value", "is missing: give raw_value or typed_value")),
    }
}

fn wrong(field: &'static str, problem: &str) -> Error {
    Error::Invalid { field, problem: problem.to_owned() }
}

/// The bytes of a typed key.
pub(super) fn typed_key_bytes(
    map: &Map,
    typed: &EncodedValue,
    names: Option<&KeyNames>,
    held: &mut Charge,
) -> Result<Vec<u8>, Error> {
    // Before anything is said of a schema.
    map.check_keys_are_bytes()?;
    let read = |json: &mut Json| {
        if let Json::String(text) = json
            && let Some(prefix) = map.prefix_of_key(text)
        {
            return Some(prefix);
        }
        if json.is_object()
            && let Some(plan) = map.fields_of_prefix()
            && let Ok(bytes) = plan.encode(json)
        {
            return Some(bytes);
        }
        if let Some(names) = names {
            names.numbers(json);
        }
        None
    };
    encode(map, ("key", map.key_plan()), typed, held, read)
}

/// The bytes of a typed value. For a per-CPU map a list has one for each CPU.
fn typed_value_bytes(map: &Map, typed: &EncodedValue, held: &mut Charge) -> Result<Vec<u8>, Error> {
    let each = map.sys().cpus().and_then(|cpus| typed.items().filter(|each| each.len() == cpus));
    let Some(each) = each else {
        return encode(map, ("value", map.value_plan()), typed, held, |_| None);
    };
    held.grow(map.sys().value_len() as u64)?;
    let mut bytes = Vec::with_capacity(map.sys().value_len());
    for one in each {
        bytes.extend(encode(map, ("value", map.value_plan()), &one, held, |_| None)?);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    Ok(bytes)
}

/// The bytes of a typed entry, the value as the kernel takes it: for every CPU.
pub(super) fn typed_entry_bytes(
    map: &Map,
    entry: &pb::TypedEntry,
    names: Option<&KeyNames>,
    held: &mut Charge,
) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let pb::TypedEntry { key, value } = entry;
    let missing = |field| wrong(field, "is missing");
    let key = typed_key_bytes(map, key.as_ref().ok_or_else(|| missing("key"))?, names, held)?;
    let value = typed_value_bytes(map, value.as_ref().ok_or_else(|| missing("value"))?, held)?;
    Ok((key, map.for_every_cpu(value)))
}

/// The tree that the encoder looks into is charged as long as it is there. `read` may change it
/// before, or have the bytes itself.
fn encode(
    map: &Map,
    (what, plan): (&'static str, Option<&Plan>),
    typed: &EncodedValue,
    held: &mut Charge,
    read: impl FnOnce(&mut Json) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, Error> {
    let text = || map.text().to_owned();
    let Some(plan) = plan else { return Err(Error::NoSchema { map: text(), what }) };
    let before = held.bytes();
    // The bytes, and which of them were written.
    held.grow(typed.tree_bytes() + 2 * plan.size() as u64)?;
    let mut json = typed
        .to_json()
        .map_err(|problem| Error::Invalid { field: what, problem: problem.to_string() })?;
    let encoded = read(&mut json).map_or_else(|| plan.encode(&json), Ok);
    drop(json);
    held.shrink(before + plan.size() as u64);
    encoded.map_err(|source| Error::Typed { map: text(), what, source: Box::new(source) })
}

/// A value as [`Map::lookup`] gave it, typed, in at most so many bytes.
pub(super) fn typed_value(
    map: &Map,
    bytes: &[u8],
    cpu: CpuMode,
    room: usize,
) -> Result<EncodedValue, Error> {
    let mut out = Vec::with_capacity(room.min(64 << 10));
    write_value(map, bytes, cpu, &mut out, room)?;
    Ok(EncodedValue::from_bytes(out.into()))
}

fn write_value(
    map: &Map,
    bytes: &[u8],
    cpu: CpuMode,
    out: &mut Vec<u8>,
    most: usize,
) -> Result<(), Error> {
    let plan = plan(map, "value", map.plan_of_value(cpu))?;
    let fits = match map.sys().cpus() {
        Some(_) if cpu == CpuMode::Each => {
            // The kernel's padding is no part of the type.
            let each = bytes.chunks(map.cpu_stride()).map(|bytes| &bytes[..plan.size()]);
            plan.write_protobuf_list(each, out, most)
        }
        _ => plan.write_protobuf(&bytes[..plan.size()], out, most),
    };
    written(map, fits.expect("bytes were cut to the plan's size"), most)
}

fn written(map: &Map, fits: bool, most: usize) -> Result<(), Error> {
    if fits {
        return Ok(());
    }
    let what = format!("what is typed of map {}", map.text());
    Err(Error::TooLarge { what, asked: most as u64 + 1, limit: most as u64 })
}

/// Typed entries of one message, written one behind the other into one piece of memory.
pub(super) struct TypedEntries<'m> {
    map: &'m Map,
    cpu: CpuMode,
    out: Vec<u8>,
    /// Of keys and values; empty where there is none.
    places: Vec<[Range<usize>; 2]>,
    most: usize,
    names: Option<&'m KeyNames>,
}

/// What a typed entry takes beside its bytes.
pub(super) const ENTRY_BYTES: u64 =
    (size_of::<pb::TypedEntry>() + size_of::<[Range<usize>; 2]>()) as u64 * 2;

impl<'m> TypedEntries<'m> {
    pub(super) fn new(map: &'m Map, cpu: CpuMode, most: usize, names: &'m KeyNames) -> Self {
        let names = Some(names).filter(|names| !names.is_empty());
        Self { map, cpu, out: Vec::new(), places: Vec::new(), most, names }
    }

    /// Adds an entry, or a half of one, as [`Map::lookup`] and [`crate::core::Reader`] give it.
    pub(super) fn add(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), Error> {
        let Self { map, cpu, out, places, most, names } = self;
        let begin = out.len();
        if let Some(key) = key {
            let plan = plan(map, "key", map.key_plan())?;
            let key = &key[..plan.size()];
            let fits = match names {
                Some(names) => {
                    out.extend_from_slice(names.name(plan, key).as_bytes());
                    Ok(out.len() <= *most)
                }
                None => plan.write_protobuf(key, out, *most),
            };
            written(map, fits.expect("bytes were cut to the plan's size"), *most)?;
        }
        let middle = out.len();
        if let Some(value) = value {
            write_value(map, value, *cpu, out, *most)?;
        }
        places.push([begin..middle, middle..out.len()]);
        Ok(())
    }

    pub(super) fn finish(self, (keys, values): (bool, bool)) -> Vec<pb::TypedEntry> {
        let bytes = Bytes::from(self.out);
        let slice = |wanted: bool, place: &Range<usize>| {
            wanted.then(|| EncodedValue::from_bytes(bytes.slice(place.clone())))
        };
        let entry = |[key, value]: &[Range<usize>; 2]| pb::TypedEntry {
            key: slice(keys, key),
            value: slice(values, value),
        };
        self.places.iter().map(entry).collect()
    }
}
