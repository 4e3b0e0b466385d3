//! Sound objects give the plan that libbpf would carry out.

use std::collections::BTreeMap;
use std::fs;

use bpfgate_server::elf::{
    AutoAttach, Direction, ElfError, GlobalValue, MapPlan, ObjectPlan, ParseRequest, ProgramPlan,
    bind_maps,
};

use crate::support::{Harness, compile_file, compile_object};

const SECTIONS: &[(&str, u32)] = &[
    ("socket", 1),
    ("socket/any", 1),
    ("sk_reuseport", 21),
    ("sk_reuseport/migrate", 21),
    ("kprobe/do_unlinkat", 2),
    ("kretprobe/do_unlinkat", 2),
    ("ksyscall/unlink", 2),
    ("kprobe.multi/tcp_*", 2),
    ("uprobe//bin/sh:main", 2),
    ("uretprobe.s", 2),
    ("tc", 3),
    ("tc/ingress", 3),
    ("tcx/egress", 3),
    ("classifier", 3),
    ("action", 4),
    ("netkit/peer", 3),
    ("tp/sched/sched_switch", 5),
    ("tracepoint/syscalls/sys_enter_open", 5),
    ("raw_tp/sys_enter", 17),
    ("raw_tracepoint/sys_exit", 17),
    ("raw_tp.w/nbd_send_request", 24),
    ("syscall", 31),
    ("xdp", 6),
    ("xdp.frags", 6),
    ("xdp/devmap", 6),
    ("xdp/cpumap", 6),
    ("perf_event", 7),
    ("lwt_in", 10),
    ("lwt_out", 11),
    ("lwt_xmit", 12),
    ("lwt_seg6local", 19),
    ("sockops", 13),
    ("sk_skb", 14),
    ("sk_skb/stream_parser", 14),
    ("sk_msg", 16),
    ("lirc_mode2", 20),
    ("flow_dissector", 22),
    ("cgroup_skb/ingress", 8),
    ("cgroup/skb", 8),
    ("cgroup/sock_create", 9),
    ("cgroup/post_bind6", 9),
    ("cgroup/connect4", 18),
    ("cgroup/connect_unix", 18),
    ("cgroup/sysctl", 23),
    ("cgroup/getsockopt", 25),
    ("cgroup/dev", 15),
    ("sk_lookup", 30),
    ("netfilter", 32),
    ("?lsm/no_such_hook", 29),
    ("?fentry/no_such_function", 26),
];

/// Compiles C for BPF. With or without the type information that `-g` gives.
fn compile(source: &str, debug: bool) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("object.c");
    fs::write(&path, source).expect("the source is written");
    compile_file(&path, if debug { &["-g"] } else { &[] })
}

/// The program of that name.
fn program<'a>(plan: &'a ObjectPlan, name: &str) -> &'a ProgramPlan {
    plan.programs.iter().find(|program| program.name == name).expect("the program is planned")
}

fn map<'a>(plan: &'a ObjectPlan, name: &str) -> &'a MapPlan {
    plan.maps.iter().find(|map| map.name == name).expect("the map is planned")
}

fn initial(plan: &ObjectPlan, name: &str) -> Vec<u8> {
    map(plan, name).initial.clone().expect("a data section has contents")
}

fn one_program(section: &str) -> String {
    format!("__attribute__((section(\"{section}\"), used)) int f(void *c) {{ return 0; }}")
}

#[tokio::test]
async fn every_section_name_gives_its_type() {
    let mut source = String::new();
    for (n, (section, _)) in SECTIONS.iter().enumerate() {
        let program = one_program(section).replace(" f(", &format!(" f{n:02}("));
        source += &program;
        source.push('\n');
    }
    for debug in [true, false] {
        let plan = Harness::default().parse(compile(&source, debug)).await.expect("it parses");
        assert_eq!(plan.programs.len(), SECTIONS.len());
        assert_eq!(plan.btf.is_some(), debug);
        for (program, (section, prog_type)) in plan.programs.iter().zip(SECTIONS) {
            assert_eq!(program.section, *section);
            assert_eq!(program.kind.prog_type, *prog_type, "{section}");
            assert_eq!(program.insns.len(), 16, "{section}");
            assert_eq!(program.autoload, !section.starts_with('?'));
            // Renaming the section must not lose the records that name it.
            assert_eq!(program.func_info.len(), if debug { 8 } else { 0 }, "{section}");
            assert_eq!(program.line_info.is_empty(), !debug, "{section}");
        }
    }
}

