//! What a watch says, as gRPC's frames of protobuf. Made once for all watches that are told the same.

use bpfgate_proto::v1 as pb;
use bytes::BufMut as _;
use pb::watch_counters_response::Message as Body;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, uint64};

use super::convert::{counter_kind, timestamp};
use super::{Identity, agent_service};
use crate::watch::{
    Batch, Header, Histogram, Label, Loss, LossSource, Message, Removed, RemovedReason, Renamed,
    Reset, Series, Sync, Wire,
};

/// In front of each message: that it is not compressed, and its length.
const PREFIX: usize = 5;

/// Writes what a watch says for this agent.
pub struct Frames {
    identity: Identity,
}

impl Frames {
    /// Of this agent.
    pub fn new(identity: Identity) -> Self {
        Self { identity }
    }
}

impl Wire for Frames {
    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let from = out.len();
        out.put_bytes(0, PREFIX);
        match message {
            Message::Header(header) => put(Body::Header(header_to(&self.identity, header)), out),
            // By far the most there are.
            Message::Series(series) => put_series(series, out),
            Message::Batch(batch) => put(Body::Batch(batch_to(batch)), out),
            Message::Removed(removed) => put(Body::Removed(removed_to(removed)), out),
            Message::Reset(reset) => put(Body::Reset(reset_to(reset)), out),
            Message::Renamed(Renamed { from, to }) => {
                let (from, to) = (from.to_string(), to.to_string());
                put(Body::Renamed(pb::MapRenamed { from, to }), out);
            }
            Message::Sync(Sync { series }) => {
                put(Body::Sync(pb::WatchSync { series: *series }), out);
            }
            Message::Loss(loss) => put(Body::Loss(loss_to(loss)), out),
        }
        let length = u32::try_from(out.len() - from - PREFIX).expect("a message is below 4 GiB");
        out[from + 1..from + PREFIX].copy_from_slice(&length.to_be_bytes());
    }
}

fn put(body: Body, out: &mut Vec<u8>) {
    let response = pb::WatchCountersResponse { message: Some(body) };
    response.encode(out).expect("a vector grows");
}

fn header_to(identity: &Identity, header: &Header<'_>) -> pb::WatchHeader {
    let Header { interval, maps, unmatched } = header;
    pb::WatchHeader {
        agent_id: identity.agent_id.clone(),
        boot_id: identity.boot_id.clone(),
        incarnation: identity.incarnation.clone(),
        interval: duration(*interval),
        maps: maps.iter().map(ToString::to_string).collect(),
        byte_order: agent_service::byte_order().into(),
        unmatched: unmatched.iter().map(ToString::to_string).collect(),
    }
}

/// A sweep's times are hours at most.
fn duration(duration: std::time::Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

/// The fields of `Series` in the order of their numbers, as prost writes them, from borrowed parts.
fn put_series(series: &Series<'_>, out: &mut Vec<u8>) {
    /// `WatchCountersResponse.series`.
    const SERIES: u32 = 2;
    let Series {
        reference,
        map,
        labels,
        field,
        kind,
        kind_undeclared,
        unit,
        start_time,
        signed,
        bounds,
        before,
    } = series;
    let start = timestamp(*start_time);
    let start_len = start.encoded_len();
    let before = before
        .map(|(value, read_end)| pb::SeriesBefore { value, read_end: Some(timestamp(read_end)) });
    let kind = counter_kind(*kind) as u64;
    let number = |value: u64| if value == 0 { 0 } else { 1 + encoded_len_varint(value) };
    let label = |label: &Label<'_>| text_len(label.name) + text_len(label.value);
    let labels_len = labels.iter().map(|it| framed_len(label(it))).sum::<usize>();
    let length = number(*reference)
        + text_len(map.as_str())
        + labels_len
        + text_len(field)
        + number(kind)
        + text_len(unit)
        + framed_len(start_len)
        + number((*signed).into())
        + number((*kind_undeclared).into())
        + uint64::encoded_len_packed(10, bounds)
        + before.as_ref().map_or(0, |before| framed_len(before.encoded_len()));
    out.reserve(length + 16);
    put_length(SERIES, length, out);
    put_number(1, *reference, out);
    put_text(2, map.as_str(), out);
    for it in *labels {
        put_length(3, label(it), out);
        put_text(1, it.name, out);
        put_text(2, it.value, out);
    }
    put_text(4, field, out);
    put_number(5, kind, out);
    put_text(6, unit, out);
    put_length(7, start_len, out);
    start.encode_raw(out);
    put_number(8, (*signed).into(), out);
    put_number(9, (*kind_undeclared).into(), out);
    uint64::encode_packed(10, bounds, out);
    if let Some(before) = before {
        put_length(11, before.encoded_len(), out);
        before.encode_raw(out);
    }
}

/// A field that is nothing is left out. Numbers of fields are below 16: one byte.
fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { framed_len(text.len()) }
}

