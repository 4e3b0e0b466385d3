//! Links: what cannot be attached is refused by name, what is attached is listed and ends.

use bpfgate_client::Code;
use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::perf_event_target::Sample;
use bpfgate_client::v1::{PerfEventTarget, TracingTarget, UprobeTarget, XdpTarget, tcx_target};
use bpfgate_tests::calls::{attach, load};
use bpfgate_tests::hooks::{Bench, Hook, getppid};
use bpfgate_tests::targets::{
    cgroup, cpu_clock, kprobe, libc_path, raw_tracepoint, socket, tcx, tracepoint, uprobe, xdp,
};
use bpfgate_tests::{Feature, elf, refused};

#[tokio::test(flavor = "multi_thread")]
async fn what_this_kernel_lacks_is_said() {
    if Feature::Kprobe.check().is_ok() {
        return;
    }
    let bench = Bench::new().await;
    // The program is of the type that uprobes have; only its place is missing.
    bench.refuses(Hook::Uprobe, kprobe("vfs_read"), Code::FailedPrecondition, &["kprobe"]).await;
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_goes_only_where_its_type_fits() {
    use tcx_target::Direction::Ingress;
    let bench = Bench::new().await;
    let uprobe = Target::Uprobe(uprobe("/bin/sh", "main"));
    for (hook, target, words) in [
        (Hook::Xdp, socket("lo"), ["xdp", "a socket", "xdp on an interface"]),
        (Hook::Socket, xdp("lo"), ["socket_filter", "xdp", "a socket on an interface"]),
        (Hook::TcxIngress, xdp("lo"), ["sched_cls", "xdp", "tcx on an interface"]),
        (Hook::Xdp, tcx(Ingress, "lo"), ["xdp", "tcx", "xdp on an interface"]),
        (Hook::Tp, raw_tracepoint("sys_enter"), ["tracepoint", "raw", "a tracepoint"]),
        (Hook::RawTp, tracepoint("sched", "sched_switch"), ["raw", "a tracepoint", "raw"]),
        (Hook::CgroupEgress, socket("lo"), ["cgroup_skb", "a socket", "a cgroup"]),
        (Hook::Socket, cgroup("/"), ["socket_filter", "a cgroup", "socket"]),
        (Hook::PerfEvent, uprobe, ["perf_event", "a uprobe", "a perf event"]),
        (Hook::Uprobe, Target::PerfEvent(cpu_clock(0)), ["kprobe", "a perf event", "uprobe"]),
        (Hook::Uprobe, Target::Tracing(TracingTarget {}), ["kprobe", "section", "uprobe"]),
    ] {
        bench.refuses(hook, target, Code::InvalidArgument, &words).await;
    }
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_there_is_named() {
    use tcx_target::Direction::Egress;
    let bench = Bench::new().await;
    let libc = libc_path();
    let gone = UprobeTarget { pid: Some(0x3fff_ffff), ..uprobe(&libc, "getppid") };
    for (hook, target, word) in [
        (Hook::Xdp, xdp("nope0"), "nope0"),
        (Hook::TcxEgress, tcx(Egress, "nope0"), "nope0"),
        (Hook::Socket, socket("nope0"), "nope0"),
        (Hook::Tp, tracepoint("sched", "nope"), "sched:nope"),
        (Hook::Tp, tracepoint("nope", "sched_switch"), "nope:sched_switch"),
        (Hook::RawTp, raw_tracepoint("nope"), "nope"),
        (Hook::CgroupEgress, cgroup("/sys/fs/cgroup/no/such"), "/sys/fs/cgroup/no/such"),
        (Hook::CgroupEgress, cgroup("/etc/passwd"), "/etc/passwd"),
        (Hook::Uprobe, Target::Uprobe(uprobe("/no/such", "main")), "/no/such"),
        (Hook::Uprobe, Target::Uprobe(uprobe(&libc, "no_such_symbol")), "no_such_symbol"),
        (Hook::Uprobe, Target::Uprobe(gone), "1073741823"),
    ] {
        bench.refuses(hook, target, Code::NotFound, &[word]).await;
    }
    for (program, words) in [
        ("hooks/nope", ["hooks/nope", "on_xdp"]),
        ("nope/on_xdp", ["nope", "object"]),
        ("hooks/left_out", ["hooks/left_out", "on_xdp"]),
    ] {
        let answer = bench.client.links().attach(program, Some(xdp("lo"))).await;
        refused(answer, Code::NotFound, &words);
    }
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_cannot_be_is_named() {
    use tcx_target::Direction::{Ingress, Unspecified};
    let bench = Bench::new().await;
    let libc = libc_path();
    let uprobe = |change: fn(&mut UprobeTarget)| {
        let mut target = uprobe(&libc, "getppid");
        change(&mut target);
        Target::Uprobe(target)
    };
    let clock = |change: fn(&mut PerfEventTarget)| {
        let mut target = cpu_clock(0);
        change(&mut target);
        Target::PerfEvent(target)
    };
    for (hook, target, word) in [
        (Hook::Xdp, xdp(""), "interface"),
        (Hook::Xdp, xdp("sixteen-bytes-xx"), "sixteen-bytes-xx"),
        (Hook::Xdp, Target::Xdp(XdpTarget { interface: "lo".into(), mode: 9 }), "9"),
        (Hook::TcxIngress, tcx(Unspecified, "lo"), "INGRESS or EGRESS"),
        (Hook::TcxIngress, tcx(Ingress, "a/b"), "a/b"),
        (Hook::Tp, tracepoint("..", "x"), "tracepoint"),
        (Hook::Tp, tracepoint("sched", "../../etc"), "../../etc"),
        (Hook::RawTp, raw_tracepoint(""), "raw tracepoint"),
        (Hook::CgroupEgress, cgroup("relative/path"), "relative/path"),
        (Hook::CgroupEgress, cgroup("/tmp"), "/tmp"),
        (Hook::Uprobe, uprobe(|target| target.path = "/etc/passwd".into()), "/etc/passwd"),
        (Hook::Uprobe, uprobe(|target| target.path = "/tmp".into()), "/tmp"),
        (Hook::Uprobe, uprobe(|target| target.path = "bin/sh".into()), "bin/sh"),
        (Hook::Uprobe, uprobe(|target| target.path = String::new()), "file"),
        (Hook::Uprobe, uprobe(|target| target.pid = Some(0)), "pid"),
        (Hook::Uprobe, uprobe(|target| target.pid = Some(u32::MAX)), "pid"),
        (Hook::PerfEvent, clock(|target| target.sample = None), "period"),
        (Hook::PerfEvent, clock(|target| target.sample = Some(Sample::Period(0))), "period"),
        (Hook::PerfEvent, clock(|target| target.cpu = 100_000), "100000"),
        (Hook::PerfEvent, clock(|target| target.cpu = u32::MAX), "4294967295"),
    ] {
        bench.refuses(hook, target, Code::InvalidArgument, &[word]).await;
    }
    let nothing = bench.client.links().attach("hooks/on_xdp", None).await;
    refused(nothing, Code::InvalidArgument, &["xdp", "name a target"]);
    for program in ["", "hooks", "hooks/", "/on_xdp", "hooks/on xdp"] {
        let answer = bench.client.links().attach(program, Some(xdp("lo"))).await;
        refused(answer, Code::InvalidArgument, &["name"]);
    }
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unload_detaches_and_ids_are_not_used_again() {
    let bench = Bench::new().await;
    let links = bench.client.links();
    let first = attach(&bench.client, "hooks/on_socket", socket("lo")).await;
    let second = attach(&bench.client, "hooks/on_xdp", xdp("lo")).await;
    let listed: Vec<u64> = links.list(None).await.unwrap().iter().map(|link| link.id).collect();
    assert_eq!(listed, [first, second]);
    refused(links.attach("hooks/on_xdp", Some(xdp("lo"))).await, Code::FailedPrecondition, &["lo"]);

    bench.agent.checkpoint();
    bench.client.objects().unload("hooks").await.unwrap();
    assert!(links.list(None).await.unwrap().is_empty());
    bench.agent.assert_only_baseline();
    assert!(!bench.agent.netns().ip(&["link", "show", "lo"]).contains("xdp"));

    load(&bench.client, "hooks", elf::HOOKS).await;
    assert!(attach(&bench.client, "hooks/on_xdp", xdp("lo")).await > second);
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_attaches_lists_and_detaches() {
    let bench = Bench::watching("links-cli").await;
    let agent = &bench.agent;
    let libc = format!("{}:getppid", libc_path());
    let mut ids = Vec::new();
    for (program, target, shown) in [
        ("hooks/on_xdp", &["--xdp", "lo", "--xdp-mode", "generic"][..], "xdp lo (generic)"),
        ("hooks/on_tcx_ingress", &["--tcx", "ingress:lo"], "tcx ingress:lo"),
        ("hooks/on_socket", &["--socket", "lo"], "socket lo"),
        ("hooks/on_tp", &["--tracepoint", "syscalls:sys_enter_getppid"], "sys_enter_getppid"),
        ("hooks/on_tracepoint", &["--auto"], "tracepoint syscalls:sys_exit_getppid"),
        ("hooks/on_raw_tp", &[], "raw-tracepoint sys_enter"),
        ("hooks/on_uprobe", &["--uprobe", &libc], "getppid"),
    ] {
        let arguments = [&["--output", "json", "link", "attach", program], target].concat();
        let attached = agent.cli(&arguments).ok().json();
        assert_eq!(attached["program"], program);
        let target = attached["target"].as_str().expect("a text");
        assert!(target.contains(shown), "{target:?} for {shown:?}");
        ids.push(attached["id"].to_string());
    }
    let listed = agent.cli(&["link", "list", "hooks"]).ok().stdout;
    assert_eq!(listed.lines().count(), ids.len() + 1, "{listed}");
    getppid("links-cli", 100);
    for hook in [Hook::Tp, Hook::Tracepoint, Hook::RawTp] {
        assert_eq!(bench.hits(hook).await, 100, "{hook:?}");
    }
    for id in &ids {
        drop(agent.cli(&["link", "detach", id]).ok());
    }
    assert!(agent.cli(&["link", "detach", &ids[0]]).refusal(3).contains(&ids[0]));
    let near = agent.cli(&["link", "attach", "hooks/on_xpd", "--xdp", "lo"]);
    assert!(near.refusal(3).contains("did you mean hooks/on_xdp"));
    let nope = agent.cli(&["link", "attach", "hooks/on_xdp", "--xdp", "nope0"]);
    assert!(nope.refusal(3).contains("there is no interface nope0"));
    let wrong = agent.cli(&["link", "attach", "hooks/on_xdp", "--socket", "lo"]);
    assert!(wrong.refusal(6).contains("it goes to xdp on an interface"));
    bench.stop();
}
