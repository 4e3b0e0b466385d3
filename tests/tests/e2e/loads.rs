//! Loads that take the verifier long: given up by their clients, ended by the clock, and none of them
//! in another's way.

use std::time::{Duration, Instant};

use bpfgate_client::{Client, Code};
use bpfgate_tests::calls::{header, load, try_load};
use bpfgate_tests::{Agent, SOON, elf, refused, within};

/// Threads of the agent that are at a load.
fn loading(agent: &Agent) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).filter(|name| name.trim() == "load").count()
}

/// Loads an object under a name whose last load is about to be over.
async fn load_soon(client: &Client, name: &str) {
    let deadline = Instant::now() + SOON;
    while let Err(error) = try_load(client, header(name), elf::HOOKS).await {
        let code = error.as_rpc().map(|rpc| rpc.code);
        let ending = [Code::ResourceExhausted, Code::AlreadyExists].map(Some).contains(&code);
        assert!(ending && Instant::now() < deadline, "{error:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    client.objects().unload(name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_that_nobody_waits_for_are_stopped() {
    let agent = Agent::builder().config("[limits]\nmax_loads = 6\n").spawn();
    let client = agent.client().await;
    let loads: Vec<_> = (0..6)
        .map(|number| {
            let client = client.clone();
            let name = format!("slow{number}");
            tokio::spawn(async move { try_load(&client, header(&name), elf::SLOW).await })
        })
        .collect();
    assert!(within(SOON, || loading(&agent) == 6), "{} loads", loading(&agent));
    let seventh = try_load(&client, header("seventh"), elf::HOOKS).await;
    let error = refused(seventh, Code::ResourceExhausted, &["6 loads at once", "max_loads"]);
    assert_eq!(error.metadata["name"], "max_loads");

    for load in &loads {
        load.abort();
    }
    let start = Instant::now();
    assert!(within(SOON, || loading(&agent) == 0), "{} loads are left", loading(&agent));
    // Bare of a busy machine it is a tenth of that.
    assert!(start.elapsed() < Duration::from_secs(1), "it took {:?}", start.elapsed());
    load_soon(&client, "slow0").await;
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_has_its_time() {
    let agent = Agent::builder().config("[limits]\nload_seconds = 1\nmax_loads = 1\n").spawn();
    let client = agent.client().await;
    let start = Instant::now();
    let error = try_load(&client, header("slow"), elf::SLOW).await;
    let error = refused(error, Code::DeadlineExceeded, &["load_seconds", "1 s"]);
    assert_eq!(error.reason.as_deref(), Some("LOAD_TOO_SLOW"));
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    assert!(within(SOON, || loading(&agent) == 0));
    load_soon(&client, "slow").await;
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_long_loads() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let object = load(&client, "slow", elf::SLOW).await;
    assert_eq!(object.programs.len(), 3);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_stops_does_not_wait_for_the_verifier() {
    let agent = Agent::builder().config("[limits]\ndrain_seconds = 1\n").spawn();
    let client = agent.client().await;
    let slow = tokio::spawn(async move { try_load(&client, header("slow"), elf::SLOW).await });
    assert!(within(SOON, || loading(&agent) == 1));
    agent.stop();
    slow.await.unwrap().unwrap_err();
}
