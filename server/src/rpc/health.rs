//! Health: `""` answers whenever the agent can answer, and so do the services. What is degraded has
//! names of its own, so that nobody who only asks for `""` takes an agent out of service that works.

use std::sync::Arc;
use std::time::Duration;

use bpfgate_proto::v1::agent_service_server::AgentServiceServer;
use bpfgate_proto::v1::map_service_server::MapServiceServer;
use bpfgate_proto::v1::program_service_server::ProgramServiceServer;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;

use super::{Shared, agent_service, map_service, program_service};

/// Callers have taken nearly all of the agent's memory.
pub(super) const MEMORY: &str = "memory";
/// Loads hang in the kernel.
pub(super) const LOADS: &str = "loads";

/// How often it is looked at what is degraded.
const EVERY: Duration = Duration::from_secs(1);

/// The service, and a task that keeps it up to date until the agent stops.
pub(super) async fn service(shared: Arc<Shared>) -> HealthServer<impl Health> {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_serving::<MapServiceServer<map_service::Maps>>().await;
    reporter.set_serving::<ProgramServiceServer<program_service::Programs>>().await;
    reporter.set_serving::<AgentServiceServer<agent_service::Agent>>().await;
    report(&reporter, &shared).await;
    let stopping = shared.stopping.clone();
    let watching = async move {
        loop {
            tokio::time::sleep(EVERY).await;
            report(&reporter, &shared).await;
        }
    };
    tokio::spawn(stopping.run_until_cancelled_owned(watching));
    service
}

async fn report(reporter: &HealthReporter, shared: &Shared) {
    let degraded = shared.degraded();
    for name in [MEMORY, LOADS] {
        let bad = degraded.contains(&name);
        let status = if bad { ServingStatus::NotServing } else { ServingStatus::Serving };
        reporter.set_service_status(name, status).await;
    }
}
