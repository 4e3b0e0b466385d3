//! bpftool, to compare with: it reads what we wrote and writes what we read.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::kernel::{Id, Kind};
use crate::leaks;
use crate::output::run;

/// An entry as bpftool has it: the key, and one value or one for each CPU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The key's bytes.
    pub key: Vec<u8>,
    /// The value's bytes, for each CPU in order where the map is per-CPU.
    pub values: Vec<Vec<u8>>,
}

/// `bpftool -j ARGUMENTS`: the JSON, or what it complained about.
pub fn try_json(arguments: &[&str]) -> Result<Value, String> {
    let output = run(Command::new("bpftool").arg("--json").args(arguments));
    if !output.success() {
        return Err(format!("{}{}", output.stdout, output.stderr));
    }
    if output.stdout.trim().is_empty() {
        return Ok(Value::Null);
    }
    Ok(output.json())
}

/// `bpftool -j ARGUMENTS`, which has to work.
pub fn json(arguments: &[&str]) -> Value {
    try_json(arguments).unwrap_or_else(|error| panic!("bpftool {}: {error}", arguments.join(" ")))
}

/// `bpftool -j ARGUMENTS`, which has to work: the very text.
pub fn text(arguments: &[&str]) -> String {
    run(Command::new("bpftool").arg("--json").args(arguments)).ok().stdout
}

/// What `bpftool map show id ID` says.
pub fn map(id: u32) -> Value {
    json(&["map", "show", "id", &id.to_string()])
}

/// Writes an entry; the one value goes to every CPU of a per-CPU map. `mode` is `any`, `exist` or
/// `noexist`.
pub fn update(id: u32, key: &[u8], value: &[u8], mode: &str) {
    let id = id.to_string();
    let (key, value) = (hex(key), hex(value));
    let mut arguments = vec!["map", "update", "id", &id, "key", "hex"];
    arguments.extend(key.iter().map(String::as_str));
    arguments.extend(["value", "hex"]);
    arguments.extend(value.iter().map(String::as_str));
    arguments.push(mode);
    json(&arguments);
}

/// One entry; `None` if there is no such key.
pub fn lookup(id: u32, key: &[u8]) -> Option<Entry> {
    let id = id.to_string();
    let key = hex(key);
    let mut arguments = vec!["map", "lookup", "id", &id, "key", "hex"];
    arguments.extend(key.iter().map(String::as_str));
    match try_json(&arguments) {
        Ok(found) => Some(entry(&found)),
        // All that it says of a missing key.
        Err(said) if said.trim() == "null" => None,
        Err(said) => panic!("bpftool {}: {said}", arguments.join(" ")),
    }
}

/// Every entry, in order of key.
pub fn dump(id: u32) -> Vec<Entry> {
    let found = json(&["map", "dump", "id", &id.to_string()]);
    let mut entries: Vec<Entry> =
        found.as_array().expect("a list of entries").iter().map(entry).collect();
    entries.sort();
    entries
}

fn entry(found: &Value) -> Entry {
    let values = match found.get("values").and_then(Value::as_array) {
        Some(each) => each.iter().map(|cpu| bytes(&cpu["value"])).collect(),
        None => vec![bytes(&found["value"])],
    };
    Entry { key: bytes(&found["key"]), values }
}

/// `["0x01","0x02"]`.
fn bytes(list: &Value) -> Vec<u8> {
    let byte = |item: &Value| {
        let digits = item.as_str().and_then(|text| text.strip_prefix("0x"));
        digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())
    };
    let all = list.as_array().and_then(|items| items.iter().map(byte).collect());
    all.unwrap_or_else(|| panic!("not a list of bytes: {list}"))
}

fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A map that bpftool made, kept by a pin below an agent's bpffs. Not the agent's, so that it
/// may outlast it. Gone when it is dropped.
#[derive(Debug)]
pub struct PinnedMap {
    /// The kernel's id.
    pub id: u32,
    /// Where it is pinned.
    pub path: PathBuf,
}

impl PinnedMap {
    /// `bpftool map create DIRECTORY/… ARGUMENTS`: `["type", "hash", "key", "4", …]`.
    pub fn create(directory: &Path, arguments: &[&str]) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("foreign{number}"));
        let text = path.to_str().expect("a path in UTF-8");
        json(&[&["map", "create", text], arguments].concat());
        let shown = json(&["map", "show", "pinned", text]);
        let id = shown["id"].as_u64().and_then(|id| id.try_into().ok()).expect("an id");
        leaks::is_foreign(Id(Kind::Map, id));
        Self { id, path }
    }

    /// The last part of its path.
    pub fn file_name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8")
    }
}

impl Drop for PinnedMap {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
