//! `bpfgate map dump`.

use bpfgate_client::reference::ReferenceKind;
use bpfgate_client::v1::Reference;
use bpfgate_client::{Chunk, Entries, EntryParts, IterateOptions, Layout, v1};

use super::entry::{check_forms, cpu_mode, each_cpu};
use super::parse;
use crate::args::{DumpArgs, ShownArgs};
use crate::context::Context;
use crate::entries::{EntryWriter, Selection, Slots};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::progress::{self, Progress};
use crate::render::Format;
use crate::shown;

pub(super) async fn run(context: &Context, args: DumpArgs) -> Result<(), Failure> {
    let DumpArgs { map, keys, values, limit, per_cpu, shown: ShownArgs { names, fields } } = args;
    let parts = match (keys, values) {
        (true, false) => EntryParts::Keys,
        (false, true) => EntryParts::Values,
        _ => EntryParts::Both,
    };
    let bpftool = context.format == Format::Bpftool;
    if bpftool && parts != EntryParts::Both {
        let text = "bpftool prints whole entries: leave --keys and --values out, or -o bpftool";
        return Err(Failure::new(Exit::Usage, text));
    }
    let (info, layout) = context.map_as(&map.map, &fields.resolve).await?;
    let resolve = shown::names(&fields.resolve);
    let by_name = !resolve.is_empty() || names && !info.key_names.is_empty();
    let each_cpu = each_cpu(context, &layout, per_cpu);
    let kind = ReferenceKind::of_values(parse::map_type(&info));
    let named = kind.is_some() && parts != EntryParts::Keys && !bpftool;
    let selection = Selection { parts, each_cpu, single: false, named };
    let mut writer = EntryWriter::new(context, &info, &layout, selection);
    let typed = by_name && !bpftool && !named && parts != EntryParts::Values;
    if typed {
        check_forms(&fields.resolve)?;
    }
    let mut slots = Slots::of(&info).filter(|_| bpftool);
    if limit == Some(0) {
        return Ok(writer.finish()?);
    }
    let cpu = cpu_mode(each_cpu);
    if let Some(slots) = &mut slots
        && !info.capabilities.is_some_and(|has| has.iterate)
    {
        slots.unreadable(&mut writer, limit)?;
        return Ok(writer.finish()?);
    }
    let options = IterateOptions {
        parts,
        cpu,
        limit,
        wide_sums: true,
        references: named,
        typed,
        ..Default::default()
    };
    let maps = context.client.maps().naming(&resolve, names);
    let mut entries = maps.iterate(&map.map.to_string(), options).await?;
    check_sizes(&info, &layout, &entries, parts, each_cpu)?;
    let interrupt = Interrupt::new()?;
    let mut progress = Progress::beside_rows("read");
    let expected = expected(&info, limit);
    let mut read = 0;
    loop {
        let next = tokio::select! {
            biased;
            () = interrupt.pressed() => None,
            chunk = entries.next_chunk() => Some(chunk),
        };
        match next {
            Some(Ok(Some(chunk))) => {
                read += print(
                    &mut writer,
                    &layout,
                    &chunk,
                    slots.as_mut().filter(|_| limit.is_none()),
                )?;
                progress.update(read, expected.and_then(|all| progress::share(read, all)));
            }
            Some(Ok(None)) => {
                if let Some(slots) = slots.as_mut().filter(|_| limit.is_none()) {
                    slots.unreadable(&mut writer, None)?;
                }
                return Ok(writer.finish()?);
            }
            Some(Err(error)) => {
                writer.cut()?;
                progress.clear();
                return Err(error.into());
            }
            None => {
                writer.cut()?;
                progress.clear();
                let text = format!("interrupted: {read} entries were printed, not all there are");
                return Err(Failure::new(Exit::Interrupted, text));
            }
        }
    }
}

fn print(
    writer: &mut EntryWriter<'_>,
    layout: &Layout,
    chunk: &Chunk,
    mut slots: Option<&mut Slots>,
) -> Result<u64, Failure> {
    for (key, value) in chunk.typed() {
        writer.typed(&key, &value)?;
    }
    if chunk.packed_keys().is_empty() && chunk.packed_values().is_empty() {
        return Ok(chunk.len() as u64);
    }
    let names = chunk.references();
    for (at, (key, value)) in chunk.iter().enumerate() {
        if let Some(slots) = &mut slots {
            slots.until(key, writer)?;
        }
        match names.get(at) {
            // The kernel does not tell.
            Some(Reference { to: None }) => writer.named(key, &layout.value.show(value))?,
            Some(name) => writer.named(key, &name.to_string())?,
            None => writer.entry(key, value)?,
        }
    }
    Ok(chunk.len() as u64)
}

/// The map may have been replaced since its layout was asked for.
fn check_sizes(
    info: &v1::Map,
    layout: &Layout,
    entries: &Entries,
    parts: EntryParts,
    each_cpu: bool,
) -> Result<(), Failure> {
    let value_size = if each_cpu { layout.value_stride } else { layout.sum.size() };
    let wrong_key = parts != EntryParts::Values && entries.key_stride() != layout.key.size();
    let wrong_value = parts != EntryParts::Keys && entries.value_stride() != value_size;
    if wrong_key || wrong_value {
        let text = format!("map {} was replaced by one of another size; try again", info.name);
        return Err(Failure::new(Exit::Conflict, text));
    }
    Ok(())
}

/// How many entries will come, where that is known before: an array has them all.
fn expected(info: &v1::Map, limit: Option<u64>) -> Option<u64> {
    let spec = info.spec.clone().unwrap_or_default();
    let full = matches!(spec.r#type(), v1::MapType::Array | v1::MapType::PercpuArray);
    let all = full.then_some(spec.max_entries.into());
    match (all, limit) {
        (Some(all), Some(limit)) => Some(limit.min(all)),
        (all, limit) => limit.or(all),
    }
}
