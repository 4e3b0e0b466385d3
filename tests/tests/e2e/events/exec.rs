//! The built-in that records every exec on the host.

use std::collections::BTreeMap;
use std::process::Command;

use bpfgate_client::{EventFilter, EventNews, EventOptions};
use bpfgate_tests::Agent;
use bpfgate_tests::calls::load_builtin;

#[tokio::test(flavor = "multi_thread")]
async fn every_exec_is_seen_with_its_process() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load_builtin(&client, "exec-events").await;
    client.links().attach("exec-events/record_exec", None).await.unwrap();
    let map = client.maps().get("exec-events/events").await.unwrap();
    assert_eq!(map.record_type.unwrap().name, "struct exec_event");
    let mut events =
        client.maps().watch_events("exec-events/events", EventOptions::default()).await.unwrap();

    let mut want = BTreeMap::new();
    for name in ["true", "false", "true"] {
        let mut child = Command::new(name).args(["--some", "two words"]).spawn().unwrap();
        want.insert(child.id(), name);
        child.wait().unwrap();
    }
    let mut seen = BTreeMap::new();
    let deadline = tokio::time::Instant::now() + bpfgate_tests::SOON;
    while seen.len() < want.len() {
        let news = tokio::time::timeout_at(deadline, events.next_news()).await.expect("execs");
        let Some(EventNews::Batch(batch)) = news.unwrap() else { panic!("a loss") };
        for record in batch.iter() {
            let (value, rest) = events.decode(record.bytes);
            let value = value.unwrap();
            assert!(rest.is_empty());
            // Others on this host start programs too.
            let pid = u32::try_from(value["pid"].as_u64().unwrap()).unwrap();
            if want.contains_key(&pid) {
                assert!(seen.insert(pid, value).is_none(), "{pid} came twice");
            }
        }
    }
    for (pid, name) in want {
        let value = &seen[&pid];
        assert_eq!(value["comm"], name);
        assert_eq!((&value["uid"], &value["ppid"]), (&0.into(), &std::process::id().into()));
        assert_eq!(value["args"], format!("{name} --some two words"));
        assert!(value["filename"].as_str().unwrap().ends_with(&format!("/{name}")), "{value}");
    }

    let filter = EventFilter::is("comm", "false");
    let options = EventOptions { filters: vec![filter], typed: true, ..EventOptions::default() };
    let mut only = client.maps().watch_events("exec-events/events", options).await.unwrap();
    let child = |name| Command::new(name).spawn().unwrap().wait().unwrap();
    child("true");
    child("false");
    let Some(EventNews::Batch(batch)) = only.next_news().await.unwrap() else { panic!("a loss") };
    for record in batch.iter() {
        let value =
            bpfgate_client::value::value_to_json(record.typed.unwrap().value.as_ref().unwrap());
        assert_eq!(value["comm"], "false");
    }
}
