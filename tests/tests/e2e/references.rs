//! Slots that lead to maps, programs and cgroups, by name: that they lead there, and what is
//! refused.

use bpfgate_client::v1::{MapType, Reference};
use bpfgate_client::{Client, Code, CpuMode, UpdateMode};
use bpfgate_tests::bpftool::{self, PinnedMap};
use bpfgate_tests::calls::{attach, load, number};
use bpfgate_tests::hooks::exchange;
use bpfgate_tests::kernel::{Id, Kind};
use bpfgate_tests::targets::{raw_tracepoint, socket};
use bpfgate_tests::{Agent, Cgroup, Feature, NewMap, SOON, elf, refused, require, within};
use serde_json::json;

/// `enum place` in `references.bpf.c`.
const ENTERED: u32 = 0;
const LANDED: u32 = 1;
const IN_CGROUP: u32 = 4;

fn slot(index: u32) -> [u8; 4] {
    index.to_ne_bytes()
}

async fn point(client: &Client, map: &str, index: u32, to: Reference) {
    let updated = client.maps().update(map, slot(index), to.clone(), UpdateMode::Any).await;
    updated.unwrap_or_else(|error| panic!("{map}[{index}] to {to}: {error}"));
}

async fn leads_to(client: &Client, map: &str, index: u32) -> Reference {
    client.maps().lookup_reference(map, slot(index)).await.expect("a slot that leads somewhere")
}

