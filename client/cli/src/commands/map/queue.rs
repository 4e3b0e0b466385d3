//! `bpfgate map push`, `pop` and `peek`.

use bpfgate_client::name::MapRef;
use bpfgate_client::{Code, EntryParts, Layout, v1};

use super::parse;
use crate::context::Context;
use crate::entries::{EntryWriter, Selection};
use crate::exit::{Exit, Failure};
use crate::render::Format;

pub(super) async fn push(
    context: &Context,
    map: &MapRef,
    value: &str,
    replace_oldest: bool,
) -> Result<(), Failure> {
    let (info, layout) = context.map(map).await?;
    let value = parse::value(&info, &layout, value)?;
    let (maps, name) = (context.client.maps(), map.to_string());
    if replace_oldest {
        maps.push_replacing(&name, value).await?;
    } else {
        maps.push(&name, value).await?;
    }
    Ok(())
}

pub(super) async fn pop(context: &Context, map: &MapRef) -> Result<(), Failure> {
    let (info, layout) = context.map(map).await?;
    let value = context.client.maps().pop(&map.to_string()).await;
    print(context, &info, &layout, value)
}

pub(super) async fn peek(
    context: &Context,
    map: &MapRef,
    value: Option<&str>,
) -> Result<(), Failure> {
    let (info, layout) = context.map(map).await?;
    let (maps, name) = (context.client.maps(), map.to_string());
    let Some(text) = value else {
        let is_filter =
            info.spec.as_ref().is_some_and(|spec| spec.r#type() == v1::MapType::BloomFilter);
        if is_filter {
            let text = "a bloom filter is asked for a value: give one behind the map";
            return Err(Failure::new(Exit::Usage, text));
        }
        let value = maps.peek(&name).await;
        return print(context, &info, &layout, value);
    };
    let value = parse::value(&info, &layout, text)?;
    if maps.may_contain(&name, value.clone()).await? {
        return print(context, &info, &layout, Ok(value.into()));
    }
    context.nothing()?;
    Err(Failure::new(Exit::NotFound, format!("bloom filter {name} does not hold '{text}'")))
}

/// A value that has no key.
fn print(
    context: &Context,
    info: &v1::Map,
    layout: &Layout,
    value: Result<bytes::Bytes, bpfgate_client::Error>,
) -> Result<(), Failure> {
    let value = match value {
        Ok(value) => value,
        Err(error) => {
            if error.code() == Some(Code::NotFound) {
                context.nothing()?;
            }
            return Err(error.into());
        }
    };
    // bpftool shows an empty key.
    let parts = match context.format {
        Format::Bpftool => EntryParts::Both,
        _ => EntryParts::Values,
    };
    let selection = Selection { parts, each_cpu: false, single: true, named: false };
    let mut writer = EntryWriter::new(context, info, layout, selection);
    writer.entry(&[], &value)?;
    Ok(writer.finish()?)
}
