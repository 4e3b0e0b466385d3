//! Who reads nothing at all is sent away, and nobody else notices.

use bpfgate_client::{Code, Error, EventNews, EventOptions};
use bpfgate_tests::{Agent, SOON};

use super::{Followed, RING, Script, Stage};

const BURST: u64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_is_sent_away_and_others_miss_nothing() {
    let limits = "[limits]\nstall_seconds = 1\nmax_event_watchers = 3\n";
    let script = Script { burst: 500, ..Script::default() };
    let stage = Stage::with(Agent::builder().config(limits), script).await;
    stage.attach("to_ring").await;
    let other = stage.agent.client().await;
    let silent = other.maps().watch_events(RING, EventOptions::default()).await.unwrap();
    let (mut first, mut second) = (stage.watch(RING).await, stage.watch(RING).await);
    // The transport takes some of it: much more is needed before anything waits at the agent.
    let mut calls = 0;
    let mut next = async || {
        stage.call(1);
        calls += 1;
        first.until(calls * BURST).await;
        second.until(calls * BURST).await;
    };
    for _ in 0..400 {
        next().await;
    }
    // There is room for another watcher again: the silent one's has been taken away.
    let deadline = tokio::time::Instant::now() + SOON;
    while let Err(error) = stage.watch_with(RING, EventOptions::default()).await {
        assert_eq!(error.code(), Some(Code::ResourceExhausted), "{error}");
        assert!(tokio::time::Instant::now() < deadline, "it is not sent away: {error}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        next().await;
    }
    next().await;
    for seen in [&first, &second] {
        seen.assert_all(0, calls * BURST);
    }
    assert_eq!(stage.refused().await, 0);

    // What had been sent comes, and then why there is no more.
    let mut silent = Followed::new(silent);
    let error = loop {
        match silent.next().await {
            Ok(Some(EventNews::Batch(_) | EventNews::Loss(_))) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    let Error::Rpc(error) = error else { panic!("{error}") };
    assert_eq!((error.code, error.reason.as_deref()), (Code::ResourceExhausted, Some("UNREAD")));
    for part in ["read nothing for 1 s", "stall_seconds"] {
        assert!(error.message.contains(part), "{}", error.message);
    }
    let got = silent.numbers.len() as u64;
    assert!(got > 0 && got < calls * BURST, "{got} of {}", calls * BURST);
    assert!(silent.numbers.is_sorted_by(|a, b| a < b));
}
