//! What several services convert: times, labels, counters.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use bpfgate_proto::v1 as pb;
use prost_types::Timestamp;
use tonic::Status;

use super::status::invalid;
use crate::core::Labels;
use crate::watch::{CounterKind, CounterSpec};

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos().cast_signed(),
    }
}

/// At most 64 labels; keys of `[a-z0-9._/-]` up to 63 bytes, values up to 255.
pub(super) fn labels_from(wire: HashMap<String, String>) -> Result<Labels, Status> {
    const MOST: usize = 64;
    if wire.len() > MOST {
        return Err(invalid(
            "labels",
            format!("{} labels, at most {MOST} are allowed", wire.len()),
        ));
    }
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._/-".contains(c);
    let bad = wire.iter().find(|(key, value)| {
        key.is_empty() || key.len() > 63 || !key.chars().all(letter) || value.len() > 255
    });
    match bad {
        Some((key, _)) => {
            let key: String = key.chars().take(80).collect();
            let rule = "keys have 1 to 63 of [a-z0-9._/-], values at most 255 bytes";
            Err(invalid("labels", format!("label {key:?} is not valid: {rule}")))
        }
        None => Ok(wire.into_iter().collect()),
    }
}

pub(super) fn labels_to(core: &Labels) -> HashMap<String, String> {
    core.clone().into_iter().collect()
}

pub(super) fn counters_from(wire: Vec<pb::CounterSpec>) -> Result<Vec<CounterSpec>, Status> {
    wire.into_iter().map(counter_from).collect()
}

fn counter_from(wire: pb::CounterSpec) -> Result<CounterSpec, Status> {
    let pb::CounterSpec { field, kind, unit } = wire;
    let kind = match pb::CounterKind::try_from(kind) {
        Ok(pb::CounterKind::Monotonic) => CounterKind::Monotonic,
        Ok(pb::CounterKind::Gauge) => CounterKind::Gauge,
        Ok(pb::CounterKind::Histogram) => CounterKind::Histogram,
        Ok(pb::CounterKind::Unspecified) | Err(_) => {
            let problem =
                format!("field {field:?} has kind {kind}; say MONOTONIC, GAUGE or HISTOGRAM");
            return Err(invalid("counters", problem));
        }
    };
    Ok(CounterSpec { field, kind, unit })
}

pub(super) fn counters_to(core: &[CounterSpec]) -> Vec<pb::CounterSpec> {
    core.iter()
        .map(|CounterSpec { field, kind, unit }| pb::CounterSpec {
            field: field.clone(),
            kind: counter_kind(*kind).into(),
            unit: unit.clone(),
        })
        .collect()
}

pub(super) fn counter_kind(core: CounterKind) -> pb::CounterKind {
    match core {
        CounterKind::Monotonic => pb::CounterKind::Monotonic,
        CounterKind::Gauge => pb::CounterKind::Gauge,
        CounterKind::Histogram => pb::CounterKind::Histogram,
    }
}

/// Counters of several maps, by name.
pub(super) fn map_counters(
    wire: HashMap<String, pb::CounterSpecs>,
) -> Result<BTreeMap<String, Vec<CounterSpec>>, Status> {
    wire.into_iter().map(|(map, specs)| Ok((map, counters_from(specs.specs)?))).collect()
}
