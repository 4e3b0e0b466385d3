//! The same maps through our types and through bpftool's, where bpftool is right.
//!
//! It prints bitfields without their sign, floats as no JSON, `__be32` in the host's order, and
//! an array of characters without a NUL as numbers; there are none of these here.

use std::fmt::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use bpfgate_proto::value::Plan;
use serde_json::{Map as JsonMap, Value as Json, json};

use super::compile_schema;
use crate::sys;

const SOURCE: &str = r#"
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32;
typedef unsigned long long __u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
enum state { DOWN, UP = 7, AWAY = 9 };
struct point { int x; long long y; };
struct key { __u32 id; __u16 port; __u8 flag, rest; };
struct value {
    __u64 packets; long long delta; short small; signed char tiny; _Bool on;
    enum state state; char comm[16]; struct point at, path[2]; __u8 mac[6]; __u32 ip;
    unsigned low : 3, top : 13; int sign : 5;
    union { __u32 word; __u16 half[2]; } either;
    union { __u32 a; struct { __u16 b, c; }; };
    void *task;
};
struct { __uint(type, 1); __uint(max_entries, 8); __type(key, struct key); __type(value, struct value); }
    records SEC(".maps");
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); }
    counters SEC(".maps");
struct { __uint(type, 5); __uint(max_entries, 4); __type(key, __u64); __type(value, struct point); }
    per_cpu SEC(".maps");
__u64 seen = 5; struct point origin = { -1, -2 }; char label[8] = "a b";
SEC("socket") int filter(void *ctx) { return seen + origin.x + label[0]; }
char _license[] SEC("license") = "GPL";
"#;

/// A bpffs of its own with the object's maps pinned; gone when dropped.
struct Loaded {
    dir: tempfile::TempDir,
}

impl Loaded {
    fn new() -> Self {
        // libbpf makes underscores of dots, in the whole path.
        let dir = tempfile::Builder::new().prefix("btf-").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("o.c"), SOURCE).unwrap();
        let object = path("o.o");
        run("clang", &["-O2", "-g", "-target", "bpf", "-c", "-o", &object, &path("o.c")]);
        std::fs::create_dir(path("fs")).unwrap();
        run("mount", &["-t", "bpf", "bpf", &path("fs")]);
        let loaded = Self { dir };
        let (programs, maps) = (loaded.pin("programs"), loaded.pin("maps"));
        run("bpftool", &["prog", "loadall", &object, &programs, "pinmaps", &maps]);
        loaded
    }

    fn pin(&self, name: &str) -> String {
        self.dir.path().join("fs").join(name).to_str().unwrap().to_owned()
    }

    /// The map's key and value, compiled from the BTF that the kernel has of it.
    fn plans(&self, map: &str) -> (Option<Plan>, Plan) {
        let pins = std::fs::File::open(self.pin("maps")).unwrap();
        let pin = sys::open_beneath(pins.as_fd(), map).unwrap();
        let map = sys::obj_get(pin.as_fd()).unwrap();
        let info = *map.info();
        let btf = sys::btf_get_fd_by_id(info.btf_id).unwrap();
        let schema = compile_schema(
            &sys::btf_blob(btf.as_fd()).unwrap(),
            info.btf_key_type_id,
            info.btf_value_type_id,
            info.key_size,
            info.value_size,
        )
        .unwrap();
        let plan = |ty| Plan::compile(&ty).unwrap();
        (schema.key.map(plan), plan(schema.value.unwrap()))
    }

    fn dump(&self, map: &str) -> Vec<Json> {
        let pin = self.pin(&format!("maps/{map}"));
        let text = run("bpftool", &["map", "dump", "pinned", &pin, "-j"]);
        serde_json::from_str(&text).unwrap()
    }

    fn update(&self, map: &str, key: &[u8], value: &[u8]) {
        let hex = |bytes: &[u8]| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                write!(text, " {byte:02x}").unwrap();
                text
            })
        };
        let pin = self.pin(&format!("maps/{map}"));
        let line = format!("map update pinned {pin} key hex{} value hex{}", hex(key), hex(value));
        run("bpftool", &line.split(' ').collect::<Vec<_>>());
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // With the mount go its pins, and with them the maps.
        run("umount", &[&self.dir.path().join("fs").to_string_lossy()]);
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let run = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{program} {args:?} (as root?): {said}");
    String::from_utf8(run.stdout).unwrap()
}

