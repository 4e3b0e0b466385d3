//! `bpfgate agent`.

use bpfgate_client::v1::{
    ByteOrder, CallerUsage, GetAgentResponse, Ledger, Limits, WhoAmIResponse,
};

use super::Answer;
use crate::args::AgentCommand;
use crate::context::Context;
use crate::human;
use crate::render::{Cell, Sheet};

pub(super) async fn run(context: &Context, command: AgentCommand) -> Answer {
    let agent = context.client.agent();
    Ok(Some(match command {
        AgentCommand::Show => show(agent.get().await?),
        AgentCommand::Whoami => whoami(agent.whoami().await?),
    }))
}

fn show(mut agent: GetAgentResponse) -> Sheet {
    let (ledger, limits) = (agent.ledger.take(), agent.limits.take());
    let rows = identity(agent).into_iter();
    let rows = rows.chain(usage(ledger.unwrap_or_default()));
    Sheet::one(rows.chain(granted(limits.unwrap_or_default())))
}

type Row = (&'static str, Cell);

fn identity(agent: GetAgentResponse) -> Vec<Row> {
    let byte_order = match agent.byte_order() {
        ByteOrder::LittleEndian => "little-endian",
        ByteOrder::BigEndian => "big-endian",
        ByteOrder::Unspecified => "unknown",
    };
    let missing = agent.missing_privileges.into_iter();
    let missing = missing.map(|one| format!("{} ({})", one.capability, one.fails)).collect();
    vec![
        ("version", Cell::Text(agent.version)),
        ("hostname", Cell::Text(agent.hostname)),
        ("kernel", Cell::Text(agent.kernel)),
        ("architecture", Cell::Text(agent.architecture)),
        ("byte_order", Cell::Text(byte_order.to_owned())),
        ("possible_cpus", Cell::Number(agent.possible_cpus.into())),
        ("agent_id", Cell::Text(agent.agent_id)),
        ("boot_id", Cell::Text(agent.boot_id)),
        ("incarnation", Cell::Text(agent.incarnation)),
        ("started_at", Cell::Time(agent.started_at)),
        ("builtins", Cell::List(agent.builtins)),
        ("features", Cell::List(agent.features)),
        ("missing_privileges", Cell::List(missing)),
        ("degraded", Cell::List(agent.degraded)),
    ]
}

fn usage(ledger: Ledger) -> Vec<Row> {
    let Ledger {
        used_bytes,
        peak_bytes,
        limit_bytes: _,
        refused,
        connections,
        requests,
        streams,
        workers,
        max_workers,
        work_waiting,
        callers,
        kernel_used_bytes,
        hung_loads,
    } = ledger;
    let caller = |one: CallerUsage| format!("{} {}", one.caller, human::bytes(one.used_bytes));
    let callers = callers.into_iter().map(caller).collect();
    vec![
        ("memory_used", Cell::Size(used_bytes)),
        ("memory_peak", Cell::Size(peak_bytes)),
        ("memory_refused", Cell::Number(refused)),
        ("memory_by_caller", Cell::List(callers)),
        ("kernel_memory_used", Cell::Size(kernel_used_bytes)),
        ("connections", Cell::Number(connections.into())),
        ("requests", Cell::Number(requests.into())),
        ("streams", Cell::Number(streams.into())),
        ("workers", Cell::Number(workers.into())),
        ("work_waiting", Cell::Number(work_waiting.into())),
        ("hung_loads", Cell::Number(hung_loads)),
        ("max_workers", Cell::Number(max_workers.into())),
    ]
}

fn granted(limits: Limits) -> Vec<Row> {
    let Limits {
        max_object_bytes,
        max_objects,
        max_maps,
        max_links,
        max_map_bytes,
        max_streams,
        max_connections,
        max_series,
        max_message_bytes,
        max_watchers,
        max_event_watchers,
        event_queue_bytes,
        max_event_queue_bytes,
        max_event_memory_bytes,
        perf_buffer_bytes,
        stall_seconds,
        max_watched_series,
        max_remembered_series,
        max_remembered_removals,
        max_sweeps,
        max_memory_bytes,
        max_kernel_bytes,
        max_requests,
        max_loads,
        max_programs,
        request_seconds,
        answer_seconds,
        load_seconds,
    } = limits;
    vec![
        ("max_memory_bytes", Cell::Size(max_memory_bytes)),
        ("max_kernel_bytes", Cell::Size(max_kernel_bytes)),
        ("max_requests", Cell::Number(max_requests.into())),
        ("max_loads", Cell::Number(max_loads.into())),
        ("max_programs", Cell::Number(max_programs.into())),
        ("request_seconds", Cell::Number(request_seconds)),
        ("answer_seconds", Cell::Number(answer_seconds)),
        ("load_seconds", Cell::Number(load_seconds)),
        ("max_objects", Cell::Number(max_objects.into())),
        ("max_object_bytes", Cell::Size(max_object_bytes)),
        ("max_maps", Cell::Number(max_maps.into())),
        ("max_map_bytes", Cell::Size(max_map_bytes)),
        ("max_links", Cell::Number(max_links.into())),
        ("max_connections", Cell::Number(max_connections.into())),
        ("max_streams", Cell::Number(max_streams.into())),
        ("max_message_bytes", Cell::Size(max_message_bytes)),
        ("stall_seconds", Cell::Number(stall_seconds)),
        ("max_watchers", Cell::Number(max_watchers.into())),
        ("max_series", Cell::Number(max_series.into())),
        ("max_watched_series", Cell::Number(max_watched_series.into())),
        ("max_remembered_series", Cell::Number(max_remembered_series.into())),
        ("max_remembered_removals", Cell::Number(max_remembered_removals.into())),
        ("max_sweeps", Cell::Number(max_sweeps.into())),
        ("max_event_watchers", Cell::Number(max_event_watchers.into())),
        ("event_queue_bytes", Cell::Size(event_queue_bytes)),
        ("max_event_queue_bytes", Cell::Size(max_event_queue_bytes)),
        ("max_event_memory_bytes", Cell::Size(max_event_memory_bytes)),
        ("perf_buffer_bytes", Cell::Size(perf_buffer_bytes)),
    ]
}

fn whoami(WhoAmIResponse { principal, aliases, transport }: WhoAmIResponse) -> Sheet {
    Sheet::one([
        ("principal", Cell::Text(principal)),
        ("aliases", Cell::List(aliases)),
        ("transport", Cell::Text(transport)),
    ])
}
