//! `bpfgate map update` and `delete`.

use bpfgate_client::name::MapRef;
use bpfgate_client::{CpuMode, Layout};

use super::parse;
use crate::args::UpdateArgs;
use crate::context::Context;
use crate::exit::Failure;
use crate::render::Format;

pub(super) fn cpu_mode(each_cpu: bool) -> CpuMode {
    if each_cpu { CpuMode::Each } else { CpuMode::Sum }
}

/// Whether each CPU's value is shown by itself. Values with nothing to add are, asked for or not.
pub(super) fn each_cpu(context: &Context, layout: &Layout, asked: bool) -> bool {
    let each = asked || context.format == Format::Bpftool || !layout.adds;
    each && layout.per_cpu
}

pub(super) async fn update(context: &Context, args: UpdateArgs) -> Result<(), Failure> {
    let UpdateArgs { map, key, value, mode, per_cpu } = args;
    let (info, layout) = context.map(&map.map).await?;
    let key = parse::key_of(&info, &layout, &key)?;
    let value = if per_cpu {
        parse::each_cpu(&info, &layout, &value)?.into()
    } else {
        parse::value_of(&info, &layout, &value)?
    };
    let maps = context.client.maps();
    Ok(maps.update(&map.map.to_string(), key, value, mode.into()).await?)
}

pub(super) async fn delete(
    context: &Context,
    map: &MapRef,
    keys: &[String],
    missing_ok: bool,
) -> Result<(), Failure> {
    let (info, layout) = context.map(map).await?;
    let (maps, name) = (context.client.maps(), map.to_string());
    if let ([key], false) = (keys, missing_ok) {
        let key = parse::key_of(&info, &layout, key)?;
        return Ok(maps.delete_entry(&name, key).await?);
    }
    let bytes = keys.iter().map(|key| parse::key(&info, &layout, key));
    let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
    let Err(error) = maps.delete_batch(&name, bytes.concat(), missing_ok).await else {
        return Ok(());
    };
    let applied = error.as_rpc().and_then(bpfgate_client::RpcError::applied);
    let failure = Failure::from(error);
    Err(
        match applied.and_then(|applied| Some((applied, keys.get(usize::try_from(applied).ok()?)?)))
        {
            Some((applied, key)) => {
                failure.hint(&format!("it was '{key}'; {applied} before it were removed"))
            }
            None => failure,
        },
    )
}
