//! Reads one entry of a map: `cargo run --example lookup -- proto-counters/by_proto 17`.

use bpfgate_client::{Client, CpuMode, DEFAULT_ENDPOINT, Layout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(key)) = (args.next(), args.next()) else {
        return Err("usage: lookup MAP KEY".into());
    };
    let endpoint = std::env::var("BPFGATE_ENDPOINT");
    let client = Client::connect(endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT)).await?;
    let map = client.maps().get(&name).await?;
    let layout = Layout::of(&map)?;
    let bytes = client.maps().lookup(&name, layout.key.parse(&key)?, CpuMode::Each).await?;
    for (cpu, value) in layout.values(&bytes).enumerate() {
        println!("cpu {cpu}: {}", layout.value.show(value));
    }
    Ok(())
}
