//! `bpfgate map lookup`.

use bpfgate_client::name::MapRef;
use bpfgate_client::reference::ReferenceKind;
use bytes::Bytes;

use bpfgate_client::{Code, CpuMode, Datum, EntryParts, Error, Layout, Operand};

use super::entry::{check_forms, cpu_mode, each_cpu};
use super::parse;
use crate::args::{LookupArgs, ShownArgs};
use crate::context::Context;
use crate::entries::{EntryView, EntryWriter, Selection};
use crate::exit::{Exit, Failure};
use crate::render::{Cell, Format, Sheet, left};
use crate::shown;

pub(super) async fn run(context: &Context, args: LookupArgs) -> Result<(), Failure> {
    let LookupArgs { map, keys: texts, per_cpu, delete, shown: ShownArgs { names, fields } } = args;
    let bpftool = context.format == Format::Bpftool;
    if bpftool && texts.len() > 1 {
        let text = "bpftool looks up one key at a time: give one, or leave -o bpftool out";
        return Err(Failure::new(Exit::Usage, text));
    }
    let (info, layout) = context.map_as(&map.map, &fields.resolve).await?;
    let resolve = shown::names(&fields.resolve);
    let asked = !resolve.is_empty() || names && !info.key_names.is_empty();
    let kind = parse::map_type(&info);
    if let ([text], false) = (&texts[..], bpftool || delete)
        && ReferenceKind::of_keys(kind).is_some()
    {
        let key = parse::key_of(&info, &layout, text, asked)?;
        return by_reference(context, &map.map, &layout, (text, key)).await;
    }
    let named = ReferenceKind::of_values(kind).is_some() && !bpftool && !delete;
    let data = texts.iter().map(|key| parse::datum(&info, &layout, key, !resolve.is_empty()));
    let data = data.collect::<Result<Vec<_>, _>>()?;
    let each_cpu = each_cpu(context, &layout, per_cpu);
    // Who writes names reads them, too.
    let written = data.iter().any(|key| matches!(key, Datum::Typed(_)));
    let maps = context.client.maps().wide_sums().naming(&resolve, names || written);
    let (name, cpu) = (map.map.to_string(), cpu_mode(each_cpu));
    let single = data.len() == 1;
    let selection = Selection { parts: EntryParts::Both, each_cpu, single, named };
    let mut writer = EntryWriter::new(context, &info, &layout, selection);
    let mut missing = Vec::new();
    let by_name = asked && !bpftool || written;
    if by_name && !named {
        check_forms(&fields.resolve)?;
        let keys: Vec<_> = data.into_iter().map(|key| parse::typed(&layout, key)).collect();
        if delete {
            for (key, text) in keys.into_iter().zip(&texts) {
                match maps.lookup_and_delete_typed(&name, key.clone(), cpu).await {
                    Ok(value) => writer.typed(&key, &value)?,
                    Err(error) if error.code() == Some(Code::NotFound) => missing.push(text),
                    Err(error) => {
                        writer.finish()?;
                        return Err(error.into());
                    }
                }
            }
        } else {
            let found = maps.lookup_batch_each(&name, keys, cpu).await;
            let found = found.map_err(|error| unknown(error, &name, &texts))?;
            for (text, entry) in texts.iter().zip(found) {
                match entry {
                    Some((key, value)) => writer.typed(&key, &value)?,
                    None => missing.push(text),
                }
            }
        }
        return finish(writer, &name, &missing);
    }
    let keys: Vec<_> = data.iter().map(parse::bytes).collect();
    if named {
        for (key, text) in keys.iter().zip(&texts) {
            match maps.lookup_reference(&name, key.clone()).await {
                Ok(value) => writer.named(key, &value.to_string())?,
                Err(error) if error.code() == Some(Code::NotFound) && !single => missing.push(text),
                Err(error) => return Err(absent(context, error)),
            }
        }
    } else if let ([key], false) = (&keys[..], delete) {
        let value = match maps.lookup(&name, key.clone(), cpu).await {
            // More than a message holds.
            Err(error) if is_too_large(&error) && (each_cpu || !layout.per_cpu) => {
                maps.read_value(&name, key.clone()).await.map(Bytes::from)
            }
            answer => answer,
        };
        let value = value.map_err(|error| absent(context, error))?;
        writer.entry(key, &value)?;
    } else if delete {
        for (key, text) in keys.iter().zip(&texts) {
            match maps.lookup_and_delete(&name, key.clone(), cpu).await {
                Ok(value) => writer.entry(key, &value)?,
                Err(error) if error.code() == Some(Code::NotFound) && !single => missing.push(text),
                Err(error) => {
                    // What was taken out is nowhere but here.
                    writer.finish()?;
                    return Err(absent(context, error));
                }
            }
        }
    } else {
        let found = maps.lookup_batch(&name, keys.concat(), cpu).await?;
        for ((key, text), value) in keys.iter().zip(&texts).zip(found.iter()) {
            match value {
                Some(value) => writer.entry(key, value)?,
                None => missing.push(text),
            }
        }
    }
    finish(writer, &name, &missing)
}

/// A key that is neither of the map's type nor a name, as it was written.
fn unknown(error: Error, map: &str, texts: &[String]) -> Failure {
    let refusal = error.as_rpc().filter(|refusal| refusal.code == Code::InvalidArgument);
    let entry = refusal.and_then(|refusal| refusal.metadata.get("entry")?.parse::<usize>().ok());
    let text = entry.and_then(|entry| texts.get(entry));
    let Some((refusal, text)) = refusal.zip(text) else { return error.into() };
    let why = refusal.message.splitn(3, ": ").last().unwrap_or_default();
    let text = format!(
        "KEY '{text}' does not fit map {map}, nor is it a name that the agent's host has: {why}"
    );
    Failure::new(Exit::BadValue, text)
}

/// Prints what was found, and fails if something was not.
fn finish(writer: EntryWriter<'_>, name: &str, missing: &[&String]) -> Result<(), Failure> {
    writer.finish()?;
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.iter().map(|key| format!("'{key}'")).collect();
    let text = format!("map {name} has no entry with key {}", missing.join(", "));
    Err(Failure::new(Exit::NotFound, text))
}

/// An entry whose key stands for something else, as text.
async fn by_reference(
    context: &Context,
    map: &MapRef,
    layout: &Layout,
    (text, key): (&str, Operand),
) -> Result<(), Failure> {
    let (maps, name) = (context.client.maps(), map.to_string());
    let view = EntryView::new(layout, context.format, false).values_only();
    let value = maps.lookup(&name, key, CpuMode::Each).await;
    let value = value.map_err(|error| absent(context, error))?;
    let cells = view.cells(&[], 0, &value);
    let cells = [vec![Cell::Text(text.to_owned())], cells].concat();
    let columns = [vec![left("key")], view.columns()].concat();
    context.print(Sheet::of(columns, vec![cells]).only())
}

fn is_too_large(error: &Error) -> bool {
    error.as_rpc().is_some_and(|error| error.reason.as_deref() == Some("TOO_LARGE"))
}

fn absent(context: &Context, error: Error) -> Failure {
    if error.code() == Some(Code::NotFound)
        && let Err(failure) = context.nothing()
    {
        return failure;
    }
    error.into()
}
