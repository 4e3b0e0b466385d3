//! What a program's author notes beside the source reaches whoever reads the map.

use bpfgate_client::{CpuMode, UpdateMode};
use bpfgate_tests::calls::load;
use bpfgate_tests::{Agent, elf};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_shown_where_the_source_says_so() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "hints", elf::HINTS).await;
    let maps = client.maps();
    let key = json!({"source": "10.0.0.1", "mark": "0xff"});
    let value = json!({
        "hops": ["192.0.2.1", "192.0.2.2"], "router": "02:00:00:00:00:01", "length": 2,
    });
    maps.update("hints/paths", key.clone(), value.clone(), UpdateMode::Any).await.unwrap();
    let found = maps.lookup_typed("hints/paths", key.clone(), CpuMode::Each).await.unwrap();
    assert_eq!(found, value);
    // In network order, as the kernel's programs have addresses.
    let raw = maps.lookup("hints/paths", key.clone(), CpuMode::Each).await.unwrap();
    assert_eq!(raw[..8], [192, 0, 2, 1, 192, 0, 2, 2]);

    let dump = agent.cli(&["-o", "jsonl", "map", "dump", "hints/paths"]);
    assert_eq!(dump.json(), json!({"key": key, "value": value}));

    // Whoever opens the map by its id has the kernel's BTF, which keeps the notes.
    let id = maps.get("hints/paths").await.unwrap().id;
    let found = maps.lookup_typed(&format!("id:{id}"), key, CpuMode::Each).await.unwrap();
    assert_eq!(found, value);
}
