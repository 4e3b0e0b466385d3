//! What a watch was asked for and is not there: a slip, or something to wait for.

use bpfgate_client::v1::{CounterSelector, WatchHeader};
use bpfgate_client::{LabelResolution, MapFilter};

use crate::board::Board;
use crate::context::{Context, suggest};
use crate::exit::{Exit, Failure};
use crate::say::say;

/// Says which patterns match no map yet. A watch of what there is now, of a map that is not there,
/// fails.
pub(crate) async fn maps(
    context: &Context,
    header: &WatchHeader,
    selectors: &[CounterSelector],
    once: bool,
) -> Result<(), Failure> {
    if selectors.is_empty() {
        if header.maps.is_empty() {
            say(&format!("there are no counters{}", later(once)));
        }
        return Ok(());
    }
    if header.unmatched.is_empty() {
        return Ok(());
    }
    // Without the list there is nothing to suggest.
    let known = context.client.maps().list(MapFilter::default()).await.unwrap_or_default();
    for pattern in &header.unmatched {
        let names = || known.iter().map(|map| map.name.clone());
        let near = suggest(pattern, names());
        let near = near.unwrap_or_else(|| "`bpfgate map list` shows what there is".to_owned());
        let exact = !pattern.contains(['*', '?']);
        let what = if exact { "there is no map" } else { "no map with counters matches" };
        let text = format!("{what} {pattern}; {near}");
        if exact && once {
            return Err(Failure::new(Exit::NotFound, text));
        }
        say(&format!("{text}{}", later(once)));
    }
    Ok(())
}

fn later(once: bool) -> &'static str {
    if once { "" } else { "; one that appears later will join" }
}

/// What to say of conditions that nothing meets and labels that nothing has, once everything there
/// is has been told.
pub(super) fn labels(
    board: &Board,
    selectors: &[CounterSelector],
    resolve: &[LabelResolution],
) -> Vec<String> {
    let view = board.view();
    if view.is_empty() {
        let conditions = selectors.iter().any(|selector| !selector.labels.is_empty());
        return conditions.then(|| "no key has such labels yet".to_owned()).into_iter().collect();
    }
    let missing = |asked: &&LabelResolution| {
        !view.counters().any(|counter| counter.key().label(&asked.label).is_some())
    };
    let said = |asked: &LabelResolution| format!("no counter has a label {:?}", asked.label);
    resolve.iter().filter(missing).map(said).collect()
}
