//! Keys that read the same as labels.

use bpfgate_proto::value::{Display, Encoding, Field, Kind, Schema, SchemaSource, Type};

use super::fake::{FakeMap, all_of, hub};
use super::fold::Fold;
use crate::host_names::HostName;
use crate::watch::{CpuMode, WatchLimits};

fn text(size: u32) -> Type {
    let encoding = Encoding::Char;
    let kind = Kind::Integer { encoding, big_endian: false, display: Display::Plain };
    let element = Box::new(Type { name: String::new(), size: 1, kind });
    let kind = Kind::Array { element, length: size, display: Display::Plain };
    Type { name: String::new(), size, kind }
}

/// Of four characters to a number.
fn texts(name: &str) -> FakeMap {
    let schema = Schema { key: Some(text(4)), value: None, source: SchemaSource::Btf };
    FakeMap { schema: Some(schema), ..FakeMap::hash(name) }
}

/// Labels and totals, in order.
fn told(fold: &Fold) -> Vec<(String, u64)> {
    fold.totals().into_iter().map(|((_, labels, _), total)| (labels, total)).collect()
}

fn expected(told: &[(&str, u64)]) -> Vec<(String, u64)> {
    told.iter().map(|(labels, total)| ((*labels).to_owned(), *total)).collect()
}

#[tokio::test(start_paused = true)]
async fn keys_that_read_the_same_are_told_apart_by_their_bytes() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(texts("m"));
    map.set_key(b"a\0\0b", &[2]);
    map.set_key(b"a\0\0\0", &[1]);
    map.set_key(b"b\0\0\0", &[3]);
    let mut watch = hub.watch(all_of("m")).unwrap();
    let mut fold = Fold::until_sync(&mut watch).await;
    // Of those that come together the first by its bytes goes alone.
    let first = [("key=a", 1), ("key=a,raw_key=hex:61000062", 2), ("key=b", 3)];
    assert_eq!(told(&fold), expected(&first));

    // Who was told first stays as it was.
    map.set_key(b"b\0\0!", &[4]);
    map.delete(u32::from_ne_bytes(*b"a\0\0\0"));
    fold.until_batch(&mut watch).await;
    let then = [("key=a,raw_key=hex:61000062", 2), ("key=b", 3), ("key=b,raw_key=hex:62000021", 4)];
    assert_eq!(told(&fold), expected(&then));

    // Others are told the same, and so is who comes when nobody watches any more.
    let other = Fold::until_sync(&mut hub.watch(all_of("m")).unwrap()).await;
    assert_eq!(told(&other), expected(&then));
    map.set_key(b"c\0\0!", &[5]);
    fold.until_batch(&mut watch).await;
    map.set_key(b"c\0\0\0", &[6]);
    fold.until_batch(&mut watch).await;
    drop(watch);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let later = told(&Fold::until_sync(&mut hub.watch(all_of("m")).unwrap()).await);
    assert!(later.contains(&("key=c".to_owned(), 5)), "{later:?}");
    assert!(later.contains(&("key=c,raw_key=hex:63000000".to_owned(), 6)), "{later:?}");
}

#[tokio::test(start_paused = true)]
async fn each_cpu_of_such_a_key_has_its_bytes() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap { cpus: Some(2), ..texts("m") });
    map.set_key(b"a\0\0\0", &[1, 2]);
    map.set_key(b"a\0\0b", &[3, 4]);
    let mut request = all_of("m");
    request.cpu = CpuMode::Each;
    let fold = Fold::until_sync(&mut hub.watch(request).unwrap()).await;
    let all = [
        ("key=a,cpu=0", 1),
        ("key=a,cpu=1", 2),
        ("key=a,raw_key=hex:61000062,cpu=0", 3),
        ("key=a,raw_key=hex:61000062,cpu=1", 4),
    ];
    assert_eq!(told(&fold), expected(&all));
}

#[tokio::test(start_paused = true)]
async fn the_label_has_a_name_that_no_field_has() {
    let (hub, sources) = hub(WatchLimits::default());
    let field = |name: &str, ty: Type, offset: u32| Field {
        name: name.to_owned(),
        ty,
        bit_offset: offset * 8,
        bit_size: 0,
    };
    let fields = vec![field("raw_key", text(2), 0), field("raw_key_2", text(1), 2)];
    let kind = Kind::Record { is_union: false, fields };
    let key = Type { name: String::new(), size: 4, kind };
    let schema = Schema { key: Some(key), value: None, source: SchemaSource::Btf };
    let map = sources.add(FakeMap { schema: Some(schema), ..FakeMap::hash("m") });
    map.set_key(b"ab1\0", &[1]);
    map.set_key(b"ab1\x01", &[2]);
    let fold = Fold::until_sync(&mut hub.watch(all_of("m")).unwrap()).await;
    let all = [("raw_key=ab,raw_key_2=1", 1), ("raw_key=ab,raw_key_2=1,raw_key_3=hex:61623101", 2)];
    assert_eq!(told(&fold), expected(&all));
}

#[tokio::test(start_paused = true)]
async fn names_are_looked_at_as_they_are_shown() {
    let (hub, sources) = hub(WatchLimits::default());
    let map = sources.add(FakeMap::hash("m"));
    (0..4).for_each(|user| map.set(user, &[1]));
    let before = hub.ledger.usage().used;
    let plain = hub.watch(all_of("m")).unwrap();
    drop(plain);
    let mut request = all_of("m");
    request.resolve = vec![("key".into(), Some(HostName::User))];
    let fold = Fold::until_sync(&mut hub.watch(request).unwrap()).await;
    let named = told(&fold);
    assert_eq!(named.len(), 4, "{named:?}");
    assert!(named.iter().all(|(labels, _)| !labels.contains("raw_key")), "{named:?}");
    drop(fold);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(hub.ledger.usage().used < before + 4096, "what twins took is given back");
}
