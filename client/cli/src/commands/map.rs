//! `bpfgate map`.

use bpfgate_client::name::MapRef;
use bpfgate_client::value::{Plan, Schema, SchemaSource, Type};
use bpfgate_client::{CpuMode, EntryParts, IterateOptions, Layout, MapFilter, UpdateMode, v1};

use super::Answer;
use crate::args::{CreateArgs, DumpArgs, MapCommand};
use crate::context::Context;
use crate::describe;
use crate::entry::EntryView;
use crate::exit::{Exit, Failure};
use crate::render::{Cell, Sheet, left, right};
use crate::values::{flag_names, map_type_name, pairs};

pub(super) async fn run(context: &Context, command: MapCommand) -> Answer {
    let maps = context.client.maps();
    match command {
        MapCommand::List { patterns, types, labels } => {
            let filter = MapFilter { names: patterns, types, labels: pairs(labels) };
            Ok(Some(list(maps.list(filter).await?)))
        }
        MapCommand::Show { map } => {
            let map = map.map;
            match maps.get(&map.to_string()).await {
                Ok(map) => Ok(Some(show(map))),
                Err(error) => Err(context.no_such_map(error, &map).await),
            }
        }
        MapCommand::Create(args) => {
            let map = maps.create(create_request(*args)?).await?;
            Ok(Some(list(vec![map]).only()))
        }
        MapCommand::Drop { map } => match maps.delete(&map.map.to_string()).await {
            Ok(()) => Ok(None),
            Err(error) => Err(context.no_such_map(error, &map.map).await),
        },
        MapCommand::Lookup { map, key, per_cpu } => {
            Ok(Some(lookup(context, &map.map, &key, per_cpu).await?))
        }
        MapCommand::Update { map, key, value, mode, per_cpu } => {
            update(context, &map.map, &key, &value, mode.into(), per_cpu).await?;
            Ok(None)
        }
        MapCommand::Delete { map, key } => {
            let (info, layout) = context.map(&map.map).await?;
            let key = parse_key(&info, &layout, &key)?;
            maps.delete_entry(&map.map.to_string(), key).await?;
            Ok(None)
        }
        MapCommand::Dump(args) => {
            dump(context, args).await?;
            Ok(None)
        }
    }
}

