//! The gRPC services: convert, call, convert. All else is `core`'s and `watch`'s.

mod agent_service;
mod batch;
mod convert;
mod entries;
mod events;
mod iterate;
mod map_convert;
mod map_life;
mod map_service;
mod outlet;
mod program_convert;
mod program_service;
mod reference;
mod restore;
mod status;
mod stint;
mod typed;
mod upload;
mod watch;
mod watch_codec;
mod watch_wire;

pub use watch_wire::Frames;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bpfgate_proto::name::MapRef;
use bpfgate_proto::v1::agent_service_server::AgentServiceServer;
use bpfgate_proto::v1::map_service_server::MapServiceServer;
use bpfgate_proto::v1::program_service_server::ProgramServiceServer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;

use crate::core::{Error, Map, Registry, StatsLease};
use crate::elf::Parser;
use crate::events::EventHub;
use crate::watch::Hub;

/// Who this agent is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Stable for the host's agent.
    pub agent_id: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// New with every start.
    pub incarnation: String,
    /// The same as a number, for resume tokens.
    pub incarnation_number: u64,
    /// When the agent started.
    pub started_at: SystemTime,
}

/// What all services work on.
pub struct Shared {
    /// Names, objects, maps, links.
    pub registry: Arc<Registry>,
    /// Counters over time.
    pub hub: Arc<Hub>,
    /// Records of event buffers.
    pub events: Arc<EventHub>,
    /// Untrusted ELF to plain data.
    pub parser: Parser,
    /// Who this agent is.
    pub identity: Identity,
    /// Ends every stream.
    pub stopping: CancellationToken,
    streams: Arc<Semaphore>,
    loads: Semaphore,
    stats: StatsLease,
}

impl Shared {
    /// Services on a registry.
    pub fn new(
        registry: Arc<Registry>,
        hub: Arc<Hub>,
        events: Arc<EventHub>,
        parser: Parser,
        identity: Identity,
        stopping: CancellationToken,
    ) -> Self {
        let limits = registry.limits();
        let streams = Arc::new(Semaphore::new(limits.max_streams as usize));
        let loads = Semaphore::new(limits.max_loads as usize);
        let stats = StatsLease::new(Duration::from_secs(limits.program_stats_seconds));
        Self { registry, hub, events, parser, identity, stopping, streams, loads, stats }
    }

    /// A map by its reference. A name is found at once; others ask the kernel.
    async fn find_map(&self, reference: &str) -> Result<Arc<Map>, Status> {
        if let Some(map) = self.registry.named(reference) {
            return Ok(map);
        }
        let reference = map_convert::map_ref(reference)?;
        if let MapRef::Name(_) = reference {
            return Ok(self.registry.map(&reference)?);
        }
        let registry = self.registry.clone();
        blocking(move || registry.map(&reference)).await
    }

    /// A server stream's two ends, if the agent has one left to give.
    fn outlet<T: Send + 'static>(&self) -> Result<(outlet::Outlet<T>, outlet::Stream<T>), Status> {
        let permit = self.stream_permit()?;
        let stall = self.registry.limits().stall_time();
        Ok(outlet::Outlet::new(stall, self.stopping.clone(), permit))
    }

    /// The right to one stream more.
    fn stream_permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        let limit = self.registry.limits().max_streams.into();
        let permit = self.streams.clone().try_acquire_owned();
        permit.map_err(|_| Error::Limit { what: "streams at once", limit })
    }
}

/// All services of the agent, with health and reflection.
pub async fn routes(shared: Arc<Shared>) -> anyhow::Result<Routes> {
    let most = usize::try_from(shared.registry.limits().max_message_bytes).unwrap_or(usize::MAX);
    let maps = MapServiceServer::new(map_service::Maps(shared.clone()))
        .max_decoding_message_size(most)
        .max_encoding_message_size(most);
    let maps = watch_codec::WithWatch { inner: maps, shared: shared.clone(), most };
    let programs = ProgramServiceServer::new(program_service::Programs(shared.clone()))
        .max_decoding_message_size(most);
    let agent = AgentServiceServer::new(agent_service::Agent(shared));

    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<MapServiceServer<map_service::Maps>>().await;
    reporter.set_serving::<ProgramServiceServer<program_service::Programs>>().await;
    reporter.set_serving::<AgentServiceServer<agent_service::Agent>>().await;

    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(bpfgate_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    routes
        .add_service(maps)
        .add_service(programs)
        .add_service(agent)
        .add_service(health)
        .add_service(describe().build_v1()?)
        // grpcurl and grpcio before 1.60 ask for this one.
        .add_service(describe().build_v1alpha()?);
    Ok(routes.routes())
}

/// Runs what may block off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => {
            tracing::error!(%error, "a request panicked");
            Err(Status::internal("the agent made a mistake; its log says more"))
        }
    }
}
