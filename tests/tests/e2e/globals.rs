//! Global variables: what the file says, unless the caller says otherwise.

use bpfgate_client::v1::{GlobalValue, LoadObjectHeader, global_value};
use bpfgate_client::value::json_to_value;
use bpfgate_client::{Client, Code, CpuMode, UpdateMode};
use bpfgate_tests::calls::{header, load, try_load};
use bpfgate_tests::{Agent, elf, refused};
use serde_json::{Value as Json, json};

fn global(value: impl Into<GlobalOf>) -> GlobalValue {
    GlobalValue { value: Some(value.into().0) }
}

struct GlobalOf(global_value::Value);

impl From<Vec<u8>> for GlobalOf {
    fn from(bytes: Vec<u8>) -> Self {
        Self(global_value::Value::Raw(bytes.into()))
    }
}

impl From<Json> for GlobalOf {
    fn from(json: Json) -> Self {
        Self(global_value::Value::Typed(json_to_value(json)))
    }
}

fn globals<const N: usize>(name: &str, values: [(&str, GlobalValue); N]) -> LoadObjectHeader {
    let globals = values.map(|(name, value)| (name.to_owned(), value)).into();
    LoadObjectHeader { globals, ..header(name) }
}

/// The variables of a section, as the map that holds them shows them.
async fn section(client: &Client, map: &str) -> Json {
    client.maps().lookup_typed(map, [0; 4], CpuMode::Each).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn globals_have_the_values_of_the_file_unless_set() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let object = load(&client, "g", elf::GLOBALS).await;
    assert_eq!(object.maps, ["g/.bss", "g/.data", "g/.rodata"]);
    let constants = section(&client, "g/.rodata").await;
    assert_eq!(constants["step"], json!(1), "{constants}");
    assert_eq!(constants["offset"], json!("-5"));
    assert_eq!(constants["label"], json!("unset"));
    assert_eq!(constants["colour"], json!("RED"));
    assert_eq!(constants["limits"], json!({"low": 1, "high": 2, "address": [127, 0, 0, 1]}));
    let data = section(&client, "g/.data").await;
    assert_eq!(data, json!({"total": "100", "table": [1, 2, 3]}));
    let bss = section(&client, "g/.bss").await;
    assert_eq!((&bss["seen"], &bss["hidden"]), (&json!("0"), &json!(0)));

    // Constants are frozen; variables can be changed while the programs run.
    let zero = client.maps().lookup("g/.rodata", [0; 4], CpuMode::Each).await.unwrap();
    let write = |map: &'static str, bytes: Vec<u8>| {
        let maps = client.maps();
        async move { maps.update(map, [0; 4], bytes, UpdateMode::Any).await }
    };
    refused(write("g/.rodata", zero.to_vec()).await, Code::FailedPrecondition, &["frozen"]);
    let mut data = client.maps().lookup("g/.data", [0; 4], CpuMode::Each).await.unwrap().to_vec();
    data[..8].copy_from_slice(&7_u64.to_ne_bytes());
    write("g/.data", data).await.unwrap();
    assert_eq!(section(&client, "g/.data").await["total"], json!("7"));
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn globals_are_set_by_name_from_bytes() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let set = globals(
        "g",
        [
            ("step", global(42_u32.to_ne_bytes().to_vec())),
            ("label", global(b"0123456789abcde\0".to_vec())),
            ("total", global(1000_u64.to_ne_bytes().to_vec())),
            ("seen", global(9_u64.to_ne_bytes().to_vec())),
            ("hidden", global(3_u16.to_ne_bytes().to_vec())),
        ],
    );
    try_load(&client, set, elf::GLOBALS).await.unwrap();
    let constants = section(&client, "g/.rodata").await;
    assert_eq!(constants["step"], json!(42));
    assert_eq!(constants["label"], json!("0123456789abcde"));
    assert_eq!(constants["offset"], json!("-5"), "what was not set stays");
    assert_eq!(section(&client, "g/.data").await["total"], json!("1000"));
    let bss = section(&client, "g/.bss").await;
    assert_eq!((&bss["seen"], &bss["hidden"]), (&json!("9"), &json!(3)));
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn globals_are_set_by_name_and_type() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let set = globals(
        "g",
        [
            ("step", global(json!(42))),
            ("offset", global(json!("-9000000000000000000"))),
            ("label", global(json!("eth0"))),
            ("limits", global(json!({"low": 10, "high": 20, "address": "10.0.0.1"}))),
            ("colour", global(json!("GREEN"))),
            ("enabled", global(json!(true))),
            ("table", global(json!([7, 8, 9]))),
            ("seen", global(json!("18446744073709551615"))),
        ],
    );
    try_load(&client, set, elf::GLOBALS).await.unwrap();
    let constants = section(&client, "g/.rodata").await;
    assert_eq!(constants["step"], json!(42));
    assert_eq!(constants["offset"], json!("-9000000000000000000"));
    assert_eq!(constants["label"], json!("eth0"));
    assert_eq!(constants["limits"], json!({"low": 10, "high": 20, "address": [10, 0, 0, 1]}));
    assert_eq!(constants["colour"], json!("GREEN"));
    assert_eq!(constants["enabled"], json!(true));
    assert_eq!(section(&client, "g/.data").await["table"], json!([7, 8, 9]));
    assert_eq!(section(&client, "g/.bss").await["seen"], json!("18446744073709551615"));

    // And from the command line, where all is text.
    let file = agent.directory().join("globals.bpf.o");
    std::fs::write(&file, elf::GLOBALS).unwrap();
    let file = file.to_str().unwrap();
    let load =
        |rest: &[&str]| agent.cli(&[&["object", "load", "h", "--file", file], rest].concat());
    drop(load(&["--set", "step=77", "--set", "label=lo", "--set", "enabled=true"]).ok());
    let constants = section(&client, "h/.rodata").await;
    assert_eq!((&constants["step"], &constants["label"]), (&json!(77), &json!("lo")));
    assert_eq!(constants["enabled"], json!(true));
    drop(agent.cli(&["object", "unload", "h"]).ok());
    load(&[
        "--set",
        "step=hex:01020304",
        "--set",
        "limits={\"low\":1,\"high\":2,\"address\":\"::1\"}",
    ])
    .refusal(6);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_global_that_does_not_fit_is_named() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let load = |name: &'static str, value: GlobalValue| {
        let client = client.clone();
        async move { try_load(&client, globals("g", [(name, value)]), elf::GLOBALS).await }
    };
    for length in [0, 3, 5, 8] {
        let answer = load("step", global(vec![1; length])).await;
        let words = ["step", "4 bytes", &format!("has {length}")];
        let error = refused(answer, Code::InvalidArgument, &words);
        assert_eq!(error.metadata["global"], "step");
    }
    let known = ["stepp", "colour", "enabled", "label", "limits", "seen", "step", "total"];
    refused(load("stepp", global(vec![1; 4])).await, Code::InvalidArgument, &known);
    for (name, value, word) in [
        ("step", json!(-1), "step"),
        ("step", json!("many"), "many"),
        ("step", json!(4_294_967_296_u64), "4294967296"),
        ("label", json!("longer than sixteen characters"), "label"),
        ("colour", json!("BLUE"), "BLUE"),
        ("limits", json!({"low": 1}), "high"),
        ("table", json!([1, 2]), "table"),
    ] {
        refused(load(name, global(value)).await, Code::InvalidArgument, &[name, word]);
    }
    let nothing = GlobalValue { value: None };
    refused(load("step", nothing).await, Code::InvalidArgument, &["step"]);
    let none = globals("t", [("step", global(vec![1; 4]))]);
    let answer = try_load(&client, none, elf::TYPED).await;
    refused(answer, Code::InvalidArgument, &["step", "no global variables"]);
    agent.assert_only_baseline();
    agent.stop();
}
