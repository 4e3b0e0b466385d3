//! Maps of every shape: flags, memory's place, inner maps, and what the agent says of a shape that
//! cannot be.

use bpfgate_client::v1::{MapSpec, MapType};
use bpfgate_client::{Code, CpuMode, UpdateMode};
use bpfgate_tests::fixture::{record, unsigned};
use bpfgate_tests::{Agent, NewMap, bpftool, refused};

fn hash_spec() -> MapSpec {
    MapSpec {
        r#type: MapType::Hash.into(),
        key_size: 8,
        value_size: 16,
        max_entries: 32,
        flags: 1,
        ..MapSpec::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn maps_of_maps_tell_what_their_maps_look_like() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    for (name, kind) in [("array", MapType::ArrayOfMaps), ("hash", MapType::HashOfMaps)] {
        let made = NewMap::new(name, kind).sizes(4, 4).inner(hash_spec()).make(&client).await;
        assert_eq!(made.spec.unwrap().inner, Some(Box::new(hash_spec())));
        let got = client.maps().get(name).await.unwrap();
        assert_eq!(got.spec.unwrap().inner, Some(Box::new(hash_spec())));
        assert_eq!(bpftool::map(got.id)["type"], format!("{name}_of_maps"));
    }
    for (spoil, parts) in [
        (MapSpec { key_size: 0, ..hash_spec() }, ["spec.inner", "key_size: 0"]),
        (MapSpec { max_entries: 0, ..hash_spec() }, ["spec.inner", "max_entries: 0"]),
        (MapSpec { map_extra: 1, ..hash_spec() }, ["spec.inner", "map_extra: 1"]),
        (
            MapSpec { inner: Some(Box::new(hash_spec())), ..hash_spec() },
            ["spec.inner.inner", "one level"],
        ),
    ] {
        let map = NewMap::new("bad", MapType::HashOfMaps).sizes(4, 4).inner(spoil);
        refused(client.maps().create(map.request()).await, Code::InvalidArgument, &parts);
    }
    let without = NewMap::new("bad", MapType::ArrayOfMaps).sizes(4, 4).request();
    refused(client.maps().create(without).await, Code::InvalidArgument, &["spec.inner", "missing"]);
    let with = NewMap::hash("bad").inner(hash_spec()).request();
    refused(client.maps().create(with).await, Code::InvalidArgument, &["spec.inner", "no maps"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_is_made_where_and_how_the_caller_says() {
    const BPF_F_NO_COMMON_LRU: u32 = 1 << 1;
    const BPF_F_NUMA_NODE: u32 = 1 << 2;
    const BPF_F_RDONLY_PROG: u32 = 1 << 7;
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    let agent = Agent::spawn();
    let client = agent.client().await;
    let placed = NewMap::hash("placed").numa_node(0).make(&client).await;
    let spec = placed.spec.unwrap();
    assert_eq!((spec.numa_node, spec.flags), (Some(0), BPF_F_NUMA_NODE));
    for (name, kind, flags) in [
        ("lru", MapType::LruHash, BPF_F_NO_COMMON_LRU),
        ("mapped", MapType::Array, BPF_F_MMAPABLE),
        ("constant", MapType::Hash, BPF_F_RDONLY_PROG),
        ("sparse", MapType::Hash, 1),
    ] {
        let made = NewMap::new(name, kind).flags(flags).make(&client).await;
        assert_eq!(bpftool::map(made.id)["flags"], flags, "{name}");
    }
    let filter = NewMap::new("filter", MapType::BloomFilter).sizes(0, 8).extra(3);
    assert_eq!(filter.make(&client).await.spec.unwrap().map_extra, 3);

    let nowhere = client.maps().create(NewMap::hash("n").numa_node(4096).request()).await;
    refused(nowhere, Code::InvalidArgument, &["map n"]);
    for (map, parts) in [
        (NewMap::new("b", MapType::LruHash).flags(1), ["spec.flags", "BPF_F_NO_PREALLOC (1)"]),
        (NewMap::new("b", MapType::PercpuHash).numa_node(0), ["spec.numa_node", "percpu_hash"]),
        (NewMap::hash("b").flags(3 << 3), ["spec.flags", "together"]),
        (NewMap::hash("b").flags(1 << 10), ["spec.flags", "BPF_F_MMAPABLE"]),
        (NewMap::hash("b").extra(7), ["spec.map_extra", "must be 0"]),
        (NewMap::new("b", MapType::BloomFilter).sizes(0, 8).extra(16), ["spec.map_extra", "15"]),
        (NewMap::new("b", MapType::Arena).sizes(0, 0), ["spec.flags", "BPF_F_MMAPABLE (1024)"]),
        (NewMap::new("b", MapType::StackTrace).sizes(4, 12), ["spec.value_size", "addresses"]),
        (NewMap::new("b", MapType::ProgArray), ["spec.value_size", "4 bytes"]),
        (NewMap::new("b", MapType::StructOps), ["spec.type", "struct_ops"]),
        (NewMap::new("b", MapType::CgroupStorage).sizes(8, 8), ["spec.max_entries", "must be 0"]),
    ] {
        refused(client.maps().create(map.request()).await, Code::InvalidArgument, &parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_type_is_charged_at_its_worst() {
    let agent = Agent::builder().config("[limits]\nmax_map_bytes = 1000000\n").spawn();
    let client = agent.client().await;
    let large_hash = MapSpec { max_entries: 100_000, ..hash_spec() };
    for map in [
        NewMap::hash("large").entries(20_000).flags(1),
        NewMap::new("large", MapType::LruPercpuHash).entries(20_000),
        NewMap::new("large", MapType::LpmTrie).entries(6_000),
        NewMap::new("large", MapType::Queue).sizes(0, 4096).entries(250),
        NewMap::new("large", MapType::BloomFilter).sizes(0, 8).entries(1 << 21),
        NewMap::new("large", MapType::StackTrace).sizes(4, 1016).entries(1000),
        NewMap::new("large", MapType::Ringbuf).sizes(0, 0).entries(1 << 20),
        NewMap::new("large", MapType::Arena).sizes(0, 0).entries(250).flags(1 << 10),
        NewMap::new("large", MapType::Cpumap).sizes(4, 4).entries(8),
        NewMap::new("large", MapType::HashOfMaps).sizes(4, 4).inner(large_hash),
        NewMap::new("large", MapType::Array).sizes(4, u32::MAX).entries(u32::MAX),
    ] {
        let request = map.request();
        let kind = request.spec.clone().unwrap().r#type();
        let refusal = client.maps().create(request).await;
        let error = refused(refusal, Code::ResourceExhausted, &["map large", "1000000"]);
        assert_eq!(error.reason.as_deref(), Some("TOO_LARGE"), "{kind:?}");
    }
    agent.assert_only_baseline();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_per_cpu_value_is_one_for_all_or_one_for_each_in_every_type() {
    let agent = Agent::spawn();
    let client = agent.client().await;
    let maps = client.maps();
    let cpus = client.agent().get().await.unwrap().possible_cpus as usize;
    let value = record("struct v", &[("bytes", unsigned(8)), ("packets", unsigned(4))]);
    let kinds = [MapType::PercpuArray, MapType::PercpuHash, MapType::LruPercpuHash];
    for (number, kind) in kinds.into_iter().enumerate() {
        let name = format!("percpu{number}");
        // 12 bytes take 16 on each CPU.
        let made = NewMap::new(&name, kind).value(value.clone()).make(&client).await;
        assert_eq!(made.value_stride as usize, 16 * cpus);
        let key = [1, 0, 0, 0];
        let read = |cpu| maps.lookup(&name, key, cpu);

        maps.update(&name, key, [7; 12], UpdateMode::Any).await.unwrap();
        let padded = [&[7; 12][..], &[0; 4]].concat();
        assert_eq!(read(CpuMode::Each).await.unwrap()[..], padded.repeat(cpus));
        let each = bpftool::lookup(made.id, &key).unwrap().values;
        assert_eq!(each, vec![vec![7; 12]; cpus], "{kind:?}");

        let own: Vec<u8> = (1..=cpus)
            .flat_map(|cpu| [vec![u8::try_from(cpu).unwrap(); 12], vec![0; 4]].concat())
            .collect();
        maps.update(&name, key, own.clone(), UpdateMode::Exist).await.unwrap();
        assert_eq!(read(CpuMode::Each).await.unwrap()[..], own);
        let each = bpftool::lookup(made.id, &key).unwrap().values;
        let want: Vec<Vec<u8>> = own.chunks(16).map(|one| one[..12].to_vec()).collect();
        assert_eq!(each, want, "{kind:?}");

        bpftool::update(made.id, &key, &[1; 12], "exist");
        // Its second number, of 32 bits, has 64 in the sum.
        refused(read(CpuMode::Sum).await, Code::FailedPrecondition, &[&name, "wide_sums"]);
        let sum = maps.wide_sums().lookup(&name, key, CpuMode::Sum).await.unwrap();
        let long = u64::from_ne_bytes([1; 8]) * cpus as u64;
        let short = u64::from(u32::from_ne_bytes([1; 4])) * cpus as u64;
        assert_eq!(sum[..], [long, short].map(u64::to_ne_bytes).concat());

        for length in [0, 8, 11, 13, 16, 12 * cpus, 16 * (cpus + 1)] {
            let wrong = maps.update(&name, key, vec![1; length], UpdateMode::Any).await;
            let error = refused(wrong, Code::InvalidArgument, &[&name, "CPUs"]);
            assert_eq!(error.reason.as_deref(), Some("VALUE_LENGTH"), "{length}");
        }
    }
}
