//! `bpfgate map clear`.

use bpfgate_client::Cleared;
use bpfgate_client::name::MapRef;

use super::{Answer, done, several};
use crate::context::Context;
use crate::exit::Failure;
use crate::render::{Cell, Format, Sheet, left, right};

pub(super) async fn run(context: &Context, maps: Vec<MapRef>) -> Answer {
    let single = maps.len() == 1;
    let mut rows = Vec::new();
    let clear = async |map: MapRef| match context.client.maps().clear(&map.to_string()).await {
        Ok(cleared) => {
            rows.push(row(&map, cleared));
            Ok(())
        }
        Err(error) => Err(context.no_such_map(error, &map).await),
    };
    let ended = several(maps, clear).await;
    if context.format == Format::Bpftool {
        ended?;
        return done(context);
    }
    if let (Err(failure), true) = (&ended, rows.is_empty()) {
        return Err(Failure::told(failure.exit));
    }
    let sheet = Sheet::many([left("map"), left("entries_were"), right("entries")], rows);
    context.print(if single { sheet.only() } else { sheet })?;
    ended.map(|()| None)
}

fn row(map: &MapRef, cleared: Cleared) -> [Cell; 3] {
    let (how, entries) = match cleared {
        Cleared::Removed(entries) => ("removed", entries),
        Cleared::Zeroed(entries) => ("set to zero", entries),
    };
    [Cell::Text(map.to_string()), Cell::Text(how.to_owned()), Cell::Number(entries)]
}
