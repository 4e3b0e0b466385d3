//! Records of ring buffers and perf buffers, as packed batches. Nothing is copied behind the
//! transport: records are slices of its buffers.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bpfgate_proto::v1;
use bpfgate_proto::v1::watch_events_response::Message;
use bpfgate_proto::value::{ByteOrder, Leaf, Plan, Type};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tonic::Streaming;

use crate::condition::{WrittenConditionError, parse_condition};
use crate::counted::{Counted, Taken};
use crate::error::{Call, Error};

/// How [`crate::Maps::watch_events`] watches. The default is all records, those that waited in the
/// buffer first, as bytes of the type that the map tells.
#[derive(Debug, Clone, Default)]
pub struct EventOptions {
    /// What the records are, as in `struct exec_event`: a type of the object's BTF. Empty for what
    /// the map says of itself.
    pub record_type: String,
    /// Let the agent decode the records: [`Record::typed`] instead of [`Record::bytes`].
    /// [`Events::decode`] does the same here, for a fraction of the bytes on the way.
    pub typed: bool,
    /// Only records that all of these take.
    pub filters: Vec<EventFilter>,
    /// Bytes that may wait at the agent before records are lost to this watch; 0 for the agent's
    /// own choice.
    pub queue_bytes: u64,
    /// Leave out the records that waited in the buffer because nobody read it.
    pub from_now: bool,
}

/// Takes records in which a field is as wanted. Parsed from what [`crate::parse_condition`] takes:
/// `pid=123`, `comm=ba*|sh`, `dport>=1024`, `daddr=10.0.0.0/8`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventFilter(v1::LabelMatcher);

impl EventFilter {
    /// The field, by its path (`pid`, `daddr.v4`, `args[0]`), has that value.
    pub fn is(field: impl Into<String>, value: impl Into<String>) -> Self {
        let (label, values) = (field.into(), vec![value.into()]);
        let op = v1::label_matcher::Op::In.into();
        Self(v1::LabelMatcher { label, op, values, ..v1::LabelMatcher::default() })
    }

    /// What it is on the wire.
    pub fn as_matcher(&self) -> &v1::LabelMatcher {
        &self.0
    }

    /// A single value goes as all agents know it.
    fn into_request(self) -> v1::EventFilter {
        let v1::LabelMatcher { label: field, op, mut values, prefixes, networks } = self.0;
        let plain = op == i32::from(v1::label_matcher::Op::In)
            && values.len() == 1
            && prefixes.is_empty()
            && networks.is_empty();
        let value = if plain { values.pop() } else { None };
        let op = if plain { 0 } else { op };
        let value = value.unwrap_or_default();
        v1::EventFilter { field, value, op, values, prefixes, networks }
    }
}

impl From<v1::LabelMatcher> for EventFilter {
    fn from(matcher: v1::LabelMatcher) -> Self {
        Self(matcher)
    }
}

impl std::str::FromStr for EventFilter {
    type Err = WrittenConditionError;

    fn from_str(text: &str) -> Result<Self, WrittenConditionError> {
        parse_condition(text).map(Self)
    }
}

impl EventOptions {
    pub(crate) fn into_request(self, map: &str) -> v1::WatchEventsRequest {
        let Self { record_type, typed, filters, queue_bytes, from_now } = self;
        let from = if from_now { v1::EventsFrom::Now } else { v1::EventsFrom::Oldest };
        v1::WatchEventsRequest {
            map: map.to_owned(),
            r#type: record_type,
            typed,
            filters: filters.into_iter().map(EventFilter::into_request).collect(),
            queue_bytes,
            from: from.into(),
        }
    }
}

/// What a watch of events tells.
#[derive(Debug, Clone)]
pub enum EventNews {
    /// Records.
    Batch(EventBatch),
    /// Records that are missing here.
    Loss(v1::EventLoss),
    /// The map has another name, because its object was unloaded while another shared it.
    Renamed(v1::MapRenamed),
}

/// A stream of [`EventNews`]. It ends by itself only if the map goes, see [`Events::end`];
/// otherwise the agent's end of it is an error. Dropping it ends the watch.
#[derive(Debug)]
pub struct Events {
    stream: Counted<v1::WatchEventsResponse, v1::EventEnd>,
    header: v1::EventHeader,
    plan: Option<Plan>,
    /// The field of a record that says when it was written.
    clock: Option<(v1::event_clock::Source, Leaf)>,
}

