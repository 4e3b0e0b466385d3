//! Perf buffers count what had no room, and every watcher is told of all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfgate_client::EventNews;
use bpfgate_client::v1::event_end::Reason;
use bpfgate_tests::Agent;

use super::{Followed, PERF, Script, Stage};

/// A stage whose bursts are seven times as large as a CPU's buffer.
async fn narrow() -> Stage {
    let config = "[limits]\nperf_buffer_bytes = 4096\n";
    let script = Script { burst: 500, ..Script::default() };
    Stage::with(Agent::builder().config(config), script).await
}

/// Of each CPU: how many records came and how many were lost.
#[derive(Debug, Default)]
struct Tally(Vec<(u64, u64)>);

impl Tally {
    fn add(&mut self, news: &EventNews) {
        let (cpu, came, lost) = match news {
            EventNews::Batch(batch) => (batch.cpu(), batch.len() as u64, 0),
            EventNews::Loss(loss) => (loss.cpu, 0, loss.count),
            EventNews::Renamed(map) => panic!("{map:?}"),
        };
        let cpu = cpu.expect("a CPU") as usize;
        if self.0.len() <= cpu {
            self.0.resize(cpu + 1, (0, 0));
        }
        self.0[cpu].0 += came;
        self.0[cpu].1 += lost;
    }

    /// Until so many records came or were lost.
    async fn follow(&mut self, seen: &mut Followed, records: u64) {
        while seen.told() < records {
            let news = seen.next().await.unwrap().expect("more news before the end");
            self.add(&news);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_had_no_room_for_is_told_exactly() {
    let stage = narrow().await;
    let (mut first, mut second) = (stage.watch(PERF).await, stage.watch(PERF).await);
    let link = stage.attach("to_perf").await;
    let cpus = u32::try_from(std::thread::available_parallelism().unwrap().get()).unwrap();
    let (mut tally, mut others) = (Tally::default(), Tally::default());
    let mut attempts = 0;
    for round in 0..20 {
        // Together and one by one. Behind the last loss nothing is written that would tell of it.
        let callers: Vec<_> =
            (0..cpus).map(|cpu| stage.caller(Some(cpu), (0..=round % 3).map(drop))).collect();
        for caller in callers {
            caller.join().unwrap();
        }
        attempts += u64::from(cpus) * (u64::from(round % 3_u32) + 1) * 500;
        if round % 4 == 3 {
            tally.follow(&mut first, attempts).await;
            others.follow(&mut second, attempts).await;
        }
    }
    let mut counts = stage.by_cpu().await;
    counts.truncate(cpus as usize);
    let total: u64 = counts.iter().map(|(written, refused)| written + refused).sum();
    assert_eq!(total, attempts);
    assert!(counts.iter().all(|(written, refused)| *written > 0 && *refused > 0), "{counts:?}");
    assert_eq!((&tally.0, &others.0), (&counts, &counts));
    for seen in [&mut first, &mut second] {
        assert_eq!(seen.lost_at_agent, 0);
        seen.quiet().await;
    }

    // A map that goes has told its last loss as well.
    let caller = stage.caller(Some(0), std::iter::once(()));
    caller.join().unwrap();
    stage.client.links().detach(link).await.unwrap();
    stage.client.objects().unload("ev").await.unwrap();
    for seen in [&mut first, &mut second] {
        while seen.next().await.unwrap().is_some() {}
        assert_eq!(seen.told(), attempts + 500);
        assert_eq!(seen.events.end().unwrap().reason(), Reason::MapGone);
    }
    stage.agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_in_the_kernel_stands_where_the_records_are_missing() {
    let stage = narrow().await;
    let mut seen = stage.watch(PERF).await;
    stage.attach("to_perf").await;
    let bursts = 30;
    for burst in 0..bursts {
        stage.caller(Some(0), std::iter::once(())).join().unwrap();
        if burst % 10 == 9 {
            // Long enough for the last loss to be asked for.
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        }
    }
    // What was refused has its number, too.
    let mut next = 0;
    while next < bursts * 500 {
        let known = seen.numbers.len();
        match seen.next().await.unwrap().expect("more news") {
            EventNews::Loss(loss) => next += loss.count,
            EventNews::Renamed(map) => panic!("{map:?}"),
            EventNews::Batch(batch) => {
                let want = next..next + batch.len() as u64;
                assert!(seen.numbers[known..].iter().copied().eq(want.clone()), "not {want:?}");
                next = want.end;
            }
        }
    }
    assert_eq!(next, bursts * 500);
    assert!(seen.lost_in_kernel > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_cpu_does_not_starve_another_one() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        eprintln!("skipped: there is one CPU");
        return;
    }
    let stage = narrow().await;
    let mut seen = stage.watch(PERF).await;
    stage.attach("to_perf").await;
    // One CPU overflows its buffer until the records of the other are here.
    let over = Arc::new(AtomicBool::new(false));
    let go_on = over.clone();
    let busy = stage.caller(
        Some(0),
        std::iter::from_fn(move || (!go_on.load(Ordering::Relaxed)).then_some(())),
    );
    let mut tally = Tally::default();
    for calls in 1..=10 {
        stage.caller(Some(1), std::iter::once(())).join().unwrap();
        while tally.0.get(1).is_none_or(|(came, lost)| came + lost < calls * 500) {
            let news = seen.next().await.unwrap().expect("more news");
            tally.add(&news);
        }
    }
    assert!(!busy.is_finished());
    over.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    let counts = stage.by_cpu().await;
    let all = |(written, refused): &(u64, u64)| written + refused;
    assert_eq!(all(&tally.0[1]), all(&counts[1]));
    seen.until(counts.iter().map(all).sum()).await;
}