fn framed_len(length: usize) -> usize {
    key_len(1) + encoded_len_varint(length as u64) + length
}

fn put_number(tag: u32, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

fn put_text(tag: u32, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        put_length(tag, text.len(), out);
        out.put_slice(text.as_bytes());
    }
}

fn put_length(tag: u32, length: usize, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

fn batch_to(batch: &Batch<'_>) -> pb::CounterBatch {
    let Batch {
        map,
        sweep,
        read_begin,
        read_end,
        complete,
        refs,
        values,
        coalesced,
        more,
        histograms,
        achieved,
        lag,
    } = batch;
    let histogram = |Histogram { reference, counts }: &Histogram| pb::HistogramValue {
        r#ref: *reference,
        counts: counts.to_vec(),
    };
    pb::CounterBatch {
        map: map.to_string(),
        sweep: *sweep,
        read_begin: Some(timestamp(*read_begin)),
        read_end: Some(timestamp(*read_end)),
        complete: *complete,
        refs: refs.to_vec(),
        values: values.to_vec(),
        coalesced_sweeps: *coalesced,
        achieved_interval: achieved.and_then(duration),
        lag: duration(*lag),
        histograms: histograms.iter().map(histogram).collect(),
        more: *more,
    }
}

fn removed_to(removed: &Removed<'_>) -> pb::SeriesRemoved {
    use pb::series_removed::Reason;
    let Removed { refs, reason, map } = removed;
    let reason = match reason {
        RemovedReason::Deleted => Reason::Deleted,
        RemovedReason::Evicted => Reason::Evicted,
        RemovedReason::MapGone => Reason::MapGone,
        RemovedReason::Unloaded => Reason::Unloaded,
        RemovedReason::Limit => Reason::Limit,
        RemovedReason::NotTop => Reason::NotTop,
    };
    pb::SeriesRemoved { refs: refs.to_vec(), reason: reason.into(), map: map.to_string() }
}

fn reset_to(reset: &Reset<'_>) -> pb::SeriesReset {
    let Reset { refs, start_time, map } = reset;
    let start_time = Some(timestamp(*start_time));
    pb::SeriesReset { map: map.to_string(), refs: refs.to_vec(), start_time }
}

fn loss_to(loss: &Loss<'_>) -> pb::WatchLoss {
    use pb::watch_loss::Source;
    let Loss { source, count, map, detail } = loss;
    let source = match source {
        LossSource::ReadError => Source::ReadError,
        LossSource::Limit => Source::Limit,
    };
    pb::WatchLoss {
        source: source.into(),
        count: *count,
        map: map.to_string(),
        detail: (*detail).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::watch::CounterKind;

    #[test]
    fn a_series_is_written_as_prost_would() {
        let map = "proto-counters/stats".parse().unwrap();
        let labels = [Label { name: "key", value: "TCP" }, Label { name: "cpu", value: "0" }];
        let long = "x".repeat(300);
        let full = Series {
            reference: u64::MAX,
            map: &map,
            labels: &labels,
            field: &long,
            kind: CounterKind::Histogram,
            kind_undeclared: true,
            unit: "By",
            start_time: SystemTime::now(),
            signed: true,
            bounds: &[0, 2, u64::MAX],
            before: Some((0, SystemTime::now())),
        };
        let bare = Series {
            labels: &[Label { name: "key", value: "" }],
            field: "",
            kind_undeclared: false,
            unit: "",
            start_time: UNIX_EPOCH + Duration::from_nanos(1),
            signed: false,
            bounds: &[],
            before: None,
            ..full.clone()
        };
        for series in [full, bare] {
            let label = |it: &Label<'_>| pb::Label { name: it.name.into(), value: it.value.into() };
            let tree = pb::Series {
                r#ref: series.reference,
                map: series.map.to_string(),
                labels: series.labels.iter().map(label).collect(),
                field: series.field.into(),
                kind: counter_kind(series.kind).into(),
                unit: series.unit.into(),
                start_time: Some(timestamp(series.start_time)),
                signed: series.signed,
                kind_undeclared: series.kind_undeclared,
                bounds: series.bounds.into(),
                before: series.before.map(|(value, read_end)| pb::SeriesBefore {
                    value,
                    read_end: Some(timestamp(read_end)),
                }),
            };
            let (mut ours, mut prosts) = (Vec::new(), Vec::new());
            put_series(&series, &mut ours);
            put(Body::Series(tree), &mut prosts);
            assert_eq!(ours, prosts);
        }
    }
}
