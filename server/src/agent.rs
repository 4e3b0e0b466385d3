//! The agent's life: everything in place, serve, drain, leave nothing behind.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use futures_util::FutureExt as _;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::budget::Budget;
use crate::config::Config;
use crate::core::{Limits, MissingPrivilege, Registry, missing_privileges};
use crate::elf::{ParseLimits, Parser};
use crate::events::EventHub;
use crate::give_back;
use crate::layer::{self, Gate, Http2};
use crate::ledger::Ledger;
use crate::listen::{Connection, Endpoint, Listener, RuntimeDir, serve_listeners};
use crate::rpc::{self, Identity, Shared};
use crate::watch::{Hub, WatchLimits};

/// A running agent.
pub struct Agent {
    registry: Arc<Registry>,
    hub: Arc<Hub>,
    events: Arc<EventHub>,
    stopping: CancellationToken,
    accepting: tokio::task::JoinSet<()>,
    /// A task for each connection, and what ends those that are left.
    served: TaskTracker,
    cut_off: CancellationToken,
    drain: Duration,
    // Last: while it is held no other agent can start here.
    _runtime_dir: RuntimeDir,
}

impl Agent {
    /// Takes the directory, opens the sockets and starts to serve.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let Config { listen, runtime_dir, bpffs, socket_group, events, limits } = config;
        let limits = fitting(limits)?;
        let runtime_dir = RuntimeDir::take(&runtime_dir)?;
        let group = socket_gid(socket_group.as_deref())?;
        let mut listeners = Vec::new();
        for endpoint in &listen {
            listeners.push(Listener::bind(endpoint, group).await?);
            info!(%endpoint, "listening");
            if let Endpoint::Tcp(_) = endpoint {
                warn!(%endpoint, "everybody on this host can load programs through this address");
            }
        }

        for MissingPrivilege { capability, fails } in missing_privileges() {
            warn!(capability, fails, "a privilege is missing");
        }
        let Limits { max_memory_bytes, max_kernel_bytes, .. } = limits;
        info!(max_memory_bytes, max_kernel_bytes, "callers may take");
        let ledger = Ledger::new(max_memory_bytes, limits.seats());
        let registry = Arc::new(Registry::new(limits.clone(), open_bpffs(&bpffs), &ledger));
        let identity = identity()?;
        let frames = Arc::new(rpc::Frames::new(identity.clone()));
        let hub = Hub::new(registry.clone(), frames, watch_limits(&limits), &ledger);
        let events = EventHub::new(registry.clone(), events.keep_draining);
        let stopping = CancellationToken::new();
        let parser = Parser::new(parse_limits(&limits));
        let shared = Shared::new(
            registry.clone(),
            hub.clone(),
            events.clone(),
            parser,
            identity,
            ledger.clone(),
            stopping.clone(),
        );
        let routes = rpc::routes(Arc::new(shared)).await?;
        tokio::spawn(give_back::run(ledger.clone(), stopping.clone()));
        let gate = Gate::new(routes, limits.clone(), &ledger);
        let (http2, cut_off) = (Http2::new(gate, stopping.clone()), CancellationToken::new());
        let ended = cut_off.clone();
        let serve = move |connection: Connection| {
            let (peer, account) = (connection.peer().clone(), connection.account().clone());
            let served = layer::serve(http2.clone(), connection, peer, account);
            ended.clone().run_until_cancelled_owned(served).map(drop)
        };
        let (accepting, served) = serve_listeners(listeners, &limits, &ledger, &stopping, serve);
        let drain = Duration::from_secs(limits.drain_seconds);
        Ok(Self {
            registry,
            hub,
            events,
            stopping,
            accepting,
            served,
            cut_off,
            drain,
            _runtime_dir: runtime_dir,
        })
    }

    /// Ends every stream, gives requests under way their time, and takes out of the kernel what
    /// the agent put there.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stopping.cancel();
        self.hub.shutdown();
        self.events.shutdown();
        // The sockets go first: who comes now finds no agent rather than one that stops.
        while self.accepting.join_next().await.is_some() {}
        self.served.close();
        if timeout(self.drain, self.served.wait()).await.is_err() {
            warn!(seconds = self.drain.as_secs(), "requests were cut off");
            self.cut_off.cancel();
        }
        let registry = self.registry.clone();
        tokio::task::spawn_blocking(move || registry.clear()).await?;
        info!("stopped");
        Ok(())
    }
}

/// The limits as this host can keep them.
fn fitting(limits: Limits) -> anyhow::Result<Limits> {
    let budget = Budget::of_this_host(limits).context("could not find out what there is to use")?;
    let Budget { limits, warnings } = budget;
    for warning in warnings {
        warn!("{warning}");
    }
    Ok(limits)
}

fn watch_limits(limits: &Limits) -> WatchLimits {
    let cpus = || std::thread::available_parallelism().map_or(1, usize::from);
    WatchLimits {
        watches: limits.max_watchers as usize,
        series_per_watch: limits.max_series as usize,
        series: limits.max_watched_series as usize,
        remembered: limits.max_remembered_series as usize,
        removals: limits.max_remembered_removals as usize,
        // Messages of a watch are small: a client has few of them at a time.
        message_bytes: limits.max_message_bytes.min(256 << 10) as usize,
        sweeps: if limits.max_sweeps == 0 { cpus() } else { limits.max_sweeps as usize },
    }
}

fn parse_limits(limits: &Limits) -> ParseLimits {
    ParseLimits {
        memory: limits.parse_memory_bytes,
        cpu: Duration::from_secs(limits.parse_seconds),
        wall: Duration::from_secs(limits.parse_seconds * 2),
        concurrent: limits.max_loads as usize,
        ..ParseLimits::default()
    }
}

/// The group of the Unix socket. One that was named must exist.
fn socket_gid(name: Option<&str>) -> anyhow::Result<Option<u32>> {
    let find = |name| nix::unistd::Group::from_name(name).context("could not read the groups");
    match name {
        Some(name) => match find(name)? {
            Some(group) => Ok(Some(group.gid.as_raw())),
            None => bail!("there is no group {name:?} for the socket"),
        },
        None => Ok(find("bpfgate")?.map(|group| group.gid.as_raw())),
    }
}

/// Without a bpffs there are no pins to open, and all else works.
fn open_bpffs(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

fn identity() -> anyhow::Result<Identity> {
    let kernel = |name: &str| {
        let path = Path::new("/proc/sys/kernel").join(name);
        let text = std::fs::read_to_string(&path);
        text.with_context(|| format!("could not read {}", path.display()))
    };
    // Not the machine id itself, which is meant to stay on the machine.
    let machine = std::fs::read_to_string("/etc/machine-id").or_else(|_| kernel("hostname"))?;
    let digest = Sha256::digest(format!("bpfgate agent {}", machine.trim()));
    let head = |bytes: &[u8]| bytes.iter().take(8).fold(0, |n, &b| n << 8 | u64::from(b));
    let incarnation = head(&Sha256::digest(kernel("random/uuid")?));
    Ok(Identity {
        agent_id: format!("{:016x}", head(&digest)),
        boot_id: kernel("random/boot_id")?.trim().to_owned(),
        incarnation: format!("{incarnation:016x}"),
        incarnation_number: incarnation,
        started_at: SystemTime::now(),
    })
}
