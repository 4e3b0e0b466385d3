//! `bpfgate map`.

mod create;
mod dump;
mod entry;
mod parse;
mod show;

use bpfgate_client::MapFilter;

use super::Answer;
use crate::args::MapCommand;
use crate::context::Context;
use crate::values::pairs;

pub(super) async fn run(context: &Context, command: MapCommand) -> Answer {
    let maps = context.client.maps();
    match command {
        MapCommand::List { patterns, types, labels } => {
            let filter = MapFilter { names: patterns, types, labels: pairs(labels) };
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
        MapCommand::Drop { map } => match maps.delete(&map.map.to_string()).await {
            Ok(()) => done(context),
            Err(error) => Err(context.no_such_map(error, &map.map).await),
        },
        MapCommand::Lookup { map, key, per_cpu } => {
            entry::lookup(context, &map.map, &key, per_cpu).await?;
            Ok(None)
        }
        MapCommand::Update { map, key, value, mode, per_cpu } => {
            entry::update(context, &map.map, &key, &value, mode.into(), per_cpu).await?;
            done(context)
        }
        MapCommand::Delete { map, key } => {
            entry::delete(context, &map.map, &key).await?;
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
