//! `bpfgate map dump`.

use bpfgate_client::{EntryParts, IterateOptions};

use super::entry::{cpu_mode, sum_hint};
use crate::args::DumpArgs;
use crate::context::Context;
use crate::entry::EntryView;
use crate::exit::{Exit, Failure};

pub(super) async fn run(context: &Context, args: DumpArgs) -> Result<(), Failure> {
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
    let (is_json, mut object) = (view.is_json(), Vec::new());
    let mut print = |key: &[u8], cpu: usize, value: &[u8]| {
        if !is_json {
            return printer.row(view.cells(key, cpu, value));
        }
        object.clear();
        view.write_json(key, cpu, value, &mut object);
        printer.object(&object)
    };
    while let Some(chunk) = entries.next_chunk().await? {
        for (key, value) in chunk.iter() {
            if parts == EntryParts::Keys {
                print(key, 0, &[])?;
                continue;
            }
            for (cpu, value) in layout.values(value).enumerate() {
                print(key, cpu, value)?;
            }
        }
    }
    Ok(printer.finish()?)
}
