//! What the agent tells: the counters as they come, the rest by asking now and then.

use std::collections::HashMap;
use std::time::Duration;

use bpfgate_client::v1::{self, GetProgramStatsResponse};
use bpfgate_client::{Client, Error, MapFilter};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::board::Board;
use crate::commands::{Runs, runs_between};

/// All that the screen can show.
#[derive(Debug, Clone)]
pub(super) struct Data {
    pub(super) board: Board,
    pub(super) polled: Polled,
    /// The newest thing to say of the watch.
    pub(super) news: Option<String>,
    pub(super) endpoint: String,
}

/// One round of asking.
#[derive(Debug, Clone, Default)]
pub(super) struct Polled {
    pub(super) maps: Vec<v1::Map>,
    pub(super) links: Vec<v1::Link>,
    pub(super) programs: Vec<Runs>,
    /// Whether the kernel counts runs.
    pub(super) counting: bool,
    /// Why this is not what there is now.
    pub(super) problem: Option<String>,
}

impl Data {
    pub(super) fn new(board: Board, endpoint: String) -> Self {
        Self { board, polled: Polled::default(), news: None, endpoint }
    }
}

/// Asks every `every`, until nobody listens. `enable`: has the kernel count programs' runs.
pub(super) fn poll(client: Client, enable: bool, every: Duration) -> mpsc::Receiver<Polled> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut asker = Asker { client, enable, before: None };
        let mut polled = Polled::default();
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match asker.ask().await {
                Ok(new) => polled = new,
                // What was known stays in sight.
                Err(error) => polled.problem = Some(error.to_string()),
            }
            if sender.send(polled.clone()).await.is_err() {
                return;
            }
        }
    });
    receiver
}

struct Asker {
    client: Client,
    enable: bool,
    before: Option<GetProgramStatsResponse>,
}

impl Asker {
    async fn ask(&mut self) -> Result<Polled, Error> {
        let mut maps = self.client.maps().list(MapFilter::default()).await?;
        // Nothing here shows these, and there may be many.
        for map in &mut maps {
            map.labels = HashMap::new();
        }
        let links = self.client.links().list(None).await?;
        let stats = self.stats().await?;
        // The first reading has nothing to compare with: all its rates are zero.
        let programs = runs_between(self.before.as_ref().unwrap_or(&stats), &stats);
        let counting = stats.enabled;
        self.before = Some(stats);
        Ok(Polled { maps, links, programs, counting, problem: None })
    }

    async fn stats(&mut self) -> Result<GetProgramStatsResponse, Error> {
        let objects = self.client.objects();
        match objects.program_stats(None, self.enable).await {
            // The kernel or a policy may refuse to count; what it counted anyway can be shown.
            Err(error) if self.enable && !error.may_heal() => {
                self.enable = false;
                objects.program_stats(None, false).await
            }
            answer => answer,
        }
    }
}
