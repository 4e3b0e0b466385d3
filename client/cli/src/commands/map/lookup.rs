//! `bpfgate map lookup`.

use bpfgate_client::name::MapRef;
use bpfgate_client::reference::ReferenceKind;
use bpfgate_client::{Code, CpuMode, Datum, EntryParts, Error, Layout, Operand};

use super::entry::{cpu_mode, each_cpu};
use super::parse;
use crate::args::LookupArgs;
use crate::context::Context;
use crate::entries::{EntryView, EntryWriter, Selection};
use crate::exit::{Exit, Failure};
use crate::render::{Cell, Format, Sheet, left};

pub(super) async fn run(context: &Context, args: LookupArgs) -> Result<(), Failure> {
    let LookupArgs { map, keys: texts, per_cpu, delete } = args;
    let bpftool = context.format == Format::Bpftool;
    if bpftool && texts.len() > 1 {
        let text = "bpftool looks up one key at a time: give one, or leave -o bpftool out";
        return Err(Failure::new(Exit::Usage, text));
    }
    let (info, layout) = context.map(&map.map).await?;
    let kind = parse::map_type(&info);
    let by_reference = ReferenceKind::of_keys(kind).is_some();
    if let ([text], false) = (&texts[..], bpftool || delete)
        && (by_reference || ReferenceKind::of_values(kind).is_some())
    {
        let key = parse::key_of(&info, &layout, text)?;
        return reference(context, &map.map, &layout, (text, key), by_reference).await;
    }
    let keys = texts.iter().map(|key| parse::key(&info, &layout, key));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let each_cpu = each_cpu(context, &layout, per_cpu);
    let maps = context.client.maps().wide_sums();
    let (name, cpu) = (map.map.to_string(), cpu_mode(each_cpu));
    let single = keys.len() == 1;
    let selection = Selection { parts: EntryParts::Both, each_cpu, single };
    let mut writer = EntryWriter::new(context, &info, &layout, selection);
    let mut missing = Vec::new();
    if let ([key], false) = (&keys[..], delete) {
        let value = maps.lookup(&name, key.clone(), cpu).await;
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
    writer.finish()?;
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.iter().map(|key| format!("'{key}'")).collect();
    let text = format!("map {name} has no entry with key {}", missing.join(", "));
    Err(Failure::new(Exit::NotFound, text))
}

/// An entry whose key or value stands for something else, as text.
async fn reference(
    context: &Context,
    map: &MapRef,
    layout: &Layout,
    (text, key): (&str, Operand),
    by_reference: bool,
) -> Result<(), Failure> {
    let (maps, name) = (context.client.maps(), map.to_string());
    let view = EntryView::new(layout, context.format, false);
    let missing = |error| absent(context, error);
    let (view, cells) = if by_reference {
        let view = view.values_only();
        let value = maps.lookup(&name, key, CpuMode::Each).await.map_err(missing)?;
        let cells = view.cells(&[], 0, &value);
        (view, [vec![Cell::Text(text.to_owned())], cells].concat())
    } else {
        let view = view.keys_only();
        let bytes = match &key {
            Operand::Datum(Datum::Raw(bytes)) => bytes.clone(),
            _ => bytes::Bytes::new(),
        };
        let value = maps.lookup_reference(&name, key).await.map_err(missing)?;
        let value = Cell::Text(value.to_string());
        let cells = view.cells(&bytes, 0, &[]);
        (view, [cells, vec![value]].concat())
    };
    let columns = if by_reference {
        [vec![left("key")], view.columns()].concat()
    } else {
        [view.columns(), vec![left("value")]].concat()
    };
    context.print(Sheet::of(columns, vec![cells]).only())
}

fn absent(context: &Context, error: Error) -> Failure {
    if error.code() == Some(Code::NotFound)
        && let Err(failure) = context.nothing()
    {
        return failure;
    }
    error.into()
}
