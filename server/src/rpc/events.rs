//! WatchEvents: batches of records to the stream's messages.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::Plan;
use bytes::BytesMut;
use pb::event_end::Reason;
use pb::watch_events_response::Message;
use tonic::Status;

use super::Shared;
use super::convert::timestamp;
use super::outlet::{Closed, Outlet, Stream};
use super::status::invalid;
use crate::core::{Error, Map};
use crate::events::batch::Lengths;
use crate::events::{Batch, Ended, Filter, Item, Loss, LossSource, View, Watcher};

/// Bytes of a message that a typed value may take: its own, and those that say what it is.
const TYPED_VALUE_BYTES: u64 = 32;

/// Checks the request and starts to watch.
pub(super) async fn start(
    shared: &Arc<Shared>,
    wire: pb::WatchEventsRequest,
) -> Result<Stream<pb::WatchEventsResponse>, Status> {
    let pb::WatchEventsRequest { map, r#type, typed, filters, queue_bytes } = wire;
    let map = shared.find_map(&map).await?;
    map.require_events()?;
    let queue_bytes = granted_queue(shared, queue_bytes)?;
    let filter = |wire| {
        let pb::EventFilter { field, value } = wire;
        Filter { field, value }
    };
    let filters: Vec<_> = filters.into_iter().map(filter).collect();
    let view = View::of(&map, &r#type, &filters)?;
    let form = if typed { typed_form(shared, &map, &view)? } else { Form::Packed };
    let (outlet, stream) = shared.outlet()?;
    let watcher = shared.events.watch(&map, queue_bytes).await?;
    let header = header(shared, &map, &view, queue_bytes);
    // The map itself is not kept: it may go.
    let watch = Watch { map: map.text().to_owned(), view, form, records: 0 };
    tokio::spawn(watch.run(watcher, outlet, header));
    Ok(stream)
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
    let half = shared.registry.limits().max_message_bytes / 2;
    let (size, values) = (plan.size() as u64, plan.values().max(1));
    let records = half / (values.saturating_mul(TYPED_VALUE_BYTES) + size * 2);
    if records == 0 {
        let problem = format!("a record has {values} values, too many for a message");
        return Err(invalid("typed", problem));
    }
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
    }
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
        outlet.send(message(Message::Header(header))).await?;
        loop {
            let item = tokio::select! {
                item = watcher.next() => item,
                closed = outlet.over() => return Err(closed),
            };
            match item {
                Item::Batch(batch) => {
                    // A filter that takes nothing would never wait for the client.
                    tokio::task::coop::consume_budget().await;
                    for batch in self.batches(&batch) {
                        self.records += u64::from(batch.count);
                        outlet.send(message(Message::Batch(batch))).await?;
                    }
                }
                Item::Loss(loss) => outlet.send(message(Message::Loss(loss_to(loss)))).await?,
                Item::End(Ended::MapGone) => {
                    let reason = Reason::MapGone.into();
                    let end = pb::EventEnd { reason, records: self.records };
                    return outlet.send(message(Message::End(end))).await;
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
    let value = plan.decode_protobuf(typed).ok();
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
        read_at: Some(timestamp(batch.read_at)),
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
    let Loss { source, count, cpu } = loss;
    let source = match source {
        LossSource::Kernel => Source::Kernel,
        LossSource::Agent => Source::Agent,
    };
    pb::EventLoss { source: source.into(), count, cpu }
}

fn message(message: Message) -> pb::WatchEventsResponse {
    pb::WatchEventsResponse { message: Some(message) }
}
