//! `bpfgate map lookup`, `update` and `delete`.

use bpfgate_client::name::MapRef;
use bpfgate_client::{CpuMode, UpdateMode};

use super::parse;
use crate::context::Context;
use crate::entry::EntryView;
use crate::exit::Failure;
use crate::render::Sheet;

pub(super) async fn lookup(
    context: &Context,
    map: &MapRef,
    key: &str,
    per_cpu: bool,
) -> Result<Sheet, Failure> {
    let (info, layout) = context.map(map).await?;
    let key = parse::key(&info, &layout, key)?;
    let each_cpu = per_cpu && layout.per_cpu;
    let (maps, name, cpu) = (context.client.maps(), map.to_string(), cpu_mode(each_cpu));
    let bytes = maps.lookup(&name, key.clone(), cpu).await.map_err(sum_hint)?;
    let view = EntryView::new(&layout, context.format).each_cpu(each_cpu);
    let values = layout.values(&bytes).enumerate();
    let rows = values.map(|(cpu, value)| view.cells(&key, cpu, value)).collect();
    let sheet = Sheet::of(view.columns(), rows);
    Ok(if each_cpu { sheet } else { sheet.only() })
}

pub(super) fn cpu_mode(each_cpu: bool) -> CpuMode {
    if each_cpu { CpuMode::Each } else { CpuMode::Sum }
}

/// A value that cannot be added up can still be shown.
pub(super) fn sum_hint(error: bpfgate_client::Error) -> Failure {
    let no_sum = error.code() == Some(bpfgate_client::Code::FailedPrecondition);
    let failure = Failure::from(error);
    if no_sum { failure.hint("try --per-cpu") } else { failure }
}

pub(super) async fn update(
    context: &Context,
    map: &MapRef,
    key: &str,
    value: &str,
    mode: UpdateMode,
    per_cpu: bool,
) -> Result<(), Failure> {
    let (info, layout) = context.map(map).await?;
    let key = parse::key(&info, &layout, key)?;
    let value = if per_cpu {
        parse::each_cpu(&info, &layout, value)?
    } else {
        parse::value(&info, &layout, value)?
    };
    context.client.maps().update(&map.to_string(), key, value, mode).await?;
    Ok(())
}

pub(super) async fn delete(context: &Context, map: &MapRef, key: &str) -> Result<(), Failure> {
    let (info, layout) = context.map(map).await?;
    let key = parse::key(&info, &layout, key)?;
    Ok(context.client.maps().delete_entry(&map.to_string(), key).await?)
}