impl Events {
    pub(crate) fn new(
        call: Call,
        stream: Streaming<v1::WatchEventsResponse>,
        first: v1::WatchEventsResponse,
    ) -> Result<Self, Error> {
        let wrong = |what: String| Error::protocol(call.rpc, what);
        let Some(Message::Header(header)) = first.message else {
            return Err(wrong("the first message is no header".into()));
        };
        let order = match header.byte_order() {
            v1::ByteOrder::LittleEndian => ByteOrder::Little,
            v1::ByteOrder::BigEndian => ByteOrder::Big,
            v1::ByteOrder::Unspecified => return Err(wrong("it has no byte order".into())),
        };
        let plan = match header.record_type.clone() {
            Some(ty) => {
                let ty = Type::try_from(ty).map_err(|error| wrong(error.to_string()))?;
                // A type too large to be taken apart is bytes.
                Plan::compile_for(&ty, order).ok()
            }
            None => None,
        };
        let clock = header.clock.as_ref().and_then(|clock| {
            let mut leaves = plan.as_ref()?.leaves().iter();
            let leaf = leaves.find(|leaf| leaf.path() == clock.field && leaf.is_number())?;
            Some((clock.source(), leaf.clone()))
        });
        Ok(Self { stream: Counted::new(call, stream, "records"), header, plan, clock })
    }

    /// Which agent it is, which map, what its records are.
    pub fn header(&self) -> &v1::EventHeader {
        &self.header
    }

    /// Turns records into values; `None` where nobody says what they are.
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// A record by its type, and what is behind the type's end. `None` for one that is shorter
    /// than its type, or has none; all of it is the rest then.
    pub fn decode<'r>(&self, record: &'r [u8]) -> (Option<serde_json::Value>, &'r [u8]) {
        let parts = self.plan.as_ref().and_then(|plan| {
            let (typed, rest) = record.split_at_checked(plan.size())?;
            Some((plan.decode(typed).ok()?, rest))
        });
        parts.map_or((None, record), |(value, rest)| (Some(value), rest))
    }

    /// When a record was written, by the clock of the agent's host: as the kernel noted it in a
    /// perf buffer, or as the record's own clock field says ([`v1::EventHeader::clock`]), or else
    /// when the agent read it. `None` where that is not known: of a record that waited in the buffer
    /// before anybody read it.
    pub fn written_at(&self, batch: &EventBatch, record: &Record<'_>) -> Option<SystemTime> {
        use v1::event_clock::Source;
        let v1::EventBatch { read_at, read_at_monotonic, read_at_boottime, .. } = &batch.packed;
        let read_at = SystemTime::try_from((*read_at)?).ok()?;
        let at = |now: u64, then: u64| {
            let age = Duration::from_nanos(now.abs_diff(then));
            if then <= now { read_at.checked_sub(age) } else { read_at.checked_add(age) }
        };
        if let Some(time) = record.time
            && *read_at_monotonic > 0
        {
            return at(*read_at_monotonic, time);
        }
        let own = self.clock.as_ref().zip(self.plan.as_ref()).and_then(|((source, leaf), plan)| {
            let nanoseconds = leaf.read(record.bytes.get(..plan.size())?);
            match source {
                Source::Monotonic if *read_at_monotonic > 0 => at(*read_at_monotonic, nanoseconds),
                Source::Boottime if *read_at_boottime > 0 => at(*read_at_boottime, nanoseconds),
                Source::Realtime => {
                    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds))
                }
                Source::Monotonic | Source::Boottime | Source::Unspecified => None,
            }
        });
        own.or_else(|| batch.waiting_since().is_none().then_some(read_at))
    }

    /// Why it ended; `None` before the stream's end.
    pub fn end(&self) -> Option<&v1::EventEnd> {
        self.stream.end()
    }

    /// The next news; `None` behind the end of a map that went.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] and [`Error::CutOff`] where the stream broke: what was taken out meanwhile
    /// is gone. `UNAVAILABLE` if the agent stops, `RESOURCE_EXHAUSTED` (`UNREAD`) if nobody read
    /// for `stall_seconds`.
    pub async fn next_news(&mut self) -> Result<Option<EventNews>, Error> {
        self.next().await.transpose()
    }
}

impl Stream for Events {
    type Item = Result<EventNews, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll(cx, |message| {
            Ok(match message.message {
                Some(Message::Batch(packed)) => {
                    let batch = EventBatch::new(packed)?;
                    let count = batch.len() as u64;
                    Taken::Item(EventNews::Batch(batch), count)
                }
                Some(Message::Loss(loss)) => Taken::Item(EventNews::Loss(loss), 0),
                Some(Message::Renamed(renamed)) => Taken::Item(EventNews::Renamed(renamed), 0),
                Some(Message::End(end)) => {
                    let count = end.records;
                    Taken::End(end, count)
                }
                Some(Message::Header(_)) => Taken::Header,
                None => Taken::Unknown,
            })
        })
    }
}

/// Records in the order in which they were written; of a perf buffer those of one CPU.
#[derive(Debug, Clone)]
pub struct EventBatch {
    packed: v1::EventBatch,
}

/// One record of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Record<'b> {
    /// As it was written; empty with [`EventOptions::typed`].
    pub bytes: &'b [u8],
    /// When it was written, in nanoseconds of `CLOCK_MONOTONIC`; only in perf buffers.
    pub time: Option<u64>,
    /// By its type, with [`EventOptions::typed`].
    pub typed: Option<&'b v1::TypedRecord>,
}

