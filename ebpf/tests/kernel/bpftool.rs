//! Objects loaded, run and read by bpftool.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::sandbox::command;

const BPFFS: &str = "/sys/fs/bpf";

/// A loaded object. Programs and maps stay as long as the sandbox that loaded it.
pub(crate) struct Object {
    /// The directory of its programs' pins.
    pins: String,
    programs: Vec<Value>,
    maps: Vec<Value>,
}

/// Packets and bytes.
pub(crate) type Stats = (u64, u64);

impl Object {
    pub(crate) fn load(builtin: &str) -> Self {
        let elf = bpfgate_ebpf::find(builtin).expect("a built-in").elf;
        let mut file = tempfile::NamedTempFile::new().expect("a file for the object");
        file.write_all(&for_libbpf_1_1(elf)).expect("the object");
        let path = file.path().display();
        let pins = format!("{BPFFS}/{builtin}");
        let map_pins = format!("{pins}/maps");
        command("bpftool", &format!("prog loadall {path} {pins} pinmaps {map_pins}"));
        let show = |kind: &str, directory: &str| {
            let entries = fs::read_dir(directory).expect("pins");
            let pins = entries.map(|entry| entry.expect("a pin").path());
            let pins = pins.filter(|pin| !pin.is_dir());
            pins.map(|pin| json(&format!("{kind} show pinned {}", pin.display()))).collect()
        };
        Self { programs: show("prog", &pins), maps: show("map", &map_pins), pins }
    }

    /// Kind and kernel id of every program and map.
    pub(crate) fn ids(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let id = |info: &Value| info["id"].as_u64().expect("an id");
        let programs = self.programs.iter().map(move |info| ("prog", id(info)));
        programs.chain(self.maps.iter().map(move |info| ("map", id(info))))
    }

    /// The id of the BTF that a program was loaded with.
    pub(crate) fn btf_id(&self, program: &str) -> u64 {
        let info = self.programs.iter().find(|info| info["name"] == program);
        info.expect("the program")["btf_id"].as_u64().expect("BTF")
    }

    pub(crate) fn program_path(&self, program: &str) -> String {
        format!("{}/{program}", self.pins)
    }

    pub(crate) fn map_path(&self, map: &str) -> String {
        format!("{}/maps/{map}", self.pins)
    }

    /// Gives one packet to a program, and returns what the program returned.
    pub(crate) fn test_run(&self, program: &str, packet: &[u8]) -> i32 {
        let mut file = tempfile::NamedTempFile::new().expect("a file for the packet");
        file.write_all(packet).expect("the packet");
        let (pin, data) = (self.program_path(program), file.path().display());
        let run = json(&format!("prog run pinned {pin} data_in {data}"));
        let returned = number(&run["retval"]);
        u32::try_from(returned).expect("32 bits").cast_signed()
    }

    /// A map's entries by bpftool's reading of its BTF.
    pub(crate) fn dump(&self, map: &str) -> Vec<Value> {
        let Value::Array(entries) = json(&format!("map dump pinned {}", self.map_path(map))) else {
            panic!("{map}: not a list of entries");
        };
        let formatted = entries.into_iter().map(|mut entry| entry["formatted"].take());
        formatted.inspect(|entry| assert!(entry.is_object(), "{map} has no BTF")).collect()
    }

    /// Packets and bytes by the key's text, over all CPUs, without the entries that are zero.
    pub(crate) fn stats(&self, map: &str) -> BTreeMap<String, Stats> {
        let entries = self.dump(map).into_iter();
        let stats = entries.map(|entry| {
            let sum = |field: &str| per_cpu(&entry).map(|value| number(&value[field])).sum();
            (entry["key"].to_string(), (sum("packets"), sum("bytes")))
        });
        stats.filter(|(_, stats)| *stats != (0, 0)).collect()
    }

    /// A number by the key's, over all CPUs.
    pub(crate) fn numbers(&self, map: &str) -> BTreeMap<u64, u64> {
        let entries = self.dump(map).into_iter();
        let numbers = entries.map(|entry| {
            let value = match &entry["value"] {
                Value::Null => per_cpu(&entry).map(number).sum(),
                value => number(value),
            };
            (number(&entry["key"]), value)
        });
        numbers.filter(|(_, value)| *value != 0).collect()
    }
}

/// Whether the kernel still has that program or map.
pub(crate) fn exists(kind: &str, id: u64) -> bool {
    let show = Command::new("bpftool").args([kind, "show", "id", &id.to_string()]).output();
    show.expect("bpftool").status.success()
}

fn per_cpu(entry: &Value) -> impl Iterator<Item = &Value> {
    let values = entry["values"].as_array().unwrap_or_else(|| panic!("not per CPU: {entry}"));
    values.iter().map(|value| &value["value"])
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn json(arguments: &str) -> Value {
    let text = command("bpftool", &format!("--json {arguments}"));
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("bpftool {arguments}: {error}: {text}"))
}

/// The object with section names that the bpftool of Debian 12 knows: it is older than tcx, whose
/// programs load as any for TC do.
fn for_libbpf_1_1(elf: &[u8]) -> Vec<u8> {
    let mut elf = elf.to_vec();
    for name in [&b"tcx/ingress\0"[..], b"tcx/egress\0"] {
        for at in 0..=elf.len() - name.len() {
            if elf[at..].starts_with(name) {
                elf[at..at + name.len()].fill(0);
                elf[at..at + 2].copy_from_slice(b"tc");
            }
        }
    }
    elf
}
