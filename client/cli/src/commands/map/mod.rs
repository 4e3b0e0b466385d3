//! `bpfgate map`.

mod clear;
mod create;
mod dump;
mod entry;
mod lookup;
mod parse;
mod queue;
mod restore;
mod show;

use bpfgate_client::MapFilter;
use bpfgate_client::name::MapRef;

use super::program::say_hidden;
use super::{Answer, several};
use crate::args::{MapCommand, MapsArg};
use crate::context::Context;
use crate::render::{Cell, Format, Sheet};
use crate::values::pairs;

pub(super) async fn run(context: &Context, command: MapCommand) -> Answer {
    let maps = context.client.maps();
    match command {
        MapCommand::List { patterns, types, labels, all } => {
            let filter = MapFilter { names: patterns, types, labels: pairs(labels) };
            if all {
                let answer = maps.list_all(filter).await?;
                say_hidden(&answer.holders_hidden);
                return Ok(Some(show::everywhere(context.format, answer)));
            }
            Ok(Some(show::list(context.format, maps.list(filter).await?)))
        }
        MapCommand::Show { map } => {
            let map = map.map;
            match maps.get(&map.to_string()).await {
                Ok(map) => Ok(Some(show::show(context.format, map))),
                Err(error) => Err(context.no_such_map(error, &map).await),
            }
        }
        MapCommand::Create(args) => {
            let map = maps.create(create::request(*args)?).await?;
            Ok(Some(show::list(context.format, vec![map]).only()))
        }
        MapCommand::Drop { maps: MapsArg { maps: names } } => {
            let drop = async |map: MapRef| match maps.delete(&map.to_string()).await {
                Ok(()) => Ok(()),
                Err(error) => Err(context.no_such_map(error, &map).await),
            };
            several(names, drop).await?;
            done(context)
        }
        MapCommand::Clear { maps } => clear::run(context, maps.maps).await,
        MapCommand::Lookup(args) => {
            lookup::run(context, args).await?;
            Ok(None)
        }
        MapCommand::Update(args) => {
            entry::update(context, args).await?;
            done(context)
        }
        MapCommand::Delete { map, keys, missing_ok, fields } => {
            entry::delete(context, &map.map, &keys, missing_ok, &fields).await?;
            done(context)
        }
        MapCommand::Push { map, value, replace_oldest } => {
            queue::push(context, &map.map, &value, replace_oldest).await?;
            done(context)
        }
        MapCommand::Pop { map } => {
            queue::pop(context, &map.map).await?;
            Ok(None)
        }
        MapCommand::Peek { map, value } => {
            queue::peek(context, &map.map, value.as_deref()).await?;
            Ok(None)
        }
        MapCommand::Restore(args) => restore::run(context, args).await,
        MapCommand::Freeze { map } => match maps.freeze(&map.map.to_string()).await {
            Ok(()) => done(context),
            Err(error) => Err(context.no_such_map(error, &map.map).await),
        },
        MapCommand::Pin { map, path } => match maps.pin(&map.map.to_string(), &path).await {
            Ok(_) if context.format == Format::Bpftool => done(context),
            Ok(path) => Ok(Some(Sheet::one([("path", Cell::Text(path))]))),
            Err(error) => Err(context.no_such_map(error, &map.map).await),
        },
        MapCommand::Unpin { path } => {
            maps.unpin(path.strip_prefix("pin:").unwrap_or(&path)).await?;
            done(context)
        }
        MapCommand::Dump(args) => {
            dump::run(context, args).await?;
            Ok(None)
        }
    }
}

/// It worked, and there is nothing to say about it.
fn done(context: &Context) -> Answer {
    context.nothing()?;
    Ok(None)
}
