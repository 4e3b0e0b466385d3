//! Objects that are broken, forged, too large, too slow or never finished: each costs its sender
//! an error, and the agent nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bpfgate_client::v1::load_object_request::Message;
use bpfgate_client::v1::program_service_client::ProgramServiceClient;
use bpfgate_client::v1::{LoadObjectHeader, LoadObjectRequest, LoadObjectResponse};
use bpfgate_client::{Client, Code};
use bpfgate_tests::calls::{header, load};
use bpfgate_tests::mutate::{Random, mutate};
use bpfgate_tests::{Agent, SOON, elf, refused, within};
use tokio::sync::mpsc::Sender;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;

/// Longer than any answer may take, on a busy machine and without optimisation.
const BOUND: Duration = Duration::from_secs(30);
/// Of damaged objects.
const MUTATIONS: u64 = 10_000;
/// The agent's `max_loads`.
const LOADS: u64 = 4;

/// What the agent's process takes, in KiB, by the word of `/proc/PID/status`.
fn memory(agent: &Agent, word: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("the agent");
    let line = status.lines().find_map(|line| line.strip_prefix(word)).expect("the word");
    line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().expect("a number")
}

/// Processes that the agent started and that are still there.
fn children(agent: &Agent) -> usize {
    let of_agent = |entry: fs::DirEntry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // Behind the name, which may have anything in it: the state, then the parent.
        let (_, behind) = stat.rsplit_once(')')?;
        (behind.split_whitespace().nth(1)?.parse::<u32>().ok()? == agent.pid()).then_some(())
    };
    fs::read_dir("/proc").expect("/proc").filter_map(|entry| of_agent(entry.ok()?)).count()
}

/// That the agent is the process it was, has nothing loaded, and runs nothing.
async fn unharmed(agent: &Agent, client: &Client) {
    assert_eq!(client.objects().list(HashMap::new()).await.unwrap(), []);
    agent.assert_only_baseline();
    assert!(within(SOON, || children(agent) == 0), "{} children are left", children(agent));
    load(client, "afterwards", elf::HOOKS).await;
    client.objects().unload("afterwards").await.unwrap();
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_object_is_told_so() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let mut of_another_machine = elf::TYPED.to_vec();
    of_another_machine[18] = 62;
    for (elf, word) in [
        (Vec::new(), "empty"),
        (b"#!/bin/sh\n".to_vec(), "ELF"),
        (vec![0; 1 << 20], "ELF"),
        (of_another_machine, "BPF"),
        (fs::read("/proc/self/exe").unwrap()[..1 << 20].to_vec(), "BPF"),
    ] {
        let answer = client.objects().load_bytes(header("o"), elf).await;
        let error = refused(answer, Code::InvalidArgument, &["not a valid BPF object", word]);
        assert_eq!(error.reason.as_deref(), Some("BAD_OBJECT"));
    }
    unharmed(&agent, &client).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_objects_are_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for elf in [elf::HOOKS, elf::TYPED] {
        for length in (0..elf.len()).step_by(elf.len() / 60) {
            let start = Instant::now();
            let answer = client.objects().load_bytes(header("o"), &elf[..length]).await;
            refused(answer, Code::InvalidArgument, &[]);
            assert!(start.elapsed() < BOUND, "{length} bytes took {:?}", start.elapsed());
        }
    }
    unharmed(&agent, &client).await;
    agent.stop();
}

/// How often each code and reason was the answer, and how long the slowest took.
#[derive(Debug, Default)]
struct Tally {
    answers: BTreeMap<(String, String), u64>,
    slowest: Duration,
}

impl Tally {
    fn add(mut self, other: Self) -> Self {
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
        Self { answers: self.answers, slowest: self.slowest.max(other.slowest) }
    }
}

