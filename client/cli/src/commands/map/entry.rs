//! `bpfgate map lookup`, `update` and `delete`.

use bpfgate_client::name::MapRef;
use bpfgate_client::{Code, CpuMode, EntryParts, UpdateMode};

use super::parse;
use crate::context::Context;
use crate::entries::{EntryWriter, Selection};
use crate::exit::Failure;
use crate::render::Format;

pub(super) async fn lookup(
    context: &Context,
    map: &MapRef,
    key: &str,
    per_cpu: bool,
) -> Result<(), Failure> {
    let (info, layout) = context.map(map).await?;
    let key = parse::key(&info, &layout, key)?;
    let bpftool = context.format == Format::Bpftool;
    let each_cpu = (per_cpu || bpftool) && layout.per_cpu;
    let (maps, name, cpu) = (context.client.maps(), map.to_string(), cpu_mode(each_cpu));
    let value = match maps.lookup(&name, key.clone(), cpu).await {
        Ok(value) => value,
        Err(error) => {
            if error.code() == Some(Code::NotFound) {
                context.nothing()?;
            }
            return Err(sum_hint(error));
        }
    };
    let selection = Selection { parts: EntryParts::Both, each_cpu, single: true };
    let mut writer = EntryWriter::new(context, &info, &layout, selection);
    writer.entry(&key, &value)?;
    Ok(writer.finish()?)
}

pub(super) fn cpu_mode(each_cpu: bool) -> CpuMode {
    if each_cpu { CpuMode::Each } else { CpuMode::Sum }
}

/// A value that cannot be added up can still be shown.
pub(super) fn sum_hint(error: bpfgate_client::Error) -> Failure {
    let no_sum = error.code() == Some(Code::FailedPrecondition);
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