/// Whatever a slot leads to, bytes are no way to say it.
async fn assert_bytes_are_refused(client: &Client, map: &str, form: &str) {
    for value in [vec![0; 4], vec![5, 0, 0, 0]] {
        let update = client.maps().update(map, slot(0), value, UpdateMode::Any).await;
        let error = refused(update, Code::FailedPrecondition, &[map, "reference", form]);
        assert_eq!(error.reason.as_deref(), Some("NEEDS_REFERENCE"));
    }
    let typed = client.maps().update(map, slot(0), json!(5), UpdateMode::Any).await;
    refused(typed, Code::FailedPrecondition, &[map, "reference"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_call_lands_where_its_slot_leads() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let object = load(&client, "refs", elf::REFERENCES).await;
    attach(&client, "refs/enter", socket("lo")).await;
    // A packet socket sees what loopback sends and what it receives.
    let fire = || agent.netns().within(|| exchange(5));
    let hits = async || {
        (number(&client, "refs/hits", ENTERED).await, number(&client, "refs/hits", LANDED).await)
    };
    fire();
    assert_eq!(hits().await, (10, 0));

    point(&client, "refs/jumps", 1, Reference::program("refs/land")).await;
    fire();
    assert_eq!(hits().await, (10, 10));
    assert_eq!(leads_to(&client, "refs/jumps", 1).await, Reference::program("refs/land"));
    let id = object.programs.iter().find(|p| p.name == "refs/land").unwrap().id;
    let map = maps.get("refs/jumps").await.unwrap();
    let theirs = bpftool::lookup(map.id, &slot(1)).unwrap();
    assert_eq!(theirs.values, [slot(id)]);
    assert_eq!(maps.lookup("refs/jumps", slot(1), CpuMode::Each).await.unwrap(), slot(id)[..]);

    maps.delete_entry("refs/jumps", slot(1)).await.unwrap();
    fire();
    assert_eq!(hits().await, (20, 10));
    refused(maps.delete_entry("refs/jumps", slot(1)).await, Code::NotFound, &["refs/jumps"]);
    refused(maps.lookup_reference("refs/jumps", slot(1)).await, Code::NotFound, &["refs/jumps"]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_program_for_a_slot_is_refused() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "refs", elf::REFERENCES).await;
    assert_bytes_are_refused(&client, "refs/jumps", "OBJECT/PROGRAM").await;
    let update = async |index: u32, to: Reference, mode| {
        client.maps().update("refs/jumps", slot(index), to, mode).await
    };
    for (to, code, words) in [
        (Reference::program("refs/nobody"), Code::NotFound, &["refs/nobody", "land"][..]),
        (Reference::program("nobody/land"), Code::NotFound, &["nobody"]),
        (Reference::program("id:7"), Code::InvalidArgument, &["OBJECT/PROGRAM"]),
        (Reference::map("refs/hits"), Code::InvalidArgument, &["a map", "OBJECT/PROGRAM"]),
        (Reference::default(), Code::InvalidArgument, &["reference"]),
        // Others of the map's programs are socket filters.
        (Reference::program("refs/forward"), Code::InvalidArgument, &["refs/forward", "type"]),
    ] {
        refused(update(0, to, UpdateMode::Any).await, code, words);
    }
    let land = || Reference::program("refs/land");
    refused(update(4, land(), UpdateMode::Any).await, Code::OutOfRange, &["4 entries"]);
    refused(update(0, land(), UpdateMode::Noexist).await, Code::InvalidArgument, &["ANY"]);
    let plain = client.maps().update("refs/hits", slot(0), land(), UpdateMode::Any).await;
    refused(plain, Code::InvalidArgument, &["refs/hits", "plain bytes"]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_outlives_its_object_in_a_slot() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    load(&client, "refs", elf::REFERENCES).await;
    let other = load(&client, "other", elf::REFERENCES).await;
    let id = other.programs.iter().find(|p| p.name == "other/land").unwrap().id;
    point(&client, "refs/jumps", 3, Reference::program("other/land")).await;
    client.objects().unload("other").await.unwrap();
    // Nobody's any more, and yet there.
    let expected = Reference::program(format!("id:{id}"));
    assert_eq!(leads_to(&client, "refs/jumps", 3).await, expected);
    assert!(Id(Kind::Program, id).exists());
    client.maps().delete_entry("refs/jumps", slot(3)).await.unwrap();
    assert!(within(SOON, || !Id(Kind::Program, id).exists()));
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_reads_the_inner_map_that_a_key_leads_to() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    load(&client, "refs", elf::REFERENCES).await;
    let one = NewMap::array("one").entries(1).make(&client).await;
    let two = NewMap::array("two").entries(1).make(&client).await;
    attach(&client, "refs/tally", socket("lo")).await;
    let fire = || agent.netns().within(|| exchange(5));
    fire();

    point(&client, "refs/tables", 7, Reference::map("one")).await;
    fire();
    point(&client, "refs/tables", 7, Reference::map(format!("id:{}", two.id))).await;
    fire();
    fire();
    assert_eq!((number(&client, "one", 0).await, number(&client, "two", 0).await), (10, 20));

    // By its name, whatever it was named by.
    assert_eq!(leads_to(&client, "refs/tables", 7).await, Reference::map("two"));
    point(&client, "refs/tables", 8, Reference::map("one")).await;
    let outer = maps.get("refs/tables").await.unwrap();
    let inner: Vec<_> = bpftool::dump(outer.id).into_iter().map(|entry| entry.values).collect();
    assert_eq!(inner, [[slot(two.id)], [slot(one.id)]]);

    maps.delete_entry("refs/tables", slot(7)).await.unwrap();
    fire();
    assert_eq!(number(&client, "two", 0).await, 20);
    refused(maps.lookup_reference("refs/tables", slot(7)).await, Code::NotFound, &["tables"]);
    let there = maps.update("refs/tables", slot(8), Reference::map("two"), UpdateMode::Noexist);
    refused(there.await, Code::AlreadyExists, &["refs/tables"]);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_map_that_differs_is_told_in_what() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let template = NewMap::array("t").entries(4).request().spec.unwrap();
    let mut request = NewMap::new("outer", MapType::ArrayOfMaps).sizes(4, 4).request();
    request.spec.as_mut().unwrap().inner = Some(Box::new(template));
    let outer = maps.create(request).await.unwrap();
    let told = outer.spec.unwrap().inner.expect("what inner maps look like");
    assert_eq!((told.r#type, told.max_entries), (MapType::Array.into(), 4));

    assert_bytes_are_refused(&client, "outer", "OBJECT/MAP").await;
    NewMap::array("good").entries(4).make(&client).await;
    point(&client, "outer", 0, Reference::map("good")).await;
    assert_eq!(leads_to(&client, "outer", 0).await, Reference::map("good"));
    NewMap::hash("type").entries(4).make(&client).await;
    NewMap::array("size").entries(4).sizes(4, 16).make(&client).await;
    NewMap::array("entries").entries(5).make(&client).await;
    NewMap::array("flags").entries(4).flags(1 << 10).make(&client).await;
    for (inner, word) in [
        ("type", "is a hash"),
        ("size", "value_size is 16"),
        ("entries", "max_entries is 5"),
        ("flags", "flags is 1024"),
    ] {
        let update = maps.update("outer", slot(0), Reference::map(inner), UpdateMode::Any).await;
        let error = refused(update, Code::InvalidArgument, &["outer", inner, word]);
        assert_eq!(error.reason.as_deref(), Some("UNFIT_REFERENCE"));
    }
    let nobody = maps.update("outer", slot(0), Reference::map("nobody"), UpdateMode::Any).await;
    refused(nobody, Code::NotFound, &["nobody"]);
    // Programs could write through ours what we may only read.
    let arguments = ["type", "array", "key", "4", "value", "8", "entries", "4", "name", "theirs"];
    let theirs = PinnedMap::create(agent.bpffs(), &arguments);
    let to = Reference::map(format!("id:{}", theirs.id));
    let update = maps.update("outer", slot(0), to, UpdateMode::Any).await;
    refused(update, Code::PermissionDenied, &["only be read"]);
    drop(theirs);
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_knows_the_cgroup_that_a_slot_leads_to() {
    require!(Feature::CgroupV2);
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    load(&client, "refs", elf::REFERENCES).await;
    let (inside, outside) = (Cgroup::new("inside"), Cgroup::new("outside"));
    attach(&client, "refs/in_group", raw_tracepoint("sys_enter")).await;
    point(&client, "refs/groups", 1, Reference::cgroup(inside.path())).await;
    outside.datagrams(agent.netns(), 1);
    assert_eq!(number(&client, "refs/hits", IN_CGROUP).await, 0);
    inside.datagrams(agent.netns(), 1);
    let hits = number(&client, "refs/hits", IN_CGROUP).await;
    assert!(hits > 0);
    maps.delete_entry("refs/groups", slot(1)).await.unwrap();
    inside.datagrams(agent.netns(), 1);
    assert_eq!(number(&client, "refs/hits", IN_CGROUP).await, hits);

    // What a slot holds the kernel does not tell.
    let lookup = maps.lookup_reference("refs/groups", slot(1)).await;
    refused(lookup, Code::Unimplemented, &["refs/groups", "lookup"]);
    refused(maps.delete_entry("refs/groups", slot(1)).await, Code::NotFound, &["refs/groups"]);
    assert_bytes_are_refused(&client, "refs/groups", "cgroup").await;
    for (path, code) in [
        ("/sys/fs/cgroup/unified/no-such-group", Code::NotFound),
        ("relative", Code::InvalidArgument),
        ("/proc", Code::InvalidArgument),
    ] {
        let update = maps.update("refs/groups", slot(0), Reference::cgroup(path), UpdateMode::Any);
        refused(update.await, code, &[path]);
    }
    drop(client);
    agent.stop();
}
