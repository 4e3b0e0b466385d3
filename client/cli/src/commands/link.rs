//! `bpfgate link`.

use bpfgate_client::name::ProgramName;
use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::{Code, Error, v1};

use super::{Answer, several};
use crate::args::LinkCommand;
use crate::context::{Context, suggest};
use crate::exit::Failure;
use crate::render::{Cell, Sheet, left, right};
use crate::target::describe;

pub(super) async fn run(context: &Context, command: LinkCommand) -> Answer {
    let links = context.client.links();
    match command {
        LinkCommand::Attach { program, target } => {
            let attached = links.attach(&program.to_string(), target.target()).await;
            let link = match attached {
                Ok(link) => link,
                Err(error) => return Err(not_attached(context, error, &program).await),
            };
            Ok(Some(list(vec![link]).only()))
        }
        LinkCommand::List { object } => {
            if let Some(object) = &object {
                // An object that is not there has no links, but that is seldom what is meant.
                if let Err(error) = context.client.objects().get(object.as_str()).await {
                    return Err(context.no_such_object(error, object).await);
                }
            }
            let object = object.map(|name| name.to_string());
            Ok(Some(list(links.list(object.as_deref()).await?)))
        }
        LinkCommand::Detach { ids } => {
            let detach = async |id| Ok(links.detach(id).await?);
            several(ids, detach).await.map(|()| None)
        }
    }
}

fn list(links: Vec<v1::Link>) -> Sheet {
    Sheet::many(
        [right("id"), left("program"), left("target"), right("kernel_id"), left("attached_at")],
        links.into_iter().map(|link| {
            let target: Option<Target> = link.target.and_then(|target| target.target);
            [
                Cell::Number(link.id),
                Cell::Text(link.program),
                Cell::Text(describe(target.as_ref())),
                // A socket filter has no link in the kernel.
                if link.kernel_id == 0 {
                    Cell::Missing
                } else {
                    Cell::Number(link.kernel_id.into())
                },
                Cell::Time(link.attached_at),
            ]
        }),
    )
}

/// If it was the program's name: what it may have been meant to be.
async fn not_attached(context: &Context, error: Error, program: &ProgramName) -> Failure {
    if error.code() != Some(Code::NotFound) {
        return error.into();
    }
    match context.client.objects().get(program.object.as_str()).await {
        Err(_) => context.no_such_object(error, &program.object).await,
        Ok(object) => {
            let names: Vec<_> = object.programs.into_iter().map(|program| program.name).collect();
            let failure = Failure::from(error);
            let typed = program.to_string();
            // The program is there: it is the interface, symbol or path that is not.
            if names.contains(&typed) {
                return failure;
            }
            match suggest(&typed, names.into_iter()) {
                Some(hint) => failure.hint(&hint),
                None => failure,
            }
        }
    }
}
