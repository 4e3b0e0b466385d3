//! Messages as a test reads them: what is written down is a number, and as many bytes as it might
//! take on a wire.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bpfgate_proto::name::{MapGlob, MapName};

use crate::watch::message::{self, Message};
use crate::watch::{CounterKind, Histogram, LossSource, RemovedReason, Sync, Told, Wire};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    Header(Header),
    Series(Series),
    Batch(Batch),
    Removed(Removed),
    Reset(Reset),
    Renamed(MapName, MapName),
    Sync(Sync),
    Loss(Loss),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) interval: Duration,
    pub(super) maps: Vec<MapName>,
    pub(super) unmatched: Vec<MapGlob>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) reference: u64,
    pub(super) map: MapName,
    pub(super) labels: Vec<Label>,
    pub(super) field: String,
    pub(super) kind: CounterKind,
    pub(super) kind_undeclared: bool,
    pub(super) unit: String,
    pub(super) start_time: SystemTime,
    pub(super) signed: bool,
    pub(super) bounds: Vec<u64>,
    pub(super) before: Option<(u64, SystemTime)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    pub(super) map: MapName,
    pub(super) sweep: u64,
    pub(super) read_begin: SystemTime,
    pub(super) read_end: SystemTime,
    pub(super) complete: bool,
    pub(super) refs: Vec<u64>,
    pub(super) values: Vec<u64>,
    pub(super) coalesced: u64,
    pub(super) more: bool,
    pub(super) histograms: Vec<Histogram>,
    pub(super) achieved: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Removed {
    pub(super) refs: Vec<u64>,
    pub(super) reason: RemovedReason,
    pub(super) map: MapName,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reset {
    pub(super) refs: Vec<u64>,
    pub(super) start_time: SystemTime,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loss {
    pub(super) source: LossSource,
    pub(super) count: u64,
    pub(super) map: MapName,
    pub(super) detail: String,
}

/// Writes down numbers of messages, which all tests of the process keep here.
pub(super) struct Scribe;

static SAID: Mutex<Vec<Arc<Said>>> = Mutex::new(Vec::new());
/// A message's number, and how many bytes follow.
const HEAD: usize = 16;

impl Wire for Scribe {
    fn write(&self, message: &Message<'_>, out: &mut Vec<u8>) {
        let said = Said::from(message);
        let length = match &said {
            Said::Series(series) => {
                let label = |it: &Label| it.name.len() + it.value.len() + 6;
                32 + series.field.len() + series.labels.iter().map(label).sum::<usize>()
            }
            Said::Batch(batch) => {
                let counts: usize = batch.histograms.iter().map(|it| it.counts.len()).sum();
                40 + 8 * (batch.refs.len() + counts)
            }
            Said::Removed(Removed { refs, .. }) | Said::Reset(Reset { refs, .. }) => 8 * refs.len(),
            _ => 0,
        };
        let mut all = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        out.extend(all.len().to_ne_bytes());
        out.extend(length.to_ne_bytes());
        out.resize(out.len() + length, 0);
        all.push(Arc::new(said));
    }
}

/// What is in a page.
pub(super) fn said(told: &Told) -> Vec<Arc<Said>> {
    let mut rest = &told.bytes()[..];
    let mut found = Vec::new();
    let number = |bytes: &[u8]| usize::from_ne_bytes(bytes.try_into().unwrap());
    while !rest.is_empty() {
        let (at, length) = (number(&rest[..8]), number(&rest[8..HEAD]));
        found.push(SAID.lock().unwrap_or_else(PoisonError::into_inner)[at].clone());
        rest = &rest[HEAD + length..];
    }
    found
}

impl From<&Message<'_>> for Said {
    fn from(message: &Message<'_>) -> Self {
        match message {
            Message::Header(message::Header { interval, maps, unmatched }) => {
                let maps = maps.iter().map(|it| (*it).clone()).collect();
                let unmatched = unmatched.iter().map(|it| (*it).clone()).collect();
                Self::Header(Header { interval: *interval, maps, unmatched })
            }
            Message::Series(it) => Self::Series(Series {
                reference: it.reference,
                map: it.map.clone(),
                labels: it
                    .labels
                    .iter()
                    .map(|it| Label { name: it.name.to_owned(), value: it.value.to_owned() })
                    .collect(),
                field: it.field.to_owned(),
                kind: it.kind,
                kind_undeclared: it.kind_undeclared,
                unit: it.unit.to_owned(),
                start_time: it.start_time,
                signed: it.signed,
                bounds: it.bounds.to_vec(),
                before: it.before,
            }),
            Message::Batch(it) => Self::Batch(Batch {
                map: it.map.clone(),
                sweep: it.sweep,
                read_begin: it.read_begin,
                read_end: it.read_end,
                complete: it.complete,
                refs: it.refs.to_vec(),
                values: it.values.to_vec(),
                coalesced: it.coalesced,
                more: it.more,
                histograms: it.histograms.to_vec(),
                achieved: it.achieved,
            }),
            Message::Removed(message::Removed { refs, reason, map }) => {
                let (refs, map) = (refs.to_vec(), (*map).clone());
                Self::Removed(Removed { refs, reason: *reason, map })
            }
            Message::Reset(message::Reset { refs, start_time, map: _ }) => {
                Self::Reset(Reset { refs: refs.to_vec(), start_time: *start_time })
            }
            Message::Renamed(message::Renamed { from, to }) => {
                Self::Renamed((*from).clone(), (*to).clone())
            }
            Message::Sync(sync) => Self::Sync(*sync),
            Message::Loss(message::Loss { source, count, map, detail }) => Self::Loss(Loss {
                source: *source,
                count: *count,
                map: (*map).clone(),
                detail: (*detail).to_owned(),
            }),
        }
    }
}
