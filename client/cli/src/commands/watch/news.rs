//! What people should know of besides the numbers, in words.

use bpfgate_client::v1::watch_loss::Source;
use bpfgate_client::v1::{MapRenamed, WatchLoss};
use bpfgate_client::{Change, WatchEvent};

/// What people should know of besides the numbers, each thing once.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The watch begins anew though the agent was never away.
    odd: bool,
    /// It was told that keys read the same.
    twins: bool,
}

impl News {
    /// What an event is news of.
    pub(crate) fn of(&mut self, event: &WatchEvent) -> Option<String> {
        match event {
            WatchEvent::Loss(loss) => Some(loss_text(loss)),
            WatchEvent::Interrupted(gap) if gap.odd => {
                self.odd = true;
                let first = gap.attempts == 0;
                first.then(|| {
                    format!("the agent contradicts itself, so the watch begins again: {}", gap.why)
                })
            }
            WatchEvent::Interrupted(gap) => {
                self.odd = false;
                // What is cut off on a terminal is the end.
                Some(format!("trying again in {:.1?}: {}", gap.retry_in, gap.why))
            }
            WatchEvent::Resumed(_) if std::mem::take(&mut self.odd) => None,
            WatchEvent::Resumed(_) => Some("the agent is back; the watch goes on".to_owned()),
            WatchEvent::Renamed(MapRenamed { from, to }) => Some(format!("map {from} is {to} now")),
            WatchEvent::Series(_)
            | WatchEvent::Batch(_)
            | WatchEvent::Removed(_)
            | WatchEvent::Reset(_)
            | WatchEvent::Sync(_) => None,
        }
    }

    /// What a change to the view is news of.
    pub(crate) fn of_change(&mut self, change: &Change) -> Option<String> {
        let first = matches!(change, Change::Twin(_)) && !std::mem::replace(&mut self.twins, true);
        first.then(|| "some keys read the same and stand in several rows".to_owned())
    }
}

fn loss_text(loss: &WatchLoss) -> String {
    let WatchLoss { count, map, detail, .. } = loss;
    let what = match loss.source() {
        Source::ReadError => format!("{map} could not be read"),
        Source::Limit => format!("{count} series beyond the limit are left out"),
        Source::SlowClient => format!("{count} sweeps came faster than they could be shown"),
        Source::Unspecified => format!("{count} series are missing"),
    };
    if detail.is_empty() { what } else { format!("{what}: {detail}") }
}
