//! Maps made with a layout: everybody knows what their bytes mean, not only the agent.

use bpfgate_client::v1::{self, MapType, SchemaSource};
use bpfgate_client::value::{Display, Encoding, EnumValue, Field, Kind, Type};
use bpfgate_client::{Code, CpuMode, UpdateMode};
use bpfgate_tests::fixture::{BPF_F_NO_PREALLOC, ipv4, record, signed, unsigned};
use bpfgate_tests::{Agent, NewMap, bpftool, refused};
use serde_json::{Value as Json, json};

fn named(name: &str, size: u32, kind: Kind) -> Type {
    Type { name: name.to_owned(), size, kind }
}

fn array(element: Type, length: u32, display: Display) -> Type {
    let size = element.size * length;
    named("", size, Kind::Array { element: Box::new(element), length, display })
}

fn integer(name: &str, size: u32, encoding: Encoding) -> Type {
    named(name, size, Kind::Integer { encoding, big_endian: false, display: Display::Plain })
}

fn bits(name: &str, bit_offset: u32, bit_size: u32) -> Field {
    Field { name: name.to_owned(), ty: unsigned(4), bit_offset, bit_size }
}

/// A value of every type that bpftool shows rightly.
fn value() -> Type {
    let states = [("DOWN", 0), ("UP", 7)];
    let values = states.map(|(name, value)| EnumValue { name: name.to_owned(), value });
    let character = integer("char", 1, Encoding::Char);
    let rx = record("struct rx", &[("packets", unsigned(8)), ("bytes", unsigned(8))]);
    let mut value = record(
        "struct value",
        &[
            ("rx", rx),
            ("delta", signed(8)),
            ("state", named("enum state", 4, Kind::Enum { signed: false, values: values.into() })),
            ("small", signed(2)),
            ("on", integer("bool", 1, Encoding::Bool)),
            ("", unsigned(1)),
            ("comm", array(character, 16, Display::Plain)),
            ("slots", array(unsigned(4), 3, Display::Plain)),
            ("flags", unsigned(4)),
            ("task", named("", 8, Kind::Pointer)),
        ],
    );
    if let Kind::Record { fields, .. } = &mut value.kind {
        let flags = fields.iter().position(|field| field.name == "flags").unwrap();
        let at = fields[flags].bit_offset;
        fields.splice(flags..=flags, [bits("low", at, 3), bits("top", at + 3, 13)]);
    }
    value
}

