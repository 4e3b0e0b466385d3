//! WatchCounters: a request to the hub's terms, and a watch's messages to its stream.

use std::sync::Arc;
use std::time::Duration;

use bpfgate_proto::name::{MapGlob, MapName, MapRef};
use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::{Comparison, Condition};
use bytes::Bytes;
use tonic::Status;

use super::Shared;
use super::outlet::{Closed, Outlet, Stream};
use super::status::invalid;
use crate::core::Error;
use crate::host_names::HostName;
use crate::layer::Call;
use crate::ledger::Account;
use crate::watch::{
    CounterSource, CpuMode, LabelMatcher, Order, Selector, WatchMode, WatchRequest, Watcher,
};

/// The messages of a watch: whole frames, paid for until the last part of one is dropped.
pub(super) type Frames = Stream<Bytes>;

/// Checks the request and starts to watch.
pub(super) async fn start(
    shared: &Arc<Shared>,
    call: &Arc<Call>,
    mut wire: pb::WatchCountersRequest,
) -> Result<Frames, Status> {
    check_named_maps(shared, &wire.selectors)?;
    let guests = admit(shared, call, &mut wire.selectors).await?;
    let request = request(wire)?;
    if request.selectors.iter().any(|selector| !selector.labels.is_empty()) {
        // Their values may be names of users and cgroups.
        let names = shared.hub.names().clone();
        let look_up = move || {
            names.look_up();
            Ok(())
        };
        shared.work(call, look_up).await?;
    }
    let account = call.account().clone();
    let (outlet, frames) = shared.outlet();
    let watcher = shared.hub.watch(request, account.clone())?;
    tokio::spawn(run(account, watcher, outlet, guests));
    Ok(frames)
}

/// Opens the maps of others that are named by id or pin, for as long as the watch lasts. Selectors
/// have the names of those that the agent owns then, and the ids of others.
async fn admit(
    shared: &Shared,
    call: &Arc<Call>,
    selectors: &mut [pb::CounterSelector],
) -> Result<Vec<Arc<dyn CounterSource>>, Status> {
    let mut guests = Vec::new();
    // More are refused further on.
    for selector in selectors.iter_mut().take(WatchRequest::SELECTORS_MAX) {
        let Ok(MapRef::Id(_) | MapRef::Pin(_)) = selector.map.parse() else { continue };
        let map = shared.find_map(call, &selector.map).await?;
        map.require_counters()?;
        if let Some(name) = map.name() {
            selector.map = name.to_string();
        } else {
            let guest = shared.registry.guest(map);
            selector.map = guest.name().to_string();
            shared.hub.admit(&guest);
            guests.push(guest);
        }
    }
    Ok(guests)
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
    account: Account,
    mut watcher: Watcher,
    mut outlet: Outlet<Bytes>,
    _guests: Vec<Arc<dyn CounterSource>>,
) {
    loop {
        let next = tokio::select! {
            next = watcher.next() => next,
            Closed = outlet.over() => return,
        };
        let sent = match next {
            // Its charge is in the bytes themselves, which others may have as well.
            Some(Ok(told)) => outlet.send(told.into_bytes(), account.empty()).await,
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
        resolve,
        resolve_declared,
        top,
        order,
        reverse,
        contains,
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
        resolve: resolve.into_iter().map(resolution).collect::<Result<_, _>>()?,
        resolve_declared,
        top: top as usize,
        order: match pb::CounterOrder::try_from(order) {
            Ok(pb::CounterOrder::Value | pb::CounterOrder::Unspecified) => Order::Value,
            Ok(pb::CounterOrder::Rate) => Order::Rate,
            Ok(pb::CounterOrder::Name) => Order::Name,
            Err(_) => return Err(invalid("order", format!("{order} is no CounterOrder"))),
        },
        reverse,
        contains,
    })
}

fn selector(wire: pb::CounterSelector) -> Result<Selector, Status> {
    let pb::CounterSelector { map, labels, fields } = wire;
    let map = map.parse::<MapGlob>().map_err(Error::from)?;
    let labels = labels.into_iter().map(matcher).collect::<Result<_, _>>()?;
    Ok(Selector { map, labels, fields })
}

fn matcher(wire: pb::LabelMatcher) -> Result<LabelMatcher, Status> {
    let pb::LabelMatcher { label, op, values, prefixes, networks } = wire;
    let wrong =
        |why: String| invalid("selectors", format!("the matcher for label {label:?}: {why}"));
    let Some(comparison) = comparison(op) else {
        return Err(wrong(format!("its op is {op}; say IN or NOT_IN, LESS or GREATER, …")));
    };
    let condition = Condition::new(comparison, values, prefixes, &networks);
    let condition = condition.map_err(|error| wrong(error.to_string()))?;
    Ok(LabelMatcher { label, condition })
}

/// `None` for none, or one that nobody knows.
pub(super) fn comparison(op: i32) -> Option<Comparison> {
    use pb::label_matcher::Op;
    match Op::try_from(op) {
        Ok(Op::In) => Some(Comparison::In),
        Ok(Op::NotIn) => Some(Comparison::NotIn),
        Ok(Op::Less) => Some(Comparison::Less),
        Ok(Op::AtMost) => Some(Comparison::AtMost),
        Ok(Op::Greater) => Some(Comparison::Greater),
        Ok(Op::AtLeast) => Some(Comparison::AtLeast),
        Ok(Op::Unspecified) | Err(_) => None,
    }
}

/// What a request wants of a label: `None` for its number.
pub(super) fn resolution(wire: pb::LabelResolution) -> Result<(String, Option<HostName>), Status> {
    use pb::label_resolution::How;
    let pb::LabelResolution { label, how } = wire;
    let how = match How::try_from(how) {
        Ok(How::Number) => None,
        Ok(How::IfindexName) => Some(HostName::Interface),
        Ok(How::CgroupPath) => Some(HostName::Cgroup),
        Ok(How::User) => Some(HostName::User),
        Ok(How::Syscall) => Some(HostName::Syscall),
        Ok(How::Protocol) => Some(HostName::Protocol),
        Ok(How::Ip) => Some(HostName::Address),
        Ok(How::Unspecified) | Err(_) => {
            let problem = format!("label {label:?} is to be resolved by {how}, which is no How");
            return Err(invalid("resolve", problem));
        }
    };
    Ok((label, how))
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
