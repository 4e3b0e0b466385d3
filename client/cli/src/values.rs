//! Values of flags: each parsed once, into what the API takes.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use bpfgate_client::name::{MapRef, NameError, ObjectName};
use bpfgate_client::v1::{CounterKind, CounterSpec, MapSpec, MapType};

pub(crate) use crate::scalar::Scalar;

use crate::context::suggest;

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) value: String,
}

pub(crate) fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Pair { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// A label. The agent judges its key.
pub(crate) fn label(text: &str) -> Result<Pair, String> {
    pair(text).map_err(|_| "write KEY=VALUE".to_owned())
}

/// A map reference. An object's name alone is a likely slip.
pub(crate) fn map_ref(text: &str) -> Result<MapRef, String> {
    text.parse().map_err(|error: NameError| {
        let object = !text.contains(['/', ':']) && text.parse::<ObjectName>().is_ok();
        let hint = format!("; a map of object {text} is written {text}/MAP");
        format!("{error}{}", if object { &hint } else { "" })
    })
}

/// As requests carry them. The last one of a name wins.
pub(crate) fn pairs(pairs: Vec<Pair>) -> HashMap<String, String> {
    pairs.into_iter().map(|Pair { name, value }| (name, value)).collect()
}

/// `500ms`, `1.5s`, `2m`, `1h`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and ms, s, m or h: 500ms, 1.5s, 2m".to_owned();
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let plain = number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = number.parse().ok().filter(|_| plain).ok_or_else(wrong)?;
    let duration = Duration::try_from_secs_f64(number * scale).map_err(|_| wrong())?;
    if duration.is_zero() { Err("must be more than zero".to_owned()) } else { Ok(duration) }
}

/// `65536`, `64KiB`, `4MiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        _ => None,
    };
    let number: Option<u64> = number.parse().ok();
    let bytes = shift.and_then(|shift| number?.checked_mul(1 << shift));
    bytes.ok_or_else(|| "write a number of bytes: 65536, 64KiB, 4MiB".to_owned())
}

/// `1024` or `0x400`.
pub(crate) fn hex_or_decimal<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let number = number.map_err(|_| format!("{text:?} is no number"))?;
    T::try_from(number).map_err(|_| format!("{number} is too large"))
}

/// `BPF_MAP_TYPE_*` as bpftool names them.
pub(crate) fn map_type(text: &str) -> Result<MapType, String> {
    let name = format!("MAP_TYPE_{}", text.to_ascii_uppercase());
    MapType::from_str_name(&name).filter(|&kind| kind != MapType::Unspecified).ok_or_else(|| {
        let all: Vec<_> =
            (1..).map_while(|number| MapType::try_from(number).ok()).map(map_type_name).collect();
        unknown("map type", text, &all)
    })
}

/// What was meant, or else all that there is.
fn unknown(what: &str, text: &str, all: &[String]) -> String {
    let hint = suggest(text, all.iter().cloned());
    let hint = hint.unwrap_or_else(|| format!("these are: {}", all.join(", ")));
    format!("there is no such {what}; {hint}")
}

/// A kernel may have types that this version has no name for.
pub(crate) fn map_type_text(number: i32) -> String {
    MapType::try_from(number).map_or_else(|_| format!("type {number}"), map_type_name)
}

/// The other way.
pub(crate) fn map_type_name(kind: MapType) -> String {
    kind.as_str_name().trim_start_matches("MAP_TYPE_").to_ascii_lowercase()
}

/// Bits of `bpf_attr.map_flags` by their names in linux/bpf.h, without `BPF_F_`.
const FLAGS: [(&str, u32); 17] = [
    ("no_prealloc", 1 << 0),
    ("no_common_lru", 1 << 1),
    ("numa_node", 1 << 2),
    ("rdonly", 1 << 3),
    ("wronly", 1 << 4),
    ("stack_build_id", 1 << 5),
    ("zero_seed", 1 << 6),
    ("rdonly_prog", 1 << 7),
    ("wronly_prog", 1 << 8),
    ("clone", 1 << 9),
    ("mmapable", 1 << 10),
    ("preserve_elems", 1 << 11),
    ("inner_map", 1 << 12),
    ("link", 1 << 13),
    ("segv_on_fault", 1 << 17),
    ("no_user_conv", 1 << 18),
    ("rb_overwrite", 1 << 19),
];

/// `no_prealloc,mmapable` or a number.
pub(crate) fn flags(text: &str) -> Result<u32, String> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return hex_or_decimal(text);
    }
    let one = |name: &str| {
        let known = FLAGS.iter().find(|(flag, _)| *flag == name);
        known
            .map(|&(_, bit)| bit)
            .ok_or_else(|| unknown("flag", name, &FLAGS.map(|(flag, _)| flag.to_owned())))
    };
    text.split(',').map(one).try_fold(0, |all, bit| Ok(all | bit?))
}

