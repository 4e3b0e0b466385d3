//! `hooks.bpf.c` in an agent: its programs by name, and what each has to do when attached.

use std::net::UdpSocket;
use std::os::unix::process::parent_id;
use std::thread;

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::{GlobalValue, global_value};
use bpfgate_client::{Client, Code};

use crate::calls::{header, load, number};
use crate::{Agent, SOON, elf, refused};

/// `enum hook` in `hooks.bpf.c`.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
#[allow(missing_docs, reason = "each is the place that its name says")]
pub enum Hook {
    Xdp,
    TcxIngress,
    TcxEgress,
    Socket,
    Tp,
    Tracepoint,
    RawTp,
    RawTracepoint,
    CgroupEgress,
    CgroupIngress,
    Uprobe,
    Uretprobe,
    PerfEvent,
    Tc,
    Classifier,
}

impl Hook {
    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Xdp => "hooks/on_xdp",
            Self::TcxIngress => "hooks/on_tcx_ingress",
            Self::TcxEgress => "hooks/on_tcx_egress",
            Self::Socket => "hooks/on_socket",
            Self::Tp => "hooks/on_tp",
            Self::Tracepoint => "hooks/on_tracepoint",
            Self::RawTp => "hooks/on_raw_tp",
            Self::RawTracepoint => "hooks/on_raw_tracepoint",
            Self::CgroupEgress => "hooks/on_cgroup_egress",
            Self::CgroupIngress => "hooks/on_cgroup_ingress",
            Self::Uprobe => "hooks/on_uprobe",
            Self::Uretprobe => "hooks/on_uretprobe",
            Self::PerfEvent => "hooks/on_perf_event",
            Self::Tc => "hooks/on_tc",
            Self::Classifier => "hooks/on_classifier",
        }
    }
}

/// An agent with `hooks.bpf.c` loaded.
pub struct Bench {
    /// The agent.
    pub agent: Agent,
    /// Its client.
    pub client: Client,
}

impl Bench {
    /// With nothing attached.
    pub async fn new() -> Self {
        let agent = Agent::spawn();
        let client = agent.client().await;
        load(&client, "hooks", elf::HOOKS).await;
        Self { agent, client }
    }

    /// With the programs that see the whole host looking at threads of that name only.
    pub async fn watching(thread: &str) -> Self {
        let agent = Agent::spawn();
        let client = agent.client().await;
        let mut name = thread.as_bytes().to_vec();
        name.resize(16, 0);
        let mut header = header("hooks");
        let name = GlobalValue { value: Some(global_value::Value::Raw(name.into())) };
        header.globals.insert("watched".to_owned(), name);
        client.objects().load_bytes(header, elf::HOOKS).await.expect("it loads");
        Self { agent, client }
    }

    /// How often it has fired.
    pub async fn hits(&self, hook: Hook) -> u64 {
        number(&self.client, "hooks/hits", hook as u32).await
    }

    /// Attached, `fire` moves the hook's counter by `count`; detached, it stays.
    pub async fn fires_until_detached(
        &self,
        hook: Hook,
        target: Target,
        count: u64,
        fire: impl Fn(),
    ) {
        self.fires_until_detached_by(hook, Some(target), |hits| hits == count, fire).await;
    }

    /// The same with a rule for the hits; without a target, where the section says.
    pub async fn fires_until_detached_by(
        &self,
        hook: Hook,
        target: Option<Target>,
        expected: impl Fn(u64) -> bool,
        fire: impl Fn(),
    ) {
        let (links, before) = (self.client.links(), self.hits(hook).await);
        let link = links.attach(hook.program(), target.clone()).await;
        let link = link.unwrap_or_else(|error| panic!("{hook:?} on {target:?}: {error}"));
        assert_eq!(link.program, hook.program());
        assert!(link.attached_at.is_some());
        if let Some(target) = &target {
            let attached = link.target.as_ref().and_then(|target| target.target.as_ref());
            assert_eq!(attached, Some(target));
        }
        let is_socket = matches!(target, Some(Target::Socket(_)));
        assert_eq!(link.kernel_id == 0, is_socket, "{link:?}");
        assert_eq!(links.list(Some("hooks")).await.unwrap(), std::slice::from_ref(&link));

        fire();
        let hits = self.hits(hook).await - before;
        assert!(expected(hits), "{hook:?}: {hits} hits");

        self.agent.checkpoint();
        links.detach(link.id).await.unwrap();
        assert!(links.list(None).await.unwrap().is_empty());
        let detached = self.hits(hook).await;
        fire();
        assert_eq!(self.hits(hook).await, detached, "{hook:?} fires behind its end");
        refused(links.detach(link.id).await, Code::NotFound, &[&link.id.to_string()]);
    }

    /// The target is refused with that code and these words.
    pub async fn refuses(&self, hook: Hook, target: Target, code: Code, words: &[&str]) {
        refused(self.client.links().attach(hook.program(), Some(target)).await, code, words);
    }

    /// Sends that many datagrams over loopback, and takes them in.
    pub fn datagrams(&self, count: u64) {
        self.agent.netns().within(|| exchange(count));
    }

    /// Ends the agent, which has to leave nothing.
    pub fn stop(self) {
        let Self { agent, client } = self;
        drop(client);
        agent.stop();
    }
}

/// Sends that many datagrams over loopback, and takes them in.
pub fn exchange(count: u64) {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a receiver");
    receiver.set_read_timeout(Some(SOON)).expect("a timeout");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a sender");
    let to = receiver.local_addr().expect("its address");
    for _ in 0..count {
        sender.send_to(&[0; 100], to).expect("sent");
        receiver.recv(&mut [0; 200]).expect("received");
    }
}

/// Calls getppid(2) on a thread of that name, because programs go by it.
pub fn getppid(thread: &'static str, times: u64) {
    let calls = move || (0..times).for_each(|_| assert!(parent_id() > 0));
    thread::Builder::new().name(thread.to_owned()).spawn(calls).unwrap().join().unwrap();
}
