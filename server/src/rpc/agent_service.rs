//! AgentService: convert, call, convert.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::v1::agent_service_server::AgentService;
use tonic::{Request, Response, Status};

use super::convert::timestamp;
use super::{Shared, open};
use crate::core::{Limits, MissingPrivilege, missing_privileges};
use crate::ledger::{CallerKey, SeatKind, Usage};
use crate::policy::{Caller, Peer};
use crate::sys::possible_cpus;
use crate::work::Load;

/// AgentService.
#[derive(Clone)]
pub(super) struct Agent(pub(super) Arc<Shared>);

/// Of this host, and so of every key and value.
pub(super) fn byte_order() -> pb::ByteOrder {
    if cfg!(target_endian = "little") {
        pb::ByteOrder::LittleEndian
    } else {
        pb::ByteOrder::BigEndian
    }
}

#[tonic::async_trait]
impl AgentService for Agent {
    async fn get_agent(
        &self,
        _: Request<pb::GetAgentRequest>,
    ) -> Result<Response<pb::GetAgentResponse>, Status> {
        let identity = &self.0.identity;
        let system = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        Ok(Response::new(pb::GetAgentResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: text(system.release()),
            architecture: text(system.machine()),
            hostname: text(system.nodename()),
            byte_order: byte_order().into(),
            possible_cpus: u32::try_from(possible_cpus()).unwrap_or(u32::MAX),
            agent_id: identity.agent_id.clone(),
            boot_id: identity.boot_id.clone(),
            incarnation: identity.incarnation.clone(),
            started_at: Some(timestamp(identity.started_at)),
            features: Vec::new(),
            limits: Some(limits(self.0.registry.limits())),
            builtins: bpfgate_ebpf::all().iter().map(|b| b.name.to_owned()).collect(),
            ledger: Some(ledger(&self.0)),
            degraded: self.0.degraded().into_iter().map(str::to_owned).collect(),
            missing_privileges: missing_privileges().into_iter().map(missing).collect(),
        }))
    }

    async fn who_am_i(
        &self,
        request: Request<pb::WhoAmIRequest>,
    ) -> Result<Response<pb::WhoAmIResponse>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.ok_or_else(|| Status::internal("the connection has no peer"))?;
        // Names come from the host's user database, which may be on the network.
        let (call, _) = open(request);
        let caller = self.0.work(&call, move || Ok(Caller::of(&peer))).await?;
        let Caller { principal, aliases, transport } = caller;
        Ok(Response::new(pb::WhoAmIResponse {
            principal: principal.to_string(),
            aliases: aliases.iter().map(ToString::to_string).collect(),
            transport: transport.to_owned(),
        }))
    }
}

fn ledger(shared: &Shared) -> pb::Ledger {
    /// Of a thousand callers nobody wants to see all.
    const CALLERS: usize = 32;
    let Usage { used, peak, limit, refused } = shared.ledger.usage();
    let taken = |kind| shared.ledger.seats(kind).0;
    let Load { running, threads, waiting } = shared.work.load();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut callers = shared.ledger.callers_usage();
    callers.sort_by_key(|(_, usage)| std::cmp::Reverse(usage.used));
    let caller = |(key, usage): &(CallerKey, Usage)| pb::CallerUsage {
        caller: key.to_string(),
        used_bytes: usage.used,
        limit_bytes: usage.limit,
    };
    pb::Ledger {
        used_bytes: used,
        peak_bytes: peak,
        limit_bytes: limit,
        refused,
        connections: taken(SeatKind::Connection),
        requests: taken(SeatKind::Request),
        streams: taken(SeatKind::Stream),
        workers: count(running),
        max_workers: count(threads),
        work_waiting: count(waiting),
        callers: callers.iter().take(CALLERS).map(caller).collect(),
        kernel_used_bytes: shared.registry.kernel_memory().used(),
        hung_loads: shared.registry.hung_loads(),
    }
}

fn missing(privilege: MissingPrivilege) -> pb::MissingPrivilege {
    let MissingPrivilege { capability, fails } = privilege;
    pb::MissingPrivilege { capability: capability.to_owned(), fails: fails.to_owned() }
}

fn limits(core: &Limits) -> pb::Limits {
    pb::Limits {
        max_object_bytes: core.max_object_bytes,
        max_objects: core.max_objects,
        max_maps: core.max_maps,
        max_links: core.max_links,
        max_map_bytes: core.max_map_bytes,
        max_streams: core.max_streams,
        max_connections: core.max_connections,
        max_series: core.max_series,
        max_message_bytes: core.max_message_bytes,
        max_watchers: core.max_watchers,
        max_event_watchers: core.max_event_watchers,
        event_queue_bytes: core.event_queue(),
        max_event_queue_bytes: core.max_event_queue_bytes,
        max_event_memory_bytes: core.max_event_memory_bytes,
        perf_buffer_bytes: core.perf_buffer_bytes,
        stall_seconds: core.stall_seconds,
        max_watched_series: core.max_watched_series,
        max_remembered_series: core.max_remembered_series,
        max_remembered_removals: core.max_remembered_removals,
        max_sweeps: core.max_sweeps,
        max_memory_bytes: core.max_memory_bytes,
        max_kernel_bytes: core.max_kernel_bytes,
        max_requests: core.max_requests,
        max_loads: core.max_loads,
        max_programs: core.max_programs,
        request_seconds: core.request_seconds,
        answer_seconds: core.answer_seconds,
        load_seconds: core.load_seconds,
    }
}
