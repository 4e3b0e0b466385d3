//! BTF made by hand, by clang, and by accident.

use std::path::Path;
use std::process::Command;

use bpfgate_proto::value::{Encoding, Field};
use object::{Object as _, ObjectSection as _};

use super::*;

/// Writes BTF type by type.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    names: Vec<u8>,
    count: u32,
}

impl Writer {
    fn name(&mut self, name: &str) -> u32 {
        if self.names.is_empty() {
            self.names.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.names.len()).unwrap();
        self.names.extend_from_slice(name.as_bytes());
        self.names.push(0);
        at
    }

    /// `info` is the kind, with the flag as the highest bit.
    fn ty(&mut self, name: &str, info: u32, members: u32, size: u32, words: &[u32]) -> u32 {
        let name = self.name(name);
        let info = (info & 0x1f) << 24 | info & 1 << 31 | members;
        for word in [name, info, size].iter().chain(words) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str, size: u32, info: u32) -> u32 {
        self.ty(name, 1, 0, size, &[info])
    }

    fn record(&mut self, name: &str, flag: u32, size: u32, fields: &[(&str, u32, u32)]) -> u32 {
        let mut words = Vec::new();
        for (field, ty, offset) in fields {
            words.extend([self.name(field), *ty, *offset]);
        }
        self.ty(name, 4 | flag, u32::try_from(fields.len()).unwrap(), size, &words)
    }

    fn blob(&self) -> Vec<u8> {
        let types = u32::try_from(self.types.len()).unwrap();
        let names = u32::try_from(self.names.len()).unwrap();
        let mut blob = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, names] {
            blob.extend_from_slice(&word.to_le_bytes());
        }
        blob.extend_from_slice(&self.types);
        blob.extend_from_slice(&self.names);
        blob
    }
}

const TYPEDEF: u32 = 8;
const FLAG: u32 = 1 << 31;
const U32: u32 = 32;
const S32: u32 = 1 << 24 | 32;

fn value(writer: &Writer, id: u32, size: u32) -> Type {
    compile_schema(&writer.blob(), 0, id, 4, size).unwrap().value.unwrap()
}

fn fields(ty: &Type) -> &[Field] {
    match &ty.kind {
        Kind::Record { fields, .. } => fields,
        other => panic!("{other:?} is no record"),
    }
}

fn object(source: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (c, o) = (dir.path().join("t.c"), dir.path().join("t.o"));
    std::fs::write(&c, source).unwrap();
    clang(&c, &o);
    let file = std::fs::read(&o).unwrap();
    let object = object::File::parse(&*file).unwrap();
    object.section_by_name(".BTF").unwrap().data().unwrap().to_vec()
}

