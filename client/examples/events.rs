//! Prints the records of a ring buffer or perf buffer as they come:
//! `cargo run --example events -- ex/events comm=bash`. Opens the watch again when it breaks.

use std::time::Duration;

use bpfgate_client::{Client, Code, Error, EventNews, EventOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let map = args.next().ok_or("usage: events MAP [FIELD=VALUE]...")?;
    let filters = args.map(|filter| filter.parse()).collect::<Result<Vec<_>, _>>()?;
    let client = Client::from_env().await?;
    let options = EventOptions { filters, ..EventOptions::default() };
    // A slip in the name shows here.
    client.maps().get(&map).await?;
    loop {
        match follow(&client, &map, options.clone()).await {
            Ok(()) => eprintln!("map {map} is gone; waiting for another"),
            // An agent that was started again may not have the map yet.
            Err(error) if error.may_heal() || error.code() == Some(Code::NotFound) => {
                eprintln!("{error}; trying again");
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Until the map is gone.
async fn follow(client: &Client, map: &str, options: EventOptions) -> Result<(), Error> {
    let mut events = client.maps().watch_events(map, options).await?;
    while let Some(news) = events.next_news().await? {
        match news {
            EventNews::Batch(batch) => {
                for record in batch.iter() {
                    match events.decode(record.bytes) {
                        (Some(value), _) => println!("{value}"),
                        // Nobody said what it is.
                        (None, bytes) => println!("{bytes:02x?}"),
                    }
                }
            }
            EventNews::Renamed(map) => eprintln!("map {} is {} now", map.from, map.to),
            EventNews::Loss(loss) => eprintln!("{} records were lost", loss.count),
        }
    }
    Ok(())
}
