//! `bpfgate program`.

use bpfgate_client::v1::{Holder, ListProgramsRequest, ListedProgram, ProgramStats};

use super::Answer;
use crate::args::ProgramCommand;
use crate::context::Context;
use crate::describe;
use crate::render::{Cell, Sheet, left, right};
use crate::say::say;

pub(super) async fn run(context: &Context, command: ProgramCommand) -> Answer {
    match command {
        ProgramCommand::List { object, all, types } => {
            let name = object.as_ref().map(ToString::to_string).unwrap_or_default();
            let request = ListProgramsRequest { all, object: name, types };
            let answer = match context.client.objects().programs(request).await {
                Ok(answer) => answer,
                Err(error) => {
                    return Err(match &object {
                        Some(object) => context.no_such_object(error, object).await,
                        None => error.into(),
                    });
                }
            };
            let hidden = answer.holders_hidden;
            say_hidden(&hidden);
            let sheet = if all {
                everywhere(answer.programs, !hidden.is_empty())
            } else {
                owned(answer.programs)
            };
            Ok(Some(sheet))
        }
    }
}

fn owned(programs: Vec<ListedProgram>) -> Sheet {
    let columns = [
        left("name"),
        left("type"),
        right("id"),
        left("tag"),
        left("section"),
        right("instructions"),
        right("memory"),
        left("map_ids"),
        right("runs"),
        right("ns_per_run"),
        left("loaded_at"),
        left("kernel_name").wide(),
        right("uid").wide(),
        left("pins").wide(),
        right("run_time_ns").wide(),
        right("recursion_misses").wide(),
    ];
    let row = |listed: ListedProgram| {
        let program = listed.program.unwrap_or_default();
        let stats = listed.stats.unwrap_or_default();
        let (runs, cost) = runs(&stats);
        [
            Cell::Text(program.name),
            Cell::Text(program.r#type),
            Cell::Number(program.id.into()),
            Cell::Text(describe::hex(&program.tag)),
            Cell::Text(program.section),
            Cell::Number(program.instructions.into()),
            Cell::Size(listed.memory_bytes),
            Cell::List(listed.map_ids.iter().map(ToString::to_string).collect()),
            runs,
            cost,
            Cell::Time(listed.loaded_at),
            Cell::Text(listed.kernel_name),
            Cell::Number(listed.created_by_uid.into()),
            Cell::List(listed.pins),
            Cell::Number(stats.run_time_ns),
            Cell::Number(stats.recursion_misses),
        ]
    };
    Sheet::many(columns, programs.into_iter().map(row))
}

fn everywhere(programs: Vec<ListedProgram>, hidden: bool) -> Sheet {
    let columns = [
        right("id"),
        left("name"),
        left("kernel_name"),
        left("type"),
        left("tag"),
        right("uid"),
        right("memory"),
        left("map_ids"),
        left("pins"),
        left("holders"),
        right("runs"),
        right("ns_per_run"),
        left("loaded_at"),
    ];
    let row = |listed: ListedProgram| {
        let program = listed.program.unwrap_or_default();
        let (runs, cost) = runs(&listed.stats.unwrap_or_default());
        [
            Cell::Number(program.id.into()),
            if program.name.is_empty() { Cell::Missing } else { Cell::Text(program.name) },
            Cell::Text(listed.kernel_name),
            Cell::Text(program.r#type),
            Cell::Text(describe::hex(&program.tag)),
            Cell::Number(listed.created_by_uid.into()),
            Cell::Size(listed.memory_bytes),
            Cell::List(listed.map_ids.iter().map(ToString::to_string).collect()),
            Cell::List(listed.pins),
            holders(&listed.holders, hidden),
            runs,
            cost,
            Cell::Time(listed.loaded_at),
        ]
    };
    Sheet::many(columns, programs.into_iter().map(row))
}

/// The kernel counts only while its statistics are on.
fn runs(stats: &ProgramStats) -> (Cell, Cell) {
    let ProgramStats { run_count, run_time_ns, .. } = *stats;
    let cost = run_time_ns.checked_div(run_count).map_or(Cell::Missing, Cell::Number);
    (Cell::Number(run_count), cost)
}

/// Who has descriptors of something.
pub(super) fn holders(holders: &[Holder], hidden: bool) -> Cell {
    if holders.is_empty() && hidden {
        return Cell::Text("unknown".to_owned());
    }
    let holder = |Holder { pid, command }: &Holder| format!("{command}({pid})");
    Cell::List(holders.iter().map(holder).collect())
}

/// Says why holders may be missing.
pub(super) fn say_hidden(why: &str) {
    if !why.is_empty() {
        say(why);
    }
}
