//! An event buffer that is being read: its memory, and the descriptors that tell of new records.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::AsFd as _;
use std::task::Poll;

use crate::broker::Outputs;
use crate::core::{Error, Map, RecordRoom};
use crate::sys::{ReadLimits, Records, RingBuffer, Sign, Stopped};

/// What a reader reads. A ring is one lane, and so is each CPU's perf buffer; the records of a lane
/// have an order.
pub(super) trait Lanes: Debug + Send + 'static {
    /// How many there are.
    fn count(&self) -> usize;

    /// The CPU that writes to a lane, unless all do.
    fn cpu(&self, lane: usize) -> Option<u32>;

    /// Takes records out of a lane.
    fn read(&mut self, lane: usize, out: &mut Records, limits: ReadLimits) -> io::Result<Stopped>;

    /// Records that were lost behind the last one of a lane that is empty, and have not been told.
    fn lost(&mut self, lane: usize) -> io::Result<u64>;

    /// Once: a lane had no room left when its reader began.
    fn take_overflowed(&mut self, lane: usize) -> bool;

    /// Waits for a sign of records since the last time. To be followed by reads until nothing is
    /// left: there is no second sign for them.
    fn signed(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// An event buffer that is being read. Dropping it gives everything back, and blocks for a moment.
#[derive(Debug)]
pub(super) struct Source {
    signs: Vec<Sign>,
    buffer: Buffer,
    /// Last: given back once the buffers are gone.
    _room: RecordRoom,
}

#[derive(Debug)]
enum Buffer {
    Ring(RingBuffer),
    Perf(Outputs),
}

impl Source {
    /// Opens the buffer of a map that has events. Blocking, and within a tokio runtime.
    pub(super) fn open(map: &Map, perf_bytes: usize, room: RecordRoom) -> Result<Self, Error> {
        let failed = |source| {
            let attempt = "read the records of";
            Error::Kernel { attempt, map: map.text().to_owned(), source }
        };
        let buffer = if map.is_ring() {
            Buffer::Ring(RingBuffer::new(map.sys()).map_err(failed)?)
        } else {
            Buffer::Perf(Outputs::open(map.sys(), perf_bytes)?)
        };
        let descriptors = match &buffer {
            Buffer::Ring(_) => vec![map.sys().as_fd()],
            Buffer::Perf(outputs) => outputs.descriptors().collect(),
        };
        let signs = descriptors.into_iter().map(Sign::of).collect::<Result<_, _>>();
        let signs = signs.map_err(failed)?;
        Ok(Self { signs, buffer, _room: room })
    }
}

impl Lanes for Source {
    fn count(&self) -> usize {
        match &self.buffer {
            Buffer::Ring(_) => 1,
            Buffer::Perf(outputs) => outputs.count(),
        }
    }

    fn cpu(&self, lane: usize) -> Option<u32> {
        match &self.buffer {
            Buffer::Ring(_) => None,
            Buffer::Perf(outputs) => Some(outputs.cpu(lane)),
        }
    }

    fn read(&mut self, lane: usize, out: &mut Records, limits: ReadLimits) -> io::Result<Stopped> {
        match &mut self.buffer {
            Buffer::Ring(ring) => ring.read(out, limits),
            Buffer::Perf(outputs) => outputs.read(lane, out, limits),
        }
    }

    fn lost(&mut self, lane: usize) -> io::Result<u64> {
        match &mut self.buffer {
            // The kernel does not count them.
            Buffer::Ring(_) => Ok(0),
            Buffer::Perf(outputs) => outputs.lost(lane),
        }
    }

    fn take_overflowed(&mut self, _lane: usize) -> bool {
        match &mut self.buffer {
            Buffer::Ring(ring) => ring.take_overflowed(),
            // It is there only while it is read.
            Buffer::Perf(_) => false,
        }
    }

    async fn signed(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            let mut outcome = Poll::Pending;
            // All of them are asked, so that all of them wake us.
            for sign in &self.signs {
                if let Poll::Ready(signed) = sign.poll(context) {
                    signed?;
                    outcome = Poll::Ready(Ok(()));
                }
            }
            outcome
        })
        .await
    }
}
