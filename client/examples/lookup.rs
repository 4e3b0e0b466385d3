//! Reads one entry of a map: `cargo run --example lookup -- proto-counters/by_proto 17`.

use bpfgate_client::{Client, CpuMode, Layout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(name), Some(key)) = (args.next(), args.next()) else {
        return Err("usage: lookup MAP KEY".into());
    };
    let client = Client::from_env().await?;
    let map = client.maps().get(&name).await?;
    let layout = Layout::of(&map)?;
    let bytes = client.maps().lookup(&name, layout.key.parse(&key)?, CpuMode::Each).await?;
    for (cpu, value) in layout.values(&bytes).enumerate() {
        println!("cpu {cpu}: {}", layout.value.show(value));
    }
    Ok(())
}
