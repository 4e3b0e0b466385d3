//! `bpfgate map list` and `bpfgate map show`.

use bpfgate_client::v1;

use crate::commands::program::holders;
use crate::describe;
use crate::render::{Cell, Format, Sheet, left, right};
use crate::values::{flag_names, map_type_text};

pub(super) fn list(format: Format, maps: Vec<v1::Map>) -> Sheet {
    if format == Format::Bpftool {
        return as_bpftool(maps);
    }
    let columns = [
        left("name"),
        left("type"),
        right("key_size"),
        right("value_size"),
        right("max_entries"),
        right("memory"),
        right("id"),
        left("labels"),
        left("flags").wide(),
        left("pins").wide(),
        left("object").wide(),
        left("kernel_name").wide(),
        left("created_at").wide(),
    ];
    Sheet::many(
        columns,
        maps.into_iter().map(|map| {
            let spec = map.spec.unwrap_or_default();
            [
                Cell::Text(map.name),
                Cell::Text(map_type_text(spec.r#type)),
                Cell::Number(spec.key_size.into()),
                Cell::Number(spec.value_size.into()),
                Cell::Number(spec.max_entries.into()),
                Cell::Size(map.memory_bytes),
                Cell::Number(map.id.into()),
                Cell::Labels(describe::labels(map.labels)),
                Cell::List(flag_names(spec.flags)),
                Cell::List(map.pins),
                if map.object.is_empty() { Cell::Missing } else { Cell::Text(map.object) },
                Cell::Text(map.kernel_name),
                Cell::Time(map.created_at),
            ]
        }),
    )
}

/// The host's maps, the agent's among them.
pub(super) fn everywhere(format: Format, answer: v1::ListMapsResponse) -> Sheet {
    let v1::ListMapsResponse { maps, holders_hidden } = answer;
    if format == Format::Bpftool {
        return as_bpftool(maps);
    }
    let columns = [
        right("id"),
        left("name"),
        left("kernel_name"),
        left("type"),
        right("key_size"),
        right("value_size"),
        right("max_entries"),
        right("memory"),
        left("pins"),
        left("holders"),
        left("flags").wide(),
        right("btf_id").wide(),
    ];
    let row = |map: v1::Map| {
        let spec = map.spec.unwrap_or_default();
        [
            Cell::Number(map.id.into()),
            if map.name.is_empty() { Cell::Missing } else { Cell::Text(map.name) },
            Cell::Text(map.kernel_name),
            Cell::Text(map_type_text(spec.r#type)),
            Cell::Number(spec.key_size.into()),
            Cell::Number(spec.value_size.into()),
            Cell::Number(spec.max_entries.into()),
            Cell::Size(map.memory_bytes),
            Cell::List(map.pins),
            holders(&map.holders, !holders_hidden.is_empty()),
            Cell::List(flag_names(spec.flags)),
            if map.btf_id == 0 { Cell::Missing } else { Cell::Number(map.btf_id.into()) },
        ]
    };
    Sheet::many(columns, maps.into_iter().map(row))
}

/// The fields of `bpftool --json map show` that an agent knows: without `pids`, the type of the
/// programs in a `prog_array`, and what is about devices. `name` is the kernel's.
fn as_bpftool(maps: Vec<v1::Map>) -> Sheet {
    let columns = [
        "id",
        "type",
        "name",
        "flags",
        "bytes_key",
        "bytes_value",
        "max_entries",
        "bytes_memlock",
        "frozen",
        "btf_id",
    ];
    let row = |map: v1::Map| {
        let spec = map.spec.unwrap_or_default();
        [
            Cell::Number(map.id.into()),
            Cell::Text(map_type_text(spec.r#type)),
            Cell::Text(map.kernel_name),
            Cell::Number(spec.flags.into()),
            Cell::Number(spec.key_size.into()),
            Cell::Number(spec.value_size.into()),
            Cell::Number(spec.max_entries.into()),
            Cell::Number(map.memory_bytes),
            Cell::Number(map.frozen.into()),
            if map.btf_id == 0 { Cell::Absent } else { Cell::Number(map.btf_id.into()) },
        ]
    };
    Sheet::many(columns.map(left), maps.into_iter().map(row))
}

pub(super) fn show(format: Format, map: v1::Map) -> Sheet {
    if format == Format::Bpftool {
        return as_bpftool(vec![map]).only();
    }
    let ownership = match map.ownership() {
        v1::Ownership::Owned => "owned",
        v1::Ownership::Adopted => "adopted",
        v1::Ownership::Foreign => "foreign",
        v1::Ownership::Unspecified => "unknown",
    };
    let spec = map.spec.unwrap_or_default();
    let schema = map.schema.unwrap_or_default();
    let known = schema.key.is_some() || schema.value.is_some();
    let source = match schema.source() {
        v1::SchemaSource::Btf if known => "btf",
        v1::SchemaSource::Declared if known => "declared",
        _ => "none",
    };
    let type_cell = |ty| describe::type_of(ty).map_or(Cell::Missing, Cell::Text);
    let capabilities = map.capabilities.unwrap_or_default();
    let optional = |text: String| if text.is_empty() { Cell::Missing } else { Cell::Text(text) };
    Sheet::one([
        ("name", optional(map.name)),
        ("id", Cell::Number(map.id.into())),
        ("kernel_name", Cell::Text(map.kernel_name)),
        ("type", Cell::Text(map_type_text(spec.r#type))),
        ("object", optional(map.object)),
        ("ownership", Cell::Text(ownership.to_owned())),
        ("key_size", Cell::Number(spec.key_size.into())),
        ("key_type", type_cell(schema.key.as_ref())),
        ("value_size", Cell::Number(spec.value_size.into())),
        ("value_type", type_cell(schema.value.as_ref())),
        ("sum_type", type_cell(map.sum_type.as_ref())),
        ("record_type", type_cell(map.record_type.as_ref())),
        ("schema", Cell::Text(source.to_owned())),
        ("per_cpu", Cell::Flag(map.per_cpu)),
        ("max_entries", Cell::Number(spec.max_entries.into())),
        ("flags", Cell::List(flag_names(spec.flags))),
        ("numa_node", spec.numa_node.map_or(Cell::Missing, |node| Cell::Number(node.into()))),
        ("map_extra", Cell::Number(spec.map_extra)),
        ("inner", spec.inner.as_deref().map_or(Cell::Missing, inner)),
        ("memory", Cell::Size(map.memory_bytes)),
        ("frozen", Cell::Flag(map.frozen)),
        ("operations", Cell::List(operations(capabilities))),
        ("batches", Cell::List(batches(capabilities))),
        ("lock", Cell::Flag(capabilities.lock)),
        ("mmap", Cell::Flag(capabilities.mmap)),
        ("pins", Cell::List(map.pins)),
        ("counters", Cell::Items(map.counters.iter().map(describe::counter).collect())),
        ("labels", Cell::Labels(describe::labels(map.labels))),
        ("created_at", Cell::Time(map.created_at)),
    ])
}

/// What every inner map looks like, as `map create --inner` takes it.
fn inner(spec: &v1::MapSpec) -> Cell {
    let v1::MapSpec { key_size, value_size, max_entries, flags, .. } = spec;
    let kind = map_type_text(spec.r#type);
    let flags =
        if *flags == 0 { String::new() } else { format!(":{}", flag_names(*flags).join(",")) };
    Cell::Text(format!("{kind}:{key_size}:{value_size}:{max_entries}{flags}"))
}

/// By the verbs of this command line.
fn operations(capabilities: v1::Capabilities) -> Vec<String> {
    let v1::Capabilities {
        lookup,
        update,
        delete,
        iterate,
        watch_counters,
        lookup_and_delete,
        push,
        pop,
        peek,
        freeze,
        pin,
        watch_events,
        batch_lookup: _,
        batch_update: _,
        batch_delete: _,
        lock: _,
        mmap: _,
    } = capabilities;
    named([
        (lookup, "lookup"),
        (update, "update"),
        (delete, "delete"),
        (lookup_and_delete, "lookup --delete"),
        (push, "push"),
        (pop, "pop"),
        (peek, "peek"),
        (iterate, "dump"),
        // Restore does what update does.
        (update, "restore"),
        (freeze, "freeze"),
        (pin, "pin"),
        (watch_counters, "watch counters"),
        (watch_events, "watch events"),
    ])
}

/// What the kernel does with many entries in one call; the rest is done one by one.
fn batches(capabilities: v1::Capabilities) -> Vec<String> {
    named([
        (capabilities.batch_lookup, "dump"),
        (capabilities.batch_update, "restore"),
        (capabilities.batch_delete, "delete"),
    ])
}

fn named<const N: usize>(operations: [(bool, &str); N]) -> Vec<String> {
    operations.into_iter().filter(|(has, _)| *has).map(|(_, name)| name.to_owned()).collect()
}