#[tokio::test]
async fn maps_are_as_the_file_defines_them() {
    let plan = Harness::default().parse(compile_object("everything.c")).await.expect("it parses");
    let names: Vec<_> = plan.maps.iter().map(|map| map.name.as_str()).collect();
    let expected = [
        ".bss",
        ".data",
        ".data.tagged",
        ".rodata",
        ".rodata.str1.1",
        "events",
        "flows",
        "outer",
        "perf",
        "shared",
    ];
    assert_eq!(names, expected);

    let flows = map(&plan, "flows");
    assert_eq!((flows.map_type, flows.key_size, flows.value_size), (1, 8, 16));
    assert_eq!((flows.max_entries, flows.flags), (128, 0));
    assert!(flows.btf_key_type_id > 0 && flows.btf_value_type_id > 0);
    assert!(flows.kernel_btf_ids().is_some());

    let shared = map(&plan, "shared");
    assert_eq!(shared.flags, 1 << 10);
    assert!(shared.pin_by_name && !flows.pin_by_name);
    assert!(plan.warnings.iter().any(|warning| warning.contains("shared_maps")));

    let events = map(&plan, "events");
    assert_eq!((events.map_type, events.key_size, events.value_size), (27, 0, 0));
    assert_eq!(events.max_entries, 8192);
    assert!(events.btf_value_type_id > 0 && events.kernel_btf_ids().is_none());

    assert!(map(&plan, "perf").max_entries > 0);

    let inner = map(&plan, "outer").inner.as_deref().expect("an inner map");
    assert_eq!((inner.map_type, inner.key_size, inner.value_size), (1, 4, 16));
    assert_eq!(inner.max_entries, 16);

    let rodata = map(&plan, ".rodata");
    assert!(rodata.read_only && rodata.btf_value_type_id > 0);
    assert_eq!((rodata.map_type, rodata.key_size, rodata.max_entries), (2, 4, 1));
    assert_eq!(rodata.flags, 1 << 7);
    assert!(!map(&plan, ".bss").read_only && map(&plan, ".bss").btf_value_type_id > 0);
    assert_eq!(initial(&plan, ".data.tagged"), 3_u32.to_ne_bytes());
    assert_eq!(plan.license, "Dual MIT/GPL");
}

/// The process may call prctl no more: it fails as `PR_GET_AUXV` does before Linux 6.4, and with it
/// whoever would find the size of a page that way.
#[tokio::test]
async fn sizes_in_pages_are_found_without_asking_the_kernel() {
    let ring = "struct { int (*type)[27]; int (*max_entries)[4097]; } ring \
                __attribute__((section(\".maps\"), used));";
    let plan = Harness::default().parse(compile(ring, true)).await.expect("it parses");
    let page = u32::try_from(rustix::param::page_size()).unwrap();
    assert_eq!(map(&plan, "ring").max_entries, 4097_u32.next_multiple_of(page).next_power_of_two());
}

#[tokio::test]
async fn old_map_definitions_are_read() {
    let source = format!(
        "struct {{ unsigned type, key, value, entries, flags; }} old \
         __attribute__((section(\"maps\"), used)) = {{ 1, 4, 8, 16, 1 }}; {}",
        one_program("xdp")
            .replace("return 0", "int k = 0; return ((void *(*)(void *, void *))1)(&old, &k) != 0")
    );
    let plan = Harness::default().parse(compile(&source, false)).await.expect("it parses");
    let old = map(&plan, "old");
    assert_eq!((old.map_type, old.key_size, old.value_size), (1, 4, 8));
    assert_eq!((old.max_entries, old.flags), (16, 1));
    assert!(plan.btf.is_none() && old.kernel_btf_ids().is_none());
}

