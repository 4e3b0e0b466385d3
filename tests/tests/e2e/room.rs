//! The kernel's memory and the descriptors that the agent has for all: whoever asks for more than
//! there is gets told so, by the limit's name, and nobody else notices.

use bpfgate_client::v1::{MapSpec, MapType, Reference};
use bpfgate_client::{Client, Code, Error, MapFilter, UpdateMode};
use bpfgate_tests::calls::{header, load, try_load};
use bpfgate_tests::{Agent, MemoryCgroup, NewMap, SOON, elf, refused, within};

const MIB: u64 = 1 << 20;

/// The name of the limit that a refusal is about.
fn limit<T: std::fmt::Debug>(answer: Result<T, Error>, parts: &[&str]) -> String {
    refused(answer, Code::ResourceExhausted, parts).metadata["name"].clone()
}

/// Creates arrays of so many bytes until one is refused; how many there are, and the refusal.
async fn fill(client: &Client, bytes: u32) -> (usize, Error) {
    for number in 0.. {
        let map = NewMap::array(&format!("m{number}")).sizes(4, bytes).entries(1);
        if let Err(error) = client.maps().create(map.request()).await {
            return (number, error);
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_kills_nobody_for_maps_that_are_too_many() {
    let cgroup = MemoryCgroup::new("maps", 1024 * MIB);
    let agent = Agent::builder().before(cgroup.enter()).spawn();
    let client = agent.client().await;
    let (made, error) = fill(&client, 300 << 20).await;
    assert_eq!(made, 1, "{error:?}");
    let name = limit::<()>(Err(error), &["max_kernel_bytes", "map m1"]);
    assert_eq!(name, "max_kernel_bytes");
    // Smaller ones still fit, and so does an object.
    let (made, _) = fill(&client, 10 << 20).await;
    assert_eq!(made, 0, "the name is taken");
    NewMap::array("small").sizes(4, 10 << 20).entries(1).make(&client).await;
    load(&client, "hooks", elf::HOOKS).await;
    assert_eq!(cgroup.kills(), 0);
    let log = agent.log();
    assert!(log.contains("parse_memory_bytes is 268435456"), "{log}");
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_of_all_origins_are_one_sum() {
    let agent = Agent::builder().config("[limits]\nmax_kernel_bytes = 20000000\n").spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let (made, error) = fill(&client, 6_000_000).await;
    assert_eq!(made, 3);
    limit::<()>(Err(error), &["max_kernel_bytes", "20000000", "map m3"]);
    let error = try_load(&client, header("o"), elf::LARGE_FILTER).await;
    assert_eq!(limit(error, &["map o/filter", "max_kernel_bytes"]), "max_kernel_bytes");
    maps.delete("m0").await.unwrap();
    maps.delete("m1").await.unwrap();
    maps.delete("m2").await.unwrap();
    load(&client, "o", elf::LARGE_FILTER).await;
    let more = NewMap::array("more").sizes(4, 6_000_000).entries(1);
    limit(maps.create(more.clone().request()).await, &["max_kernel_bytes"]);
    client.objects().unload("o").await.unwrap();
    more.make(&client).await;
    maps.delete("more").await.unwrap();
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_objects_maps_are_counted_as_created_ones_are() {
    let agent = Agent::builder().config("[limits]\nmax_map_bytes = 8388608\n").spawn();
    let client = agent.client().await;
    for (object, map) in [(elf::LARGE_FILTER, "o/filter"), (elf::LARGE_INNER, "o/outer")] {
        let error = try_load(&client, header("o"), object).await;
        assert_eq!(limit(error, &[map, "max_map_bytes", "8388608"]), "max_map_bytes");
    }
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_counts_as_long_as_a_slot_holds_it() {
    let agent = Agent::builder().config("[limits]\nmax_kernel_bytes = 10000000\n").spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let inner = MapSpec {
        r#type: MapType::Array.into(),
        key_size: 4,
        value_size: 3_000_000,
        max_entries: 1,
        ..MapSpec::default()
    };
    let outer = NewMap::new("outer", MapType::ArrayOfMaps).sizes(4, 4).inner(inner);
    outer.make(&client).await;
    let array = || NewMap::array("in").sizes(4, 3_000_000).entries(1);
    for slot in 0..2_u32 {
        array().make(&client).await;
        let (key, to) = (slot.to_ne_bytes(), Reference::map("in"));
        maps.update("outer", key, to, UpdateMode::Any).await.unwrap();
        maps.delete("in").await.unwrap();
        assert_eq!(maps.list(MapFilter::default()).await.unwrap().len(), 1);
    }
    limit(maps.create(array().request()).await, &["max_kernel_bytes"]);
    maps.update("outer", [0; 4], Reference::map("outer"), UpdateMode::Any).await.unwrap_err();
    maps.delete("outer").await.unwrap();
    // The kernel lets them go behind the last program that could look.
    let mut again = maps.create(array().request()).await;
    for _ in 0..100 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        again = maps.create(array().request()).await;
    }
    again.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_leave_descriptors_for_clients() {
    let agent = Agent::builder().before("ulimit -n 1024").spawn();
    let log = agent.log();
    for name in ["1024 descriptors", "max_maps is ", "max_connections is ", "max_links is "] {
        assert!(log.contains(name), "{log}");
    }
    let client = agent.client().await;
    let (made, error) = fill(&client, 8).await;
    assert!((100..1000).contains(&made), "{made}");
    assert_eq!(limit::<()>(Err(error), &["max_maps", &made.to_string()]), "max_maps");
    let mut others = Vec::new();
    // A caller may have half of all connections.
    for _ in 0..80 {
        let other = agent.client().await;
        other.agent().get().await.unwrap();
        others.push(other);
    }
    drop(others);
    client.maps().delete("m0").await.unwrap();
    NewMap::hash("again").make(&client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_of_descriptors_is_raised() {
    let agent = Agent::builder().before("ulimit -S -n 256").spawn();
    let client = agent.client().await;
    for number in 0..400 {
        NewMap::hash(&format!("m{number}")).make(&client).await;
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
    drop(client);
    assert!(within(SOON, || agent.checkpoint().sockets == agent.baseline().sockets));
}

/// The agent's own memory, in bytes.
fn anonymous(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_type_is_known_once() {
    let config = "[limits]\nmax_memory_bytes = 268435456\nparse_seconds = 60\n";
    let agent = Agent::builder().config(config).spawn();
    let client = agent.client().await;
    let before = anonymous(&agent);
    let object = load(&client, "wide", elf::WIDE).await;
    assert_eq!(object.maps.len(), 200);
    let wide = client.maps().get("wide/m000").await.unwrap();
    assert!(wide.schema.unwrap().value.is_some());
    let takes = anonymous(&agent).saturating_sub(before);
    assert!(takes < 100 * MIB, "the agent takes {takes} bytes more");
    client.objects().unload("wide").await.unwrap();
    // Two hundred pairs of types have to be paid for.
    let error = try_load(&client, header("keys"), elf::WIDE_KEYS).await;
    assert_eq!(limit(error, &["max_memory_bytes"]), "max_memory_bytes");
    let takes = anonymous(&agent).saturating_sub(before);
    assert!(takes < 300 * MIB, "the agent takes {takes} bytes more");
    agent.assert_only_baseline();
}
