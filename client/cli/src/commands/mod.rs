//! One file a noun. A command asks the agent and returns rows; only those that cannot know when
//! they end print as they go.

mod agent;
mod link;
mod map;
mod object;
mod program;
mod program_stats;
mod watch;

use crate::args::Noun;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::render::{Format, Sheet};

pub(crate) use program_stats::{Runs, runs_between};
pub(crate) use watch::{News, everything, say_absent_maps};

/// What a command has to say: rows, or nothing.
type Answer = Result<Option<Sheet>, Failure>;

pub(crate) async fn run(context: &Context, noun: Noun) -> Result<(), Failure> {
    check_format(context, &noun)?;
    let answer = match noun {
        Noun::Map(command) => map::run(context, command).await,
        Noun::Object(command) => object::run(context, command).await,
        Noun::Program(command) => program::run(context, command).await,
        Noun::Link(command) => link::run(context, command).await,
        Noun::Watch(command) => watch::run(context, command).await,
        Noun::Top(args) => crate::top::run(context, args).await.map(|()| None),
        Noun::Agent(command) => agent::run(context, command).await,
        // Before there is a connection, in `main`.
        Noun::Completions { .. } => Ok(None),
    };
    answer?.map_or(Ok(()), |sheet| context.print(sheet))
}

/// The same for each of several things. A failure is told and does not stop the others, unless it
/// is the agent that is gone; how it ends is how the first one failed.
async fn several<T>(
    things: Vec<T>,
    mut act: impl AsyncFnMut(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut first = None;
    for thing in things {
        let Err(failure) = act(thing).await else { continue };
        failure.tell();
        let gone = failure.exit == Exit::NoAgent;
        first.get_or_insert(failure.exit);
        if gone {
            break;
        }
    }
    first.map_or(Ok(()), |exit| Err(Failure::told(exit)))
}

/// bpftool has maps and entries as we do, and nothing else.
fn check_format(context: &Context, noun: &Noun) -> Result<(), Failure> {
    if context.format != Format::Bpftool || matches!(noun, Noun::Map(_)) {
        return Ok(());
    }
    Err(Failure::new(Exit::Usage, "-o bpftool is for `bpfgate map`; use -o json here"))
}
