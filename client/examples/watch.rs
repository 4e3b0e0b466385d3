//! Prints every change of some counters: `cargo run --example watch -- 'proto-counters/*'`.

use std::collections::HashMap;

use bpfgate_client::{Client, DEFAULT_ENDPOINT, WatchEvent, WatchOptions, parse_selector};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let selector = std::env::args().nth(1).ok_or("usage: watch SELECTOR")?;
    let client = Client::connect(DEFAULT_ENDPOINT).await?;
    let selectors = vec![parse_selector(&selector)?];
    let mut watch = client.maps().watch_counters(selectors, WatchOptions::default()).await?;
    let mut names = HashMap::new();
    while let Some(event) = watch.next_event().await? {
        match event {
            // Sent once; batches speak of it by its ref.
            WatchEvent::Series(series) => {
                let labels: Vec<_> = series.labels.iter().map(|l| l.value.as_str()).collect();
                let name = format!("{} {} {}", series.map, labels.join(","), series.field);
                names.insert(series.r#ref, name);
            }
            WatchEvent::Batch(batch) => {
                for (series, value) in batch.refs.iter().zip(&batch.values) {
                    println!("{}: {value}", names[series]);
                }
            }
            WatchEvent::Removed(removed) => {
                for series in &removed.refs {
                    names.remove(series);
                }
            }
            WatchEvent::Reset(_) | WatchEvent::Sync(_) | WatchEvent::Loss(_) => {}
        }
    }
    Ok(())
}
