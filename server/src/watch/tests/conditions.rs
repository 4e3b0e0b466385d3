//! What labels have to be, by their types and by names.

use bpfgate_proto::value::{
    Comparison, Condition, Display, Encoding, Field, Kind, Schema, SchemaSource, Type,
};

use super::fake::{FakeMap, all_of, hub};
use super::fold::Fold;
use crate::host_names::HostName;
use crate::watch::{LabelMatcher, WatchLimits};

fn integer(size: u32, encoding: Encoding, big_endian: bool) -> Type {
    let kind = Kind::Integer { encoding, big_endian, display: Display::Plain };
    Type { name: String::new(), size, kind }
}

/// Of a signed number, a port in network order, an address and a protocol.
fn flows(name: &str) -> FakeMap {
    let field = |name: &str, ty: Type, offset: u32| Field {
        name: name.to_owned(),
        ty,
        bit_offset: offset * 8,
        bit_size: 0,
    };
    let octets = Box::new(integer(1, Encoding::Unsigned, false));
    let kind = Kind::Array { element: octets, length: 4, display: Display::Ipv4 };
    let address = Type { name: String::new(), size: 4, kind };
    let fields = vec![
        field("nice", integer(1, Encoding::Signed, false), 0),
        field("proto", integer(1, Encoding::Unsigned, false), 1),
        field("port", integer(2, Encoding::Unsigned, true), 2),
        field("addr", address, 4),
    ];
    let kind = Kind::Record { is_union: false, fields };
    let key = Type { name: String::new(), size: 8, kind };
    FakeMap {
        key_size: 8,
        schema: Some(Schema { key: Some(key), value: None, source: SchemaSource::Btf }),
        host_names: vec![("proto".into(), HostName::Protocol)],
        ..FakeMap::hash(name)
    }
}

fn key(nice: i8, proto: u8, port: u16, addr: [u8; 4]) -> Vec<u8> {
    let port = port.to_be_bytes();
    [&[nice.cast_unsigned(), proto][..], &port, &addr].concat()
}

#[tokio::test(start_paused = true)]
async fn labels_are_compared_by_their_types_and_names() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(flows("m"));
    map.set_key(&key(-5, 6, 80, [10, 0, 0, 1]), &[1]);
    map.set_key(&key(3, 17, 443, [10, 1, 0, 1]), &[2]);
    map.set_key(&key(0, 1, 1024, [192, 168, 0, 1]), &[4]);
    let watch = |map: &str, label: &str, comparison, values: &[&str], networks: &[&str]| {
        let owned = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let condition =
            Condition::new(comparison, owned(values), Vec::new(), &owned(networks)).unwrap();
        let mut request = all_of(map);
        request.selectors[0].labels = vec![LabelMatcher { label: label.to_owned(), condition }];
        hub.watch(request)
    };
    for (label, comparison, values, networks, sum) in [
        ("nice", Comparison::Less, &["0"][..], &[][..], 1),
        ("nice", Comparison::AtLeast, &["0"], &[], 6),
        ("port", Comparison::Less, &["1024"], &[], 3),
        ("port", Comparison::AtMost, &["0x400"], &[], 7),
        ("port", Comparison::In, &["0x50", "443"], &[], 3),
        ("port", Comparison::NotIn, &["80"], &[], 6),
        ("addr", Comparison::In, &[], &["10.0.0.0/8"], 3),
        ("addr", Comparison::In, &["192.168.0.1"], &["10.0.0.0/16"], 5),
        ("addr", Comparison::NotIn, &[], &["10.0.0.0/8"], 4),
        ("addr", Comparison::Greater, &["10.0.255.255"], &[], 6),
        // By name, though the watch shows numbers.
        ("proto", Comparison::In, &["TCP", "icmp"], &[], 5),
        ("proto", Comparison::NotIn, &["UDP"], &[], 5),
        ("proto", Comparison::Less, &["UDP"], &[], 5),
        ("proto", Comparison::In, &["253"], &[], 0),
    ] {
        let mut watch = watch("m", label, comparison, values, networks).unwrap();
        let fold = Fold::until_sync(&mut watch).await;
        let said = format!("{label} {comparison:?} {values:?} {networks:?}");
        assert_eq!(fold.numbers().iter().sum::<u64>(), sum, "{said}");
    }
    for (label, comparison, values, networks, part) in [
        ("proto", Comparison::In, &["none-such"][..], &[][..], "nor is it a name"),
        ("port", Comparison::In, &["http"], &[], "label port of map m"),
        ("port", Comparison::In, &[], &["10.0.0.0/8"], "no address of 10.0.0.0/8"),
    ] {
        let said = watch("m", label, comparison, values, networks).err().unwrap().to_string();
        assert!(said.contains(part), "{said}");
        // A pattern takes what there is.
        let mut watch = watch("?", label, comparison, values, networks).unwrap();
        assert!(Fold::until_sync(&mut watch).await.numbers().is_empty(), "{said}");
    }
    let mut none = watch("?", "absent", Comparison::NotIn, &["x"], &[]).unwrap();
    assert_eq!(Fold::until_sync(&mut none).await.numbers().len(), 3, "it counts as empty");
    let mut none = watch("?", "absent", Comparison::Less, &["5"], &[]).unwrap();
    assert!(Fold::until_sync(&mut none).await.numbers().is_empty());
}
