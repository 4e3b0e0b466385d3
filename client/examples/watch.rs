//! Prints every counter that changes, with its rate: `cargo run --example watch -- 'pc/*'`. Waits for
//! an agent that goes away, and says what came of it.

use bpfgate_client::{
    Change, Client, CounterView, Reconnect, WatchEvent, WatchOptions, parse_selector,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let selector = std::env::args().nth(1).ok_or("usage: watch SELECTOR")?;
    let client = Client::from_env().await?;
    let selectors = vec![parse_selector(&selector)?];
    let options = WatchOptions {
        // "TCP" instead of 6, where the map's maker said that it is a protocol.
        resolve_declared: true,
        reconnect: Some(Reconnect::default()),
        ..WatchOptions::default()
    };
    let mut watch = client.maps().watch_counters(selectors, options).await?;
    let mut view = CounterView::new(watch.header());
    while let Some(event) = watch.next_event().await? {
        if let WatchEvent::Interrupted(gap) = &event {
            eprintln!("{}; trying again in {:.1?}", gap.why, gap.retry_in);
        }
        // The view does the accounting: what has a rate, what began anew, what is gone.
        let sweep = match view.apply(&event) {
            Ok(Change::Swept(sweep)) => sweep,
            Ok(Change::Resumed { restarted }) => {
                eprintln!("back, {}", if restarted { "and started again" } else { "as before" });
                continue;
            }
            Ok(Change::Gone(gone) | Change::Synced(gone)) if !gone.is_empty() => {
                println!("{} counters are gone", gone.len());
                continue;
            }
            Ok(_) => continue,
            // Everything comes once more, behind an event that says why.
            Err(odd) => {
                watch.start_over(odd);
                continue;
            }
        };
        for counter in sweep.listed.iter().filter_map(|id| view.get(*id)) {
            if counter.value().is_zero() && counter.changed_at().is_none() {
                continue;
            }
            let key = counter.key();
            let labels: Vec<_> = key.labels.iter().map(|(_, value)| value.as_str()).collect();
            let rate = counter.rate().map(|rate| format!(" ({rate:+.1}/s)")).unwrap_or_default();
            let value = counter.value();
            println!("{} [{}] {} = {value}{rate}", key.map, labels.join(" "), key.field);
        }
    }
    Ok(())
}
