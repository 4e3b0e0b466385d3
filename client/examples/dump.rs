//! Reads a whole map and adds up its bytes: `cargo run --example dump -- proto-counters/by_proto`.

use bpfgate_client::{Client, IterateOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).ok_or("usage: dump MAP")?;
    let client = Client::from_env().await?;
    let mut entries = client.maps().iterate(&name, IterateOptions::default()).await?;
    let (mut count, mut bytes) = (0, 0);
    // A chunk holds thousands of entries; keys and values are slices of what came off the wire.
    while let Some(chunk) = entries.next_chunk().await? {
        for (key, value) in chunk.iter() {
            count += 1;
            bytes += key.len() + value.len();
        }
    }
    println!("{count} entries, {bytes} bytes");
    Ok(())
}
