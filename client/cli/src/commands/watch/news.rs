//! What people should know of besides the numbers, in words.

use bpfgate_client::WatchEvent;
use bpfgate_client::v1::WatchLoss;
use bpfgate_client::v1::watch_loss::Source;

/// What people should know of besides the numbers.
pub(crate) fn news(event: &WatchEvent) -> Option<String> {
    match event {
        WatchEvent::Loss(loss) => Some(loss_text(loss)),
        WatchEvent::Interrupted(gap) => {
            // What is cut off on a terminal is the end.
            Some(format!("trying again in {:.1?}: {}", gap.retry_in, gap.why))
        }
        WatchEvent::Resumed(_) => Some("the agent is back; the watch goes on".to_owned()),
        _ => None,
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
