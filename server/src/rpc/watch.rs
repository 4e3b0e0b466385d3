//! WatchCounters: the hub's messages to the stream's.

use std::sync::Arc;
use std::time::Duration;

use bpfgate_proto::name::{MapGlob, MapName, MapRef};
use bpfgate_proto::v1 as pb;
use pb::watch_counters_response::Message;
use tonic::Status;

use super::Shared;
use super::convert::{counter_kind, timestamp};
use super::outlet::{Closed, Outlet, Stream};
use super::status::invalid;
use crate::core::Error;
use crate::watch::{
    Batch, CpuMode, Header, LabelMatcher, Loss, LossSource, MatchOp, Removed, RemovedReason,
    Selector, Series, Sync, WatchMessage, WatchMode, WatchRequest, Watcher,
};

/// Checks the request and starts to watch.
pub(super) fn start(
    shared: &Arc<Shared>,
    wire: pb::WatchCountersRequest,
) -> Result<Stream<pb::WatchCountersResponse>, Status> {
    check_named_maps(shared, &wire.selectors)?;
    let request = request(wire)?;
    let (outlet, stream) = shared.outlet()?;
    let watcher = shared.hub.watch(request)?;
    tokio::spawn(run(shared.clone(), watcher, outlet));
    Ok(stream)
}

/// A map that is named, not matched by a pattern, must be one that can be watched. One that is not
/// there yet may still come.
fn check_named_maps(shared: &Shared, selectors: &[pb::CounterSelector]) -> Result<(), Status> {
    for selector in selectors {
        if let Ok(name) = selector.map.parse::<MapName>()
            && let Ok(map) = shared.registry.map(&MapRef::Name(name))
        {
            map.require_counters()?;
        }
    }
    Ok(())
}

