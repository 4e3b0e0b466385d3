//! Nothing that a caller sends can stop the agent or keep others waiting: what was tried against it,
//! each in a budget of 128 MiB, in a memory cgroup, and with a client beside it whose calls must neither fail nor take over
//! a second.

mod answers;
mod connections;
mod every_rpc;
mod requests;
mod work;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bpfgate_client::v1::{self, EnumType, EnumValue, MapType, r#type};
use bpfgate_client::{Client, MapFilter, UpdateMode};
use bpfgate_tests::hostile::{Good, anonymous_memory};
use bpfgate_tests::{Agent, MemoryCgroup, NewMap, SOON, within};

/// The agent's `max_memory_bytes` here.
const BUDGET: u64 = 128 << 20;
/// What the agent may have beside it: its own code's data, the allocator's slack.
const SLACK: u64 = 64 << 20;

/// Threads for long work, and for large messages, that are kept for a while.
const THREADS: usize = 40;

const MIB: u32 = 1 << 20;

/// What the agent, its parsing processes and its maps may have together, or the kernel ends it.
const HOUSE: u64 = 640 << 20;

fn agent(cgroup: &MemoryCgroup) -> Agent {
    let limits = format!(
        "[limits]\nmax_memory_bytes = {BUDGET}\nrequest_seconds = 1\nanswer_seconds = 2\n\
         stall_seconds = 2\npreface_seconds = 1\n"
    );
    Agent::builder().config(limits).before(cgroup.enter()).spawn()
}

/// An agent with a map for the client beside it.
struct Trial {
    agent: Agent,
    client: Client,
    good: Good,
    // Last: it goes when the agent is gone.
    cgroup: MemoryCgroup,
}

impl Trial {
    async fn begin() -> Self {
        // Its path must tell this trial from others of this process.
        static TRIALS: AtomicU32 = AtomicU32::new(0);
        let number = TRIALS.fetch_add(1, Ordering::Relaxed);
        let cgroup = MemoryCgroup::new(&format!("trial{number}"), HOUSE);
        let agent = agent(&cgroup);
        let client = agent.client().await;
        NewMap::array("good").make(&client).await;
        let good = Good::start(&agent, "good").await;
        Self { agent, client, good, cgroup }
    }

    /// Fails if the agent has taken more memory than it may.
    fn check_memory(&self) {
        let memory = anonymous_memory(self.agent.pid());
        assert!(memory <= BUDGET + SLACK, "the agent has {} MiB", memory >> 20);
    }

    /// The good client's word, and that all is as it was: nothing is charged any more to anybody but
    /// root, whose the two connections and the maps are.
    async fn end(self) {
        let Self { agent, client, good, cgroup } = self;
        good.finish().await;
        let begun = std::time::Instant::now();
        let ledger = loop {
            let ledger = client.agent().get().await.unwrap().ledger.unwrap();
            let mut others = ledger.callers.iter().filter(|caller| caller.caller != "uid:0");
            if others.all(|caller| caller.used_bytes == 0) && ledger.work_waiting == 0 {
                break ledger;
            }
            assert!(begun.elapsed() < SOON, "{ledger:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(ledger.peak_bytes <= BUDGET, "{ledger:#?}");
        // The agent gives back what it has freed every ten seconds.
        let settled = within(2 * SOON, || anonymous_memory(agent.pid()) < SLACK);
        assert!(settled, "it keeps {} MiB", anonymous_memory(agent.pid()) >> 20);
        for map in client.maps().list(MapFilter::default()).await.unwrap() {
            client.maps().delete(&map.name).await.unwrap();
        }
        agent.assert_only_baseline();
        drop(client);
        agent.assert_no_connections();
        let (now, then) = (agent.checkpoint().threads, agent.baseline().threads);
        assert!(now <= then + THREADS, "{then} threads at the start, {now} now");
        agent.stop();
        assert_eq!(cgroup.kills(), 0, "the kernel ended something");
    }
}

/// A one-byte enum whose only enumerator has a name of 10,000 characters.
fn long_name() -> v1::Type {
    let name = "X".repeat(10_000);
    let values = vec![EnumValue { name, value: 0 }];
    let kind = r#type::Kind::Enumeration(EnumType { signed: false, values });
    v1::Type { name: "enum long".to_owned(), size: 1, kind: Some(kind) }
}

fn boolean() -> v1::Type {
    let kind = r#type::Kind::Integer(v1::IntegerType {
        encoding: v1::integer_type::Encoding::Bool.into(),
        ..Default::default()
    });
    v1::Type { name: "_Bool".to_owned(), size: 1, kind: Some(kind) }
}

fn list_of(element: v1::Type, length: u32) -> v1::Type {
    let size = element.size * length;
    let array = v1::ArrayType { element: Some(Box::new(element)), length, ..Default::default() };
    v1::Type { name: String::new(), size, kind: Some(r#type::Kind::Array(Box::new(array))) }
}

/// An array of one value of this type.
async fn typed_array(client: &Client, name: &str, value: v1::Type) {
    let mut request = NewMap::array(name).sizes(4, value.size).entries(1).request();
    request.layout = Some(v1::Schema { value: Some(value), ..Default::default() });
    client.maps().create(request).await.unwrap();
}

/// An array of one value of so many bytes.
async fn large(client: &Client, name: &str, bytes: u32) {
    NewMap::array(name).sizes(4, bytes).entries(1).make(client).await;
}

/// A queue with one value of so many bytes in it.
async fn filled_queue(client: &Client, name: &str, value: v1::Type) {
    let size = value.size;
    let mut request = NewMap::new(name, MapType::Queue).sizes(0, size).entries(1).request();
    request.layout = Some(v1::Schema { value: Some(value), ..Default::default() });
    client.maps().create(request).await.unwrap();
    client.maps().push(name, vec![0; size as usize]).await.unwrap();
}

/// A hash of one entry, whose value has this type.
async fn filled_hash(client: &Client, name: &str, value: v1::Type) {
    let size = value.size as usize;
    let mut request = NewMap::hash(name).sizes(4, value.size).request();
    request.layout = Some(v1::Schema { value: Some(value), ..Default::default() });
    client.maps().create(request).await.unwrap();
    let key = 0_u32.to_ne_bytes();
    client.maps().update(name, key, vec![0; size], UpdateMode::Any).await.unwrap();
}

fn lookup(map: &str, typed: bool) -> v1::LookupRequest {
    let key = v1::lookup_request::Key::RawKey(0_u32.to_ne_bytes().to_vec().into());
    v1::LookupRequest { map: map.to_owned(), key: Some(key), typed, ..Default::default() }
}
