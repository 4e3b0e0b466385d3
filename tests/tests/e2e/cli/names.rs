//! Numbers that people know by name: prefixes, protocols, interfaces, users, addresses.

use bpfgate_client::v1::MapType;
use bpfgate_client::{Code, CpuMode, HostName, Keys, LabelResolution, UpdateMode};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, refused};
use serde_json::json;

use super::restore::{print, restore};
use super::{json_of, quiet, refusal, words};

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_are_written_as_people_write_them() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let create = |name: &str, key: &str| {
        let create = format!(
            "map create {name} --type lpm_trie {key} --value-type u32 --max-entries 8 \
             --flags no_prealloc"
        );
        agent.cli(&words(&create)).ok();
    };
    create("four", "--key-type ipv4-prefix");
    create("six", "--key-type ipv6-prefix");
    create("bytes", "--key 8");
    for (map, prefix, value) in [
        ("four", "10.0.0.0/8", 1),
        ("four", "10.1.2.3", 2),
        ("four", "0.0.0.0/0", 3),
        ("six", "2001:db8::/32", 4),
        ("six", "::1", 5),
        ("bytes", "192.168.0.0/16", 6),
    ] {
        quiet(&agent, &format!("map update {map} {prefix} {value}"));
        let found = json_of(&agent, &format!("map lookup {map} {prefix}"));
        assert_eq!(found["value"], value, "{map} {prefix}");
    }
    let mut all: Vec<_> = json_of(&agent, "map dump four").as_array().unwrap().clone();
    all.sort_by_key(|entry| entry["value"].as_u64());
    let keys: Vec<_> = all.iter().map(|entry| entry["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0"]);
    // The longest prefix answers; the key is what was asked for.
    assert_eq!(json_of(&agent, "map lookup four 10.9.9.9")["value"], 1);
    let typed = client.maps().lookup_typed("four", json!("10.1.2.3"), CpuMode::Each).await;
    assert_eq!(typed.unwrap(), json!(2));
    let fields = json!({"prefixlen": 8, "data": "10.0.0.0"});
    let typed = client.maps().lookup_typed("four", fields, CpuMode::Each).await;
    assert_eq!(typed.unwrap(), json!(1));
    let raw = client.maps().lookup_typed("bytes", json!("192.168.0.0/16"), CpuMode::Each).await;
    refused(raw, Code::FailedPrecondition, &["bytes", "no schema"]);
    // Whoever opens the map by its id reads the same.
    let id = client.maps().get("six").await.unwrap().id;
    let table = agent.cli(&words(&format!("map dump id:{id}"))).ok().stdout;
    assert!(table.contains("2001:db8::/32") && table.contains("::1/128"), "{table}");
    for format in ["json", "jsonl", "csv", "bpftool"] {
        let text = print(&agent, format, "four");
        for prefix in ["10.0.0.0/8", "10.1.2.3/32", "0.0.0.0/0"] {
            quiet(&agent, &format!("map delete four {prefix}"));
        }
        let output = restore(&agent, "four", &text);
        assert!(output.success(), "{format}: {output:#?}");
        assert_eq!(output.json(), json!({"applied": 3}), "{format}");
    }
    let said = refusal(&agent, 6, "map update four 10.0.0.0/33 1");
    assert!(said.contains("10.0.0.0/8"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_numbers_are_read_and_written_by_name() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    agent.cli(&words("object load --builtin proto-counters pc")).ok();
    // Whether names were asked for or not.
    let number = json_of(&agent, "map lookup pc/stats 1");
    assert_eq!(
        json_of(&agent, "map lookup pc/stats icmp"),
        json!({"key": "ICMP", "value": number["value"]})
    );
    let said = refusal(&agent, 6, "map lookup pc/stats TCP NOBODY");
    assert!(said.contains("KEY 'NOBODY'") && said.contains("nor is it a name"), "{said}");
    let both = json_of(&agent, "map lookup pc/stats TCP 17");
    assert_eq!(both.as_array().unwrap().len(), 2);
    let typed = client.maps().lookup_typed("pc/stats", json!("UDP"), CpuMode::Sum).await.unwrap();
    assert!(typed.is_object(), "{typed}");
    let named = print(&agent, "jsonl", "pc/stats --names");
    assert!(named.contains(r#"{"key":"TCP","value":"#), "{named}");
    assert!(!print(&agent, "jsonl", "pc/stats").contains("TCP"));
    let table = agent.cli(&words("map dump pc/stats --names --per-cpu")).ok().stdout;
    assert!(table.contains("ICMP"), "{table}");
    let maps = client.maps();
    let known = maps.get("pc/stats").await.unwrap().key_names;
    assert_eq!(known.len(), 1, "{known:?}");
    let nobody = maps.lookup_typed("pc/stats", json!("NOBODY"), CpuMode::Sum).await;
    refused(nobody, Code::InvalidArgument, &["pc/stats", "NOBODY"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn others_go_by_name_where_that_is_asked_for() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let key = record("struct k", &[("uid", unsigned(4)), ("ifindex", unsigned(4))]);
    NewMap::new("m", MapType::Hash).key(key).value(unsigned(8)).make(&client).await;
    let asked = "--resolve uid=user --resolve ifindex=ifindex";
    let update =
        [&["map", "update", "m", r#"{"uid":"root","ifindex":"lo"}"#, "7"][..], &words(asked)];
    agent.cli(&update.concat()).ok();
    assert_eq!(
        json_of(&agent, "map dump m"),
        json!([{"key": {"uid": 0, "ifindex": 1}, "value": "7"}])
    );
    let named = json!({"uid": "root", "ifindex": "lo"});
    assert_eq!(json_of(&agent, &format!("map dump m {asked}"))[0]["key"], named);
    let csv = print(&agent, "csv", &format!("m {asked}"));
    assert_eq!(csv, "uid,ifindex,value\nroot,lo,7\n");

    let resolve = [LabelResolution::name("uid", HostName::User)];
    let naming = client.maps().naming(&resolve, false);
    let keys =
        Keys::Typed(vec![json!({"uid": "root", "ifindex": 1}), json!({"uid": 1, "ifindex": 1})]);
    let found = naming.lookup_batch_each("m", keys, CpuMode::Each).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().0, json!({"uid": "root", "ifindex": 1}));
    assert!(found[1].is_none());
    naming
        .update("m", json!({"uid": "root", "ifindex": 9}), json!(1), UpdateMode::Any)
        .await
        .unwrap();
    naming.delete_entry("m", json!({"uid": "root", "ifindex": 9})).await.unwrap();
    let delete = [&["map", "delete", "m", r#"{"uid":"root","ifindex":"lo"}"#][..], &words(asked)];
    agent.cli(&delete.concat()).ok();
    assert_eq!(json_of(&agent, "map dump m"), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_is_shown_in_another_form_without_recompiling() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let value = record("struct v", &[("peer", unsigned(4)), ("mark", unsigned(4))]);
    NewMap::new("m", MapType::Hash).key(unsigned(4)).value(value).make(&client).await;
    let forms = "--resolve key=ip --resolve peer=ip --resolve mark=hex";
    let update = ["map", "update", "m", "10.0.0.1", r#"{"peer":"10.0.0.2","mark":"0xff"}"#];
    agent.cli(&[&update[..], &words(forms)].concat()).ok();
    let expected = json!({"key": "10.0.0.1", "value": {"peer": "10.0.0.2", "mark": "0xff"}});
    assert_eq!(json_of(&agent, &format!("map lookup m 10.0.0.1 {forms}")), expected);
    assert_eq!(json_of(&agent, &format!("map dump m {forms}")), json!([expected]));
    let said = refusal(&agent, 2, "map dump m --resolve other=ip");
    assert!(said.contains("no field other"), "{said}");
}

#[test]
fn values_without_a_type_are_numbers() {
    let agent = Agent::spawn();
    for (size, value) in [(1, json!(200)), (2, json!(200)), (4, json!(200)), (8, json!("200"))] {
        let create =
            format!("map create m{size} --type hash --key 3 --value {size} --max-entries 2");
        agent.cli(&words(&create)).ok();
        quiet(&agent, &format!("map update m{size} hex:010203 200"));
        let found = json_of(&agent, &format!("map lookup m{size} hex:010203"));
        assert_eq!(found, json!({"key": "hex:010203", "value": value}));
        let hex = format!("hex:{}", "01".repeat(size));
        quiet(&agent, &format!("map update m{size} hex:010203 {hex}"));
    }
    agent.cli(&words("map create a --type array --key 4 --value 8 --max-entries 1")).ok();
    assert_eq!(json_of(&agent, "map dump a"), json!([{"key": 0, "value": "0"}]));
}
