//! WatchEvents: batches of records to the stream's messages.

use std::sync::Arc;
use std::time::SystemTime;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::{Condition, EncodedValue, Plan};
use bytes::BytesMut;
use pb::event_end::Reason;
use pb::watch_events_response::Message;
use tonic::Status;

use super::Shared;
use super::convert::timestamp;
use super::outlet::{Closed, Outlet, Stream};
use super::status::invalid;
use super::typed::ENTRY_BYTES;
use super::watch::comparison;
use crate::core::{Clock, ClockSource, Error, Map};
use crate::events::batch::Lengths;
use crate::events::{Batch, Ended, Filter, Item, Loss, LossSource, View, Watcher};
use crate::layer::Call;
use crate::ledger::Account;

/// Bytes of a message of typed records.
const TYPED_BYTES: u64 = 1 << 20;
/// Bytes that one typed record may have.
const TYPED_ROOM: usize = 8 << 20;
/// What a message without records takes.
const HEADER_BYTES: u64 = 1 << 10;

/// Checks the request and starts to watch.
pub(super) async fn start(
    shared: &Arc<Shared>,
    call: &Arc<Call>,
    wire: pb::WatchEventsRequest,
) -> Result<Stream<pb::WatchEventsResponse>, Status> {
    let from_now = wire.from() == pb::EventsFrom::Now;
    let pb::WatchEventsRequest { map, r#type, typed, filters, queue_bytes, from } = wire;
    if pb::EventsFrom::try_from(from).is_err() {
        return Err(invalid("from", format!("{from} is none of EventsFrom")));
    }
    let map = shared.find_map(call, &map).await?;
    map.require_events()?;
    let queue_bytes = granted_queue(shared, queue_bytes)?;
    let filters = filters.into_iter().map(filter).collect::<Result<Vec<_>, _>>()?;
    let view = View::of(&map, &r#type, &filters)?;
    let form = if typed { typed_form(shared, &map, &view)? } else { Form::Packed };
    let account = call.account().clone();
    let (outlet, stream) = shared.outlet();
    let watcher = shared.events.watch(&map, queue_bytes, &account).await?;
    let header = header(shared, &map, &view, queue_bytes);
    // The map itself is not kept: it may go.
    let map = map.text().to_owned();
    let watch = Watch { map, view, form, from_now, account, records: 0, last_waited: None };
    tokio::spawn(watch.run(watcher, outlet, header));
    Ok(stream)
}

/// By one value, as at first, or by a condition.
fn filter(wire: pb::EventFilter) -> Result<Filter, Status> {
    let pb::EventFilter { field, value, op, values, prefixes, networks } = wire;
    let wrong = |why: String| invalid("filters", format!("the filter for {field:?}: {why}"));
    let lists = values.len() + prefixes.len() + networks.len();
    let condition = match (op, comparison(op)) {
        (0, _) if lists == 0 => Condition::is(value),
        (0, _) => return Err(wrong("it has values and no op".to_owned())),
        (_, None) => return Err(wrong(format!("its op is {op}, which is none"))),
        (_, Some(_)) if !value.is_empty() => {
            return Err(wrong("it has an op, so it may have values, but no value".to_owned()));
        }
        (_, Some(comparison)) => Condition::new(comparison, values, prefixes, &networks)
            .map_err(|error| wrong(error.to_string()))?,
    };
    Ok(Filter { field, condition })
}

fn granted_queue(shared: &Shared, asked: u64) -> Result<u64, Status> {
    let limits = shared.registry.limits();
    match asked {
        0 => Ok(limits.event_queue()),
        asked if asked <= limits.max_event_queue_bytes => Ok(asked),
        asked => {
            let most = limits.max_event_queue_bytes;
            Err(invalid("queue_bytes", format!("{asked} is too much, at most {most} are granted")))
        }
    }
}

/// How many typed records a message holds; an error if it does not hold one.
fn typed_form(shared: &Shared, map: &Map, view: &View) -> Result<Form, Status> {
    let plan = view.require_plan(map)?;
    // Far below any limit of a message, and enough that messages cost nothing.
    let most = TYPED_BYTES.min(shared.most() / 2);
    let bounds = plan.protobuf_bounds();
    if bounds.least > most {
        let (least, values) = (bounds.least, plan.values());
        let problem =
            format!("a record of {values} values takes {least} bytes, at most {most} may");
        return Err(invalid("typed", problem));
    }
    let records = (most / bounds.most.max(1)).max(1);
    Ok(Form::Typed { records: usize::try_from(records).unwrap_or(usize::MAX) })
}

fn header(shared: &Shared, map: &Map, view: &View, queue_bytes: u64) -> pb::EventHeader {
    let identity = &shared.identity;
    pb::EventHeader {
        agent_id: identity.agent_id.clone(),
        boot_id: identity.boot_id.clone(),
        incarnation: identity.incarnation.clone(),
        map: map.text().to_owned(),
        map_id: map.sys().info().id,
        byte_order: super::agent_service::byte_order().into(),
        record_type: view.record_type().cloned().map(Into::into),
        queue_bytes,
        clock: view.clock().map(clock_to),
    }
}

fn clock_to(clock: &Clock) -> pb::EventClock {
    use pb::event_clock::Source;
    let Clock { field, source } = clock;
    let source = match source {
        ClockSource::Monotonic => Source::Monotonic,
        ClockSource::Boottime => Source::Boottime,
        ClockSource::Realtime => Source::Realtime,
    };
    pb::EventClock { field: field.clone(), source: source.into() }
}

/// How records are sent.
enum Form {
    Packed,
    /// So many a message at most.
    Typed {
        records: usize,
    },
}

/// One watch on its way to a client.
struct Watch {
    map: String,
    view: View,
    form: Form,
    /// Without the records that waited in the buffer.
    from_now: bool,
    account: Account,
    /// When the last of the records that waited was written, if it says so.
    last_waited: Option<SystemTime>,
    /// Sent so far.
    records: u64,
}

impl Watch {
    async fn run(
        mut self,
        mut watcher: Watcher,
        mut outlet: Outlet<pb::WatchEventsResponse>,
        header: pb::EventHeader,
    ) {
        // Closed: the client is gone or has its error already.
        let _ = self.send_all(&mut watcher, &mut outlet, header).await;
    }

    async fn send_all(
        &mut self,
        watcher: &mut Watcher,
        outlet: &mut Outlet<pb::WatchEventsResponse>,
        header: pb::EventHeader,
    ) -> Result<(), Closed> {
        self.send(outlet, Message::Header(header), HEADER_BYTES).await?;
        loop {
            let item = tokio::select! {
                item = watcher.next() => item,
                closed = outlet.over() => return Err(closed),
            };
            match item {
                Item::Batch(batch) if self.from_now && batch.waiting_since.is_some() => {}
                Item::Batch(batch) => {
                    if batch.waiting_since.is_some() {
                        self.last_waited = self.view.last_written(&batch);
                    }
                    // A filter that takes nothing would never wait for the client.
                    tokio::task::coop::consume_budget().await;
                    let bytes = self.bytes(&batch);
                    let mut charge = match self.account.charge(bytes) {
                        Ok(charge) => charge,
                        Err(exhausted) => return Err(outlet.fail(Error::from(exhausted))),
                    };
                    let batches = self.batches(&batch);
                    let each = bytes / batches.len().max(1) as u64;
                    for batch in batches {
                        self.records += u64::from(batch.count);
                        let message = message(Message::Batch(batch));
                        outlet.send(message, charge.split(each)).await?;
                    }
                }
                Item::Loss(Loss { since: Some(_), .. }) if self.from_now => {}
                Item::Loss(loss) => {
                    let since = loss.since.map(|since| self.last_waited.unwrap_or(since));
                    let loss = Loss { since, ..loss };
                    self.send(outlet, Message::Loss(loss_to(loss)), HEADER_BYTES).await?;
                }
                Item::Renamed(map) => {
                    let to = map.to_string();
                    let from = std::mem::replace(&mut self.map, to.clone());
                    let renamed = pb::MapRenamed { from, to };
                    self.send(outlet, Message::Renamed(renamed), HEADER_BYTES).await?;
                }
                Item::End(Ended::MapGone) => {
                    let reason = Reason::MapGone.into();
                    let end = pb::EventEnd { reason, records: self.records };
                    return self.send(outlet, Message::End(end), HEADER_BYTES).await;
                }
                Item::End(Ended::Stopping) => return Err(outlet.fail(Error::Stopping)),
                Item::End(Ended::Failed(error)) => {
                    let (attempt, map) = ("read the records of", self.map.clone());
                    let source = std::io::Error::new(error.kind(), error);
                    return Err(outlet.fail(Error::Kernel { attempt, map, source }));
                }
            }
        }
    }

    /// Sends a message of so many bytes.
    async fn send(
        &self,
        outlet: &mut Outlet<pb::WatchEventsResponse>,
        message: Message,
        bytes: u64,
    ) -> Result<(), Closed> {
        match self.account.charge(bytes) {
            Ok(charge) => outlet.send(self::message(message), charge).await,
            Err(exhausted) => Err(outlet.fail(Error::from(exhausted))),
        }
    }

    /// Bytes that a batch takes as this watch wants it, at most.
    fn bytes(&self, batch: &Batch) -> u64 {
        let (bytes, count) = (batch.bytes.len() as u64, batch.count() as u64);
        let packed = bytes + count * 16 + HEADER_BYTES;
        match (&self.form, self.view.plan()) {
            (Form::Typed { .. }, Some(plan)) => {
                let each = plan.protobuf_bounds().most.saturating_add(ENTRY_BYTES);
                packed.saturating_add(count.saturating_mul(each))
            }
            _ => packed,
        }
    }

    /// A batch as this watch wants it, in as many messages as it takes.
    fn batches(&self, batch: &Batch) -> Vec<pb::EventBatch> {
        match (&self.form, self.view.plan()) {
            (Form::Typed { records }, Some(plan)) => self.typed(batch, plan, *records),
            _ if self.view.takes_all() => vec![whole(batch)],
            _ => self.chosen(batch).into_iter().collect(),
        }
    }

    /// The records that the filters take.
    fn chosen(&self, batch: &Batch) -> Option<pb::EventBatch> {
        let (mut bytes, mut lengths, mut times) = (BytesMut::new(), Vec::new(), Vec::new());
        for (at, record) in batch.iter().enumerate() {
            if self.view.takes(record) {
                bytes.extend_from_slice(record);
                lengths.push(u32::try_from(record.len()).unwrap_or(u32::MAX));
                times.extend(batch.times.get(at));
            }
        }
        if lengths.is_empty() {
            return None;
        }
        let packed =
            pb::EventBatch { records: bytes.freeze(), times, ..frame(batch, lengths.len()) };
        Some(with_lengths(packed, &Lengths::of(&lengths)))
    }

    fn typed(&self, batch: &Batch, plan: &Plan, most: usize) -> Vec<pb::EventBatch> {
        let mut batches: Vec<pb::EventBatch> = Vec::new();
        for (at, record) in batch.iter().enumerate() {
            if !self.view.takes(record) {
                continue;
            }
            if batches.last().is_none_or(|last| last.typed_records.len() >= most) {
                batches.push(frame(batch, 0));
            }
            let Some(last) = batches.last_mut() else { continue };
            last.count += 1;
            last.typed_records.push(typed_record(batch, record, plan));
            last.times.extend(batch.times.get(at));
        }
        batches
    }
}

fn typed_record(batch: &Batch, record: &[u8], plan: &Plan) -> pb::TypedRecord {
    let (typed, rest) = record.split_at_checked(plan.size()).unwrap_or((&[], record));
    // One too large for a message is left out; its bytes are in `rest`.
    let mut out = Vec::new();
    let written = plan.write_protobuf(typed, &mut out, TYPED_ROOM);
    let (value, rest) = match written {
        Ok(true) => (Some(EncodedValue::from_bytes(out.into())), rest),
        Ok(false) | Err(_) => (None, record),
    };
    pb::TypedRecord { value, rest: batch.bytes.slice_ref(rest) }
}

/// All of a batch, whose bytes are shared.
fn whole(batch: &Batch) -> pb::EventBatch {
    let packed = pb::EventBatch {
        records: batch.bytes.clone(),
        times: batch.times.clone(),
        ..frame(batch, batch.count())
    };
    with_lengths(packed, &batch.lengths)
}

fn frame(batch: &Batch, count: usize) -> pb::EventBatch {
    pb::EventBatch {
        count: u32::try_from(count).unwrap_or(u32::MAX),
        read_at: Some(timestamp(batch.read_at.time)),
        read_at_monotonic: batch.read_at.monotonic,
        read_at_boottime: batch.read_at.boottime,
        waiting_since: batch.waiting_since.map(timestamp),
        cpu: batch.cpu,
        ..pb::EventBatch::default()
    }
}

fn with_lengths(packed: pb::EventBatch, lengths: &Lengths) -> pb::EventBatch {
    match lengths {
        Lengths::Same { length, .. } => pb::EventBatch { record_size: *length, ..packed },
        Lengths::Each(lengths) => pb::EventBatch { lengths: lengths.clone(), ..packed },
    }
}

fn loss_to(loss: Loss) -> pb::EventLoss {
    use pb::event_loss::Source;
    let Loss { source, count, cpu, since } = loss;
    let source = match source {
        LossSource::Kernel => Source::Kernel,
        LossSource::Agent => Source::Agent,
    };
    pb::EventLoss { source: source.into(), count, cpu, since: since.map(timestamp) }
}

fn message(message: Message) -> pb::WatchEventsResponse {
    pb::WatchEventsResponse { message: Some(message) }
}
