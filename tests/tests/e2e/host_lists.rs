//! Lists of the whole host: what others made, who holds it and where it is pinned.

use bpfgate_client::v1::{ListProgramsRequest, Ownership};
use bpfgate_client::{Client, Code, MapFilter};
use bpfgate_tests::bpftool::{self, PinnedMap};
use bpfgate_tests::calls::{header, try_load};
use bpfgate_tests::{Agent, elf, refused};

const HASH: [&str; 10] =
    ["type", "hash", "key", "4", "value", "8", "entries", "4", "name", "theirs_only"];

async fn programs(client: &Client, all: bool) -> Vec<bpfgate_client::v1::ListedProgram> {
    let request = ListProgramsRequest { all, ..ListProgramsRequest::default() };
    client.objects().programs(request).await.unwrap().programs
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_of_others_are_listed_with_their_pins_and_holders() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let theirs = PinnedMap::create(agent.bpffs(), &HASH);
    try_load(&client, header("o"), elf::SHARED).await.unwrap();

    let filter = || MapFilter { names: vec!["theirs_*".to_owned()], ..MapFilter::default() };
    assert_eq!(client.maps().list(filter()).await.unwrap(), []);
    let answer = client.maps().list_all(filter()).await.unwrap();
    assert_eq!(answer.holders_hidden, "");
    let there = answer.maps.iter().find(|map| map.id == theirs.id).unwrap();
    assert_eq!((there.name.as_str(), there.kernel_name.as_str()), ("", "theirs_only"));
    assert_eq!((there.ownership(), &there.holders[..]), (Ownership::Foreign, &[][..]));
    assert_eq!(there.pins, [theirs.file_name()]);
    let known = bpftool::json(&["map", "show", "id", &theirs.id.to_string()]);
    assert_eq!(known["bytes_memlock"], there.memory_bytes);

    let all = client.maps().list_all(MapFilter::default()).await.unwrap().maps;
    let own = all.iter().find(|map| map.name == "o/packets").unwrap();
    assert_eq!(own.ownership(), Ownership::Owned);
    let holder = own.holders.iter().find(|holder| holder.pid == agent.pid()).unwrap();
    assert_eq!(holder.command, "bpfgated");
    let said = agent.cli(&["map", "list", "--all", "theirs_*"]).ok();
    assert!(said.stdout.contains(theirs.file_name()), "{said:?}");
    drop(theirs);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_listed_as_bpftool_lists_them() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let other = Agent::spawn();
    for (agent, object) in [(&agent, "ours"), (&other, "theirs")] {
        try_load(&agent.client().await, header(object), elf::SHARED).await.unwrap();
    }
    let own = programs(&client, false).await;
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].program.as_ref().unwrap().name, "ours/count");
    assert_eq!(own[0].pins.len() + own[0].holders.len(), 0);

    let theirs = programs(&other.client().await, false).await.remove(0).program.unwrap();
    let all = programs(&client, true).await;
    let listed = |id| all.iter().find(|it| it.program.as_ref().is_some_and(|it| it.id == id));
    let seen = listed(theirs.id).unwrap();
    assert_eq!(seen.program.as_ref().unwrap().name, "");
    assert!(seen.holders.iter().any(|holder| holder.pid == other.pid()), "{seen:?}");
    let known = bpftool::json(&["prog", "show", "id", &theirs.id.to_string()]);
    assert_eq!(known["name"], seen.kernel_name);
    assert_eq!(known["map_ids"], serde_json::json!(seen.map_ids));
    assert_eq!(known["bytes_memlock"], seen.memory_bytes);
    assert_eq!(known["uid"], seen.created_by_uid);
    let loaded = seen.loaded_at.unwrap().seconds;
    assert!((loaded - known["loaded_at"].as_i64().unwrap()).abs() <= 1, "{loaded} {known}");

    let types = vec!["xpd".to_owned()];
    let wrong = ListProgramsRequest { types, ..ListProgramsRequest::default() };
    refused(client.objects().programs(wrong).await, Code::InvalidArgument, &["xpd", "xdp"]);
    let object = "absent".to_owned();
    let absent = ListProgramsRequest { object, ..ListProgramsRequest::default() };
    refused(client.objects().programs(absent).await, Code::NotFound, &["absent"]);
    let said = agent.cli(&["program", "list", "--all", "--type", "socket_filter"]).ok();
    assert!(said.stdout.contains(&theirs.id.to_string()), "{said:?}");
    agent.stop();
    other.stop();
}
