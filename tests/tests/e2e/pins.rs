//! Pins: made below the agent's bpffs and nowhere else, gone with their map, left by the agent.

use std::fs;
use std::os::unix::fs::symlink;

use bpfgate_client::v1::{LoadObjectHeader, MapType};
use bpfgate_client::{Code, CpuMode, UpdateMode};
use bpfgate_tests::bpftool::{self, PinnedMap};
use bpfgate_tests::{Agent, NewMap, SOON, refused};

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_map_is_found_by_others_until_it_is_unpinned() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let made = NewMap::hash("m").make(&client).await;
    for path in ["top", "a/b/c", "a/other"] {
        let whole = maps.pin("m", path).await.unwrap();
        assert_eq!(whole, agent.bpffs().join(path).to_str().unwrap());
        assert_eq!(bpftool::json(&["map", "show", "pinned", &whole])["id"], made.id);
        assert_eq!(maps.get(&format!("pin:{path}")).await.unwrap().name, "m");
    }
    assert_eq!(maps.get("m").await.unwrap().pins, ["a/b/c", "a/other", "top"]);
    // An owned map is written under any of its names.
    // From the host's root too, if it leads there.
    let from_root = agent.bpffs().join("top").display().to_string();
    assert_eq!(maps.get(&format!("pin:{from_root}")).await.unwrap().id, made.id);
    agent.cli(&["map", "unpin", &from_root]).ok();
    assert_eq!(maps.pin("m", &from_root).await.unwrap(), from_root);
    maps.update("pin:a/b/c", [1; 4], [2; 8], UpdateMode::Any).await.unwrap();
    assert_eq!(maps.lookup("m", [1; 4], CpuMode::Each).await.unwrap()[..], [2; 8]);

    for path in ["a/b/c", "top"] {
        maps.unpin(path).await.unwrap();
        refused(maps.unpin(path).await, Code::NotFound, &[path]);
    }
    assert_eq!(maps.get("m").await.unwrap().pins, ["a/other"]);
    assert!(!agent.bpffs().join("a/b").exists(), "a directory made for a pin goes with it");
    assert!(agent.bpffs().join("a/other").exists());
    maps.unpin("a/other").await.unwrap();
    assert_eq!(fs::read_dir(agent.bpffs()).unwrap().count(), 0);
    maps.delete("m").await.unwrap();
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_cannot_be_a_pin_says_why() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::hash("m").make(&client).await;
    let there = agent.bpffs();
    fs::create_dir(there.join("directory")).unwrap();
    symlink("directory", there.join("link")).unwrap();
    symlink("nowhere", there.join("dangling")).unwrap();
    let foreign = PinnedMap::create(
        there,
        &["type", "hash", "key", "4", "value", "8", "entries", "4", "name", "theirs"],
    );
    let below_a_pin = format!("{}/below", foreign.file_name());
    let (long, deep) = ("x".repeat(300), "x/".repeat(4000) + "x");
    for (path, problem) in [
        ("", "without a name"),
        ("/tmp/m", "is not below the agent's bpffs, /"),
        ("a//b", "without a name"),
        ("..", "takes no names with dots"),
        ("../m", "takes no names with dots"),
        ("directory/../m", "takes no names with dots"),
        ("m.v1", "takes no names with dots"),
        ("nul\0byte", "cannot be printed"),
        (long.as_str(), "too long"),
        (deep.as_str(), "too long"),
        ("link/m", "no directory"),
        (below_a_pin.as_str(), "no directory"),
    ] {
        let error = refused(maps.pin("m", path).await, Code::InvalidArgument, &[problem]);
        assert_eq!(error.field_violations[0].field, "path", "{path:?}");
    }
    for taken in ["directory", "link", "dangling", foreign.file_name()] {
        let error = refused(maps.pin("m", taken).await, Code::AlreadyExists, &["pin", taken]);
        assert_eq!(error.reason.as_deref(), Some("NAME_TAKEN"));
    }
    // Nothing was made on the way to a refusal.
    refused(maps.pin("m", "new/x/link/m.v1").await, Code::InvalidArgument, &["dots"]);
    refused(maps.pin("absent", "new/x").await, Code::NotFound, &["no map absent"]);
    assert!(!there.join("new").exists());

    let theirs = format!("pin:{}", foreign.file_name());
    let error = maps.pin(&theirs, "mine").await;
    refused(error, Code::PermissionDenied, &["not owned by this agent"]);
    let error = maps.unpin(foreign.file_name()).await;
    let error = refused(error, Code::FailedPrecondition, &[foreign.file_name(), "not own"]);
    assert_eq!(error.reason.as_deref(), Some("NOT_OUR_PIN"));
    refused(maps.unpin("../x").await, Code::InvalidArgument, &["dots"]);
    assert!(maps.get("m").await.unwrap().pins.is_empty());
    for link in ["link", "dangling"] {
        fs::remove_file(there.join(link)).unwrap();
    }
    fs::remove_dir(there.join("directory")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_go_with_their_map_and_with_their_object() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::new("queue", MapType::Queue).sizes(0, 8).make(&client).await;
    maps.pin("queue", "q/1").await.unwrap();
    maps.pin("queue", "q/2").await.unwrap();
    // What others put in a pin's place is theirs.
    fs::remove_file(agent.bpffs().join("q/2")).unwrap();
    fs::create_dir(agent.bpffs().join("q/2")).unwrap();
    maps.delete("queue").await.unwrap();
    assert!(!agent.bpffs().join("q/1").exists() && agent.bpffs().join("q/2").exists());
    fs::remove_dir_all(agent.bpffs().join("q")).unwrap();

    let (name, builtin) = ("pc".to_owned(), "proto-counters".to_owned());
    let header = LoadObjectHeader { name, builtin, ..LoadObjectHeader::default() };
    client.objects().load_builtin(header).await.unwrap();
    maps.pin("pc/stats", "stats").await.unwrap();
    client.objects().unload("pc").await.unwrap();
    assert!(!agent.bpffs().join("stats").exists());
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_stay_when_the_agent_stops() {
    let mut agent = Agent::spawn();
    let client = agent.client().await;
    let id = NewMap::hash("m").make(&client).await.id;
    client.maps().update("m", [1; 4], [2; 8], UpdateMode::Any).await.unwrap();
    let whole = client.maps().pin("m", "kept/m").await.unwrap();
    agent.signal(rustix::process::Signal::TERM);
    assert!(agent.wait(SOON).unwrap().success());
    let log = agent.log();
    let told = |line: &str| line.contains("a pin stays") && line.contains(&whole);
    assert!(log.lines().any(told), "{log}");
    assert_eq!(bpftool::json(&["map", "show", "pinned", &whole])["id"], id);
    assert_eq!(bpftool::lookup(id, &[1; 4]).unwrap().values, [[2; 8]]);
    fs::remove_dir_all(agent.bpffs().join("kept")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_have_a_limit() {
    let agent = Agent::builder().config("[limits]\nmax_pins = 2\n").spawn();
    let client = agent.client().await;
    let maps = client.maps();
    NewMap::hash("m").make(&client).await;
    maps.pin("m", "a").await.unwrap();
    maps.pin("m", "b").await.unwrap();
    let error = refused(maps.pin("m", "c").await, Code::ResourceExhausted, &["limit of 2 pins"]);
    assert_eq!(error.reason.as_deref(), Some("LIMIT_REACHED"));
    maps.unpin("a").await.unwrap();
    maps.pin("m", "c").await.unwrap();
    maps.delete("m").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bpffs_there_are_no_pins() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().to_str().unwrap();
    let agent = Agent::builder().bpffs(elsewhere).spawn();
    let client = agent.client().await;
    NewMap::hash("m").make(&client).await;
    let error = client.maps().pin("m", "a/b").await;
    refused(error, Code::FailedPrecondition, &[elsewhere, "no bpffs"]);
    assert!(!directory.path().join("a").exists());
}
