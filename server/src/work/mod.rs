//! Long work, off the async threads: so many threads, and a fair turn for every caller.
//!
//! Work waits in a line of its caller's, and the lines are served in turn, so that one caller's
//! thousand requests do not stand before another's one. A thread is held by the work, not by the
//! request: a caller that gives up frees nothing until the work has noticed, which it does between
//! two steps ([`Waiter::is_gone`]). Work that nobody waits for any more is not begun.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::ledger::CallerKey;

/// How long a piece of work keeps a thread before others have their turn.
pub const STINT: Duration = Duration::from_millis(50);

/// Where long work waits and is done. A clone is the same queue.
#[derive(Debug, Clone)]
pub struct WorkQueue(Arc<Mutex<State>>);

/// Why there is no outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The work panicked.
    #[error("the work panicked")]
    Panicked,
    /// The agent stopped before it was done.
    #[error("the agent is stopping")]
    Stopping,
}

/// What work asks whether somebody waits for it.
#[derive(Debug, Clone)]
pub struct Waiter(Arc<AtomicBool>);

impl Waiter {
    /// Nobody waits any more: what comes of the work is dropped unseen.
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Says so when the request is dropped.
struct Waiting(Waiter);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// How full the queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Threads at work.
    pub running: usize,
    /// Threads that there may be.
    pub threads: usize,
    /// Pieces of work that wait.
    pub waiting: usize,
}

struct State {
    threads: usize,
    running: usize,
    lines: HashMap<CallerKey, VecDeque<Job>>,
    /// Whose lines have something in them, the next one first.
    turns: VecDeque<CallerKey>,
}

struct Job {
    waiter: Waiter,
    run: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { threads, running, lines, turns: _ } = self;
        write!(f, "{running} of {threads} at work for {} callers", lines.len())
    }
}

impl WorkQueue {
    /// A queue of so many threads, which come from tokio's blocking pool when there is work.
    pub fn new(threads: usize) -> Self {
        let (lines, turns) = Default::default();
        Self(Arc::new(Mutex::new(State { threads: threads.max(1), running: 0, lines, turns })))
    }

