//! Global variables as clang lays them out, for hosts of both byte orders: what is decoded by the
//! object's BTF is what the source says, and encodes to the compiler's own bytes.

use std::process::Command;

use bpfgate_proto::value::{ByteOrder, Plan};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use serde_json::Value as Json;

use super::variables;

const SOURCE: &str = r#"
typedef unsigned char __u8; typedef signed char __s8; typedef unsigned short __u16;
typedef short __s16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef long long __s64; typedef __u16 __be16; typedef __u32 __be32; typedef __u64 __be64;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NETWORK(bits, number) __builtin_bswap##bits(number)
#else
#define NETWORK(bits, number) (number)
#endif
#define NOTE(text) __attribute__((btf_decl_tag("bpfgate:" text)))
enum small { NO = -1, YES = 1 } __attribute__((packed));
enum plain { DOWN, GONE = 7 };
enum wide { NEAR = 1, FAR = 0x123456789aULL };
enum low { UNDER = -5, OVER };
struct bits { int a : 3; unsigned b : 5; int c : 9; _Bool d : 1; enum plain e : 4; __s64 f : 33; __u64 g : 31; };
struct all {
    __u8 u8; __s8 s8; __u16 u16; __s16 s16; __u32 u32; int s32; __u64 u64; __s64 s64;
    unsigned __int128 u128; __int128 s128; _Bool yes, no; char letter, bell;
    char text[8], full[4], bytes[2];
    enum small small; enum plain plain, unknown; enum wide wide, unknown_wide; enum low low;
    float f; double d, nan, infinite; struct bits bits;
    struct { __u16 inner; union { __u32 word; __u16 half[2]; }; };
    union { __u64 whole; struct { __u32 one, two; } parts; } either;
    int grid[2][3]; struct bits none[0]; void *task;
    __be16 port; __be32 raw; __be64 far; __be32 address NOTE("ipv4"); __u8 mac[6] NOTE("mac");
    __u8 six[16] NOTE("ipv6"); __u32 mask NOTE("hex"); const volatile __u16 fixed;
    int tail[];
};
struct all all = {
    200, -100, 60000, -30000, 4000000000u, -2000000000, 18000000000000000000ull,
    -9000000000000000000ll, ((unsigned __int128)1 << 100) + 7, -((__int128)1 << 100), 1, 0, 'x', 7,
    "abc", "full", "\xff\xfe", NO, GONE, (enum plain)9, NEAR, (enum wide)77, UNDER,
    0.1f, -2.5, __builtin_nan(""), -__builtin_inf(),
    { -3, 21, -200, 1, GONE, -4000000000ll, 2000000000 }, { 7, { 0x00050005 } },
    { 0x0000000900000009ull }, { { 1, -2, 3 }, { 4, 5, -6 } }, {}, (void *)0xffff888000000000ull,
    NETWORK(16, 443), NETWORK(32, 0x0a000001), NETWORK(64, 5), NETWORK(32, 0x0a000002),
    { 2, 0, 0, 0, 0, 255 }, { 0xfe, 0x80, [15] = 1 }, 0xff00, 8,
};
"#;

const EXPECTED: &str = r#"{
    "u8": 200, "s8": -100, "u16": 60000, "s16": -30000, "u32": 4000000000, "s32": -2000000000,
    "u64": "18000000000000000000", "s64": "-9000000000000000000",
    "u128": "1267650600228229401496703205383", "s128": "-1267650600228229401496703205376",
    "yes": true, "no": false, "letter": "x", "bell": 7,
    "text": "abc", "full": "full", "bytes": "hex:fffe",
    "small": "NO", "plain": "GONE", "unknown": 9, "wide": "NEAR", "unknown_wide": "77",
    "low": "UNDER",
    "f": 0.1, "d": -2.5, "nan": "NaN", "infinite": "-Infinity",
    "bits": {
        "a": -3, "b": 21, "c": -200, "d": true, "e": "GONE", "f": "-4000000000", "g": 2000000000
    },
    "inner": 7, "word": 327685, "half": [5, 5],
    "either": { "whole": "38654705673", "parts": { "one": 9, "two": 9 } },
    "grid": [[1, -2, 3], [4, 5, -6]], "none": [], "task": "0xffff888000000000",
    "port": 443, "raw": 167772161, "far": "5", "address": "10.0.0.2",
    "mac": "02:00:00:00:00:ff", "six": "fe80::1", "mask": "0xff00", "fixed": 8, "tail": []
}"#;

/// The object for that target.
fn compiled(target: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("all.c"), SOURCE).unwrap();
    let args = ["-O2", "-g", "-Wno-constant-conversion", "-target", target, "-c", "-o"];
    let mut clang = Command::new("clang");
    let run = clang.args(args).arg(path("all.o")).arg(path("all.c")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    std::fs::read(path("all.o")).unwrap()
}

#[test]
fn every_type_reads_as_the_compiler_wrote_it() {
    let expected: Json = serde_json::from_str(EXPECTED).unwrap();
    for (target, order) in [("bpfel", ByteOrder::Little), ("bpfeb", ByteOrder::Big)] {
        let file = compiled(target);
        let object = object::File::parse(&*file).unwrap();
        let btf = object.section_by_name(".BTF").unwrap().data().unwrap();
        let variable =
            variables(btf).unwrap().into_iter().find(|found| found.name == "all").unwrap();
        let plan = Plan::compile_for(&variable.ty, order).unwrap();

        let symbol = object.symbols().find(|symbol| symbol.name() == Ok("all")).unwrap();
        let start = usize::try_from(symbol.address()).unwrap();
        let data = object.section_by_name(&variable.section).unwrap().data().unwrap();
        let bytes = &data[start..start + plan.size()];

        let json = plan.decode(bytes).unwrap();
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(json.get(name), Some(value), "{name} for {target}");
        }
        assert_eq!(json, expected, "{target}");
        assert_eq!(plan.encode(&json).unwrap(), bytes, "{target}");
        let mut text = Vec::new();
        plan.write_json(bytes, &mut text).unwrap();
        assert_eq!(text, serde_json::to_vec(&json).unwrap());
        assert_eq!(plan.parse(&plan.show(bytes)).unwrap(), bytes);
    }
}
