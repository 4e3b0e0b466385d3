//! `bpfgate object stats`.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use bpfgate_client::name::ObjectName;
use bpfgate_client::v1::{GetProgramStatsResponse, ProgramStats};
use tokio::time::sleep;

use crate::context::Context;
use crate::exit::Failure;
use crate::human;
use crate::render::{Cell, Format, Sheet, left, right};
use crate::say::say;

/// Far less than the agent keeps the statistics on without being asked again.
const RENEW: Duration = Duration::from_secs(5);

/// What the kernel counted so far, or within `time`.
pub(super) async fn show(
    context: &Context,
    name: Option<&ObjectName>,
    time: Option<Duration>,
) -> Result<Sheet, Failure> {
    let Some(time) = time else {
        let stats = read(context, name, false).await?;
        if !stats.enabled {
            say("the kernel's statistics are off, so these numbers stand still; `--for 5s` turns \
                 them on");
        }
        return Ok(totals(stats));
    };
    let before = read(context, name, true).await?;
    let mut left = time;
    while left > RENEW {
        sleep(RENEW).await;
        left -= RENEW;
        read(context, name, true).await?;
    }
    sleep(left).await;
    let after = read(context, name, true).await?;
    Ok(rates(context.format, &runs_between(&before, &after)))
}

async fn read(
    context: &Context,
    name: Option<&ObjectName>,
    enable: bool,
) -> Result<GetProgramStatsResponse, Failure> {
    let objects = context.client.objects();
    match (objects.program_stats(name.map(ObjectName::as_str), enable).await, name) {
        (Ok(stats), _) => Ok(stats),
        (Err(error), Some(name)) => Err(context.no_such_object(error, name).await),
        (Err(error), None) => Err(error.into()),
    }
}

fn totals(stats: GetProgramStatsResponse) -> Sheet {
    let columns = [
        left("program"),
        left("type"),
        right("id"),
        right("run_count"),
        right("run_time_ns"),
        right("ns_per_run"),
        right("recursion_misses"),
    ];
    let row = |stats: ProgramStats| {
        let per_run = stats.run_time_ns.checked_div(stats.run_count);
        [
            Cell::Text(stats.program),
            Cell::Text(stats.r#type),
            Cell::Number(stats.id.into()),
            Cell::Number(stats.run_count),
            Cell::Number(stats.run_time_ns),
            per_run.map_or(Cell::Missing, Cell::Number),
            Cell::Number(stats.recursion_misses),
        ]
    };
    Sheet::many(columns, stats.programs.into_iter().map(row))
}

/// What a program did between two readings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Runs {
    pub(crate) stats: ProgramStats,
    pub(crate) count: u64,
    pub(crate) per_second: f64,
    pub(crate) ns_per_run: Option<u64>,
    /// Of one CPU's time, in percent.
    pub(crate) cpu_percent: f64,
    pub(crate) misses: u64,
}

/// Programs that both readings know, by what the second has more.
#[allow(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
pub(crate) fn runs_between(
    before: &GetProgramStatsResponse,
    after: &GetProgramStatsResponse,
) -> Vec<Runs> {
    let time = |stats: &GetProgramStatsResponse| SystemTime::try_from(stats.read_at?).ok();
    let seconds = time(after).zip(time(before)).and_then(|(to, from)| to.duration_since(from).ok());
    let seconds = seconds.map_or(0.0, |elapsed| elapsed.as_secs_f64());
    let known: HashMap<u32, &ProgramStats> =
        before.programs.iter().map(|stats| (stats.id, stats)).collect();
    let runs = |stats: &ProgramStats| {
        let before = known.get(&stats.id)?;
        let count = stats.run_count.saturating_sub(before.run_count);
        let nanoseconds = stats.run_time_ns.saturating_sub(before.run_time_ns);
        Some(Runs {
            stats: stats.clone(),
            count,
            per_second: if seconds > 0.0 { count as f64 / seconds } else { 0.0 },
            ns_per_run: nanoseconds.checked_div(count),
            cpu_percent: if seconds > 0.0 { nanoseconds as f64 / seconds / 1e7 } else { 0.0 },
            misses: stats.recursion_misses.saturating_sub(before.recursion_misses),
        })
    };
    after.programs.iter().filter_map(runs).collect()
}

fn rates(format: Format, programs: &[Runs]) -> Sheet {
    let columns = [
        left("program"),
        left("type"),
        right("id"),
        right("runs"),
        right("runs_per_second"),
        right("ns_per_run"),
        right("recursion_misses"),
    ];
    let row = |runs: &Runs| {
        let per_second = match format {
            Format::Table | Format::Wide => Cell::Text(human::rate(runs.per_second, "")),
            _ => Cell::Json(runs.per_second.into()),
        };
        [
            Cell::Text(runs.stats.program.clone()),
            Cell::Text(runs.stats.r#type.clone()),
            Cell::Number(runs.stats.id.into()),
            Cell::Number(runs.count),
            per_second,
            runs.ns_per_run.map_or(Cell::Missing, Cell::Number),
            Cell::Number(runs.misses),
        ]
    };
    Sheet::many(columns, programs.iter().map(row))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn reading(second: u64, programs: &[(u32, u64, u64)]) -> GetProgramStatsResponse {
        let stats = |&(id, run_count, run_time_ns): &(u32, u64, u64)| ProgramStats {
            id,
            run_count,
            run_time_ns,
            ..ProgramStats::default()
        };
        GetProgramStatsResponse {
            programs: programs.iter().map(stats).collect(),
            read_at: Some((UNIX_EPOCH + Duration::from_secs(second)).into()),
            ..GetProgramStatsResponse::default()
        }
    }

    #[test]
    fn runs_are_what_came_between_two_readings_of_the_same_program() {
        let before = reading(10, &[(1, 100, 5_000), (2, 7, 70)]);
        let after = reading(14, &[(1, 140, 9_000), (2, 7, 70), (3, 5, 5)]);
        let runs = runs_between(&before, &after);
        let seen: Vec<_> =
            runs.iter().map(|it| (it.stats.id, it.count, it.per_second, it.ns_per_run)).collect();
        assert_eq!(seen, [(1, 40, 10.0, Some(100)), (2, 0, 0.0, None)]);
        // 4 µs in 4 s.
        assert!((runs[0].cpu_percent - 1e-4).abs() < 1e-9, "{runs:?}");
        assert!(runs_between(&after, &before).iter().all(|runs| runs.count == 0));
    }
}
