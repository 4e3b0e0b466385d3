//! An agent's start and end: one to a directory, drained in time, nothing left, even by SIGKILL.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use bpfgate_client::v1::map_service_client::MapServiceClient;
use bpfgate_client::v1::{CounterSelector, LoadObjectHeader, SocketTarget, attach_target::Target};
use bpfgate_client::{
    Client, Code, Error, HostName, IterateOptions, LabelResolution, MapFilter, UpdateMode,
    WatchEvent, WatchOptions, parse_selector, v1,
};
use bpfgate_tests::{Agent, NewMap, SOON, binaries, bpftool, refused, run, within};
use rustix::process::{Pid, Signal};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// A map, a loaded object and a program on the loopback interface.
async fn fill(client: &Client) {
    NewMap::hash("m").make(client).await;
    let (name, builtin) = ("pc".to_owned(), "proto-counters".to_owned());
    let header = LoadObjectHeader { name, builtin, ..LoadObjectHeader::default() };
    let loaded = client.objects().load_builtin(header).await.unwrap().object.unwrap();
    let target = Target::Socket(SocketTarget { interface: "lo".into() });
    client.links().attach(&loaded.programs[0].name, Some(target)).await.unwrap();
}

fn everything() -> Vec<CounterSelector> {
    vec![CounterSelector { map: "*".into(), ..CounterSelector::default() }]
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_open_streams_and_takes_everything_out_of_the_kernel() {
    let mut agent = Agent::spawn();
    let client = agent.client().await;
    fill(&client).await;
    let held = agent.checkpoint();
    assert!(held.ids.len() >= 4 && held.packet_sockets == 1, "{held:#?}");
    let options = WatchOptions { interval: Some(Duration::from_hours(1)), ..Default::default() };
    let mut watch = client.maps().watch_counters(everything(), options).await.unwrap();
    while !matches!(watch.next_event().await.unwrap(), Some(WatchEvent::Sync(_))) {}
    // A dump that nobody reads on: its window is full.
    let mut rpc = MapServiceClient::new(client.channel());
    let large = NewMap::array("large").sizes(4, 4096).entries(10_000).make(&client).await;
    let request = v1::IterateRequest { map: large.name, ..Default::default() };
    let mut unread = rpc.iterate(request).await.unwrap().into_inner();
    assert!(unread.message().await.unwrap().is_some());

    let began = Instant::now();
    agent.signal(Signal::TERM);
    let error = watch.next_event().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Unavailable), "{error:?}");
    let unavailable = loop {
        match unread.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the dump ended as if it were whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(unavailable.code(), Code::Unavailable, "{unavailable:?}");
    let status = agent.wait(Duration::from_secs(7)).expect("an end");
    assert!(status.success(), "{status}: {}", agent.log());
    assert!(began.elapsed() < Duration::from_secs(6), "it took {:?}", began.elapsed());
    // Dropping the agent looks whether anything is left.
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_does_not_hold_up_the_end() {
    let agent = Agent::builder().config("[limits]\ndrain_seconds = 1\n").spawn();
    let client = agent.client().await;
    NewMap::array("large").sizes(4, 4096).entries(10_000).make(&client).await;
    let mut stream = client.maps().iterate("large", IterateOptions::default()).await.unwrap();
    stream.next_chunk().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    agent.stop();
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigkill_leaves_nothing_in_the_kernel_and_the_next_start_works() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    let agent = Agent::builder().runtime_dir(&run).spawn();
    let client = agent.client().await;
    fill(&client).await;
    let first = client.agent().get().await.unwrap();
    agent.kill();
    let socket = run.join("bpfgate.sock");
    assert!(std::fs::symlink_metadata(&socket).unwrap().file_type().is_socket());
    let error = client.agent().get().await.unwrap_err();
    assert!(matches!(error, Error::Connect(_) | Error::Lost { .. }), "{error:?}");

    let agent = Agent::builder().runtime_dir(&run).spawn();
    // The same client finds the new agent.
    let second = client.agent().get().await.unwrap();
    assert_eq!((&second.agent_id, &second.boot_id), (&first.agent_id, &first.boot_id));
    assert_ne!(second.incarnation, first.incarnation);
    assert!(client.maps().list(MapFilter::default()).await.unwrap().is_empty());
    fill(&client).await;
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_descriptor_reaches_a_parsing_process() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    fill(&client).await;
    // The names of what keys stand for are looked up through a socket that is kept.
    let resolve = vec![LabelResolution::name("key", HostName::Interface)];
    let options = WatchOptions { once: true, resolve, ..WatchOptions::default() };
    let selectors = vec![parse_selector("pc/stats").unwrap()];
    let mut watch = client.maps().watch_counters(selectors, options).await.unwrap();
    while watch.next_event().await.unwrap().is_some() {}

    let process = Path::new("/proc").join(agent.pid().to_string());
    let mut checked = 0;
    for entry in std::fs::read_dir(process.join("fdinfo")).unwrap() {
        let number = entry.unwrap().file_name();
        let what = |process: &Path| std::fs::read_link(process.join("fd").join(&number)).ok();
        if what(&process) == what(Path::new("/proc/self")) {
            // Not the agent's: it came with the test.
            continue;
        }
        let Ok(info) = std::fs::read_to_string(process.join("fdinfo").join(&number)) else {
            continue;
        };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
        if number.to_str().unwrap().parse::<u32>().unwrap() > 2 {
            assert!(flags & libc::O_CLOEXEC != 0, "{number:?}: {:?}", what(&process));
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} descriptors");
    drop(client);
    agent.stop();
}

#[test]
fn an_agent_leaves_alone_what_another_has_taken_over() {
    let base = tempfile::tempdir().unwrap();
    let run = base.path().join("run");
    let mut first = std::process::Command::new(binaries::agent());
    let mut first = first.arg("--runtime-dir").arg(&run).spawn().unwrap();
    assert!(within(SOON, || run.join("bpfgate.sock").exists()));
    std::fs::remove_dir_all(&run).unwrap();
    let second = Agent::builder().runtime_dir(&run).spawn();
    rustix::process::kill_process(Pid::from_child(&first), Signal::TERM).unwrap();
    assert!(first.wait().unwrap().success());
    assert!(run.join("bpfgated.lock").exists());
    assert!(second.cli(&["agent", "show"]).success());
    assert!(Agent::builder().runtime_dir(&run).refuse().refusal(1).contains("another agent"));
    second.stop();
    assert!(!run.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_says_which_rights_it_lacks_and_what_for() {
    let agent = Agent::spawn();
    assert_eq!(agent.client().await.agent().get().await.unwrap().missing_privileges, []);
    assert!(!agent.log().contains("a privilege is missing"), "{}", agent.log());
    agent.stop();

    let base = tempfile::tempdir().unwrap();
    let (run_dir, log) = (base.path().join("run"), base.path().join("log"));
    std::fs::create_dir(&run_dir).unwrap();
    std::os::unix::fs::chown(&run_dir, Some(65534), Some(65534)).unwrap();
    std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // Where a stranger can reach it.
    let binary = base.path().join("bpfgated");
    std::fs::copy(binaries::agent(), &binary).unwrap();
    let mut stranger = std::process::Command::new("setpriv");
    stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]);
    stranger.arg(binary).arg("--runtime-dir").arg(&run_dir);
    let mut stranger = stranger.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();

    let endpoint = format!("unix:{}", run_dir.join("bpfgate.sock").display());
    assert!(within(SOON, || run_dir.join("bpfgate.sock").exists()));
    let client = Client::connect(&endpoint).await.unwrap();
    let missing = client.agent().get().await.unwrap().missing_privileges;
    let names: Vec<_> = missing.iter().map(|one| one.capability.as_str()).collect();
    let all = ["BPF", "NET_ADMIN", "PERFMON", "SYS_ADMIN", "NET_RAW", "DAC_READ_SEARCH"];
    assert_eq!(names, all.map(|name| format!("CAP_{name}")));
    let said = std::fs::read_to_string(&log).unwrap();
    for v1::MissingPrivilege { capability, fails } in missing {
        let line = said.lines().find(|line| line.contains(&format!("capability=\"{capability}\"")));
        assert!(line.is_some_and(|line| line.contains("WARN") && line.contains(&fails)), "{said}");
    }
    let spec = v1::MapSpec {
        r#type: v1::MapType::Hash.into(),
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        ..v1::MapSpec::default()
    };
    let (name, spec) = ("m".to_owned(), Some(spec));
    let map = v1::CreateMapRequest { name, spec, ..v1::CreateMapRequest::default() };
    let error = refused(client.maps().create(map).await, Code::FailedPrecondition, &["CAP_BPF"]);
    assert_eq!(error.reason.as_deref(), Some("MISSING_PRIVILEGE"));
    drop(client);
    rustix::process::kill_process(Pid::from_child(&stranger), Signal::TERM).unwrap();
    assert!(stranger.wait().unwrap().success());
}

#[test]
fn a_full_disk_is_told_with_the_path() {
    let base = tempfile::tempdir().unwrap();
    let path = base.path().join("run");
    // Room for the directory's inodes, none for a byte in a file.
    let script = "mkdir $run && mount -t tmpfs -o size=4k,nr_inodes=9,mode=755 tmpfs $run && \
                  (cat /dev/zero >$run/full || true) 2>/dev/null; exec $agent --runtime-dir $run";
    let mut agent = std::process::Command::new("unshare");
    agent.args(["--mount", "sh", "-ec", script]);
    let refused = run(agent.env("run", &path).env("agent", binaries::agent()));
    let lock = path.join("bpfgated.lock");
    let said = format!("could not write {}", lock.display());
    assert!(refused.refusal(1).contains(&said), "{refused:#?}");
    assert!(refused.stderr.contains("No space left"), "{refused:#?}");
}

#[test]
fn a_second_agent_on_the_same_directory_is_refused() {
    let agent = Agent::spawn();
    let run = agent.runtime_dir();
    let output = Agent::builder().runtime_dir(run).refuse();
    let line = output.refusal(1);
    assert!(line.starts_with("bpfgated: another agent"), "{line}");
    assert!(line.contains(run.to_str().unwrap()), "{line}");
    assert!(line.contains(&agent.pid().to_string()), "{line}");
    // And the first one goes on.
    assert!(agent.cli(&["agent", "show"]).success());
}

#[test]
fn a_stale_socket_is_replaced_and_anything_else_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let socket = run.join("bpfgate.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let agent = Agent::builder().runtime_dir(&run).spawn();
    assert!(agent.cli(&["map", "list"]).success());
    agent.stop();
    assert!(!socket.exists());

    std::fs::write(&socket, "precious").unwrap();
    let output = Agent::builder().runtime_dir(&run).refuse();
    assert!(output.refusal(1).contains("is no socket"), "{output:#?}");
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
}

#[test]
fn the_socket_is_for_its_group_only() {
    let group = "nogroup";
    let gid = run(std::process::Command::new("getent").args(["group", group])).ok().stdout;
    let gid: u32 = gid.split(':').nth(2).unwrap().parse().unwrap();
    let agent = Agent::builder().flag("--socket-group").flag(group).spawn();
    let socket = std::fs::metadata(agent.socket()).unwrap();
    assert_eq!(socket.permissions().mode() & 0o7777, 0o660);
    assert_eq!((socket.uid(), socket.gid()), (0, gid));
    let directory = std::fs::metadata(agent.runtime_dir()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o7777, 0o755);
    drop(agent);
    let missing = Agent::builder().flag("--socket-group").flag("no-such-group").refuse();
    assert!(missing.refusal(1).contains("no group \"no-such-group\""), "{missing:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_is_served_on_loopback_only() {
    for address in ["0.0.0.0:7000", "192.0.2.1:7000", "[::]:7000", "[2001:db8::1]:1"] {
        let output = Agent::builder().listen(format!("tcp:{address}")).refuse();
        assert_eq!(output.code, Some(2), "{output:#?}");
        assert!(output.stderr.contains("is not a loopback address"), "{output:#?}");
        let config = format!("listen = [\"tcp:{address}\"]\n");
        let output = Agent::builder().config(config).refuse();
        assert!(output.stderr.contains("is not a loopback address"), "{output:#?}");
    }
    let agent = Agent::builder().listen("tcp:127.0.0.1:7000").listen("tcp:[::1]:7001").spawn();
    for endpoint in ["http://127.0.0.1:7000", "http://[::1]:7001", &agent.endpoint()] {
        let mut cli = agent.cli_command();
        cli.args(["--output", "json", "agent", "whoami", "--endpoint", endpoint]);
        let who = run(&mut cli).ok().json();
        let principal = if endpoint.starts_with("http") { "anonymous" } else { "uid:0" };
        assert_eq!(who["principal"], principal);
    }
}

#[test]
fn a_configuration_that_makes_no_sense_is_named() {
    for (config, part) in [
        ("[limits]\nmax_map = 7\n", "max_map"),
        ("[limits]\nmax_maps = -1\n", "max_maps"),
        ("listen = [\"tcp:localhost\"]\n", "tcp:localhost"),
        ("runtime_dir = 7\n", "runtime_dir"),
        ("no toml", "bpfgated.toml"),
    ] {
        let output = Agent::builder().config(config).refuse();
        assert_eq!((output.code, output.stdout.as_str()), (Some(1), ""), "{output:#?}");
        assert!(output.stderr.contains(part), "{config:?}: {output:#?}");
        assert!(output.stderr.contains("bpfgated.toml"), "{config:?}: {output:#?}");
    }
    let output = Agent::builder().flag("--no-such-flag").refuse();
    assert_eq!(output.code, Some(2), "{output:#?}");
    let missing = Agent::builder().flag("--config").flag("/nonexistent.toml").refuse();
    assert!(missing.refusal(1).contains("/nonexistent.toml"), "{missing:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer() {
    let agent = Agent::spawn();
    let channel = agent.client().await.channel();
    let services =
        ["bpfgate.v1.MapService", "bpfgate.v1.ProgramService", "bpfgate.v1.AgentService"];
    let mut health = HealthClient::new(channel.clone());
    for service in services.into_iter().chain([""]) {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = HealthCheckRequest { service: "bpfgate.v1.NoService".into() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);

    let ask =
        |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let asked = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("bpfgate.v1.Map".into())),
        ask(MessageRequest::FileContainingSymbol("bpfgate.v1.NoSuchThing".into())),
    ]);
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers = reflection.server_reflection_info(asked).await.unwrap().into_inner();
    let first = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = first else { panic!("{first:?}") };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    let own = services.into_iter().chain(["grpc.health.v1.Health"]);
    assert!(own.into_iter().all(|name| names.iter().any(|n| n == name)), "{names:?}");
    let second = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(second, Some(MessageResponse::FileDescriptorResponse(_))), "{second:?}");
    let third = answers.message().await;
    assert!(
        matches!(&third, Err(status) if status.code() == Code::NotFound)
            || matches!(&third, Ok(Some(answer)) if matches!(
                answer.message_response,
                Some(MessageResponse::ErrorResponse(_))
            )),
        "{third:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_tells_who_it_is_and_who_calls() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let about = client.agent().get().await.unwrap();
    let kernel = |name| std::fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).unwrap();
    assert_eq!(about.kernel, kernel("osrelease").trim());
    assert_eq!(about.boot_id, kernel("random/boot_id").trim());
    assert_eq!(about.hostname, kernel("hostname").trim());
    assert!(about.builtins.contains(&"proto-counters".to_owned()), "{:?}", about.builtins);
    assert!(about.possible_cpus >= 1 && about.started_at.is_some());
    let limits = about.limits.unwrap();
    assert_eq!((limits.max_object_bytes, limits.max_message_bytes), (64 << 20, 16 << 20));
    let who = client.agent().whoami().await.unwrap();
    assert_eq!((who.principal.as_str(), who.transport.as_str()), ("uid:0", "unix"));
    assert!(who.aliases.contains(&"user:root".to_owned()), "{who:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_in_the_kernel_when_they_are_acknowledged() {
    let mut agent = Agent::spawn();
    let client = agent.client().await;
    let id = NewMap::hash("m").make(&client).await.id;
    let pin = agent.bpffs().join("kept");
    bpftool::json(&["map", "pin", "id", &id.to_string(), pin.to_str().unwrap()]);
    agent.checkpoint();
    client.maps().update("m", [1; 4], [7; 8], UpdateMode::Any).await.unwrap();
    agent.signal(Signal::KILL);
    agent.wait(SOON).unwrap();
    let found = bpftool::lookup(id, &[1; 4]).unwrap();
    std::fs::remove_file(pin).unwrap();
    assert_eq!(found.values, [[7; 8]]);
}