#[tokio::test]
async fn programs_bring_what_they_call() {
    let plan = Harness::default().parse(compile_object("everything.c")).await.expect("it parses");
    let names: Vec<_> = plan.programs.iter().map(|program| program.name.as_str()).collect();
    assert_eq!(names, ["count", "walk", "second_in_section", "on_exec"]);

    // The program itself, `twice` and `add`; then also `each`, which is passed by address.
    assert_eq!(program(&plan, "count").func_info.len(), 3 * 8);
    assert_eq!(program(&plan, "walk").func_info.len(), 4 * 8);
    assert_eq!(program(&plan, "second_in_section").func_info.len(), 2 * 8);
    let direction = Direction::Ingress;
    assert_eq!(program(&plan, "count").kind.auto_attach, AutoAttach::Tcx { direction });
    assert!(!program(&plan, "on_exec").autoload);

    let mut insns = program(&plan, "count").insns.clone();
    let fds: Vec<i32> = (0..).map(|n| 1000 + n).take(plan.maps.len()).collect();
    bind_maps(&mut insns, &fds);
    let mut bound: Vec<_> = insns
        .chunks_exact(8)
        .filter(|insn| insn[0] == 0x18 && matches!(insn[1] >> 4, 1 | 2))
        .map(|insn| i32::from_ne_bytes([insn[4], insn[5], insn[6], insn[7]]) - 1000)
        .map(|at| plan.maps[usize::try_from(at).unwrap()].name.as_str())
        .collect();
    bound.sort_unstable();
    bound.dedup();
    assert_eq!(bound, [".bss", ".data", ".data.tagged", ".rodata", "flows"]);
}

#[tokio::test]
async fn programs_fit_the_running_kernel() {
    let plan = Harness::default().parse(compile_object("core.c")).await.expect("it parses");
    let immediates = |code: u8| -> Vec<i32> {
        let insns = program(&plan, "on_switch").insns.chunks_exact(8);
        let insns = insns.filter(|insn| insn[0] == code);
        insns.map(|insn| i32::from_ne_bytes([insn[4], insn[5], insn[6], insn[7]])).collect()
    };
    // `r = IMM`: a field that is not there and one that is, the size of the whole.
    let moved = immediates(0xb7);
    assert!(moved.contains(&0) && moved.contains(&1), "{moved:?}");
    assert!(moved.iter().any(|&size| size > 1000), "{moved:?}");
    // What is not there is replaced by a call that the verifier refuses if it can be reached.
    assert!(immediates(0x85).contains(&0x0bad_2310));
}

#[tokio::test]
async fn hooks_are_found_in_the_kernels_types() {
    let plan = Harness::default()
        .parse(compile(&one_program("tp_btf/sched_switch"), true))
        .await
        .expect("every kernel has that tracepoint");
    let program = program(&plan, "f");
    assert!(program.attach_btf_id > 0);
    let function = "sched_switch".to_owned();
    assert_eq!(program.kind.auto_attach, AutoAttach::Tracing { function });
}

async fn with_global(name: &str, value: GlobalValue) -> Result<ObjectPlan, ElfError> {
    let globals = BTreeMap::from([(name.to_owned(), value)]);
    let elf = compile_object("everything.c").into();
    Harness::default().parse_request(ParseRequest { elf, globals }).await
}

fn raw(bytes: &[u8]) -> GlobalValue {
    GlobalValue::Raw(bytes.to_vec())
}

fn typed(json: &str) -> GlobalValue {
    GlobalValue::Typed(json.to_owned())
}