impl EventBatch {
    fn new(packed: v1::EventBatch) -> Result<Self, String> {
        let count = packed.count as usize;
        let (size, bytes) = (packed.record_size as usize, packed.records.len());
        let fits = if !packed.typed_records.is_empty() {
            packed.typed_records.len() == count && bytes == 0
        } else if size > 0 {
            count.checked_mul(size) == Some(bytes) && packed.lengths.is_empty()
        } else {
            let sum = packed.lengths.iter().map(|&length| u64::from(length)).sum::<u64>();
            packed.lengths.len() == count && sum == bytes as u64
        };
        if !fits || !(packed.times.is_empty() || packed.times.len() == count) {
            return Err(format!("a batch of {count} records with {bytes} bytes that do not fit"));
        }
        Ok(Self { packed })
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.packed.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packed.count == 0
    }

    /// The CPU that they were written on; `None` for a ring buffer, which all share.
    pub fn cpu(&self) -> Option<u32> {
        self.packed.cpu
    }

    /// When the agent took the last of them out of the buffer.
    pub fn read_at(&self) -> Option<&prost_types::Timestamp> {
        self.packed.read_at.as_ref()
    }

    /// Present: the records waited in the buffer when its reader began, and were written at some
    /// time between this and [`EventBatch::read_at`].
    pub fn waiting_since(&self) -> Option<&prost_types::Timestamp> {
        self.packed.waiting_since.as_ref()
    }

    /// All records back to back.
    pub fn packed_records(&self) -> &Bytes {
        &self.packed.records
    }

    /// The records one by one.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let packed = &self.packed;
        let mut from = 0;
        (0..self.len()).map(move |at| {
            let typed = packed.typed_records.get(at);
            let length = match (typed, packed.record_size) {
                (Some(_), _) => 0,
                (None, 0) => packed.lengths[at] as usize,
                (None, size) => size as usize,
            };
            let bytes = &packed.records[from..from + length];
            from += length;
            Record { bytes, time: packed.times.get(at).copied(), typed }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(count: u32, records: &'static [u8], size: u32, lengths: &[u32]) -> v1::EventBatch {
        v1::EventBatch {
            count,
            records: Bytes::from_static(records),
            record_size: size,
            lengths: lengths.to_vec(),
            ..v1::EventBatch::default()
        }
    }

    fn records(packed: v1::EventBatch) -> Vec<Vec<u8>> {
        EventBatch::new(packed).unwrap().iter().map(|record| record.bytes.to_vec()).collect()
    }

    #[test]
    fn records_are_slices() {
        assert_eq!(records(packed(2, b"aabb", 2, &[])), [b"aa", b"bb"]);
        assert_eq!(records(packed(3, b"abbb", 0, &[1, 0, 3])), [&b"a"[..], b"", b"bbb"]);
        let times = vec![5, 7];
        let batch = v1::EventBatch { times, cpu: Some(3), ..packed(2, b"aabb", 2, &[]) };
        let batch = EventBatch::new(batch).unwrap();
        assert_eq!(batch.iter().filter_map(|record| record.time).collect::<Vec<_>>(), [5, 7]);
        assert_eq!((batch.len(), batch.cpu()), (2, Some(3)));
    }

    #[test]
    fn a_batch_that_contradicts_itself_is_refused() {
        for wrong in [
            packed(2, b"aab", 2, &[]),
            packed(2, b"aabb", 0, &[2]),
            packed(2, b"aabb", 0, &[2, 1]),
            packed(2, b"aabb", 2, &[2, 2]),
            packed(1, b"aabb", 0, &[u32::MAX]),
            v1::EventBatch { times: vec![1], ..packed(2, b"aabb", 2, &[]) },
            v1::EventBatch {
                typed_records: vec![v1::TypedRecord::default()],
                ..packed(2, b"", 0, &[])
            },
        ] {
            assert!(EventBatch::new(wrong).is_err());
        }
        assert!(EventBatch::new(packed(0, b"", 0, &[])).unwrap().is_empty());
    }

    #[test]
    fn one_value_goes_as_all_agents_know_it() {
        let wire = |text: &str| text.parse::<EventFilter>().unwrap().into_request();
        assert_eq!(wire("comm=a=b"), EventFilter::is("comm", "a=b").into_request());
        let one = wire("comm=a=b");
        assert_eq!((one.field.as_str(), one.value.as_str(), one.op), ("comm", "a=b", 0));
        let either = wire("comm=a|b*");
        assert_eq!(
            (either.value.as_str(), &either.values[..], &either.prefixes[..]),
            ("", &["a".into()][..], &["b".into()][..])
        );
        let said = "pid".parse::<EventFilter>().unwrap_err().to_string();
        assert!(said.contains("FIELD=VALUE"), "{said}");
    }
}
