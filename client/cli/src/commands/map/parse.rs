//! What people write as KEY and VALUE, to a map's bytes.

use bpfgate_client::map_type::is_indexed;
use bpfgate_client::reference::ReferenceKind;
use bpfgate_client::value::{Plan, Type, parse_prefix};
use bpfgate_client::{Datum, Layout, Operand, v1};

use crate::describe;
use crate::exit::{Exit, Failure};
use crate::values::hex_or_decimal;

/// A key for one call: in storage maps whose storage it is.
pub(super) fn key_of(
    map: &v1::Map,
    layout: &Layout,
    text: &str,
    names: bool,
) -> Result<Operand, Failure> {
    match ReferenceKind::of_keys(map_type(map)) {
        Some(kind) => reference(map, kind, "KEY", text),
        None => Ok(datum(map, layout, text, names)?.into()),
    }
}

/// A key as bytes; or, where it may have names of the agent's host, for the agent to find these.
pub(super) fn datum(
    map: &v1::Map,
    layout: &Layout,
    text: &str,
    names: bool,
) -> Result<Datum, Failure> {
    let misfit = match key(map, layout, text) {
        Ok(bytes) => return Ok(bytes.into()),
        Err(misfit) => misfit,
    };
    let known = names || !map.key_names.is_empty();
    let json = known.then(|| layout.key.read_json(text).ok()).flatten();
    json.map_or(Err(misfit), |json| Ok(json.into()))
}

/// The bytes of a key that has no names in it.
pub(super) fn bytes(key: &Datum) -> Vec<u8> {
    match key {
        Datum::Raw(bytes) => bytes.to_vec(),
        Datum::Typed(_) => Vec::new(),
    }
}

/// By the map's schema, whatever it was.
pub(super) fn typed(layout: &Layout, key: Datum) -> serde_json::Value {
    match key {
        Datum::Typed(json) => json,
        Datum::Raw(bytes) => layout.key.decode(&bytes).unwrap_or_default(),
    }
}

/// A value for one call: in maps of references what it leads to.
pub(super) fn value_of(map: &v1::Map, layout: &Layout, text: &str) -> Result<Operand, Failure> {
    match ReferenceKind::of_values(map_type(map)) {
        Some(kind) => reference(map, kind, "VALUE", text),
        None => Ok(value(map, layout, text)?.into()),
    }
}

/// As in linux/bpf.h.
pub(super) fn map_type(map: &v1::Map) -> u32 {
    map.spec.as_ref().map_or(0, |spec| spec.r#type.cast_unsigned())
}

fn reference(
    map: &v1::Map,
    kind: ReferenceKind,
    part: &str,
    text: &str,
) -> Result<Operand, Failure> {
    kind.parse(text).map(Operand::from).map_err(|error| {
        let half = part.to_lowercase();
        let (name, form) = (called(map), kind.form());
        let text = format!(
            "{part} '{}' does not fit map {name}, whose {half} is {form}: {error}",
            shortened(text)
        );
        Failure::new(Exit::BadValue, text)
    })
}

pub(super) fn key(map: &v1::Map, layout: &Layout, text: &str) -> Result<Vec<u8>, Failure> {
    if map.spec.as_ref().is_some_and(|spec| spec.key_size == 0) {
        // There is nothing to fit: the agent says what the map has instead of keys.
        return Ok(Vec::new());
    }
    let untyped = map.schema.as_ref().is_none_or(|schema| schema.key.is_none());
    if untyped
        && is_indexed(map_type(map))
        && let Ok(index) = hex_or_decimal::<u32>(text)
    {
        return Ok(index.to_ne_bytes().to_vec());
    }
    let is_trie = map.spec.as_ref().is_some_and(|spec| spec.r#type() == v1::MapType::LpmTrie);
    if is_trie && let Some(prefix) = parse_prefix(text.trim(), layout.key.size()) {
        return Ok(prefix);
    }
    if is_trie && text.trim_start().starts_with('{') {
        // Field by field, as the type has them.
        let ty = map.schema.clone().and_then(|schema| Type::try_from(schema.key?).ok());
        if let Some(plan) = ty.and_then(|ty| Plan::compile(&ty).ok()) {
            return half(map, &plan, "KEY", text);
        }
    }
    half(map, &layout.key, "KEY", text)
}

pub(super) fn value(map: &v1::Map, layout: &Layout, text: &str) -> Result<Vec<u8>, Failure> {
    half(map, &layout.value, "VALUE", text)
}

fn half(map: &v1::Map, plan: &Plan, part: &str, text: &str) -> Result<Vec<u8>, Failure> {
    plan.parse(text).map_err(|error| misfit(map, part, text, &error.to_string()))
}

/// A JSON list with a value for each CPU, each padded as the kernel wants it.
pub(super) fn each_cpu(map: &v1::Map, layout: &Layout, text: &str) -> Result<Vec<u8>, Failure> {
    let wrong = |why: &str| misfit(map, "VALUE", text, why);
    if !layout.per_cpu {
        return Err(wrong("--per-cpu is for per-CPU maps"));
    }
    let cpus = layout.cpus();
    let values: Vec<serde_json::Value> = serde_json::from_str(text)
        .ok()
        .filter(|values: &Vec<_>| values.len() == cpus)
        .ok_or_else(|| wrong(&format!("write a JSON list of {cpus} values")))?;
    let mut bytes = Vec::with_capacity(layout.value_stride);
    for (cpu, value) in values.iter().enumerate() {
        let one = layout.value.encode(value);
        bytes.extend(one.map_err(|error| wrong(&format!("CPU {cpu}: {error}")))?);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    Ok(bytes)
}

fn misfit(map: &v1::Map, part: &str, text: &str, why: &str) -> Failure {
    let schema = map.schema.clone().unwrap_or_default();
    let spec = map.spec.clone().unwrap_or_default();
    let (ty, size) = match part {
        "KEY" => (schema.key, spec.key_size),
        _ => (schema.value, spec.value_size),
    };
    let kind = describe::type_of(ty.as_ref());
    let kind =
        kind.map_or_else(|| format!("{size} plain bytes"), |ty| format!("{ty} ({size} bytes)"));
    let (shown, name) = (shortened(text), called(map));
    let half = part.to_lowercase();
    let text = format!("{part} '{shown}' does not fit map {name}, whose {half} is {kind}: {why}");
    Failure::new(Exit::BadValue, text)
}

fn called(map: &v1::Map) -> String {
    if map.name.is_empty() { format!("id:{}", map.id) } else { map.name.clone() }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
