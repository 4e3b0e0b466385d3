//! Records of ring buffers and perf buffers: each comes once to everyone who watches, in order, or
//! is told of as lost.

mod bad_input;
mod ends;
mod exec;
mod loss;
mod once;
mod perf;
mod perf_loss;
mod stall;
mod typed;
mod waiting;

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use bpfgate_client::v1::event_loss::Source;
use bpfgate_client::v1::{GlobalValue, global_value};
use bpfgate_client::{Client, CpuMode, Error, EventNews, EventOptions, Events};
use bpfgate_tests::calls::{header, number};
use bpfgate_tests::{Agent, Builder, SOON, elf};
use rustix::thread::{CpuSet, sched_setaffinity};

const RING: &str = "ev/ring";
const PERF: &str = "ev/perf";
/// Of `struct event`.
const EVENT: usize = 32;

/// An agent with `events.bpf.c`, whose programs write records when the stage calls getppid(2).
struct Stage {
    agent: Agent,
    client: Client,
    thread: String,
}

/// How the programs write.
#[derive(Default)]
struct Script {
    burst: u32,
    discard_each: u32,
    vary: u32,
    flags: u64,
}

impl Stage {
    async fn new(script: Script) -> Self {
        Self::with(Agent::builder(), script).await
    }

    async fn with(agent: Builder, script: Script) -> Self {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        // The programs see the whole host, other tests' threads among them.
        let stage = STAGES.fetch_add(1, Ordering::Relaxed);
        let thread = format!("ev{}.{stage}", std::process::id());
        let agent = agent.spawn();
        let client = agent.client().await;
        let mut name = thread.as_bytes().to_vec();
        name.resize(16, 0);
        let Script { burst, discard_each, vary, flags } = script;
        let mut header = header("ev");
        for (global, value) in [
            ("watched", name),
            ("burst", burst.max(1).to_ne_bytes().to_vec()),
            ("discard_each", discard_each.to_ne_bytes().to_vec()),
            ("vary", vary.to_ne_bytes().to_vec()),
            ("flags", flags.to_ne_bytes().to_vec()),
        ] {
            let value = GlobalValue { value: Some(global_value::Value::Raw(value.into())) };
            header.globals.insert(global.to_owned(), value);
        }
        client.objects().load_bytes(header, elf::EVENTS).await.expect("it loads");
        Self { agent, client, thread }
    }

    async fn attach(&self, program: &str) -> u64 {
        let link = self.client.links().attach(&format!("ev/{program}"), None).await;
        link.unwrap_or_else(|error| panic!("{program}: {error}")).id
    }

    /// One burst for each call.
    fn call(&self, times: u64) {
        self.caller(None, (0..times).map(drop)).join().unwrap();
    }

    /// A thread, on that CPU if there is one, that makes a call for each of these.
    fn caller(
        &self,
        cpu: Option<u32>,
        calls: impl Iterator<Item = ()> + Send + 'static,
    ) -> thread::JoinHandle<()> {
        let run = move || {
            if let Some(cpu) = cpu {
                let mut only = CpuSet::new();
                only.set(cpu as usize);
                sched_setaffinity(None, &only).unwrap();
            }
            for () in calls {
                assert!(std::os::unix::process::parent_id() > 0);
            }
        };
        thread::Builder::new().name(self.thread.clone()).spawn(run).unwrap()
    }

    /// Of each CPU: how many records were written, and how many had no room.
    async fn by_cpu(&self) -> Vec<(u64, u64)> {
        let [written, refused] = [0_u32, 2].map(async |what| {
            let (maps, what) = (self.client.maps(), what.to_ne_bytes());
            let value = maps.lookup("ev/counts", what, CpuMode::Each).await.unwrap();
            let numbers = value.as_chunks::<8>().0.iter().copied().map(u64::from_ne_bytes);
            numbers.collect::<Vec<_>>()
        });
        written.await.into_iter().zip(refused.await).collect()
    }

    async fn watch(&self, map: &str) -> Followed {
        self.watch_with(map, EventOptions::default()).await.unwrap()
    }

    async fn watch_with(&self, map: &str, options: EventOptions) -> Result<Followed, Error> {
        self.client.maps().watch_events(map, options).await.map(Followed::new)
    }

    async fn written(&self) -> u64 {
        number(&self.client, "ev/counts", 0).await
    }

    async fn discarded(&self) -> u64 {
        number(&self.client, "ev/counts", 1).await
    }

    async fn refused(&self) -> u64 {
        number(&self.client, "ev/counts", 2).await
    }

    /// What of the buffers is in the agent's memory.
    fn mappings(&self) -> usize {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.agent.pid())).unwrap();
        let buffer =
            |line: &&str| line.contains("anon_inode:bpf-map") || line.contains("[perf_event]");
        maps.lines().filter(buffer).count()
    }

    /// Fails unless the agent gives the buffers back in a moment.
    fn assert_nothing_is_read(&self) {
        let free = bpfgate_tests::within(Duration::from_secs(2), || self.mappings() == 0);
        assert!(free, "{} mappings are left", self.mappings());
    }
}

/// A watch, and what it told so far.
struct Followed {
    events: Events,
    /// From each record.
    numbers: Vec<u64>,
    lost_in_kernel: u64,
    lost_at_agent: u64,
    renamed: Vec<String>,
}

impl Followed {
    fn new(events: Events) -> Self {
        Self {
            events,
            numbers: Vec::new(),
            lost_in_kernel: 0,
            lost_at_agent: 0,
            renamed: Vec::new(),
        }
    }

    /// The next news, already counted; it has to come soon.
    async fn next(&mut self) -> Result<Option<EventNews>, Error> {
        let next = tokio::time::timeout(SOON, self.events.next_news()).await;
        let told = self.told();
        let news = next.unwrap_or_else(|_| panic!("the watch is silent behind {told} records"))?;
        match &news {
            Some(EventNews::Batch(batch)) => {
                let number =
                    |bytes: &[u8]| u64::from_ne_bytes(bytes[..8].try_into().expect("8 bytes"));
                self.numbers.extend(batch.iter().map(|record| number(record.bytes)));
            }
            Some(EventNews::Loss(loss)) => match loss.source() {
                Source::Kernel => self.lost_in_kernel += loss.count,
                Source::Agent => self.lost_at_agent += loss.count,
                other => panic!("a loss at {other:?}"),
            },
            Some(EventNews::Renamed(map)) => self.renamed.push(map.to.clone()),
            None => {}
        }
        Ok(news)
    }

    /// Records that came or were lost.
    fn told(&self) -> u64 {
        self.numbers.len() as u64 + self.lost_in_kernel + self.lost_at_agent
    }

    /// Until so many records came or were lost.
    async fn until(&mut self, records: u64) {
        while self.told() < records {
            self.next().await.unwrap().expect("more news before the end");
        }
        assert_eq!(self.told(), records);
    }

    /// Nothing more for a moment.
    async fn quiet(&mut self) {
        let next = tokio::time::timeout(Duration::from_millis(300), self.events.next_news()).await;
        assert!(next.is_err(), "{next:?}");
    }

    /// What came are all records from the first up to this one, in order.
    fn assert_all(&self, from: u64, to: u64) {
        assert_eq!((self.lost_in_kernel, self.lost_at_agent), (0, 0));
        assert_eq!(self.numbers.len() as u64, to - from);
        assert!(self.numbers.iter().copied().eq(from..to), "not {from}..{to} in order");
    }
}
