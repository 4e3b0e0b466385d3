//! `bpfgate map update` and `delete`.

use bpfgate_client::name::MapRef;
use bpfgate_client::{CpuMode, Datum, Keys, Layout};

use super::parse;
use crate::args::{FieldArgs, UpdateArgs};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::render::Format;
use crate::shown::{self, Resolve};

pub(super) fn cpu_mode(each_cpu: bool) -> CpuMode {
    if each_cpu { CpuMode::Each } else { CpuMode::Sum }
}

/// Whether each CPU's value is shown by itself. Values with nothing to add are, asked for or not.
pub(super) fn each_cpu(context: &Context, layout: &Layout, asked: bool) -> bool {
    let each = asked || context.format == Format::Bpftool || !layout.adds;
    each && layout.per_cpu
}

/// Where keys go by names, the agent says how fields look.
pub(super) fn check_forms(asked: &[Resolve]) -> Result<(), Failure> {
    if asked.iter().all(|resolve| matches!(resolve, Resolve::Name(_))) {
        return Ok(());
    }
    let text = "ip, mac and hex do not go together with names of the agent's host; ask for one";
    Err(Failure::new(Exit::Usage, text))
}

pub(super) async fn update(context: &Context, args: UpdateArgs) -> Result<(), Failure> {
    let UpdateArgs { map, key, value, mode, per_cpu, fields } = args;
    let (info, layout) = context.map_as(&map.map, &fields.resolve).await?;
    let resolve = shown::names(&fields.resolve);
    let key = parse::key_of(&info, &layout, &key, !resolve.is_empty())?;
    let value = if per_cpu {
        parse::each_cpu(&info, &layout, &value)?.into()
    } else {
        parse::value_of(&info, &layout, &value)?
    };
    let maps = context.client.maps().naming(&resolve, false);
    Ok(maps.update(&map.map.to_string(), key, value, mode.into()).await?)
}

pub(super) async fn delete(
    context: &Context,
    map: &MapRef,
    keys: &[String],
    missing_ok: bool,
    fields: &FieldArgs,
) -> Result<(), Failure> {
    let (info, layout) = context.map_as(map, &fields.resolve).await?;
    let resolve = shown::names(&fields.resolve);
    let (maps, name) = (context.client.maps().naming(&resolve, false), map.to_string());
    let named = !resolve.is_empty();
    if let ([key], false) = (keys, missing_ok) {
        let key = parse::key_of(&info, &layout, key, named)?;
        return Ok(maps.delete_entry(&name, key).await?);
    }
    let data = keys.iter().map(|key| parse::datum(&info, &layout, key, named));
    let data = data.collect::<Result<Vec<_>, _>>()?;
    let list = if data.iter().any(|key| matches!(key, Datum::Typed(_))) {
        Keys::Typed(data.into_iter().map(|key| parse::typed(&layout, key)).collect())
    } else {
        Keys::from(data.iter().map(parse::bytes).collect::<Vec<_>>().concat())
    };
    let Err(error) = maps.delete_batch(&name, list, missing_ok).await else {
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
