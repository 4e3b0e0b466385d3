//! WatchCounters: a request to the hub's terms, and a watch's messages to its stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bpfgate_proto::name::{MapGlob, MapName, MapRef};
use bpfgate_proto::v1 as pb;
use bytes::Bytes;
use tonic::Status;

use super::outlet::{Closed, Outlet, Stream};
use super::status::invalid;
use super::watch_wire::encode;
use super::{Identity, Shared};
use crate::core::Error;
use crate::layer::Call;
use crate::ledger::Account;
use crate::watch::{
    CpuMode, HostName, LabelMatcher, MatchOp, Selector, Told, WatchMode, WatchRequest, Watcher,
};

/// Bytes behind which a bundle is full: as much as tonic puts into one frame.
const BUNDLE: usize = 32 << 10;

/// Messages that go on together. A snapshot has one for each series, and handing these over one by
/// one would cost two switches of tasks each: a watch of some thousand series fell behind in its
/// own snapshot.
type Bundle = Vec<Bytes>;

/// The messages of a watch, one by one: bytes of `WatchCountersResponse`.
pub(super) struct Messages {
    bundles: Stream<Bundle>,
    open: std::vec::IntoIter<Bytes>,
}

impl tokio_stream::Stream for Messages {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = self.open.next() {
                return Poll::Ready(Some(Ok(message)));
            }
            match ready!(Pin::new(&mut self.bundles).poll_next(cx)) {
                Some(Ok(bundle)) => self.open = bundle.into_iter(),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Checks the request and starts to watch.
pub(super) fn start(
    shared: &Arc<Shared>,
    call: &Call,
    wire: pb::WatchCountersRequest,
) -> Result<Messages, Status> {
    check_named_maps(shared, &wire.selectors)?;
    let request = request(wire)?;
    let (outlet, bundles) = shared.outlet();
    let watcher = shared.hub.watch(request)?;
    tokio::spawn(run(shared.clone(), call.account().clone(), watcher, outlet));
    Ok(Messages { bundles, open: Vec::new().into_iter() })
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
    account: Account,
    mut watcher: Watcher,
    mut outlet: Outlet<Bundle>,
) {
    loop {
        let next = tokio::select! {
            next = watcher.next() => next,
            Closed = outlet.over() => return,
        };
        let sent = match next {
            Some(Ok(told)) => {
                let bundle = bundle(told, &mut watcher, &shared.identity);
                outlet.send(bundle, account.empty()).await
            }
            Some(Err(error)) => Err(outlet.fail(error)),
            None => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A message and what is behind it already.
fn bundle(first: Arc<Told>, watcher: &mut Watcher, identity: &Identity) -> Bundle {
    let mut bundle = Bundle::new();
    let (mut next, mut bytes) = (Some(first), 0);
    while let Some(told) = next {
        let message = told.wire(|message| encode(identity, message)).clone();
        bytes += message.len();
        bundle.push(message);
        next = if bytes < BUNDLE { watcher.at_hand() } else { None };
    }
    bundle
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

fn resolution(wire: pb::LabelResolution) -> Result<(String, Option<HostName>), Status> {
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