    /// Does a piece of work when it is the caller's turn. It should be short, or ask its waiter in
    /// between. To be called within a tokio runtime.
    pub async fn run<T: Send + 'static>(
        &self,
        caller: CallerKey,
        work: impl FnOnce(&Waiter) -> T + Send + 'static,
    ) -> Result<T, Lost> {
        let waiter = Waiter(Arc::default());
        let _waiting = Waiting(waiter.clone());
        let (sender, receiver) = oneshot::channel();
        let asked = waiter.clone();
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&asked)));
            let _ = sender.send(outcome.map_err(|_| Lost::Panicked));
        };
        self.enter(caller, Job { waiter, run: Box::new(run) });
        receiver.await.unwrap_or(Err(Lost::Stopping))
    }

    /// Takes steps until one says that the work is done, others having their turn in between.
    /// Whoever waits for it, `held` is there as long as one of its steps runs.
    pub async fn run_steps<W: Send + 'static, E: Send + 'static>(
        &self,
        caller: CallerKey,
        held: impl Clone + Send + 'static,
        mut work: W,
        step: fn(&mut W) -> Result<bool, E>,
    ) -> Result<Result<W, E>, Lost> {
        loop {
            let held = held.clone();
            let stint = self.run(caller, move |waiter| {
                let _held = held;
                let begun = Instant::now();
                let mut done = false;
                while !done && !waiter.is_gone() && begun.elapsed() < STINT {
                    done = step(&mut work)?;
                }
                Ok((work, done))
            });
            match stint.await? {
                Ok((work, true)) => return Ok(Ok(work)),
                Ok((rest, false)) => work = rest,
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// How full it is.
    pub fn load(&self) -> Load {
        let state = self.state();
        let waiting = state.lines.values().map(VecDeque::len).sum();
        Load { running: state.running, threads: state.threads, waiting }
    }

    fn enter(&self, caller: CallerKey, job: Job) {
        let mut state = self.state();
        if state.running >= state.threads {
            let line = state.lines.entry(caller).or_default();
            line.push_back(job);
            if line.len() == 1 {
                state.turns.push_back(caller);
            }
            return;
        }
        state.running += 1;
        drop(state);
        let queue = self.clone();
        tokio::task::spawn_blocking(move || queue.work(job));
    }

    /// A thread's life: one piece of work behind the other, as long as there is any.
    fn work(&self, first: Job) {
        let mut next = Some(first);
        while let Some(Job { waiter, run }) = next {
            if !waiter.is_gone() {
                run();
            }
            next = self.next();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        let Some(caller) = state.turns.pop_front() else {
            state.running -= 1;
            return None;
        };
        let line = state.lines.get_mut(&caller)?;
        let job = line.pop_front();
        if line.is_empty() {
            state.lines.remove(&caller);
        } else {
            state.turns.push_back(caller);
        }
        job
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: CallerKey = CallerKey::Uid(1000);
    const BOB: CallerKey = CallerKey::Uid(1001);

    /// Holds the only thread until the sender is dropped or used.
    async fn occupied(queue: &WorkQueue) -> std::sync::mpsc::Sender<()> {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let queue = queue.clone();
        tokio::spawn(async move {
            let wait = move |_: &Waiter| {
                let _ = started.send(());
                let _ = held.recv();
            };
            queue.run(CallerKey::Uid(0), wait).await
        });
        running.await.unwrap();
        release
    }

    #[tokio::test]
    async fn one_callers_thousand_do_not_stand_before_anothers_one() {
        let queue = WorkQueue::new(1);
        let release = occupied(&queue).await;
        let done = Arc::new(Mutex::new(Vec::new()));
        let work = |caller| {
            let (queue, done) = (queue.clone(), done.clone());
            tokio::spawn(async move {
                queue.run(caller, move |_| done.lock().unwrap().push(caller)).await.unwrap();
            })
        };
        let mut all: Vec<_> = (0..1000).map(|_| work(ALICE)).collect();
        while queue.load().waiting < 1000 {
            tokio::task::yield_now().await;
        }
        all.push(work(BOB));
        while queue.load().waiting < 1001 {
            tokio::task::yield_now().await;
        }
        drop(release);
        for one in all {
            one.await.unwrap();
        }
        let at = done.lock().unwrap().iter().position(|caller| *caller == BOB).unwrap();
        assert!(at <= 1, "behind {at} of the other's");
        assert_eq!(queue.load().waiting, 0);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun_and_what_runs_is_told() {
        let queue = WorkQueue::new(1);
        let release = occupied(&queue).await;
        let begun = Arc::new(AtomicBool::new(false));
        let waiting = tokio::spawn({
            let (queue, begun) = (queue.clone(), begun.clone());
            async move { queue.run(ALICE, move |_| begun.store(true, Ordering::Relaxed)).await }
        });
        while queue.load().waiting < 1 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        let _ = waiting.await;
        drop(release);
        queue.run(BOB, |_| ()).await.unwrap();
        assert!(!begun.load(Ordering::Relaxed));

        let running = tokio::spawn({
            let queue = queue.clone();
            async move { queue.run_steps(ALICE, (), (), |()| Ok::<_, ()>(false)).await }
        });
        while queue.load().running == 0 {
            tokio::task::yield_now().await;
        }
        running.abort();
        queue.run(BOB, |_| ()).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_step_that_nobody_waits_for_keeps_what_it_needs() {
        let queue = Arc::new(WorkQueue::new(1));
        let held = Arc::new(());
        let seen = Arc::downgrade(&held);
        let (starts, running_now) = std::sync::mpsc::channel();
        let (finish, ended) = std::sync::mpsc::channel::<()>();
        let running = tokio::spawn({
            let queue = queue.clone();
            async move {
                queue
                    .run_steps(ALICE, held, (starts, ended), |(starts, ended)| {
                        starts.send(()).unwrap();
                        Ok::<_, ()>(ended.recv().is_err())
                    })
                    .await
            }
        });
        running_now.recv().unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        assert!(seen.upgrade().is_some(), "the step runs");
        drop(finish);
        queue.run(BOB, |_| ()).await.unwrap();
        assert!(seen.upgrade().is_none());
    }

    #[tokio::test]
    async fn a_panic_is_the_works_own() {
        let queue = WorkQueue::new(1);
        let lost = queue.run(ALICE, |_| panic!("on purpose")).await;
        assert_eq!(lost, Err::<(), _>(Lost::Panicked));
        assert_eq!(queue.run(ALICE, |_| 7).await, Ok(7));
        assert_eq!(
            queue
                .run_steps(ALICE, (), 3, |left| {
                    *left -= 1;
                    Ok::<_, ()>(*left == 0)
                })
                .await,
            Ok(Ok(0))
        );
    }
}
