//! Who gets what a map's reader reads.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::batch::{Batch, Loss};
use super::queue::{Ended, Queue};

/// Who gets what a map's reader reads, and whether it is to go on.
#[derive(Debug)]
pub(super) struct Feed {
    /// What the map was called at first, for the log.
    map: String,
    /// Reads though nobody watches.
    keeps: bool,
    state: Mutex<State>,
    /// For the reader: something about the watchers has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    watchers: Vec<Arc<Queue>>,
    /// What the map is called now, if that is something else.
    renamed: Option<Arc<str>>,
    /// The reader is to end.
    ending: Option<Ended>,
    /// The reader takes no more watchers.
    closed: bool,
}

impl Feed {
    pub(super) fn new(map: &str, keeps: bool) -> Self {
        Self { map: map.to_owned(), keeps, state: Mutex::default(), changed: Notify::new() }
    }

    pub(super) fn map(&self) -> &str {
        &self.map
    }

    /// False if the reader is on its way out.
    pub(super) fn join(&self, queue: &Arc<Queue>) -> bool {
        let mut state = self.state();
        if state.closed || state.ending.is_some() {
            return false;
        }
        state.watchers.push(queue.clone());
        true
    }

    /// Tells watchers what the map is called, unless they know.
    pub(super) fn rename(&self, map: &str) {
        let mut state = self.state();
        if state.renamed.as_deref().unwrap_or(&self.map) == map {
            return;
        }
        let map: Arc<str> = map.into();
        for queue in &state.watchers {
            queue.rename(&map);
        }
        state.renamed = Some(map);
    }

    pub(super) fn leave(&self, queue: &Arc<Queue>) {
        self.state().watchers.retain(|other| !Arc::ptr_eq(other, queue));
        self.changed.notify_one();
    }

    /// Makes the reader end, and tells every watcher why.
    pub(super) fn end(&self, ended: Ended) {
        self.state().ending.get_or_insert(ended);
        self.changed.notify_one();
    }

    /// The reader is to go on.
    pub(super) fn is_wanted(&self) -> bool {
        let state = self.state();
        state.ending.is_none() && (self.keeps || !state.watchers.is_empty())
    }

    /// Waits until that may have changed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Closes the feed, unless the reader is to go on: from here on nobody joins it.
    pub(super) fn close(&self) -> bool {
        let mut state = self.state();
        state.closed |= state.ending.is_some() || state.watchers.is_empty() && !self.keeps;
        state.closed
    }

    /// Why the reader is to end.
    pub(super) fn ending(&self) -> Option<Ended> {
        self.state().ending.clone()
    }

    /// Gives every watcher a batch, and then the losses behind it. Memory is `short`: see
    /// [`Queue::push`].
    pub(super) fn give(&self, batch: Option<&Arc<Batch>>, short: bool, losses: &[Loss]) {
        for queue in &self.state().watchers {
            if let Some(batch) = batch {
                queue.push(batch, short);
            }
            for &loss in losses {
                queue.lose(loss);
            }
        }
    }

    /// There is no reader any more: nobody joins, and who is still there is told why.
    pub(super) fn abandon(&self) {
        let (watchers, ended) = {
            let mut state = self.state();
            state.closed = true;
            (std::mem::take(&mut state.watchers), state.ending.clone())
        };
        let ended = ended
            .unwrap_or_else(|| Ended::Failed(Arc::new(io::Error::other("its reader broke off"))));
        for queue in watchers {
            queue.end(ended.clone());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