fn clang(source: &Path, object: &Path) {
    let args = ["-O2", "-g", "-target", "bpf", "-c", "-o"];
    let run = Command::new("clang").args(args).arg(object).arg(source).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn both_bitfield_encodings_mean_the_same() {
    let mut writer = Writer::default();
    let int = writer.int("int", 4, S32);
    let new = [("a", int, 3 << 24), ("b", int, 5 << 24 | 3), ("c", int, 32)];
    let new = writer.record("n", FLAG, 8, &new);
    let (a, b) = (writer.int("int", 4, 1 << 24 | 3), writer.int("int", 4, 1 << 24 | 2 << 16 | 5));
    let old = writer.record("o", 0, 8, &[("a", a, 0), ("b", b, 1), ("c", int, 32)]);
    let places = |ty: &Type| -> Vec<_> {
        fields(ty).iter().map(|field| (field.bit_offset, field.bit_size)).collect()
    };
    assert_eq!(places(&value(&writer, new, 8)), [(0, 3), (3, 5), (32, 0)]);
    assert_eq!(places(&value(&writer, old, 8)), [(0, 3), (3, 5), (32, 0)]);
    let plan = Plan::compile(&value(&writer, old, 8)).unwrap();
    assert_eq!(plan.show(&[0b1110_1011, 0, 0, 0, 9, 0, 0, 0]), r#"{"a":3,"b":-3,"c":9}"#);
}

#[test]
fn the_most_telling_name_is_kept() {
    let mut writer = Writer::default();
    let int = writer.int("unsigned int", 4, U32);
    let u32_ = writer.ty("__u32", TYPEDEF, 0, int, &[]);
    let be32 = writer.ty("__be32", TYPEDEF, 0, u32_, &[]);
    let volatile = writer.ty("", 9, 0, be32, &[]);
    let mine = writer.ty("my_ip", TYPEDEF, 0, volatile, &[]);
    let tagged = writer.record("in_addr", 0, 4, &[("s_addr", be32, 0)]);
    let alias = writer.ty("addr_t", TYPEDEF, 0, tagged, &[]);
    let anonymous = writer.record("", 0, 4, &[("x", u32_, 0)]);
    let named = writer.ty("pair_t", TYPEDEF, 0, anonymous, &[]);
    let constant = writer.ty("", 10, 0, named, &[]);
    let far = [writer.name("FAR"), 5, 1];
    let wide = writer.ty("wide", 19, 1, 8, &far);
    let ty = value(&writer, wide, 8);
    assert_eq!(Plan::compile(&ty).unwrap().show(&0x1_0000_0005_u64.to_ne_bytes()), "FAR");
    let name = |id| value(&writer, id, 4).name;
    assert_eq!(name(int), "unsigned int");
    assert_eq!(name(u32_), "__u32");
    assert_eq!(name(mine), "my_ip");
    assert_eq!(name(alias), "struct in_addr");
    assert_eq!(name(constant), "pair_t");
    let big_endian =
        |id| matches!(value(&writer, id, 4).kind, Kind::Integer { big_endian: true, .. });
    assert!(big_endian(mine) && !big_endian(u32_));
}

#[test]
fn what_the_map_contradicts_is_opaque() {
    let mut writer = Writer::default();
    let int = writer.int("int", 4, S32);
    let record = writer.record("r", 0, 4, &[("x", int, 0)]);
    let outside = writer.record("r", 0, 4, &[("x", int, 8)]);
    let float = writer.ty("long double", 16, 0, 16, &[]);
    let huge = writer.ty("", 3, 0, 0, &[int, int, 1 << 30]);
    for (id, size, name) in [
        (record, 8, "struct r"),
        (outside, 4, "struct r"),
        (float, 16, "long double"),
        (huge, 4, ""),
    ] {
        let opaque = Type { name: name.to_owned(), ..Type::opaque(size) };
        assert_eq!(value(&writer, id, size), opaque);
    }
    let none = compile_schema(&writer.blob(), 0, 0, 4, 4).unwrap();
    assert_eq!((none.key, none.value), (None, None));
    let missing = compile_schema(&writer.blob(), 99, 0, 4, 4);
    assert_eq!(missing, Err(BtfError::NoType { id: 99 }));
}

#[test]
fn circles_end() {
    let mut writer = Writer::default();
    // Each refers to itself: ids count from 1.
    let typedef = writer.ty("t", TYPEDEF, 0, 1, &[]);
    let record = writer.record("r", 0, 8, &[("r", 2, 0)]);
    let array = writer.ty("", 3, 0, 0, &[3, 3, 2]);
    let variable = writer.ty("v", 14, 0, 4, &[1]);
    let wide: Vec<_> = (0..60).map(|_| ("r", 5, 0)).collect();
    let wide = writer.record("w", 0, 8, &wide);
    for id in [typedef, record, array, variable, wide] {
        assert_eq!(value(&writer, id, 8), Type::opaque(8), "{id}");
    }
    // A pointer ends the circle.
    let pointer = writer.ty("", 2, 0, 7, &[]);
    let list = writer.record("list", 0, 8, &[("next", pointer, 0)]);
    assert_eq!(fields(&value(&writer, list, 8))[0].ty.kind, Kind::Pointer);
}

#[test]
fn sections_are_records_of_their_variables() {
    let mut writer = Writer::default();
    let int = writer.int("unsigned int", 4, U32);
    let record = writer.record("big", 0, 8, &[("r", 2, 0)]);
    let limit = writer.ty("limit", 14, 0, int, &[1]);
    let again = writer.ty("limit", 14, 0, int, &[0]);
    let circle = writer.ty("circle", 14, 0, record, &[1]);
    let rows = [limit, 0, 4, again, 4, 4, circle, 8, 8];
    let section = writer.ty(".data", 15, 3, 16, &rows);
    let ty = value(&writer, section, 16);
    assert_eq!(ty.name, ".data");
    let names: Vec<_> = fields(&ty).iter().map(|field| (&*field.name, &*field.ty.name)).collect();
    assert_eq!(names, [("limit", "unsigned int"), ("limit#2", "unsigned int"), ("circle", "")]);
    let found = variables(&writer.blob()).unwrap();
    let found: Vec<_> =
        found.iter().map(|found| (&*found.name, found.offset, found.size)).collect();
    assert_eq!(found, [("limit", 0, 4), ("limit", 4, 4), ("circle", 8, 8)]);
}

#[test]
fn clang_is_understood() {
    let btf = object(
        r"
        typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
        typedef __u16 __be16; typedef __u32 __be32;
        enum state { DOWN, UP = 7 };
        struct in6_addr { union { unsigned char b[16]; __be32 w[4]; }; };
        struct inner { signed char tiny; _Bool flag; char letter; };
        struct event {
            __u64 packets; __be16 port; int low : 3, mid : 7; unsigned top : 2;
            enum state state; char comm[16]; void *task; struct in6_addr source;
            struct { __u32 a; union { __u32 b; float f; }; }; double d; __int128 huge;
            struct inner grid[2][3]; __u32 none[];
        };
        struct event *unused; const volatile __u32 limit = 5; static __u64 hits; struct inner cfg = {1};
        int use(void) { return limit + (int)hits++ + (unused ? 1 : 0) + cfg.tiny; }
    ",
    );
    let ty = named_type(&btf, "struct event").unwrap().1;
    assert_eq!(named_type(&btf, "event").map(|(_, ty)| ty).as_ref(), Some(&ty));
    assert_eq!(named_type(&btf, "union event"), None);
    assert_eq!(named_type(&btf, "struct missing"), None);
    let plan = Plan::compile(&ty).unwrap();
    let paths: Vec<_> = plan.leaves().iter().map(|leaf| leaf.path().to_owned()).collect();
    let start = "packets port low mid top state comm task source a b f d huge grid[0][0].tiny \
        grid[0][0].flag grid[0][0].letter grid[0][1].tiny";
    assert_eq!(paths[..18], start.split_whitespace().collect::<Vec<_>>());
    let mut bytes = vec![0; plan.size()];
    bytes[8..10].copy_from_slice(&443_u16.to_be_bytes());
    bytes[10] = 0xff;
    let json = plan.decode(&bytes).unwrap();
    assert_eq!(
        (&json["port"], &json["low"], &json["state"], &json["source"], &json["huge"]),
        (&443.into(), &(-1).into(), &"DOWN".into(), &"::".into(), &"0".into())
    );
    assert_eq!(json["grid"][1][2]["flag"], false);
    assert_eq!(json["grid"][1][2]["letter"], 0);

    let found = variables(&btf).unwrap();
    let found: Vec<_> =
        found.iter().map(|found| (&*found.section, &*found.name, found.size)).collect();
    for expected in [(".rodata", "limit", 4), (".bss", "hits", 8), (".data", "cfg", 3)] {
        assert!(found.contains(&expected), "{found:?}");
    }
    let limit = variables(&btf).unwrap().into_iter().find(|found| found.name == "limit").unwrap();
    assert_eq!(limit.ty.name, "__u32");
    assert!(matches!(limit.ty.kind, Kind::Integer { encoding: Encoding::Unsigned, .. }));
}

#[test]
fn notes_of_the_author_say_how_values_are_shown() {
    let btf = object(
        r#"
        #define NOTE(text) __attribute__((btf_decl_tag("bpfgate:" text)))
        typedef unsigned char __u8; typedef unsigned int __u32; typedef unsigned long long __u64;
        typedef __u32 ip_t NOTE("ipv4"); typedef ip_t far_t; typedef far_t plain_t NOTE("hex");
        struct ether { __u8 octets[6]; } NOTE("mac");
        struct row { __u64 bytes NOTE("counter=By"); far_t peer; };
        struct flow {
            __u32 source NOTE("ipv4"); __u32 many[2] NOTE("ipv4"); __u32 six[4] NOTE("ipv6");
            __u8 mac[2][6] NOTE("mac"); __u8 blob[4] NOTE("hex"); __u64 cookie NOTE("hex");
            struct ether at; const volatile far_t far; plain_t near; struct row rows[2];
            __u64 wrong NOTE("ipv4"); __u64 packets NOTE("counter=packets") NOTE("x");
            __u32 foreign __attribute__((btf_decl_tag("somebody:ipv4")));
        };
        struct flow flow NOTE("whole"); __u32 limit NOTE("ipv4");
        int use(void) { return flow.source + limit; }
    "#,
    );
    let ty = named_type(&btf, "struct flow").unwrap().1;
    let plan = Plan::compile(&ty).unwrap();
    let mut bytes = vec![1; plan.size()];
    bytes[..4].copy_from_slice(&[10, 0, 0, 1]);
    let expected = serde_json::json!({
        "source": "10.0.0.1", "many": ["1.1.1.1", "1.1.1.1"], "six": "101:101:101:101:101:101:101:101",
        "mac": ["01:01:01:01:01:01", "01:01:01:01:01:01"], "blob": "hex:01010101",
        "cookie": "0x101010101010101", "at": "01:01:01:01:01:01", "far": "1.1.1.1",
        "near": "0x1010101",
        "rows": [
            {"bytes": "72340172838076673", "peer": "1.1.1.1"},
            {"bytes": "72340172838076673", "peer": "1.1.1.1"},
        ],
        "wrong": "72340172838076673", "packets": "72340172838076673", "foreign": 16_843_009,
    });
    assert_eq!(plan.decode(&bytes).unwrap(), expected);

    let raw = Btf::parse(&btf).unwrap();
    let section = raw.ids().find(|&id| {
        let entry = raw.entry(id).unwrap();
        entry.kind == RawKind::DataSection && entry.rows::<3>().count() == 2
    });
    let found = tags(&btf, section.unwrap()).unwrap();
    let has = |path: &str, text: &str| {
        found.iter().any(|tag| (tag.path.as_str(), tag.text.as_str()) == (path, text))
    };
    assert!(has("flow.rows[].bytes", "counter=By") && has("flow.packets", "counter=packets"));
    assert!(has("flow.packets", "x") && has("flow", "whole") && has("limit", "ipv4"), "{found:?}");
    assert!(has("flow.at", "mac") && has("flow.far", "ipv4") && has("flow.rows[].peer", "ipv4"));
    assert!(found.iter().all(|tag| !tag.path.contains("foreign")), "{found:?}");
    let limit = variables(&btf).unwrap().into_iter().find(|found| found.name == "limit").unwrap();
    assert_eq!(Plan::compile(&limit.ty).unwrap().show(&[10, 0, 0, 2]), "10.0.0.2");
    assert_eq!(tags(&btf, 0), Ok(vec![]));
}

#[test]
fn more_notes_than_anyone_writes_are_no_burden() {
    let mut writer = Writer::default();
    let int = writer.int("unsigned int", 4, U32);
    let fields: Vec<_> = (0..1000).map(|at| ("f", int, at * 32)).collect();
    let record = writer.record("r", 0, 4000, &fields);
    for member in [0, 1, u32::MAX] {
        for _ in 0..30_000 {
            writer.ty("bpfgate:hex", 17, 0, if member == 1 { int } else { record }, &[member]);
        }
    }
    for _ in 0..30_000 {
        writer.ty("bpfgate:hex", 17, 0, int, &[u32::MAX]);
    }
    assert_eq!(value(&writer, record, 4000), Type::opaque(4000));
    assert_eq!(tags(&writer.blob(), record), Ok(vec![]));
}

#[test]
fn the_kernels_own_btf_is_understood() {
    let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        println!("skipped: this kernel has no BTF of its own");
        return;
    };
    let ty = named_type(&btf, "struct bpf_map_info").unwrap().1;
    let plan = Plan::compile(&ty).unwrap();
    assert!(plan.leaves().iter().any(|leaf| leaf.path() == "max_entries" && leaf.is_number()));
    // The whole of it would be too much; that is said, not tried.
    let parsed = Btf::parse(&btf).unwrap();
    for id in parsed.ids().step_by(97) {
        if let Ok(ty) = Compiler::new(&parsed).ty(id) {
            let _ = Plan::compile(&ty);
        }
    }
    assert!(named_type(&btf, "struct task_struct").is_some());
}

#[test]
fn damaged_btf_is_refused_or_read_but_never_trusted() {
    let good = object(
        "struct s { int a : 3, b; struct s *next; enum { X, Y } e; char c[8]; };
         struct s value = { 1 }; long long total; int f(void) { return value.b + total++; }",
    );
    assert!(compile_schema(&good, 1, 1, 4, 4).is_ok());
    for end in 0..good.len() {
        let _ = variables(&good[..end]);
        assert!(Btf::parse(&good[..end]).is_err(), "{end}");
    }
    let mut state = 1_u64;
    let mut roll = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % below
    };
    for _ in 0..4_000 {
        let mut bad = good.clone();
        for _ in 0..=roll(4) {
            let at = roll(bad.len());
            bad[at] = u8::try_from(roll(256)).unwrap();
        }
        let _ = variables(&bad);
        let _ = named_type(&bad, "struct s");
        for id in 0..12 {
            if let Ok(schema) = compile_schema(&bad, id, id, 4, 32) {
                let sizes = [schema.key, schema.value].map(|ty| ty.map(|ty| ty.size));
                assert_eq!(sizes, if id == 0 { [None, None] } else { [Some(4), Some(32)] });
            }
        }
    }
    for (bytes, error) in [
        (&b""[..], BtfError::Truncated { what: "the header" }),
        (b"ELF!", BtfError::Magic(0x4c45)),
        (&[0x9f, 0xeb, 2, 0].repeat(6), BtfError::Version(2)),
    ] {
        assert_eq!(variables(bytes).unwrap_err(), error);
    }
}

#[test]
fn one_long_name_for_many_types_costs_nothing() {
    let mut writer = Writer::default();
    let long = writer.name(&"x".repeat(1 << 20));
    for _ in 0..50_000 {
        writer.types.extend([long, 2 << 24, 0].iter().flat_map(|word| word.to_le_bytes()));
    }
    let blob = writer.blob();
    assert!(compile_schema(&blob, 1, 0, 8, 8).is_err());
    assert_eq!(named_type(&blob, "struct s"), None);
}
