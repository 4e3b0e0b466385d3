//! What a watch says, in protobuf. Made once for all watches that are told the same.

use bpfgate_proto::v1 as pb;
use bytes::Bytes;
use pb::watch_counters_response::Message;
use prost::Message as _;

use super::convert::{counter_kind, timestamp};
use super::{Identity, agent_service};
use crate::watch::{
    Batch, Header, Histogram, Label, Loss, LossSource, Removed, RemovedReason, Reset, Series, Sync,
    WatchMessage,
};

/// A message's bytes as they go into a frame.
pub(super) fn encode(identity: &Identity, message: &WatchMessage) -> Bytes {
    let message = match message {
        WatchMessage::Header(header) => Message::Header(header_to(identity, header)),
        WatchMessage::Series(series) => Message::Series(series_to(series)),
        WatchMessage::Batch(batch) => Message::Batch(batch_to(batch)),
        WatchMessage::Removed(removed) => Message::Removed(removed_to(removed)),
        WatchMessage::Reset(reset) => Message::Reset(reset_to(reset)),
        WatchMessage::Sync(Sync { series }) => Message::Sync(pb::WatchSync { series: *series }),
        WatchMessage::Loss(loss) => Message::Loss(loss_to(loss)),
    };
    pb::WatchCountersResponse { message: Some(message) }.encode_to_vec().into()
}

fn header_to(identity: &Identity, header: &Header) -> pb::WatchHeader {
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

fn series_to(series: &Series) -> pb::Series {
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
    } = series;
    let label = |Label { name, value }: &Label| pb::Label {
        name: name.to_string(),
        value: value.to_string(),
    };
    pb::Series {
        r#ref: *reference,
        map: map.to_string(),
        labels: labels.iter().map(label).collect(),
        field: field.to_string(),
        kind: counter_kind(*kind).into(),
        unit: unit.to_string(),
        start_time: Some(timestamp(*start_time)),
        signed: *signed,
        kind_undeclared: *kind_undeclared,
        bounds: bounds.clone(),
    }
}

fn batch_to(batch: &Batch) -> pb::CounterBatch {
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
        refs: refs.clone(),
        values: values.clone(),
        coalesced_sweeps: *coalesced,
        achieved_interval: achieved.and_then(duration),
        lag: duration(*lag),
        histograms: histograms.iter().map(histogram).collect(),
        more: *more,
    }
}

fn removed_to(removed: &Removed) -> pb::SeriesRemoved {
    use pb::series_removed::Reason;
    let Removed { refs, reason, map } = removed;
    let reason = match reason {
        RemovedReason::Deleted => Reason::Deleted,
        RemovedReason::Evicted => Reason::Evicted,
        RemovedReason::MapGone => Reason::MapGone,
        RemovedReason::Unloaded => Reason::Unloaded,
        RemovedReason::Limit => Reason::Limit,
    };
    pb::SeriesRemoved { refs: refs.clone(), reason: reason.into(), map: map.to_string() }
}

fn reset_to(reset: &Reset) -> pb::SeriesReset {
    let Reset { refs, start_time, map } = reset;
    let start_time = Some(timestamp(*start_time));
    pb::SeriesReset { map: map.to_string(), refs: refs.clone(), start_time }
}

fn loss_to(loss: &Loss) -> pb::WatchLoss {
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
        detail: detail.clone(),
    }
}
