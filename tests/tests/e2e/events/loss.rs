//! Who is slow is told how much it missed, and slows down nobody else.

use bpfgate_client::{EventNews, EventOptions};

use super::{RING, Script, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_watcher_is_told_exactly_what_it_lost() {
    let stage = Stage::new(Script { burst: 250, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let small = EventOptions { queue_bytes: 128 << 10, ..EventOptions::default() };
    let mut slow = stage.watch_with(RING, small).await.unwrap();
    let mut fast = stage.watch(RING).await;
    // The transport takes some of it: much more is needed for a queue to fill up.
    let rounds = 600;
    for round in 1..=rounds {
        stage.call(1);
        fast.until(round * 250).await;
    }
    let written = rounds * 250;
    assert_eq!((stage.written().await, stage.refused().await), (written, 0));
    fast.assert_all(0, written);

    slow.until(written).await;
    assert!(slow.lost_at_agent > 0, "nothing was lost");
    assert_eq!(slow.lost_in_kernel, 0);
    assert!(slow.numbers.is_sorted_by(|a, b| a < b), "records come in order");
    // And from now on it misses nothing.
    let lost = slow.lost_at_agent;
    stage.call(1);
    slow.until(written + 250).await;
    assert_eq!(slow.lost_at_agent, lost);
    assert!(slow.numbers.ends_with(&(written..written + 250).collect::<Vec<_>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_stands_where_the_records_are_missing() {
    let stage = Stage::new(Script { burst: 250, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let small = EventOptions { queue_bytes: 16 << 10, ..EventOptions::default() };
    let mut slow = stage.watch_with(RING, small).await.unwrap();
    let mut fast = stage.watch(RING).await;
    let rounds = 800;
    for round in 1..=rounds {
        stage.call(1);
        fast.until(round * 250).await;
    }
    let mut next = 0;
    while slow.told() < rounds * 250 {
        let known = slow.numbers.len();
        match slow.next().await.unwrap().expect("more") {
            EventNews::Loss(loss) => next += loss.count,
            EventNews::Renamed(map) => panic!("{map:?}"),
            EventNews::Batch(batch) => {
                let got = &slow.numbers[known..];
                let want = next..next + batch.len() as u64;
                assert!(got.iter().copied().eq(want.clone()), "not {want:?}");
                next = want.end;
            }
        }
    }
    assert!(slow.lost_at_agent > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_for_all_watchers_together_is_bounded() {
    let limits = "[limits]\nmax_event_memory_bytes = 262144\n";
    let agent = bpfgate_tests::Agent::builder().config(limits);
    let stage = Stage::with(agent, Script { burst: 250, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let large = EventOptions { queue_bytes: 32 << 20, ..EventOptions::default() };
    let mut slow = stage.watch_with(RING, large).await.unwrap();
    let rounds = 600;
    for _ in 1..=rounds {
        stage.call(1);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let written = stage.written().await;
    assert_eq!(written + stage.refused().await, rounds * 250);
    slow.until(written).await;
    assert!(slow.lost_at_agent > 0, "nothing was lost");
}