/// Bytes as bpftool has them: ["0x01", …].
fn bytes(json: &Json) -> Vec<u8> {
    let byte = |json: &Json| u8::from_str_radix(&json.as_str().unwrap()[2..], 16).unwrap();
    json.as_array().unwrap().iter().map(byte).collect()
}

/// In one notation: anonymous members with their parent, all numbers decimal text.
fn plain(json: &Json) -> Json {
    match json {
        Json::Object(fields) => {
            let mut plainly = JsonMap::new();
            for (name, value) in fields {
                match plain(value) {
                    Json::Object(inner) if name.is_empty() => plainly.extend(inner),
                    value => _ = plainly.insert(name.clone(), value),
                }
            }
            Json::Object(plainly)
        }
        Json::Array(items) => Json::Array(items.iter().map(plain).collect()),
        Json::String(text) if text == "(nil)" => json!("0"),
        Json::String(text) => match text.strip_prefix("0x") {
            Some(digits) => json!(u64::from_str_radix(digits, 16).unwrap().to_string()),
            None => json.clone(),
        },
        Json::Number(number) => json!(number.to_string()),
        Json::Null | Json::Bool(_) => json.clone(),
    }
}

#[test]
fn our_json_is_bpftools() {
    if !Path::new("/sys/kernel/btf").exists() {
        println!("skipped: this kernel was built without BTF");
        return;
    }
    let loaded = Loaded::new();

    let (key, value) = loaded.plans("records");
    let key = key.unwrap();
    let texts = ["", "bash", "with space", "fifteen letters"];
    for (n, (state, comm)) in ["DOWN", "UP", "AWAY", "0x8"].into_iter().zip(texts).enumerate() {
        let n = i64::try_from(n).unwrap();
        let key = key.encode(&json!({"id": n, "port": 443, "flag": 1, "rest": 0})).unwrap();
        let value = value
            .encode(&json!({
                "packets": "0xffffffffffffffff", "delta": -n, "small": -5 * n, "tiny": -128,
                "on": n % 2 == 1, "state": state,
                "comm": comm,
                "at": {"x": -1, "y": i64::MIN.to_string()},
                "path": [{"x": n, "y": 1}, {"x": 2, "y": "-3"}],
                "mac": "02:00:00:00:00:ff", "ip": "10.0.0.1", "low": 5, "top": 8191, "sign": n,
                "either": {"half": [n, 2]}, "b": 3, "c": n, "task": "0xffff888000000000",
            }))
            .unwrap();
        loaded.update("records", &key, &value);
    }
    let entries = loaded.dump("records");
    assert_eq!(entries.len(), 4);
    for entry in &entries {
        let ours = key.decode(&bytes(&entry["key"])).unwrap();
        assert_eq!(plain(&ours), plain(&entry["formatted"]["key"]));
        let ours = value.decode(&bytes(&entry["value"])).unwrap();
        assert_eq!(plain(&ours), plain(&entry["formatted"]["value"]));
    }

    let (key, value) = loaded.plans("counters");
    let key = key.unwrap();
    loaded.update("counters", &key.parse("2").unwrap(), &value.parse("123456789012").unwrap());
    for entry in loaded.dump("counters") {
        let ours = value.decode(&bytes(&entry["value"])).unwrap();
        assert_eq!(plain(&ours), plain(&entry["formatted"]["value"]));
    }

    let (key, value) = loaded.plans("per_cpu");
    let one = value.parse(r#"{"x":-7,"y":"9000000000000000000"}"#).unwrap();
    loaded.update("per_cpu", &key.unwrap().parse("5").unwrap(), &one);
    let entries = loaded.dump("per_cpu");
    for cpu in entries[0]["formatted"]["values"].as_array().unwrap() {
        assert_eq!(plain(&value.decode(&one).unwrap()), plain(&cpu["value"]));
    }

    // Global variables: no key type, and a section for a value.
    let (key, value) = loaded.plans("o_data");
    assert!(key.is_none());
    let theirs = &loaded.dump("o_data")[0];
    let ours = value.decode(&bytes(&theirs["value"])).unwrap();
    let expected = json!({"seen": "5", "origin": {"x": -1, "y": "-2"}, "label": "a b"});
    assert_eq!(ours["seen"], expected["seen"]);
    assert_eq!(ours, expected, "{theirs}");
    let theirs = theirs["formatted"]["value"][".data"].as_array().unwrap();
    for variable in theirs {
        let (name, theirs) = variable.as_object().unwrap().iter().next().unwrap();
        assert_eq!(plain(&ours[name]), plain(theirs));
    }
}
