//! Every kind of attachment fires while it lasts and never behind its end.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use bpfgate_client::v1::attach_target::Target;
use bpfgate_client::v1::{UprobeTarget, XdpTarget, tcx_target::Direction, xdp_target};
use bpfgate_client::{Client, Code, CpuMode};
use bpfgate_tests::calls::load;
use bpfgate_tests::hooks::{Bench, Hook, getppid};
use bpfgate_tests::targets::{
    cgroup, cpu_clock, kprobe, libc_path, raw_tracepoint, socket, tcx, tracepoint, uprobe, xdp,
};
use bpfgate_tests::{Agent, Cgroup, Feature, elf, refused, require};

#[tokio::test(flavor = "multi_thread")]
async fn xdp_fires_until_detached() {
    let bench = Bench::new().await;
    bench.fires_until_detached(Hook::Xdp, xdp("lo"), 5, || bench.datagrams(5)).await;
    // The driver of loopback has no XDP of its own.
    let native = xdp_target::Mode::Native.into();
    let native = Target::Xdp(XdpTarget { interface: "lo".to_owned(), mode: native });
    let answer = bench.client.links().attach("hooks/on_xdp", Some(native)).await;
    refused(answer, Code::Unimplemented, &["xdp on lo"]);
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn tcx_fires_until_detached() {
    require!(Feature::Tcx);
    let bench = Bench::new().await;
    let fire = || bench.datagrams(5);
    bench.fires_until_detached(Hook::TcxIngress, tcx(Direction::Ingress, "lo"), 5, fire).await;
    bench.fires_until_detached(Hook::TcxEgress, tcx(Direction::Egress, "lo"), 5, fire).await;
    // Sections without a direction go both ways.
    bench.fires_until_detached(Hook::Tc, tcx(Direction::Ingress, "lo"), 5, fire).await;
    bench.fires_until_detached(Hook::Classifier, tcx(Direction::Egress, "lo"), 5, fire).await;
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_filter_fires_until_detached() {
    let bench = Bench::new().await;
    // A packet socket sees what loopback sends and what it receives.
    bench.fires_until_detached(Hook::Socket, socket("lo"), 10, || bench.datagrams(5)).await;
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn tracepoints_fire_until_detached() {
    let bench = Bench::watching("links-tp").await;
    let fire = || getppid("links-tp", 100);
    let target = tracepoint("syscalls", "sys_enter_getppid");
    bench.fires_until_detached(Hook::Tp, target, 100, fire).await;
    // Where its section says.
    bench.fires_until_detached_by(Hook::Tp, None, |hits| hits == 100, fire).await;
    bench.fires_until_detached_by(Hook::Tracepoint, None, |hits| hits == 100, fire).await;
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_tracepoints_fire_until_detached() {
    let bench = Bench::watching("links-raw").await;
    let fire = || getppid("links-raw", 100);
    bench.fires_until_detached(Hook::RawTp, raw_tracepoint("sys_enter"), 100, fire).await;
    bench.fires_until_detached_by(Hook::RawTp, None, |hits| hits == 100, fire).await;
    // Of every other call the thread makes, too.
    let target = Some(raw_tracepoint("sys_exit"));
    bench.fires_until_detached_by(Hook::RawTracepoint, target, |hits| hits > 100, fire).await;
    let answer = bench.client.links().attach("hooks/on_raw_tracepoint", None).await;
    refused(answer, Code::InvalidArgument, &["raw_tracepoint", "name a target"]);
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn cgroup_programs_fire_until_detached() {
    require!(Feature::CgroupV2);
    let bench = Bench::new().await;
    let group = Cgroup::new("links");
    // A socket belongs to the cgroup of who made it, so a process inside sends to itself.
    let fire = || group.datagrams(bench.agent.netns(), 5);
    bench.fires_until_detached(Hook::CgroupEgress, cgroup(group.path()), 5, fire).await;
    bench.fires_until_detached(Hook::CgroupIngress, cgroup(group.path()), 5, fire).await;
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn uprobes_fire_until_detached() {
    require!(Feature::Uprobe);
    let bench = Bench::new().await;
    let path = libc_path();
    // A function that nothing else in this process calls.
    let stamped = tempfile::tempfile().expect("a file");
    let fire = || (0..100).for_each(|_| stamped.set_modified(SystemTime::now()).expect("a time"));
    let target = uprobe(&path, "futimens");
    bench.fires_until_detached(Hook::Uprobe, Target::Uprobe(target.clone()), 100, fire).await;
    let target = UprobeTarget { r#return: true, ..target };
    bench.fires_until_detached(Hook::Uretprobe, Target::Uprobe(target), 100, fire).await;

    // Another process is not this one.
    let mut other = Command::new("sleep").arg("60").spawn().expect("a process");
    let target = UprobeTarget { pid: Some(other.id()), ..uprobe(&path, "futimens") };
    bench.fires_until_detached(Hook::Uprobe, Target::Uprobe(target), 0, fire).await;
    other.kill().and_then(|()| other.wait()).expect("its end");
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn perf_events_fire_until_detached() {
    let bench = Bench::new().await;
    // A busy thread for each CPU, so that the sampled one is busy too.
    let fire = || {
        let end = Instant::now() + Duration::from_millis(300);
        let spin = || while Instant::now() < end {};
        thread::scope(|scope| {
            let cpus = thread::available_parallelism().expect("CPUs").get();
            (0..cpus).for_each(|_| drop(scope.spawn(spin)));
        });
    };
    let target = Some(Target::PerfEvent(cpu_clock(0)));
    bench.fires_until_detached_by(Hook::PerfEvent, target, |hits| hits > 20, fire).await;
    bench.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn kprobes_fire_until_detached() {
    require!(Feature::Kprobe);
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "kernel", elf::KPROBE).await;
    fires_in_the_kernel(&client, ["kernel/on_call", "kernel/on_return"]).await;
    let target = Some(kprobe("no_such_function"));
    let answer = client.links().attach("kernel/on_call", target).await;
    refused(answer, Code::NotFound, &["no_such_function"]);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn fentry_fires_until_detached() {
    require!(Feature::Tracing);
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "kernel", elf::FENTRY).await;
    fires_in_the_kernel(&client, ["kernel/on_entry", "kernel/on_exit"]).await;
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn lsm_programs_fire_until_detached() {
    require!(Feature::Lsm);
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "kernel", elf::LSM).await;
    fires_in_the_kernel(&client, ["kernel/on_open"]).await;
    agent.stop();
}

/// The programs of `kernel` count a call of every process in `.bss`; it never stands still.
async fn fires_in_the_kernel<const N: usize>(client: &Client, programs: [&str; N]) {
    let counts = async || {
        let bss = client.maps().lookup("kernel/.bss", [0; 4], CpuMode::Each).await.unwrap();
        let word = |at: usize| u64::from_ne_bytes(bss[at * 8..][..8].try_into().unwrap());
        std::array::from_fn::<u64, N, _>(word)
    };
    let before = counts().await;
    let mut links = Vec::new();
    for program in programs {
        links.push(client.links().attach(program, None).await.expect("it attaches").id);
    }
    drop(fs::read("/proc/self/stat").expect("a file"));
    let during = counts().await;
    assert!(before.iter().zip(&during).all(|(b, d)| b < d), "{before:?} {during:?}");
    for link in links {
        client.links().detach(link).await.unwrap();
    }
    let behind = counts().await;
    drop(fs::read("/proc/self/stat").expect("a file"));
    assert_eq!(counts().await, behind);
}
