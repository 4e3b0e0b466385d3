//! The harness itself: that it finds what an agent leaves behind, and leaves nothing itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bpfgate_client::v1::{CreateMapRequest, MapSpec, MapType};
use bpfgate_tests::kernel::{Id, Kind};
use bpfgate_tests::{Agent, Feature, Netns, bpftool, require, within};

fn array(name: &str) -> CreateMapRequest {
    let spec = MapSpec {
        r#type: MapType::Array.into(),
        key_size: 4,
        value_size: 8,
        max_entries: 4,
        ..MapSpec::default()
    };
    CreateMapRequest { name: name.into(), spec: Some(spec), ..CreateMapRequest::default() }
}

#[test]
fn an_agent_starts_and_stops_and_leaves_nothing() {
    let agent = Agent::spawn();
    let (runtime_dir, directory) = (agent.runtime_dir().to_owned(), agent.directory().to_owned());
    let (bpffs, netns) =
        (agent.bpffs().to_owned(), Path::new("/run/netns").join(agent.netns().name()));
    assert!(runtime_dir.exists() && bpffs.exists() && netns.exists());
    agent.assert_only_baseline();
    agent.assert_no_connections();
    agent.stop();
    for path in [runtime_dir, directory, bpffs, netns] {
        assert!(!path.exists(), "{} is left", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_holds_is_seen() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let id = client.maps().create(array("seen")).await.unwrap().id;
    let held = agent.checkpoint();
    assert!(held.ids.contains(&Id(Kind::Map, id)), "{held:#?}");
    assert!(!held.is_only(agent.baseline()));
    client.maps().delete("seen").await.unwrap();
    agent.assert_only_baseline();
    drop(client);
    agent.assert_no_connections();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_outlives_its_agent_fails_the_test() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let id = client.maps().create(array("kept")).await.unwrap().id;
    let pin = Path::new("/sys/fs/bpf").join(format!("{}-kept", agent.netns().name()));
    bpftool::json(&["map", "pin", "id", &id.to_string(), pin.to_str().unwrap()]);
    drop(client);
    let failed = catch_unwind(AssertUnwindSafe(|| agent.stop())).unwrap_err();
    std::fs::remove_file(pin).unwrap();
    let said = failed.downcast_ref::<String>().unwrap();
    assert!(said.contains(&format!("[Id(Map, {id})]")), "{said}");
    assert!(within(bpfgate_tests::SOON, || !Id(Kind::Map, id).exists()));
}

#[test]
fn a_failed_test_leaves_no_process_and_no_namespace() {
    let mut seen = None;
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let agent = Agent::spawn();
        seen = Some((agent.pid(), agent.netns().name().to_owned()));
        panic!("as a failing test does");
    }));
    assert!(failed.is_err());
    let (pid, name) = seen.unwrap();
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
    assert!(!Path::new("/run/netns").join(name).exists());
}

#[test]
fn the_ends_of_a_cable_hear_each_other() {
    let (near, far) = (Netns::new(), Netns::new());
    let veth = near.veth(&far);
    near.ip(&["address", "add", "192.0.2.1/24", "dev", veth.near]);
    far.ip(&["address", "add", "192.0.2.2/24", "dev", veth.far]);
    let receiver = far.within(|| std::net::UdpSocket::bind("192.0.2.2:9").unwrap());
    let sender = near.within(|| std::net::UdpSocket::bind("192.0.2.1:0").unwrap());
    sender.send_to(b"hello", "192.0.2.2:9").unwrap();
    receiver.set_read_timeout(Some(bpfgate_tests::SOON)).unwrap();
    let mut heard = [0; 16];
    assert_eq!(receiver.recv(&mut heard).unwrap(), 5);
}

#[test]
fn a_feature_is_there_or_says_why_not() {
    let all = [
        Feature::Kprobe,
        Feature::Uprobe,
        Feature::Tracing,
        Feature::Lsm,
        Feature::Tcx,
        Feature::CgroupV2,
    ];
    for feature in all {
        if let Err(why) = feature.check() {
            assert!(why.len() > 10, "{feature}: {why:?}");
        }
    }
    require!(Feature::Kprobe);
    assert!(std::path::Path::new("/sys/bus/event_source/devices/kprobe/type").exists());
}
