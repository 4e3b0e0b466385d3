//! Every record once, to everybody, and nothing taken out for nobody.

use bpfgate_server::sys;
use bpfgate_tests::{Agent, within};

use super::{EVENT, RING, Script, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn every_record_comes_once_and_in_order() {
    let stage = Stage::new(Script { burst: 100, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let mut seen = stage.watch(RING).await;
    for round in 1..=20 {
        stage.call(10);
        seen.until(round * 1000).await;
    }
    seen.assert_all(0, 20_000);
    assert_eq!((stage.written().await, stage.refused().await), (20_000, 0));
    seen.quiet().await;
    // One at a time, too: the reader waits in between.
    for one in 1..=5 {
        stage.call(1);
        seen.until(20_000 + one * 100).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_watchers_get_the_same() {
    let stage = Stage::new(Script { burst: 100, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let mut all = Vec::new();
    for _ in 0..10 {
        all.push(stage.watch(RING).await);
    }
    let held = stage.agent.checkpoint();
    for round in 1..=10 {
        stage.call(10);
        for seen in &mut all {
            seen.until(round * 1000).await;
        }
    }
    for seen in &all {
        seen.assert_all(0, 10_000);
    }
    // One reader for all of them: two mappings, the consumer's page and the rest.
    assert_eq!(stage.mappings(), 2);
    assert_eq!(stage.agent.checkpoint().files(), held.files());
    assert_eq!(stage.refused().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_thrown_away_are_not_sent() {
    let stage = Stage::new(Script { burst: 10, discard_each: 3, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let mut seen = stage.watch(RING).await;
    stage.call(30);
    let (written, discarded) = (stage.written().await, stage.discarded().await);
    assert_eq!((written, discarded), (200, 100));
    seen.until(written).await;
    assert!(seen.numbers.iter().copied().eq((0..300).filter(|number| number % 3 != 0)));
    seen.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_a_sign_come_as_well() {
    const BPF_RB_NO_WAKEUP: u64 = 1;
    let stage = Stage::new(Script { flags: BPF_RB_NO_WAKEUP, ..Script::default() }).await;
    stage.attach("to_ring").await;
    let mut seen = stage.watch(RING).await;
    for number in 1..=3 {
        stage.call(1);
        seen.until(number).await;
    }
    seen.assert_all(0, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_first_gets_what_waited_and_who_comes_later_does_not() {
    let stage = Stage::new(Script::default()).await;
    stage.attach("to_ring").await;
    stage.call(50);
    let mut first = stage.watch(RING).await;
    first.until(50).await;
    let mut second = stage.watch(RING).await;
    stage.call(30);
    first.until(80).await;
    second.until(30).await;
    first.assert_all(0, 80);
    second.assert_all(50, 80);
    drop((first, second));
    stage.assert_nothing_is_read();
    stage.call(20);
    let mut third = stage.watch(RING).await;
    third.until(20).await;
    third.assert_all(80, 100);
    third.quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_out_while_nobody_watches() {
    let stage = Stage::new(Script::default()).await;
    stage.attach("to_ring").await;
    let mut seen = stage.watch(RING).await;
    stage.call(10);
    seen.until(10).await;
    drop(seen);
    stage.assert_nothing_is_read();
    stage.call(7);
    // Long enough for anybody who looks now and then.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let id = stage.client.maps().get(RING).await.unwrap().id;
    let mut raw = sys::RingBuffer::new(&sys::map_get_fd_by_id(id, true).unwrap()).unwrap();
    let mut records = sys::Records::default();
    let limits = sys::ReadLimits { bytes: 1 << 20, record: 1 << 20 };
    // What waited, by itself.
    assert_eq!(raw.read(&mut records, limits).unwrap(), sys::Stopped::Full);
    assert_eq!(raw.read(&mut sys::Records::default(), limits).unwrap(), sys::Stopped::Empty);
    assert!(records.waited && !raw.take_overflowed());
    assert_eq!(records.lengths, [u32::try_from(EVENT).unwrap(); 7]);
    assert!(records.bytes.starts_with(&10_u64.to_ne_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_longer_than_a_message_are_counted_and_left_out() {
    let stage = Stage::new(Script { burst: 16, vary: 6, ..Script::default() }).await;
    stage.attach("to_ring").await;
    stage.call(1);
    let id = stage.client.maps().get(RING).await.unwrap().id;
    let mut raw = sys::RingBuffer::new(&sys::map_get_fd_by_id(id, true).unwrap()).unwrap();
    let limits = sys::ReadLimits { bytes: 1 << 20, record: EVENT };
    // Five records of up to 32 bytes, three longer ones.
    for _ in 0..2 {
        let mut records = sys::Records::default();
        assert_eq!(raw.read(&mut records, limits).unwrap(), sys::Stopped::Full);
        assert_eq!((records.lengths.as_slice(), records.too_long), (&[8, 14, 20, 26, 32][..], 1));
        for _ in 0..2 {
            let mut records = sys::Records::default();
            assert_eq!(raw.read(&mut records, limits).unwrap(), sys::Stopped::Full);
            assert_eq!((records.lengths.len(), records.too_long), (0, 1));
        }
    }
    let mut records = sys::Records::default();
    assert_eq!(raw.read(&mut records, limits).unwrap(), sys::Stopped::Full);
    assert_eq!(raw.read(&mut records, limits).unwrap(), sys::Stopped::Empty);
    assert!(records.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_is_kept_drained_has_no_past() {
    let config = "[events]\nkeep_draining = [\"ev/*\"]\n";
    let script = Script { burst: 100, ..Script::default() };
    let stage = Stage::with(Agent::builder().config(config), script).await;
    stage.attach("to_ring").await;
    // Far more than there is room for.
    for _ in 0..20 {
        stage.call(50);
        let size = 100 * 50 * 8;
        assert!(size < 256 << 10);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let written = stage.written().await + stage.refused().await;
    assert_eq!(written, 100_000);
    let mut seen = stage.watch(RING).await;
    seen.quiet().await;
    let next = 100_000 - stage.refused().await;
    stage.call(1);
    seen.until(100).await;
    seen.assert_all(next, next + 100);
    // It goes with its map all the same.
    drop(seen);
    stage.client.objects().unload("ev").await.unwrap();
    assert!(within(bpfgate_tests::SOON, || stage.mappings() == 0));
    stage.agent.assert_only_baseline();
}
