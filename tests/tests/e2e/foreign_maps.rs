//! Maps that others made: found by id and by pin below the agent's bpffs, nowhere else, and only
//! ever read.

use std::os::unix::fs::symlink;

use bpfgate_client::v1::LoadObjectHeader;
use bpfgate_client::{Code, CpuMode, IterateOptions, UpdateMode};
use bpfgate_tests::bpftool::{self, PinnedMap};
use bpfgate_tests::{Agent, refused};

const HASH: [&str; 10] =
    ["type", "hash", "key", "4", "value", "8", "entries", "4", "name", "theirs"];

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_found_below_the_agents_bpffs_only() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let elsewhere = Agent::spawn();
    let theirs = PinnedMap::create(elsewhere.bpffs(), &HASH);
    let ours = PinnedMap::create(agent.bpffs(), &HASH);
    let outside = theirs.path.file_name().unwrap().to_str().unwrap();
    let sibling = elsewhere.bpffs().file_name().unwrap().to_str().unwrap();
    let link = agent.bpffs().join("link");
    symlink(&theirs.path, &link).unwrap();
    let near = agent.bpffs().join("near");
    symlink(ours.file_name(), &near).unwrap();

    let found = client.maps().get(&format!("pin:{}", ours.file_name())).await.unwrap();
    assert_eq!(found.id, ours.id);
    let deeper = format!("{}/deeper", ours.file_name());
    let (through, whole) = (format!("../{sibling}/{outside}"), theirs.path.to_str().unwrap());
    let (long, deep) = ("x".repeat(300), "x/".repeat(4000));
    for (path, problem) in [
        ("../../etc", "leads out of the agent's bpffs"),
        ("../../../etc/passwd", "leads out"),
        ("/etc/passwd", "leads out"),
        (whole, "leads out"),
        (through.as_str(), "leads out"),
        ("link", "symbolic link"),
        ("near", "symbolic link"),
        (".", "no pin of a map"),
        (long.as_str(), "longer than"),
        (deep.as_str(), "longer than"),
        ("nul\0byte", "is not a path"),
    ] {
        let reference = format!("pin:{path}");
        let parts = [&reference[..reference.len().min(30)], problem];
        let error = refused(client.maps().get(&reference).await, Code::InvalidArgument, &parts);
        assert_eq!(error.reason.as_deref(), Some("BAD_PIN"));
    }
    for path in ["absent", "absent/deeper", &deeper] {
        let reference = format!("pin:{path}");
        refused(client.maps().get(&reference).await, Code::NotFound, &[&reference]);
    }
    std::fs::remove_file(link).unwrap();
    std::fs::remove_file(near).unwrap();
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_program_is_no_map() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let (name, builtin) = ("pc".to_owned(), "proto-counters".to_owned());
    let header = LoadObjectHeader { name, builtin, ..LoadObjectHeader::default() };
    let loaded = client.objects().load_builtin(header).await.unwrap();
    let program = loaded.object.unwrap().programs[0].id.to_string();
    let pin = agent.bpffs().join("program");
    bpftool::json(&["prog", "pin", "id", &program, pin.to_str().unwrap()]);
    let got = client.maps().get("pin:program").await;
    std::fs::remove_file(pin).unwrap();
    refused(got, Code::InvalidArgument, &["pin:program is pinned, but is no map"]);
    client.objects().unload("pc").await.unwrap();
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_map_is_only_ever_read() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let theirs = PinnedMap::create(agent.bpffs(), &HASH);
    bpftool::update(theirs.id, &[1; 4], &[1; 8], "any");
    for reference in [format!("id:{}", theirs.id), format!("pin:{}", theirs.file_name())] {
        assert_eq!(maps.lookup(&reference, [1; 4], CpuMode::Each).await.unwrap(), [1; 8][..]);
        let parts = [reference.as_str(), "only be read"];
        for mode in [UpdateMode::Any, UpdateMode::Exist, UpdateMode::Noexist] {
            let update = maps.update(&reference, [1; 4], [2; 8], mode).await;
            let error = refused(update, Code::PermissionDenied, &parts);
            assert_eq!(error.reason.as_deref(), Some("READ_ONLY"));
        }
        refused(maps.delete_entry(&reference, [1; 4]).await, Code::PermissionDenied, &parts);
        refused(maps.delete(&reference).await, Code::InvalidArgument, &["map name"]);
        let mut stream = maps.iterate(&reference, IterateOptions::default()).await.unwrap();
        assert_eq!(stream.next_chunk().await.unwrap().unwrap().len(), 1);
    }
    assert_eq!(bpftool::lookup(theirs.id, &[1; 4]).unwrap().values, [[1; 8]]);
    drop(theirs);
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_is_gone_is_not_found() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let theirs = PinnedMap::create(agent.bpffs(), &HASH);
    let by_id = format!("id:{}", theirs.id);
    let by_pin = format!("pin:{}", theirs.file_name());
    client.maps().get(&by_id).await.unwrap();
    drop(theirs);
    refused(client.maps().get(&by_pin).await, Code::NotFound, &[&by_pin]);
    let mut last = client.maps().get(&by_id).await;
    for _ in 0..100 {
        if last.is_err() {
            break;
        }
        // The kernel frees it in its own time.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        last = client.maps().get(&by_id).await;
    }
    refused(last, Code::NotFound, &[&by_id]);
}
