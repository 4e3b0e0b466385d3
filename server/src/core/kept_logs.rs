//! Verifier's logs that are kept for a moment, for whoever asked for them with a load.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::{Error, Registry};
use crate::ledger::{Account, Charge};

/// Logs that are kept at a time.
const MOST: usize = 64;
/// How long one is.
const KEPT: Duration = Duration::from_mins(1);

/// By a name that nobody can guess.
#[derive(Debug, Default)]
pub(super) struct KeptLogs(Mutex<HashMap<String, (String, Charge)>>);

impl KeptLogs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (String, Charge)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Keeps a log on that account and names it, if there is room. In a runtime.
    pub(super) fn keep_log(self: &Arc<Self>, log: String, account: &Account) -> Option<String> {
        let charge = account.charge(log.capacity() as u64).ok()?;
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").ok()?;
        let name = random.trim().to_owned();
        {
            let mut logs = self.kept_logs().lock();
            if logs.len() >= MOST {
                return None;
            }
            logs.insert(name.clone(), (log, charge));
        }
        let (registry, forgotten) = (self.clone(), name.clone());
        tokio::spawn(async move {
            sleep(KEPT).await;
            registry.kept_logs().lock().remove(&forgotten);
        });
        Some(name)
    }

    /// A log that was kept, for the last time.
    pub fn take_log(&self, name: &str) -> Result<(String, Charge), Error> {
        self.kept_logs().lock().remove(name).ok_or(Error::NoLog)
    }
}
