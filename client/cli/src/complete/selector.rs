//! What a selector of counters can go on with.

use bpfgate_client::v1::{Map, MapType};
use bpfgate_client::value::Leaf;
use bpfgate_client::{Client, Error, Layout, MapFilter};

use super::{Names, about, kind};

/// Types whose entries are anything but numbers.
const WITHOUT_COUNTERS: [MapType; 6] = [
    MapType::Ringbuf,
    MapType::UserRingbuf,
    MapType::PerfEventArray,
    MapType::ProgArray,
    MapType::Queue,
    MapType::Stack,
];

/// Maps and whole objects; behind a map's name its fields or labels.
pub(super) async fn candidates(client: &Client, typed: &str) -> Result<Names, Error> {
    match typed.find(['{', ':']) {
        None => Ok(maps(&client.maps().list(MapFilter::default()).await?)),
        Some(end) => Ok(parts(&client.maps().get(&typed[..end]).await?, typed, end)),
    }
}

fn maps(all: &[Map]) -> Names {
    let counts = |map: &&Map| kind(map).is_some_and(|it| !WITHOUT_COUNTERS.contains(&it));
    let mut maps: Vec<_> = all.iter().filter(counts).collect();
    maps.sort_by_key(|map| &map.object);
    let objects = maps.chunk_by(|a, b| a.object == b.object);
    let several = objects.filter(|of| of.len() > 1 && !of[0].object.is_empty());
    let whole = several.map(|of| (format!("{}/*", of[0].object), format!("{} maps", of.len())));
    whole.chain(maps.iter().map(|map| (map.name.clone(), about(map)))).collect()
}

/// `end`: where the map's name ends.
fn parts(map: &Map, typed: &str, end: usize) -> Names {
    let Ok(layout) = Layout::of(map) else { return Names::new() };
    let conditions = typed[end..].starts_with('{') && !typed.contains('}');
    let begin = typed.rfind([',', ':', '{']).unwrap_or(end) + 1;
    let (before, last) = typed.split_at(begin);
    let name = |name: &str| (format!("{before}{name}"), String::new());
    if !conditions {
        let numbers = layout.value.leaves().iter().filter(|leaf| leaf.is_number());
        return numbers.map(Leaf::path).filter(|path| !path.is_empty()).map(name).collect();
    }
    if last.contains('=') {
        return Names::new();
    }
    let paths = layout.key.leaves().iter().map(Leaf::path);
    let labels = paths.map(|path| if path.is_empty() { "key" } else { path });
    labels.map(|label| name(&format!("{label}="))).collect()
}