async fn run(
    shared: Arc<Shared>,
    mut watcher: Watcher,
    mut outlet: Outlet<pb::WatchCountersResponse>,
) {
    loop {
        let next = tokio::select! {
            next = watcher.next() => next,
            Closed = outlet.over() => return,
        };
        let sent = match next {
            Some(Ok(message)) => {
                let message = Some(message_to(&shared, message));
                outlet.send(pb::WatchCountersResponse { message }).await
            }
            Some(Err(error)) => Err(outlet.fail(error)),
            None => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

fn request(wire: pb::WatchCountersRequest) -> Result<WatchRequest, Status> {
    let pb::WatchCountersRequest {
        selectors,
        mode,
        interval,
        suppress_unchanged,
        heartbeat,
        cpu,
        max_series,
        resolve: _,
        resolve_declared: _,
    } = wire;
    Ok(WatchRequest {
        selectors: selectors.into_iter().map(selector).collect::<Result<_, _>>()?,
        mode: match pb::WatchMode::try_from(mode) {
            Ok(pb::WatchMode::Once) => WatchMode::Once,
            Ok(pb::WatchMode::Stream | pb::WatchMode::Unspecified) => WatchMode::Stream,
            Err(_) => return Err(invalid("mode", format!("{mode} is no WatchMode"))),
        },
        interval: duration("interval", interval)?,
        suppress_unchanged,
        heartbeat: duration("heartbeat", heartbeat)?,
        cpu: match pb::CpuMode::try_from(cpu) {
            Ok(pb::CpuMode::Sum | pb::CpuMode::Unspecified) => CpuMode::Sum,
            Ok(pb::CpuMode::Each) => CpuMode::Each,
            Err(_) => return Err(invalid("cpu", format!("{cpu} is no CpuMode"))),
        },
        max_series: max_series as usize,
    })
}

fn selector(wire: pb::CounterSelector) -> Result<Selector, Status> {
    let pb::CounterSelector { map, labels, fields } = wire;
    let map = map.parse::<MapGlob>().map_err(Error::from)?;
    let labels = labels.into_iter().map(matcher).collect::<Result<_, _>>()?;
    Ok(Selector { map, labels, fields })
}

fn matcher(wire: pb::LabelMatcher) -> Result<LabelMatcher, Status> {
    use pb::label_matcher::Op;
    let pb::LabelMatcher { label, op, values } = wire;
    let op = match Op::try_from(op) {
        Ok(Op::In) => MatchOp::In,
        Ok(Op::NotIn) => MatchOp::NotIn,
        Ok(Op::Unspecified) | Err(_) => {
            let problem = format!("the matcher for label {label:?} has op {op}; say IN or NOT_IN");
            return Err(invalid("selectors", problem));
        }
    };
    Ok(LabelMatcher { label, op, values: values.into_iter().collect() })
}

fn duration(
    field: &'static str,
    wire: Option<prost_types::Duration>,
) -> Result<Option<Duration>, Status> {
    wire.map(|wire| {
        Duration::try_from(wire).map_err(|_| invalid(field, "is negative or not a duration"))
    })
    .transpose()
}

fn message_to(shared: &Shared, message: WatchMessage) -> Message {
    match message {
        WatchMessage::Header(header) => Message::Header(header_to(shared, header)),
        WatchMessage::Series(series) => Message::Series(series_to(series)),
        WatchMessage::Batch(batch) => Message::Batch(batch_to(batch)),
        WatchMessage::Removed(removed) => Message::Removed(removed_to(removed)),
        WatchMessage::Sync(Sync { series }) => Message::Sync(pb::WatchSync { series }),
        WatchMessage::Loss(loss) => Message::Loss(loss_to(loss)),
    }
}

fn header_to(shared: &Shared, header: Header) -> pb::WatchHeader {
    let Header { interval, maps } = header;
    let identity = &shared.identity;
    pb::WatchHeader {
        agent_id: identity.agent_id.clone(),
        boot_id: identity.boot_id.clone(),
        incarnation: identity.incarnation.clone(),
        // At most an hour.
        interval: prost_types::Duration::try_from(interval).ok(),
        maps: maps.iter().map(ToString::to_string).collect(),
        byte_order: super::agent_service::byte_order().into(),
    }
}

fn series_to(series: Series) -> pb::Series {
    let Series { reference, map, labels, field, kind, kind_undeclared, unit, start_time, signed } =
        series;
    let label = |label: crate::watch::Label| pb::Label {
        name: label.name.to_string(),
        value: label.value.to_string(),
    };
    pb::Series {
        r#ref: reference,
        map: map.to_string(),
        labels: labels.into_iter().map(label).collect(),
        field: field.to_string(),
        kind: counter_kind(kind).into(),
        unit: unit.to_string(),
        start_time: Some(timestamp(start_time)),
        signed,
        kind_undeclared,
        bounds: Vec::new(),
    }
}

fn batch_to(batch: Batch) -> pb::CounterBatch {
    let Batch { map, sweep, read_begin, read_end, complete, refs, values, coalesced, more } = batch;
    pb::CounterBatch {
        map: map.to_string(),
        sweep,
        read_begin: Some(timestamp(read_begin)),
        read_end: Some(timestamp(read_end)),
        complete,
        refs,
        values,
        coalesced_sweeps: coalesced,
        more,
        ..pb::CounterBatch::default()
    }
}

fn removed_to(removed: Removed) -> pb::SeriesRemoved {
    use pb::series_removed::Reason;
    let Removed { refs, reason, map } = removed;
    let reason = match reason {
        RemovedReason::Deleted => Reason::Deleted,
        RemovedReason::Evicted => Reason::Evicted,
        RemovedReason::MapGone => Reason::MapGone,
    };
    pb::SeriesRemoved { refs, reason: reason.into(), map: map.to_string() }
}

fn loss_to(loss: Loss) -> pb::WatchLoss {
    use pb::watch_loss::Source;
    let Loss { source, count, map, detail } = loss;
    let source = match source {
        LossSource::ReadError => Source::ReadError,
        LossSource::Limit => Source::Limit,
    };
    pb::WatchLoss { source: source.into(), count, map: map.to_string(), detail }
}