/// The other way; bits without a name as one number.
pub(crate) fn flag_names(flags: u32) -> Vec<String> {
    let set = FLAGS.iter().filter(|&&(_, bit)| flags & bit != 0);
    let mut names: Vec<_> = set.clone().map(|&(name, _)| name.to_owned()).collect();
    let rest = flags & !set.fold(0, |all, &(_, bit)| all | bit);
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

/// `TYPE:KEY:VALUE:ENTRIES[:FLAGS]`.
pub(crate) fn inner_map(text: &str) -> Result<MapSpec, String> {
    let parts: Vec<_> = text.split(':').collect();
    let (kind, key, value, entries, names) = match parts[..] {
        [kind, key, value, entries] => (kind, key, value, entries, "0"),
        [kind, key, value, entries, names] => (kind, key, value, entries, names),
        _ => return Err("write TYPE:KEY:VALUE:ENTRIES, as in hash:4:8:1024".to_owned()),
    };
    Ok(MapSpec {
        r#type: map_type(kind)?.into(),
        key_size: hex_or_decimal(key)?,
        value_size: hex_or_decimal(value)?,
        max_entries: hex_or_decimal(entries)?,
        flags: flags(names)?,
        ..MapSpec::default()
    })
}

/// `KIND[:UNIT]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counter {
    kind: CounterKind,
    unit: String,
}

impl Counter {
    pub(crate) fn spec(self, field: &str) -> CounterSpec {
        CounterSpec { field: field.to_owned(), kind: self.kind.into(), unit: self.unit }
    }
}

impl FromStr for Counter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, unit) = text.split_once(':').unwrap_or((text, ""));
        let kind = match kind {
            "monotonic" => CounterKind::Monotonic,
            "gauge" => CounterKind::Gauge,
            "histogram" => CounterKind::Histogram,
            _ => return Err("the kind is monotonic, gauge or histogram".to_owned()),
        };
        Ok(Self { kind, unit: unit.to_owned() })
    }
}

/// `MAP[:FIELD]=KIND[:UNIT]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MapCounter {
    pub(crate) map: String,
    pub(crate) spec: CounterSpec,
}

impl FromStr for MapCounter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, counter) = text.split_once('=').ok_or("write MAP[:FIELD]=KIND[:UNIT]")?;
        let (map, field) = number.split_once(':').unwrap_or((number, ""));
        Ok(Self { map: map.to_owned(), spec: counter.parse::<Counter>()?.spec(field) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for wrong in ["", "s", "-1s", "1d", "1e3s", "0", "0ms", "infs", "1 s", "1ss"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_may_have_units() {
        assert_eq!(bytes("65536"), Ok(65536));
        assert_eq!(bytes("1B"), Ok(1));
        assert_eq!(bytes("64KiB"), Ok(65536));
        assert_eq!(bytes("4MiB"), Ok(4 << 20));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        for wrong in ["", "KiB", "-1", "1e9", "1.5MiB", "4MB", "4 MiB", "17179869184GiB", "0x10"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_object_in_place_of_a_map_is_told_what_to_write() {
        assert_eq!(map_ref("pc/stats").unwrap().to_string(), "pc/stats");
        let said = map_ref("proto-counters").unwrap_err();
        assert!(said.ends_with("is written proto-counters/MAP"), "{said}");
        assert!(!map_ref("a b").unwrap_err().contains("object"));
    }

    #[test]
    fn every_map_type_has_a_name_that_parses() {
        for kind in (1..).map_while(|number| MapType::try_from(number).ok()) {
            assert_eq!(map_type(&map_type_name(kind)), Ok(kind));
        }
        assert_eq!(map_type("percpu_hash"), Ok(MapType::PercpuHash));
        assert!(map_type("hsah").unwrap_err().ends_with("did you mean hash?"));
        let said = map_type("something").unwrap_err();
        assert!(said.contains("hash, array, ") && !said.contains("unspecified"), "{said}");
    }

    #[test]
    fn flags_go_both_ways() {
        assert_eq!(flags("no_prealloc,mmapable"), Ok(0x401));
        assert_eq!(flags("0x401"), Ok(0x401));
        assert_eq!(flag_names(0x401), ["no_prealloc", "mmapable"]);
        assert_eq!(flag_names(1 << 31 | 1), ["no_prealloc", "0x80000000"]);
        assert!(flags("prealloc").unwrap_err().contains("no_prealloc"));
    }

    #[test]
    fn counters_name_map_field_kind_and_unit() {
        let full: MapCounter = "stats:rx.bytes=monotonic:By".parse().unwrap();
        assert_eq!((full.map.as_str(), full.spec.field.as_str()), ("stats", "rx.bytes"));
        assert_eq!((full.spec.kind(), full.spec.unit.as_str()), (CounterKind::Monotonic, "By"));
        let bare: MapCounter = "m=gauge".parse().unwrap();
        assert_eq!((bare.spec.field.as_str(), bare.spec.unit.as_str()), ("", ""));
        assert!("m=counter".parse::<MapCounter>().is_err());
    }

    #[test]
    fn an_inner_map_has_four_parts() {
        let spec = inner_map("hash:4:8:0x10").unwrap();
        assert_eq!((spec.r#type(), spec.key_size, spec.value_size), (MapType::Hash, 4, 8));
        assert_eq!(spec.max_entries, 16);
        assert!(inner_map("hash:4:8").is_err());
    }
}
