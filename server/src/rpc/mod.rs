//! The gRPC services: convert, call, convert. All else is `core`'s and `watch`'s.

mod agent_service;
mod answer;
mod batch;
mod convert;
mod entries;
mod events;
mod health;
mod inventory;
mod iterate;
mod map_convert;
mod map_life;
mod map_service;
mod names;
mod outlet;
mod pieces;
mod program_convert;
mod program_service;
mod reference;
mod restore;
mod status;
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
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::core::{Error, Map, Registry, StatsLease};
use crate::elf::Parser;
use crate::events::EventHub;
use crate::layer::Call;
use crate::ledger::Ledger;
use crate::watch::Hub;
use crate::work::{Lost, Waiter, WorkQueue};

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
    /// What callers make the agent hold.
    pub ledger: Ledger,
    /// Where long work is done.
    pub work: WorkQueue,
    /// Ends every stream.
    pub stopping: CancellationToken,
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
        ledger: Ledger,
        stopping: CancellationToken,
    ) -> Self {
        let limits = registry.limits();
        let work = WorkQueue::new(limits.workers());
        let stats = StatsLease::new(Duration::from_secs(limits.program_stats_seconds));
        Self { registry, hub, events, parser, identity, ledger, work, stopping, stats }
    }

    /// A map by its reference. A name is found at once; others ask the kernel.
    async fn find_map(&self, call: &Arc<Call>, reference: &str) -> Result<Arc<Map>, Status> {
        if let Some(map) = self.registry.named(reference) {
            return Ok(map);
        }
        let reference = map_convert::map_ref(reference)?;
        if let MapRef::Name(_) = reference {
            return Ok(self.registry.map(&reference)?);
        }
        let (registry, account) = (self.registry.clone(), call.account().clone());
        self.work(call, move || registry.map_for(&reference, &account)).await
    }

    /// A server stream's two ends.
    fn outlet<T: Send + 'static>(&self) -> (outlet::Outlet<T>, outlet::Stream<T>) {
        outlet::Outlet::new(self.registry.limits().stall_time(), self.stopping.clone())
    }

    /// What does not work as it should, by the names that health knows it by.
    fn degraded(&self) -> Vec<&'static str> {
        let memory = self.ledger.usage();
        let full = memory.used > memory.limit - memory.limit / 16;
        let hung = self.registry.hung_loads() > 0;
        let names = [(full, health::MEMORY), (hung, health::LOADS)];
        names.into_iter().filter_map(|(bad, name)| bad.then_some(name)).collect()
    }

    /// Bytes of one message.
    fn most(&self) -> u64 {
        self.registry.limits().max_message_bytes
    }

    /// Runs what may block or take long off the async threads, in the caller's turn. What the call
    /// holds is held until the work is over, whoever waits for it.
    async fn work<T: Send + 'static>(
        &self,
        call: &Arc<Call>,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let held = call.clone();
        let work = move |_: &Waiter| {
            let outcome = work();
            drop(held);
            outcome
        };
        Ok(self.work.run(call.caller(), work).await.map_err(lost)??)
    }

    /// The same of work that goes step by step, others having their turn in between.
    async fn work_steps<W: Send + 'static>(
        &self,
        call: &Arc<Call>,
        work: W,
        step: fn(&mut W) -> Result<bool, Error>,
    ) -> Result<W, Status> {
        let done = self.work.run_steps(call.caller(), call.clone(), work, step).await;
        Ok(done.map_err(lost)??)
    }

    /// Runs short work at once, and other work in its turn.
    async fn by_size<T: Send + 'static>(
        &self,
        call: &Arc<Call>,
        short: bool,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        if short { Ok(work()?) } else { self.work(call, work).await }
    }
}

/// A request and its call.
fn open<T>(mut request: Request<T>) -> (Arc<Call>, T) {
    let call = request.extensions_mut().remove::<Arc<Call>>();
    (call.expect("the gate gives every request its call"), request.into_inner())
}

/// An answer, if it may be sent.
fn fits<T: prost::Message>(what: &str, answer: T, most: u64) -> Result<T, Error> {
    let asked = answer.encoded_len() as u64;
    if asked <= most {
        return Ok(answer);
    }
    Err(Error::TooLarge { what: what.to_owned(), asked, limit: most })
}

/// Work without an outcome.
fn lost(lost: Lost) -> Status {
    match lost {
        Lost::Stopping => Error::Stopping.into(),
        Lost::Panicked => {
            tracing::error!("a request panicked");
            Status::internal("the agent made a mistake; its log says more")
        }
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
    let agent = AgentServiceServer::new(agent_service::Agent(shared.clone()));

    let health = health::service(shared.clone()).await;

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