#[tokio::test]
async fn globals_are_set_in_every_data_section() {
    for (name, section, value) in [
        ("limit", ".rodata", 77_u32.to_ne_bytes().to_vec()),
        ("greeting", ".rodata", b"bonjour\0".to_vec()),
        ("total", ".bss", 78_u64.to_ne_bytes().to_vec()),
        ("start", ".data", 79_u64.to_ne_bytes().to_vec()),
        ("hits", ".bss", 80_u16.to_ne_bytes().to_vec()),
        ("tagged", ".data.tagged", 81_u32.to_ne_bytes().to_vec()),
    ] {
        let before = Harness::default().parse(compile_object("everything.c")).await.unwrap();
        let after = with_global(name, raw(&value)).await.expect(name);
        let (before, after) = (initial(&before, section), initial(&after, section));
        assert_ne!(before, after, "{name}");
        assert!(after.windows(value.len()).any(|bytes| bytes == value), "{name}");
        assert_eq!(before.len(), after.len());
    }
}

#[tokio::test]
async fn globals_are_set_by_their_types() {
    for (name, section, json, value) in [
        ("limit", ".rodata", "77", 77_u32.to_ne_bytes().to_vec()),
        ("greeting", ".rodata", "\"bonjour\"", b"bonjour\0".to_vec()),
        ("start", ".data", "\"18446744073709551615\"", vec![0xff; 8]),
        ("hits", ".bss", "4660", 0x1234_u16.to_ne_bytes().to_vec()),
    ] {
        let plan = with_global(name, typed(json)).await.expect(name);
        let contents = initial(&plan, section);
        assert!(contents.windows(value.len()).any(|bytes| bytes == value), "{name}");
    }
}

#[tokio::test]
async fn wrong_globals_are_named() {
    let said = with_global("limits", raw(&[0; 4])).await.unwrap_err().to_string();
    for part in ["\"limits\"", "greeting", "hits", "limit", "start", "tagged", "total"] {
        assert!(said.contains(part), "{said}");
    }
    let said = with_global("limit", raw(&[0; 8])).await.unwrap_err().to_string();
    assert!(said.contains("\"limit\"") && said.contains("has 4 bytes") && said.contains("has 8"));
    for (json, part) in [("4294967296", "4294967296"), ("\"ten\"", "ten"), ("{", "not JSON")] {
        let said = with_global("limit", typed(json)).await.unwrap_err().to_string();
        assert!(said.contains("\"limit\"") && said.contains(part), "{json}: {said}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_named() {
    let section = |name| one_program(name);
    let map = "__attribute__((section(\".maps\"), used))";
    for (source, parts) in [
        (section("tcx/sideways"), ["program f", "\"tcx/sideways\""]),
        (section("struct_ops/init"), ["program f", "libbpf builds"]),
        (section("usdt//bin/sh:a:b"), ["program f", "usdt"]),
        (section("fentry"), ["program f", "does not name"]),
        (section("tp/sched"), ["program f", "tp/CATEGORY/NAME"]),
        (section("tp_btf/no_such_event"), ["program f", "btf_trace_no_such_event"]),
        (
            format!("extern int CONFIG_HZ; {}", section("xdp").replace("0;", "CONFIG_HZ;")),
            ["CONFIG_HZ", "not supported"],
        ),
        (
            format!(
                "static struct {{ int (*type)[2]; int (*max_entries)[1]; int *key; int *value; }} \
                 m {map}; {}",
                section("xdp").replace(
                    "return 0",
                    "int k = 0; return ((void *(*)(void *, void *))1)(&m, &k) != 0"
                )
            ),
            ["static", "map"],
        ),
    ] {
        let said = Harness::default().parse(compile(&source, true)).await.unwrap_err().to_string();
        assert!(parts.iter().all(|part| said.contains(part)), "{said}\n{source}");
    }
}

#[tokio::test]
async fn a_missing_licence_is_not_made_up() {
    let plan = Harness::default().parse(compile(&one_program("xdp"), true)).await.unwrap();
    assert_eq!(plan.license, "");
}
