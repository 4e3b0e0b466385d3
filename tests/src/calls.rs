//! Calls that many tests make, in the few words that they need.

use std::collections::HashMap;

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::{CounterSpec, LoadObjectHeader, LoadObjectResponse, Object};
use bpfgate_client::{Client, CpuMode, Error, IterateOptions};

/// The header of an upload under that name.
pub fn header(name: &str) -> LoadObjectHeader {
    LoadObjectHeader { name: name.to_owned(), ..LoadObjectHeader::default() }
}

/// Uploads an object that must load, without a warning.
pub async fn load(client: &Client, name: &str, elf: &'static [u8]) -> Object {
    let loaded = client.objects().load_bytes(header(name), elf).await.expect("it loads");
    assert_eq!(loaded.warnings, [""; 0]);
    loaded.object.expect("an object")
}

/// Uploads an object that may be refused.
pub async fn try_load(
    client: &Client,
    header: LoadObjectHeader,
    elf: &'static [u8],
) -> Result<LoadObjectResponse, Error> {
    client.objects().load_bytes(header, elf).await
}

/// Loads a built-in program under its own name.
pub async fn load_builtin(client: &Client, name: &str) -> Object {
    let header = LoadObjectHeader { builtin: name.to_owned(), ..header(name) };
    let loaded = client.objects().load_builtin(header).await.expect("it loads");
    assert_eq!(loaded.warnings, [""; 0]);
    loaded.object.expect("an object")
}

/// Attaches a program that must attach; the link's id.
pub async fn attach(client: &Client, program: &str, target: Target) -> u64 {
    let link = client.links().attach(program, Some(target)).await;
    link.unwrap_or_else(|error| panic!("{program}: {error}")).id
}

/// The number at an index of an array; per-CPU numbers are added.
pub async fn number(client: &Client, map: &str, index: u32) -> u64 {
    let value = client.maps().lookup(map, index.to_ne_bytes(), CpuMode::Sum).await;
    let value = value.unwrap_or_else(|error| panic!("{map}[{index}]: {error}"));
    u64::from_ne_bytes(value[..].try_into().expect("8 bytes"))
}

/// Every entry of a map; per-CPU numbers are added.
pub async fn entries(client: &Client, map: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let options = IterateOptions { cpu: CpuMode::Sum, ..IterateOptions::default() };
    let mut stream = client.maps().iterate(map, options).await.expect("it iterates");
    let mut all = Vec::new();
    while let Some(chunk) = stream.next_chunk().await.expect("a chunk") {
        all.extend(chunk.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
    }
    all
}

/// Labels, or other pairs of texts.
pub fn texts<const N: usize>(pairs: [(&str, &str); N]) -> HashMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// A counter that only grows.
pub fn monotonic(field: &str, unit: &str) -> CounterSpec {
    let kind = bpfgate_client::v1::CounterKind::Monotonic.into();
    CounterSpec { field: field.to_owned(), kind, unit: unit.to_owned() }
}
