//! Maps of every type that can be read, with entries in them.

use bpfgate_client::v1::{Map, MapType};
use bpfgate_client::{Client, UpdateMode};
use bpfgate_tests::calls::load;
use bpfgate_tests::{NewMap, elf};

/// Bytes that look random and are the same every time, rich in what is special: zeros, letters,
/// the ends of ranges.
pub(super) struct Bytes(u64);

impl Bytes {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn byte(&mut self) -> u8 {
        // No backslash: bpftool takes it for the end of a line.
        const SPECIAL: [u8; 8] = [0, 0, b'a', b'Z', b'"', b' ', 0x7f, 0xff];
        let random = self.next();
        if random & 1 == 0 {
            SPECIAL[usize::try_from(random >> 1 & 7).unwrap()]
        } else {
            let byte = random.to_le_bytes()[1];
            if byte == b'\\' { 1 } else { byte }
        }
    }

    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// Maps with types out of BTF: in the object `formats`.
pub(super) async fn typed(client: &Client) -> Vec<Map> {
    let mut maps = Vec::new();
    for name in load(client, "formats", elf::FORMATS).await.maps {
        maps.push(client.maps().get(&name).await.unwrap());
    }
    maps
}

/// Maps of plain bytes, of sizes that nothing divides.
pub(super) async fn raw(client: &Client) -> Vec<Map> {
    let mut maps = Vec::new();
    for kind in [
        MapType::Hash,
        MapType::Array,
        MapType::PercpuHash,
        MapType::PercpuArray,
        MapType::LruHash,
        MapType::LruPercpuHash,
        MapType::LpmTrie,
    ] {
        let name = kind.as_str_name().trim_start_matches("MAP_TYPE_").to_lowercase();
        let key = match kind {
            MapType::Array | MapType::PercpuArray => 4,
            _ => 7,
        };
        maps.push(NewMap::new(&name, kind).sizes(key, 13).entries(64).make(client).await);
    }
    maps
}

/// Puts so many entries into a map, or as many as it has slots.
pub(super) async fn fill(client: &Client, map: &Map, entries: u32, bytes: &mut Bytes) {
    let spec = map.spec.clone().unwrap();
    let slots = matches!(spec.r#type(), MapType::Array | MapType::PercpuArray);
    for number in 0..if slots { spec.max_entries.min(entries) } else { entries } {
        let mut key = bytes.take(spec.key_size as usize);
        match spec.r#type() {
            MapType::Array | MapType::PercpuArray => key = number.to_ne_bytes().to_vec(),
            MapType::LpmTrie => {
                // The length of the prefix, in bits.
                let bits = number % (8 * (spec.key_size - 4) + 1);
                key[..4].copy_from_slice(&bits.to_ne_bytes());
            }
            _ => {}
        }
        let value = bytes.take(map.value_stride as usize);
        client.maps().update(&map.name, key, value, UpdateMode::Any).await.unwrap();
    }
}
