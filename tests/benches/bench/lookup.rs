//! Lookup beside a bare tonic server.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bpfgate_client::v1::map_service_client::MapServiceClient;
use bpfgate_client::{CpuMode, Maps, UpdateMode, v1};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::agent::Agent;
use crate::echo::Echo;
use crate::process::Process;
use crate::report::{Goal, Report};
use crate::rounds::Rounds;

const MAP: &str = "bench";
const KEYS: u64 = 1024;
const IN_FLIGHT: u64 = 64;
/// Many short ones: what else the machine does comes and goes in tenths of a second.
const ROUNDS: usize = 41;
const ROUND: Duration = Duration::from_millis(150);
/// Calls of a round, one at a time.
const CALLS: u64 = 2000;

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let agent = Agent::start().await?;
    agent.create_hash(MAP, 4096).await?;
    let ours = Ours(agent.client.maps());
    let agent_bare = Bare(MapServiceClient::new(agent.client.channel()));
    for key in 0..KEYS {
        ours.0.update(MAP, bytes(key), bytes(key), UpdateMode::Any).await?;
    }
    let echo = Echo::start().await?;
    let bare = Bare(MapServiceClient::new(echo.channel.clone()));

    // The same client on both sides: what the agent does for a Lookup beyond what tonic does.
    let agent_side = async || throughput(&agent_bare).await;
    let rounds = Rounds::run(ROUNDS, agent_side, async || throughput(&bare).await).await?;
    report.add_ratio("lookup_vs_tonic", &rounds, Goal::AtLeast(0.95));
    // Unlike the clock, this hardly minds what else the machine does.
    let agent_cpu = async || cpu_per_call(&agent_bare, &agent.process).await;
    let echo_cpu = async || cpu_per_call(&bare, &echo.process).await;
    let rounds = Rounds::run(11, agent_cpu, echo_cpu).await?;
    report.add_median("lookup_agent_cpu", &rounds.left, "µs", Goal::Beside("tonic_server_cpu"));
    report.add_median("tonic_server_cpu", &rounds.right, "µs", Goal::Beside("lookup_agent_cpu"));
    // With what the client library adds: deadlines, errors that explain themselves.
    let library_side = async || throughput(&ours).await;
    let rounds = Rounds::run(ROUNDS, library_side, async || throughput(&bare).await).await?;
    report.add_ratio("client_vs_tonic", &rounds, Goal::Beside("lookup_vs_tonic"));
    report.add_median("lookup_rate", &rounds.left, "1/s", Goal::Beside("tonic_rate"));
    report.add_median("tonic_rate", &rounds.right, "1/s", Goal::Beside("lookup_rate"));

    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    Rounds::run(
        5,
        async || latency(&ours, &mut mine).await,
        async || latency(&bare, &mut theirs).await,
    )
    .await?;
    for (name, times, beside) in [
        (["lookup_p50", "lookup_p99"], &mut mine, ["tonic_p50", "tonic_p99"]),
        (["tonic_p50", "tonic_p99"], &mut theirs, ["lookup_p50", "lookup_p99"]),
    ] {
        times.sort_unstable();
        for (at, percent) in [50, 99].into_iter().enumerate() {
            let time = times[times.len() * percent / 100].as_secs_f64() * 1e6;
            report.add(name[at], time, "µs", Goal::Beside(beside[at]));
        }
    }
    Ok(())
}

/// One call, checked.
trait Call: Clone + Send + 'static {
    fn call(&self, key: u64) -> impl Future<Output = Result<()>> + Send;
}

/// The agent, through the client library.
#[derive(Clone)]
struct Ours(Maps);

impl Call for Ours {
    async fn call(&self, key: u64) -> Result<()> {
        let value = self.0.lookup(MAP, bytes(key), CpuMode::Each).await?;
        ensure!(*value == bytes(key), "key {key} has another value");
        Ok(())
    }
}

/// The echo server, through what tonic generates.
#[derive(Clone)]
struct Bare(MapServiceClient<Channel>);

impl Call for Bare {
    async fn call(&self, key: u64) -> Result<()> {
        let request = v1::LookupRequest {
            map: MAP.to_owned(),
            key: Some(v1::lookup_request::Key::RawKey(bytes(key).to_vec().into())),
            ..v1::LookupRequest::default()
        };
        let value = self.0.clone().lookup(request).await?.into_inner().value;
        ensure!(*value == bytes(key), "key {key} has another value");
        Ok(())
    }
}

/// Calls a second.
async fn throughput(to: &impl Call) -> Result<f64> {
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for first in 0..IN_FLIGHT {
        let to = to.clone();
        callers.spawn(async move {
            let mut calls = 0;
            while begun.elapsed() < ROUND {
                to.call((first + calls) % KEYS).await?;
                calls += 1;
            }
            anyhow::Ok(calls)
        });
    }
    let mut calls = 0;
    while let Some(done) = callers.join_next().await {
        calls += done??;
    }
    #[allow(clippy::cast_precision_loss, reason = "a count of calls that were made")]
    Ok(calls as f64 / begun.elapsed().as_secs_f64())
}

/// The server's CPU time for each call, in microseconds.
async fn cpu_per_call(to: &impl Call, server: &Process) -> Result<f64> {
    let (begun, before) = (Instant::now(), server.cpu()?);
    let rate = throughput(to).await?;
    let calls = rate * begun.elapsed().as_secs_f64();
    Ok(server.cpu()?.saturating_sub(before).as_secs_f64() * 1e6 / calls)
}

/// How long each call takes, one at a time. The answer is only for the rounds.
async fn latency(to: &impl Call, times: &mut Vec<Duration>) -> Result<f64> {
    let begun = Instant::now();
    for call in 0..CALLS {
        let sent = Instant::now();
        to.call(call % KEYS).await?;
        times.push(sent.elapsed());
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn bytes(key: u64) -> [u8; 8] {
    key.to_ne_bytes()
}