fn list(maps: Vec<v1::Map>) -> Sheet {
    let columns = [
        left("name"),
        left("type"),
        right("key_size"),
        right("value_size"),
        right("max_entries"),
        right("memory"),
        right("id"),
        left("labels"),
    ];
    Sheet::many(
        columns,
        maps.into_iter().map(|map| {
            let spec = map.spec.unwrap_or_default();
            [
                Cell::Text(map.name),
                Cell::Text(type_name(spec.r#type)),
                Cell::Number(spec.key_size.into()),
                Cell::Number(spec.value_size.into()),
                Cell::Number(spec.max_entries.into()),
                Cell::Size(map.memory_bytes),
                Cell::Number(map.id.into()),
                Cell::Labels(describe::labels(map.labels)),
            ]
        }),
    )
}

/// A kernel may have types that this version has no name for.
fn type_name(number: i32) -> String {
    v1::MapType::try_from(number).map_or_else(|_| format!("type {number}"), map_type_name)
}

fn show(map: v1::Map) -> Sheet {
    let ownership = match map.ownership() {
        v1::Ownership::Owned => "owned",
        v1::Ownership::Adopted => "adopted",
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
        ("type", Cell::Text(type_name(spec.r#type))),
        ("object", optional(map.object)),
        ("ownership", Cell::Text(ownership.to_owned())),
        ("key_size", Cell::Number(spec.key_size.into())),
        ("key_type", type_cell(schema.key.as_ref())),
        ("value_size", Cell::Number(spec.value_size.into())),
        ("value_type", type_cell(schema.value.as_ref())),
        ("schema", Cell::Text(source.to_owned())),
        ("per_cpu", Cell::Flag(map.per_cpu)),
        ("max_entries", Cell::Number(spec.max_entries.into())),
        ("flags", Cell::List(flag_names(spec.flags))),
        ("memory", Cell::Size(map.memory_bytes)),
        ("frozen", Cell::Flag(map.frozen)),
        ("operations", Cell::List(operations(capabilities))),
        ("dumps_in_batches", Cell::Flag(capabilities.batch_lookup)),
        ("counters", Cell::Items(map.counters.iter().map(describe::counter).collect())),
        ("labels", Cell::Labels(describe::labels(map.labels))),
        ("created_at", Cell::Time(map.created_at)),
    ])
}

/// By the verbs of this command line.
fn operations(capabilities: v1::Capabilities) -> Vec<String> {
    [
        (capabilities.lookup, "lookup"),
        (capabilities.update, "update"),
        (capabilities.delete, "delete"),
        (capabilities.push, "push"),
        (capabilities.pop, "pop"),
        (capabilities.peek, "peek"),
        (capabilities.iterate, "dump"),
        (capabilities.freeze, "freeze"),
        (capabilities.pin, "pin"),
        (capabilities.watch_counters, "watch counters"),
        (capabilities.watch_events, "watch events"),
    ]
    .into_iter()
    .filter(|&(has, _)| has)
    .map(|(_, name)| name.to_owned())
    .collect()
}

fn create_request(args: CreateArgs) -> Result<v1::CreateMapRequest, Failure> {
    let key = args.key_type.map(|ty| ty.declare(args.key, "--key")).transpose()?;
    let value = args.value_type.map(|ty| ty.declare(args.value, "--value")).transpose()?;
    let (keyless, valueless) = without_halves(args.kind);
    let key_size = size(key.as_ref(), args.key, keyless, "--key")?;
    let value_size = size(value.as_ref(), args.value, valueless, "--value")?;
    let declared = key.is_some() || value.is_some();
    let schema = Schema { key, value, source: SchemaSource::Declared };
    Ok(v1::CreateMapRequest {
        name: args.name,
        spec: Some(v1::MapSpec {
            r#type: args.kind.into(),
            key_size,
            value_size,
            max_entries: args.max_entries,
            flags: args.flags,
            numa_node: args.numa_node,
            map_extra: args.map_extra,
            inner: args.inner.map(Box::new),
        }),
        layout: declared.then(|| schema.into()),
        counters: args.counter.map(|counter| counter.spec("")).into_iter().collect(),
        labels: pairs(args.labels),
    })
}

/// Whether maps of that type have no keys, and no values.
fn without_halves(kind: v1::MapType) -> (bool, bool) {
    use v1::MapType as T;
    let keyless = matches!(kind, T::Queue | T::Stack | T::BloomFilter);
    let neither = matches!(kind, T::Ringbuf | T::UserRingbuf | T::Arena);
    (keyless || neither, neither)
}

fn size(ty: Option<&Type>, given: Option<u32>, none: bool, flag: &str) -> Result<u32, Failure> {
    let size = ty.map(|ty| ty.size).or(given).or(none.then_some(0));
    size.ok_or_else(|| {
        let text = format!("how large is it? add {flag} BYTES or {flag}-type SCALAR");
        Failure::new(Exit::Usage, text)
    })
}

async fn lookup(
    context: &Context,
    map: &MapRef,
    key: &str,
    per_cpu: bool,
) -> Result<Sheet, Failure> {
    let (info, layout) = context.map(map).await?;
    let key = parse_key(&info, &layout, key)?;
    let each_cpu = per_cpu && layout.per_cpu;
    let (maps, name, cpu) = (context.client.maps(), map.to_string(), cpu_mode(each_cpu));
    let bytes = maps.lookup(&name, key.clone(), cpu).await.map_err(sum_hint)?;
    let view = EntryView::new(&layout, context.format).each_cpu(each_cpu);
    let values = layout.values(&bytes).enumerate();
    let rows = values.map(|(cpu, value)| view.cells(&key, cpu, value)).collect();
    let sheet = Sheet::of(view.columns(), rows);
    Ok(if each_cpu { sheet } else { sheet.only() })
}

fn cpu_mode(each_cpu: bool) -> CpuMode {
    if each_cpu { CpuMode::Each } else { CpuMode::Sum }
}

/// A value that cannot be added up can still be shown.
fn sum_hint(error: bpfgate_client::Error) -> Failure {
    let no_sum = error.code() == Some(bpfgate_client::Code::FailedPrecondition);
    let failure = Failure::from(error);
    if no_sum { failure.hint("try --per-cpu") } else { failure }
}

async fn update(
    context: &Context,
    map: &MapRef,
    key: &str,
    value: &str,
    mode: UpdateMode,
    per_cpu: bool,
) -> Result<(), Failure> {
    let (info, layout) = context.map(map).await?;
    let key = parse_key(&info, &layout, key)?;
    let value = if per_cpu {
        parse_each_cpu(&info, &layout, value)?
    } else {
        parse_half(&info, &layout.value, "VALUE", value)?
    };
    context.client.maps().update(&map.to_string(), key, value, mode).await?;
    Ok(())
}

async fn dump(context: &Context, args: DumpArgs) -> Result<(), Failure> {
    let DumpArgs { map, keys, values, limit, per_cpu } = args;
    let (info, layout) = context.map(&map.map).await?;
    let each_cpu = per_cpu && layout.per_cpu;
    let view = EntryView::new(&layout, context.format).each_cpu(each_cpu);
    let (view, parts) = match (keys, values) {
        (true, false) => (view.keys_only(), EntryParts::Keys),
        (false, true) => (view.values_only(), EntryParts::Values),
        _ => (view, EntryParts::Both),
    };
    let mut printer = context.printer(view.columns());
    if limit == Some(0) {
        return Ok(printer.finish()?);
    }
    let options = IterateOptions { parts, cpu: cpu_mode(each_cpu), limit, ..Default::default() };
    let maps = context.client.maps();
    let mut entries = maps.iterate(&map.map.to_string(), options).await.map_err(sum_hint)?;
    let value_size = if each_cpu { layout.value_stride } else { layout.value.size() };
    let wrong_key = parts != EntryParts::Values && entries.key_stride() != layout.key.size();
    let wrong_value = parts != EntryParts::Keys && entries.value_stride() != value_size;
    if wrong_key || wrong_value {
        let text = format!("map {} was replaced by one of another size; try again", info.name);
        return Err(Failure::new(Exit::Conflict, text));
    }
    while let Some(chunk) = entries.next_chunk().await? {
        for (key, value) in chunk.iter() {
            if parts == EntryParts::Keys {
                printer.row(view.cells(key, 0, &[]))?;
                continue;
            }
            for (cpu, value) in layout.values(value).enumerate() {
                printer.row(view.cells(key, cpu, value))?;
            }
        }
    }
    Ok(printer.finish()?)
}

fn parse_key(map: &v1::Map, layout: &Layout, text: &str) -> Result<Vec<u8>, Failure> {
    parse_half(map, &layout.key, "KEY", text)
}

fn parse_half(map: &v1::Map, plan: &Plan, part: &str, text: &str) -> Result<Vec<u8>, Failure> {
    plan.parse(text).map_err(|error| misfit(map, part, text, &error.to_string()))
}

/// A JSON list with a value for each CPU, each padded as the kernel wants it.
fn parse_each_cpu(map: &v1::Map, layout: &Layout, text: &str) -> Result<Vec<u8>, Failure> {
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
    const SHOWN: usize = 60;
    let schema = map.schema.clone().unwrap_or_default();
    let spec = map.spec.clone().unwrap_or_default();
    let (ty, size) = match part {
        "KEY" => (schema.key, spec.key_size),
        _ => (schema.value, spec.value_size),
    };
    let kind = describe::type_of(ty.as_ref());
    let kind =
        kind.map_or_else(|| format!("{size} plain bytes"), |ty| format!("{ty} ({size} bytes)"));
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let name = if map.name.is_empty() { format!("id:{}", map.id) } else { map.name.clone() };
    let half = part.to_lowercase();
    let text = format!("{part} '{shown}' does not fit map {name}, whose {half} is {kind}: {why}");
    Failure::new(Exit::BadValue, text)
}