/// In one notation: all numbers decimal text.
fn plain(json: &Json) -> Json {
    match json {
        Json::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        Json::Array(items) => items.iter().map(plain).collect(),
        Json::String(text) => match text.strip_prefix("0x") {
            Some(digits) => json!(u64::from_str_radix(digits, 16).unwrap().to_string()),
            None => json.clone(),
        },
        Json::Number(number) => json!(number.to_string()),
        Json::Null | Json::Bool(_) => json.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bpftool_shows_the_fields_of_a_declared_layout() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let key =
        record("struct key", &[("id", unsigned(4)), ("port", unsigned(2)), ("cpu", signed(2))]);
    let map = NewMap::hash("typed").key(key).value(value()).make(&client).await;
    let schema = map.schema.unwrap();
    assert_eq!(schema.source(), SchemaSource::Declared);

    let key = json!({"id": 7, "port": 443, "cpu": -1});
    let value = json!({
        "rx": {"packets": "18446744073709551615", "bytes": "1500"}, "delta": "-5", "state": "UP",
        "small": -300, "on": true, "comm": "bash", "slots": [1, 2, 3], "low": 5, "top": 8191,
        "task": "0xffff888000000000",
    });
    maps.update("typed", key.clone(), value.clone(), UpdateMode::Any).await.unwrap();
    assert_eq!(maps.lookup_typed("typed", key.clone(), CpuMode::Each).await.unwrap(), value);
    let dump = bpftool::json(&["map", "dump", "id", &map.id.to_string()]);
    assert_eq!(plain(&dump[0]["formatted"]["key"]), plain(&key), "{dump}");
    assert_eq!(plain(&dump[0]["formatted"]["value"]), plain(&value), "{dump}");

    // Another agent, or this one by the kernel's id, has the schema from there.
    let other = Agent::spawn();
    let adopted = other.client().await;
    let reference = format!("id:{}", map.id);
    let theirs = adopted.maps().get(&reference).await.unwrap().schema.unwrap();
    assert_eq!(theirs.source(), SchemaSource::Btf);
    let theirs = adopted.maps().lookup_typed(&reference, key, CpuMode::Each).await.unwrap();
    assert_eq!(theirs, value);
    drop(adopted);
    other.stop();
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_hint_is_told_to_other_agents() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let mac = array(unsigned(1), 6, Display::Mac);
    let value = record("struct peer", &[("mac", mac), ("vlan", unsigned(2))]);
    let map = NewMap::hash("peers").key(ipv4()).value(value).make(&client).await;
    let value = json!({"mac": "02:00:00:00:00:01", "vlan": 4});
    client.maps().update("peers", json!("10.0.0.1"), value.clone(), UpdateMode::Any).await.unwrap();
    for (agent, name) in [(&agent, "peers".to_owned()), (&Agent::spawn(), format!("id:{}", map.id))]
    {
        let client = agent.client().await;
        let found = client.maps().lookup_typed(&name, json!("10.0.0.1"), CpuMode::Each).await;
        assert_eq!(found.unwrap(), value, "{name}");
    }
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_in_a_layout_is_a_lock() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let lock = record("struct bpf_spin_lock", &[("val", unsigned(4))]);
    let value =
        record("struct locked", &[("lock", lock), ("pad", unsigned(4)), ("n", unsigned(8))]);
    for kind in [MapType::Hash, MapType::Array] {
        let name = if kind == MapType::Hash { "hash" } else { "array" };
        let map = NewMap::new(name, kind).key(unsigned(4)).value(value.clone()).make(&client).await;
        assert!(map.capabilities.unwrap().lock, "{name}");
        let number = json!({"lock": {"val": 9}, "pad": 1, "n": "2"});
        maps.update(name, json!(1), number, UpdateMode::Any).await.unwrap();
        let read = maps.lookup_typed(name, json!(1), CpuMode::Each).await.unwrap();
        // The kernel's own bytes are nobody's business.
        assert_eq!(read, json!({"lock": {"val": 0}, "pad": 1, "n": "2"}));
    }
    // Rather refused than made without it.
    let queue = NewMap::new("per_cpu", MapType::PercpuHash).key(unsigned(4)).value(value);
    refused(maps.create(queue.request()).await, Code::InvalidArgument, &["percpu_hash", "lock"]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_that_the_kernel_takes_no_part_in_still_stands() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let cases = [
        // The kernel wants an integer as an array's key, and no types of a queue.
        NewMap::array("array").key(record("struct index", &[("at", unsigned(4))])),
        NewMap::new("queue", MapType::Queue).sizes(0, 8).value(unsigned(8)),
        // Only half of it is said.
        NewMap::new("trie", MapType::LpmTrie).value(unsigned(8)),
        NewMap::hash("keys").key(unsigned(4)),
        NewMap::hash("values").sizes(3, 8).value(unsigned(8)),
        NewMap::new("sums", MapType::PercpuArray).value(unsigned(8)),
    ];
    for case in cases {
        let map: v1::Map = case.make(&client).await;
        let schema = map.schema.unwrap();
        assert!(schema.key.is_some() || schema.value.is_some(), "{}", map.name);
        let shown = bpftool::json(&["map", "show", "id", &map.id.to_string()]);
        let has_btf = shown.get("btf_id").is_some();
        let expected = !matches!(map.name.as_str(), "array" | "queue");
        assert_eq!(has_btf, expected, "{shown}");
    }
    let prefix = json!({"prefixlen": 8, "data": "hex:0a000000"});
    refused(
        maps.update("trie", prefix, json!("1"), UpdateMode::Any).await,
        Code::FailedPrecondition,
        &["trie", "key"],
    );
    let flags = BPF_F_NO_PREALLOC;
    let deep = (0..31).fold(unsigned(8), |inner, _| record("struct deep", &[("inner", inner)]));
    let map = NewMap::hash("deep").flags(flags).value(deep).make(&client).await;
    assert!(map.schema.is_some());
    drop(client);
    agent.stop();
}
