//! Records of a ring buffer, to one and to ten watchers, beside a reader that has the ring to
//! itself. A thread calls getppid(2), and a program on that tracepoint writes a burst of records
//! each time: more than any reader takes, but when the ring is full it waits instead of spending a
//! CPU on records that nobody gets.

use std::os::unix::process::parent_id;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bpfgate_client::v1::{GlobalValue, LoadObjectHeader, global_value};
use bpfgate_client::{Client, EventNews, EventOptions};
use bpfgate_server::sys;
use bpfgate_tests::elf;
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::report::{Goal, Report};
use crate::rounds::Rounds;

const RING: &str = "burst/ring";
const MANY: usize = 10;
const WARM: Duration = Duration::from_millis(200);
const WINDOW: Duration = Duration::from_secs(1);
/// Records for each system call.
const BURST: u32 = 256;
/// How long a full ring is left to its reader.
const FULL: Duration = Duration::from_micros(50);
/// How long the raw reader lets records come together: whoever always waits at the end of the ring
/// makes the kernel signal every record.
const GATHER: Duration = Duration::from_micros(100);

pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let agent = Agent::start().await?;
    load(&agent.client).await?;
    agent.client.links().attach("burst/write_burst", None).await?;
    let map = Arc::new(open(&agent.client, RING).await?);
    let producer = Producer::start(open(&agent.client, "burst/cut_short").await?);

    let raw = async || {
        let map = map.clone();
        tokio::task::spawn_blocking(move || read(&map)).await?
    };
    let one = Rounds::run(5, async || watched(&agent, 1).await, raw).await?;
    report.add_ratio("events_one_vs_raw", &one, Goal::AtLeast(0.8));
    report.add_median("events_one", &millions(&one.left), "M/s", Goal::Beside("events_raw"));
    report.add_median("events_raw", &millions(&one.right), "M/s", Goal::Beside("events_one"));
    let ten = Rounds::run(3, async || watched(&agent, MANY).await, raw).await?;
    report.add_ratio("events_ten_vs_raw", &ten, Goal::Beside("events_one_vs_raw"));
    drop(producer);
    Ok(())
}

fn millions(rates: &[f64]) -> Vec<f64> {
    rates.iter().map(|rate| rate / 1e6).collect()
}

async fn load(client: &Client) -> Result<()> {
    let mut header = LoadObjectHeader { name: "burst".to_owned(), ..LoadObjectHeader::default() };
    for (global, number) in [("process", std::process::id()), ("burst", BURST)] {
        let bytes = number.to_ne_bytes().to_vec();
        let value = GlobalValue { value: Some(global_value::Value::Raw(bytes.into())) };
        header.globals.insert(global.to_owned(), value);
    }
    client.objects().load_bytes(header, elf::BURST).await?;
    Ok(())
}

async fn open(client: &Client, name: &str) -> Result<sys::Map> {
    let id = client.maps().get(name).await?.id;
    sys::map_get_fd_by_id(id, true).with_context(|| format!("could not open {name}"))
}

/// Records a second that each of so many watchers gets, on the average.
async fn watched(agent: &Agent, count: usize) -> Result<f64> {
    let mut watching = JoinSet::new();
    for _ in 0..count {
        let client = agent.connect().await?;
        watching.spawn(async move { follow(&client).await });
    }
    let mut sum = 0.0;
    while let Some(rate) = watching.join_next().await {
        sum += rate??;
    }
    #[allow(clippy::cast_precision_loss, reason = "there are ten of them")]
    Ok(sum / count as f64)
}

async fn follow(client: &Client) -> Result<f64> {
    let mut events = client.maps().watch_events(RING, EventOptions::default()).await?;
    let begin = Instant::now() + WARM;
    let mut rate = Rate::from(begin);
    while rate.goes_on() {
        let news = tokio::time::timeout(10 * WINDOW, events.next_news()).await;
        let news = news.context("no records come")??.context("the map is gone")?;
        if let EventNews::Batch(batch) = news {
            rate.add(batch.iter().map(|record| number(record.bytes)));
        }
    }
    rate.a_second()
}

/// The same with the ring to itself.
fn read(map: &sys::Map) -> Result<f64> {
    let mut ring = sys::RingBuffer::new(map)?;
    let limits = sys::ReadLimits { bytes: 64 << 10, record: 1 << 20 };
    let mut rate = Rate::from(Instant::now() + WARM);
    while rate.goes_on() {
        let mut records = sys::Records::default();
        let stopped = ring.read(&mut records, limits)?;
        let mut from = 0;
        rate.add(records.lengths.iter().map(|&length| {
            let record = &records.bytes[from..];
            from += length as usize;
            number(record)
        }));
        if stopped == sys::Stopped::Empty {
            thread::sleep(GATHER);
        }
    }
    rate.a_second()
}

fn number(record: &[u8]) -> u64 {
    record.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// Counts records in a window of time, and looks at each.
struct Rate {
    begin: Instant,
    records: u64,
    last: u64,
    in_order: bool,
    end: Option<Instant>,
}

impl Rate {
    fn from(begin: Instant) -> Self {
        Self { begin, records: 0, last: 0, in_order: true, end: None }
    }

    fn goes_on(&self) -> bool {
        self.end.is_none()
    }

    fn add(&mut self, numbers: impl Iterator<Item = u64>) {
        let now = Instant::now();
        let mut count = 0;
        for number in numbers {
            self.in_order &= number >= self.last;
            self.last = number;
            count += 1;
        }
        if now >= self.begin {
            self.records += count;
        }
        if now >= self.begin + WINDOW {
            self.end = Some(now);
        }
    }

    fn a_second(&self) -> Result<f64> {
        ensure!(self.in_order, "the records are not in order");
        let end = self.end.context("no end")?;
        #[allow(clippy::cast_precision_loss, reason = "millions of records")]
        Ok(self.records as f64 / (end - self.begin).as_secs_f64())
    }
}

/// Calls getppid(2) until it is dropped.
struct Producer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Producer {
    fn start(cut_short: sys::Map) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let call = move || {
            let (mut known, mut now) = ([0; 8], [0; 8]);
            while !until.load(Ordering::Relaxed) {
                std::hint::black_box(parent_id());
                let read = cut_short.lookup(&[0; 4], &mut now);
                if read.is_err() || now != known {
                    known = now;
                    thread::sleep(FULL);
                }
            }
        };
        let thread = Some(thread::spawn(call));
        Self { stop, thread }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
