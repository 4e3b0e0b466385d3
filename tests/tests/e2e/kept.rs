//! Maps whose entries only programs make: their users read them, and change what there is.

use bpfgate_client::v1::{GlobalValue, global_value};
use bpfgate_client::{Client, Code, CpuMode, UpdateMode};
use bpfgate_tests::calls::{attach, entries, header, load};
use bpfgate_tests::hooks::getppid;
use bpfgate_tests::targets::{cgroup, raw_tracepoint};
use bpfgate_tests::{Agent, Cgroup, Feature, bpftool, elf, refused, require};

fn number(value: &[u8]) -> u64 {
    u64::from_ne_bytes(value.try_into().expect("8 bytes"))
}

async fn id(client: &Client, map: &str) -> u32 {
    client.maps().get(map).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cgroups_storage_is_read_and_changed_where_a_program_made_it() {
    require!(Feature::CgroupV2);
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    load(&client, "kept", elf::KEPT).await;
    let group = Cgroup::new("kept");
    let link = attach(&client, "kept/counts", cgroup(group.path())).await;
    group.datagrams(agent.netns(), 5);
    for map in ["kept/by_cgroup", "kept/by_cgroup_cpu"] {
        let all = entries(&client, map).await;
        let [(key, value)] = all.as_slice() else { panic!("{map}: {all:?}") };
        assert_eq!(number(value), 5, "{map}");
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(group.path()).unwrap());
        assert_eq!(number(&key[..8]), inode, "{map}");
        let theirs = bpftool::lookup(id(&client, map).await, key).unwrap();
        assert_eq!(theirs.values.iter().map(|value| number(value)).sum::<u64>(), 5);

        let key = key.clone();
        let seven = 7_u64.to_ne_bytes();
        maps.update(map, key.clone(), seven, UpdateMode::Exist).await.unwrap();
        let each = maps.lookup(map, key.clone(), CpuMode::Each).await.unwrap();
        assert!(each.chunks(8).all(|value| value == seven), "{map}: {each:?}");
        let mut nobody = key.clone();
        nobody[0] ^= 0xff;
        let made = maps.update(map, nobody.clone(), seven, UpdateMode::Any).await;
        refused(made, Code::NotFound, &[map]);
        refused(maps.lookup(map, nobody, CpuMode::Each).await, Code::NotFound, &[map]);
        refused(maps.delete_entry(map, key).await, Code::Unimplemented, &[map, "delete"]);
    }
    client.links().detach(link).await.unwrap();
    drop(client);
    agent.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn stacks_are_read_and_removed() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let mut header = header("kept");
    let mut name = b"kept-stack".to_vec();
    name.resize(16, 0);
    let name = GlobalValue { value: Some(global_value::Value::Raw(name.into())) };
    header.globals.insert("watched".to_owned(), name);
    client.objects().load_bytes(header, elf::KEPT).await.expect("it loads");
    let link = attach(&client, "kept/takes_stack", raw_tracepoint("sys_enter")).await;
    getppid("kept-stack", 10);
    client.links().detach(link).await.unwrap();

    let all = entries(&client, "kept/stacks").await;
    assert!(!all.is_empty());
    let map = id(&client, "kept/stacks").await;
    for (key, value) in &all {
        let first = number(&value[..8]);
        assert!(first > 1 << 63, "no address of the kernel: {first:#x}");
        assert_eq!(bpftool::lookup(map, key).unwrap().values, std::slice::from_ref(value));
        let read = maps.lookup("kept/stacks", key.clone(), CpuMode::Each).await.unwrap();
        assert_eq!(read, value[..]);
        let update = maps.update("kept/stacks", key.clone(), value.clone(), UpdateMode::Any).await;
        refused(update, Code::Unimplemented, &["stack_trace", "lookup"]);
        maps.delete_entry("kept/stacks", key.clone()).await.unwrap();
        let gone = maps.delete_entry("kept/stacks", key.clone()).await;
        refused(gone, Code::NotFound, &["kept/stacks"]);
    }
    assert!(entries(&client, "kept/stacks").await.is_empty());
    drop(client);
    agent.stop();
}