/// Loads damaged objects until all are done, and unloads what loads all the same. The error is a
/// failure of the agent's.
async fn load_damaged(client: Client, next: Arc<AtomicU64>) -> Result<Tally, String> {
    const OBJECTS: [&[u8]; 4] = [elf::HOOKS, elf::GLOBALS, elf::TYPED, elf::SHARED];
    let mut tally = Tally::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= MUTATIONS {
            return Ok(tally);
        }
        let mut random = Random::new(seed);
        let object = mutate(OBJECTS[random.below(OBJECTS.len())], &mut random);
        let name = format!("m{seed}");
        let start = Instant::now();
        let answer = client.objects().load_bytes(header(&name), object).await;
        tally.slowest = tally.slowest.max(start.elapsed());
        let outcome = match answer {
            Ok(_) => {
                let unloaded = client.objects().unload(&name).await;
                unloaded.map_err(|error| format!("seed {seed}: {error:?}"))?;
                ("Ok".to_owned(), String::new())
            }
            Err(error) => {
                let refusal = error.as_rpc().filter(|rpc| rpc.code != Code::Internal);
                let rpc = refusal.ok_or_else(|| format!("seed {seed}: {error:?}"))?;
                let reason = rpc.reason.clone().unwrap_or_default();
                (format!("{:?}", rpc.code), reason)
            }
        };
        *tally.answers.entry(outcome).or_default() += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_damaged_objects_do_no_harm() {
    // A damaged number of entries must not take the host's memory.
    let mut agent = Agent::builder().config("[limits]\nmax_map_bytes = 16777216\n").spawn();
    let client = agent.client().await;
    load(&client, "before", elf::HOOKS).await;
    client.objects().unload("before").await.unwrap();
    let (pid, rss) = (agent.pid(), memory(&agent, "VmRSS"));

    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    let start = Instant::now();
    for _ in 0..LOADS {
        workers.spawn(load_damaged(client.clone(), next.clone()));
    }
    let mut tally = Tally::default();
    for outcome in workers.join_all().await {
        let done = outcome.unwrap_or_else(|failure| {
            panic!("{failure}; the agent's end: {:?}", agent.wait(Duration::from_secs(1)))
        });
        tally = tally.add(done);
    }
    let took = start.elapsed();

    println!("{MUTATIONS} damaged objects in {took:?}, the slowest in {:?}:", tally.slowest);
    for ((code, reason), count) in &tally.answers {
        println!("{count:>6}  {code} {reason}");
    }
    let (now, peak) = (memory(&agent, "VmRSS"), memory(&agent, "VmHWM"));
    println!("the agent took {rss} KiB before, {now} KiB after, {peak} KiB at most");
    assert!(tally.slowest < BOUND);
    assert_eq!(tally.answers.values().sum::<u64>(), MUTATIONS);
    let documented = |code: &str| {
        ["Ok", "InvalidArgument", "FailedPrecondition", "ResourceExhausted", "Unimplemented"]
            .contains(&code)
    };
    assert!(tally.answers.keys().all(|(code, _)| documented(code)), "{tally:#?}");
    assert!(peak < rss + (128 << 10), "{rss} KiB before, {peak} KiB at most");
    assert!(now < rss + (64 << 10), "{rss} KiB before, {now} KiB after");
    assert_eq!(agent.pid(), pid);
    unharmed(&agent, &client).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_beyond_the_limit_is_refused_before_its_end() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let before = memory(&agent, "VmRSS");
    let start = Instant::now();
    let answer = client.objects().load_bytes(header("big"), vec![0x7f; 65 << 20]).await;
    let error = refused(answer, Code::ResourceExhausted, &["67108864"]);
    assert_eq!(error.reason.as_deref(), Some("TOO_LARGE"));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let peak = memory(&agent, "VmHWM");
    // The limit itself, and what a connection buffers.
    assert!(peak < before + (96 << 10), "{before} KiB before, {peak} KiB at most");

    let file = agent.directory().join("big.o");
    fs::write(&file, vec![0x7f; 65 << 20]).unwrap();
    let said = agent.cli(&["object", "load", "big", "--file", file.to_str().unwrap()]);
    assert!(said.refusal(8).contains("67108864"), "{said:?}");
    unharmed(&agent, &client).await;
    agent.stop();
}

/// An upload by hand: what is sent goes out, and the answer comes in its time.
struct Upload {
    to: Sender<LoadObjectRequest>,
    answer: JoinHandle<Result<LoadObjectResponse, tonic::Status>>,
}

impl Upload {
    fn begin(client: &Client) -> Self {
        let (to, from) = tokio::sync::mpsc::channel(8);
        let mut rpc = ProgramServiceClient::new(client.channel());
        let answer = async move {
            let answer = rpc.load_object(ReceiverStream::new(from)).await;
            answer.map(tonic::Response::into_inner)
        };
        Self { to, answer: tokio::spawn(answer) }
    }

    async fn send(&self, message: Message) {
        // Whoever has refused it no longer listens.
        let _ = self.to.send(LoadObjectRequest { message: Some(message) }).await;
    }

    async fn header(&self, name: &str) {
        self.send(Message::Header(header(name))).await;
    }

    async fn chunk(&self, bytes: &[u8]) {
        self.send(Message::Chunk(bytes.to_vec().into())).await;
    }

    /// Without an end of the upload.
    async fn wait(self) -> Result<LoadObjectResponse, tonic::Status> {
        let Self { to, answer } = self;
        let answer = tokio::time::timeout(BOUND, answer).await.expect("an answer in time");
        drop(to);
        answer.expect("no panic")
    }

    async fn finish(self) -> Result<LoadObjectResponse, tonic::Status> {
        let Self { to, answer } = self;
        drop(to);
        tokio::time::timeout(BOUND, answer).await.expect("an answer in time").expect("no panic")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stalls_is_given_up() {
    let agent = Agent::builder().config("[limits]\nupload_seconds = 2\n").spawn();
    let client = agent.client().await;
    for stage in ["before its header", "behind its header", "within its file"] {
        let upload = Upload::begin(&client);
        let start = Instant::now();
        if stage != "before its header" {
            upload.header("slow").await;
        }
        if stage == "within its file" {
            upload.chunk(&elf::HOOKS[..1000]).await;
        }
        let status = upload.wait().await.expect_err(stage);
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{stage}: {status:?}");
        assert!(status.message().contains("2 s"), "{status:?}");
        let took = start.elapsed();
        assert!(
            took > Duration::from_secs(1) && took < Duration::from_secs(8),
            "{stage}: {took:?}"
        );
    }
    // A trickle is no better than nothing.
    let upload = Upload::begin(&client);
    upload.header("slow").await;
    for byte in elf::HOOKS.iter().take(200) {
        upload.chunk(&[*byte]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = upload.wait().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status:?}");
    unharmed(&agent, &client).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_uploads_keep_nobody_out() {
    let agent = Agent::builder().config("[limits]\nupload_seconds = 2\n").spawn();
    let client = agent.client().await;
    let stalled: Vec<_> = (0..4 * LOADS).map(|_| Upload::begin(&client)).collect();
    for upload in &stalled {
        upload.header("slow").await;
    }
    // They have to be there first.
    tokio::time::sleep(Duration::from_millis(500)).await;
    client.objects().load_bytes(header("o"), elf::TYPED).await.unwrap();
    for upload in stalled {
        let status = upload.wait().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status:?}");
    }
    client.objects().unload("o").await.unwrap();
    unharmed(&agent, &client).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disappears_leaves_nothing() {
    let agent = Agent::spawn();
    // More often than there are slots for loads.
    for sent in [0, 1000, 20_000, elf::HOOKS.len(), 0, elf::HOOKS.len()] {
        let client = agent.client().await;
        let upload = Upload::begin(&client);
        upload.header("gone").await;
        upload.chunk(&elf::HOOKS[..sent]).await;
        if sent == elf::HOOKS.len() {
            // The file is whole, and the client leaves while it is parsed or verified.
            let Upload { to, answer } = upload;
            drop(to);
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer.abort();
        } else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            upload.answer.abort();
        }
        drop(client);
        agent.checkpoint();
    }
    let client = agent.client().await;
    // The last one may have been done before it was left.
    let _ = client.objects().unload("gone").await;
    unharmed(&agent, &client).await;
    drop(client);
    agent.assert_no_connections();
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_out_of_order_are_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let upload = Upload::begin(&client);
    upload.chunk(elf::HOOKS).await;
    let status = upload.finish().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("header"), "{status:?}");

    let status = Upload::begin(&client).finish().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("header"), "{status:?}");

    let upload = Upload::begin(&client);
    upload.header("o").await;
    upload.header("o").await;
    let status = upload.finish().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("chunk"), "{status:?}");

    let upload = Upload::begin(&client);
    let builtin = "proto-counters".to_owned();
    upload.send(Message::Header(LoadObjectHeader { builtin, ..header("o") })).await;
    upload.chunk(elf::HOOKS).await;
    let status = upload.finish().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("without a file"), "{status:?}");

    let upload = Upload::begin(&client);
    upload.header("o").await;
    upload.chunk(&vec![0; (16 << 20) + 1]).await;
    let status = upload.finish().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("the limit is 16777216"), "{status:?}");
    unharmed(&agent, &client).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_the_verifier_rejects_is_explained() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let answer = client.objects().load_bytes(header("bad"), elf::REJECTED).await;
    let words = ["verifier rejects program unsound", "map_value_or_null"];
    let error = refused(answer, Code::InvalidArgument, &words);
    assert_eq!(error.reason.as_deref(), Some("VERIFIER_REJECTED"));
    assert_eq!(error.metadata["program"], "unsound");
    let log = error.verifier_log.expect("a log");
    assert!(log.contains("invalid mem access") && log.contains("(*count)++"), "{log}");
    assert!(log.contains("map_ptr") && !log.contains("0xffff8"), "an address: {log}");

    let file = agent.directory().join("rejected.bpf.o");
    fs::write(&file, elf::REJECTED).unwrap();
    let said = agent.cli(&["object", "load", "bad", "--file", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(6), "{said:?}");
    assert_eq!(said.stdout, "");
    let first = said.stderr.lines().next().expect("a line");
    assert!(first.contains("unsound") && first.contains("map_value_or_null"), "{said:?}");
    assert!(said.stderr.contains("(*count)++"), "{said:?}");
    unharmed(&agent, &client).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_arrives_with_its_end() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let answer = client.objects().load_bytes(header("long"), elf::LONG_LOG).await;
    let error = refused(answer, Code::InvalidArgument, &["verifier rejects program winding"]);
    let log = error.verifier_log.expect("a log");
    assert!(log.contains("bytes before this") && log.contains("invalid mem access"), "{log}");
    let file = agent.directory().join("long.bpf.o");
    fs::write(&file, elf::LONG_LOG).unwrap();
    let said = agent.cli(&["object", "load", "long", "--file", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(6), "{said:?}");
    assert!(said.stderr.contains("--full-log"), "{said:?}");
    assert!(said.stderr.contains("invalid mem access"), "{said:?}");
    agent.stop();
}
