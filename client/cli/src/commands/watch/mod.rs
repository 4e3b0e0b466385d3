//! `bpfgate watch`. [`mod@rows`] has a counter as a row, [`mod@news`] what else a watch tells,
//! [`absent`] what it was asked for and cannot tell.

mod absent;
mod counters;
mod events;
mod news;
mod rows;

use super::Answer;
use crate::args::WatchCommand;
use crate::context::Context;

pub(crate) use absent::maps as say_absent_maps;
pub(crate) use counters::everything;
pub(crate) use news::News;

pub(super) async fn run(context: &Context, command: WatchCommand) -> Answer {
    match command {
        WatchCommand::Counters(args) => counters::run(context, args).await,
        WatchCommand::Events(args) => events::run(context, args).await,
    }
}
