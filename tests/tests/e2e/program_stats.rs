//! How often programs run, as the kernel counts it for whoever asks.

use bpfgate_client::v1::{GetProgramStatsResponse, LoadObjectHeader, ProgramStats};
use bpfgate_client::{Client, Code};
use bpfgate_tests::{Agent, SOON, bpftool, refused, run, within};

async fn load(client: &Client, name: &str) {
    let builtin = "syscall-counters".to_owned();
    let header = LoadObjectHeader { name: name.to_owned(), builtin, ..Default::default() };
    client.objects().load_builtin(header).await.unwrap();
}

fn only(stats: &GetProgramStatsResponse) -> &ProgramStats {
    let [only] = &stats.programs[..] else { panic!("{stats:?}") };
    only
}

/// Turned on by nobody else: the sysctl is the host's.
fn sysctl_is_off() -> bool {
    let value = std::fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").unwrap();
    value.trim() == "0"
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_counted_while_somebody_asks_and_bpftool_agrees() {
    let agent = Agent::builder().config("[limits]\nprogram_stats_seconds = 2\n").spawn();
    let client = agent.client().await;
    load(&client, "sc").await;
    let link = client.links().attach("sc/count_syscalls", None).await;
    let link = link.unwrap_or_else(|error| panic!("{error}"));
    let objects = client.objects();
    let off = objects.program_stats(Some("sc"), false).await.unwrap();
    assert_eq!((off.enabled, off.lease), (!sysctl_is_off(), None));
    assert_eq!(only(&off).program, "sc/count_syscalls");

    let on = objects.program_stats(Some("sc"), true).await.unwrap();
    assert!(on.enabled && on.lease.is_some(), "{on:?}");
    let counted = async || only(&objects.program_stats(None, true).await.unwrap()).clone();
    let first = counted().await;
    let second = counted().await;
    // The calls themselves are system calls.
    assert!(second.run_count > first.run_count, "{first:?} {second:?}");
    assert!(second.run_time_ns > first.run_time_ns);

    // Nothing runs any more, so that both can be asked for the same numbers.
    client.links().detach(link.id).await.unwrap();
    let ours = counted().await;
    let theirs = bpftool::json(&["prog", "show", "id", &ours.id.to_string()]);
    assert_eq!(theirs["run_cnt"], ours.run_count);
    assert_eq!(theirs["run_time_ns"], ours.run_time_ns);

    // The descriptor that keeps them on is given back when nobody asks.
    let on = || agent.checkpoint().descriptors.keys().any(|of| of.contains("bpf-stats"));
    assert!(on() && within(SOON, || !on()), "{:?}", agent.checkpoint());
    let off = objects.program_stats(Some("sc"), false).await.unwrap();
    assert_eq!((off.lease, only(&off).run_count), (None, ours.run_count));
    let absent = objects.program_stats(Some("absent"), true).await;
    refused(absent, Code::NotFound, &["absent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_totals_and_what_comes_in_a_while() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "sc").await;
    client.links().attach("sc/count_syscalls", None).await.unwrap();
    let rates = agent.cli(&["object", "stats", "sc", "--for", "300ms", "-o", "json"]).ok().json();
    assert_eq!(rates[0]["program"], "sc/count_syscalls");
    assert!(rates[0]["runs"].as_u64().unwrap() > 0, "{rates}");
    assert!(rates[0]["ns_per_run"].as_u64().unwrap() > 0, "{rates}");
    let totals = agent.cli(&["object", "stats"]).ok().stdout;
    assert!(totals.contains("RUN COUNT") && totals.contains("sc/count_syscalls"), "{totals}");
    let absent = run(agent.cli_command().args(["object", "stats", "sd"]));
    assert!(absent.refusal(3).contains("did you mean sc?"), "{absent:?}");
}
