//! Prints every counter that changes, with its rate: `cargo run --example watch -- 'pc/*'`. Goes
//! on when the agent is started again.

use bpfgate_client::{
    Change, Client, CounterView, DEFAULT_ENDPOINT, WatchEvent, WatchOptions, parse_selector,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let selector = std::env::args().nth(1).ok_or("usage: watch SELECTOR")?;
    let client = Client::connect(DEFAULT_ENDPOINT).await?;
    let selectors = vec![parse_selector(&selector)?];
    let mut watch = client.maps().watch_counters(selectors, WatchOptions::default()).await?;
    let mut view = CounterView::new(watch.header());
    while let Some(event) = watch.next_event().await? {
        if let WatchEvent::Interrupted(gap) = &event {
            eprintln!("{}; trying again in {:?}", gap.why, gap.retry_in);
        }
        let Change::Swept(sweep) = view.apply(&event)? else { continue };
        for counter in sweep.listed.iter().filter_map(|id| view.get(*id)) {
            let key = counter.key();
            let labels: Vec<_> = key.labels.iter().map(|(_, value)| value.as_str()).collect();
            let rate = counter.rate().map(|rate| format!(" ({rate:+.1}/s)")).unwrap_or_default();
            println!("{} {} {}: {}{rate}", key.map, labels.join(","), key.field, counter.value());
        }
    }
    Ok(())
}
