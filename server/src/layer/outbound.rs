//! The body of an answer, in pieces that are charged until the socket has taken them.
//!
//! hyper takes whatever it is given, however small the client's window is, and what h2 holds of it
//! can be got rid of only as long as the call's task lives. So a large answer is handed on piece by
//! piece, each a copy, and its end is held back until the last piece is with the socket.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::call::Call;
use super::gate::CALL_BYTES;
use super::table::Shape;
use crate::core::{Error, Limits};
use crate::ledger::Charge;

/// What hyper is given at a time.
const PIECE: usize = 64 << 10;
/// An answer up to here is left to h2: it is gone with the connection at the latest.
const SMALL: usize = 16 << 10;

/// The body of an answer.
pub(super) struct Outbound<B> {
    body: B,
    call: Arc<Call>,
    /// How long the client may take.
    time: Duration,
    /// The rest of a frame that is larger than a piece, and what it is charged.
    rest: Bytes,
    charge: Option<Charge>,
    /// Of pieces that the end waits for.
    taken: Option<Arc<Taken>>,
    /// All that was handed on so far.
    sent: usize,
    end: Option<Frame<Bytes>>,
}

/// Pieces that are not with the socket yet.
#[derive(Debug, Default)]
struct Taken {
    missing: AtomicUsize,
    waker: AtomicWaker,
}

/// A piece with its charge.
struct Piece {
    bytes: Bytes,
    taken: Option<Arc<Taken>>,
    _charge: Charge,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(taken) = &self.taken
            && taken.missing.fetch_sub(1, Ordering::AcqRel) == 1
        {
            taken.waker.wake();
        }
    }
}

impl<B> Outbound<B> {
    pub(super) fn new(body: B, call: Arc<Call>, limits: &Limits) -> Self {
        let time = match call.row().shape {
            Shape::Unary | Shape::ClientStream => limits.answer_time(),
            // The stream itself ends before that, and says why; this is for who does not read even
            // that.
            Shape::ServerStream | Shape::Both => limits.stall_time() * 2,
        };
        let (rest, charge, taken, sent, end) = Default::default();
        Self { body, call, time, rest, charge, taken, sent, end }
    }

    /// What the call holds for its one answer, and what is missing.
    fn charge_frame(&self, bytes: usize) -> Result<Charge, Error> {
        if self.call.row().shape != Shape::Unary {
            return self.charge(bytes);
        }
        let mut charge = self.call.encoded(bytes as u64, CALL_BYTES);
        charge.resize(bytes as u64)?;
        Ok(charge)
    }

    /// Of the connection's memory; where there is none left, of what the call holds.
    fn charge(&self, bytes: usize) -> Result<Charge, Error> {
        let bytes = bytes as u64;
        self.call.account().charge(bytes).or_else(|exhausted| {
            let part = self.call.part(bytes);
            if part.bytes() == bytes { Ok(part) } else { Err(exhausted.into()) }
        })
    }

    fn piece(&mut self, bytes: Bytes, charge: Charge) -> Bytes {
        self.sent += bytes.len();
        if self.sent > SMALL {
            self.taken.get_or_insert_default();
        }
        if let Some(taken) = &self.taken {
            taken.missing.fetch_add(1, Ordering::AcqRel);
        }
        let taken = self.taken.clone();
        Bytes::from_owner(Piece { bytes, taken, _charge: charge })
    }

    fn next_of_rest(&mut self) -> Result<Bytes, Error> {
        let length = self.rest.len().min(PIECE);
        let charge = match (self.charge(length), &mut self.charge) {
            (Ok(charge), _) => charge,
            // Rather of what the frame has than no end at all.
            (Err(_), Some(frame)) => frame.split(length as u64),
            (Err(error), None) => return Err(error),
        };
        let copy = Bytes::copy_from_slice(&self.rest[..length]);
        self.rest.advance(length);
        if self.rest.is_empty() {
            (self.rest, self.charge) = Default::default();
        }
        Ok(self.piece(copy, charge))
    }

    fn frame(&mut self, data: Bytes) -> Result<Bytes, Error> {
        let charge = self.charge_frame(data.len())?;
        if data.len() <= PIECE {
            return Ok(self.piece(data, charge));
        }
        self.charge = Some(charge);
        self.rest = data;
        self.next_of_rest()
    }

    /// The answer is with the client's window from here on.
    fn wait(&self) {
        if self.call.row().shape != Shape::Unary || self.call.due().is_none() {
            self.call.set_due(Some(self.time));
        }
    }

    fn waits_for_pieces(&self, cx: &Context<'_>) -> bool {
        let Some(taken) = &self.taken else { return false };
        if taken.missing.load(Ordering::Acquire) == 0 {
            return false;
        }
        taken.waker.register(cx.waker());
        taken.missing.load(Ordering::Acquire) > 0
    }
}

impl<B> Body for Outbound<B>
where
    B: Body<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let data = if !this.rest.is_empty() {
            this.next_of_rest()
        } else if this.end.is_some() {
            if this.waits_for_pieces(cx) {
                return Poll::Pending;
            }
            this.call.set_due(None);
            return Poll::Ready(this.end.take().map(Ok));
        } else {
            if this.call.row().shape != Shape::Unary {
                // What was handed on has found room, and now it is the agent that is waited for.
                this.call.set_due(None);
            }
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                Some(Ok(frame)) => frame,
            };
            match frame.into_data() {
                Ok(data) => this.frame(data),
                Err(trailers) => {
                    this.end = Some(trailers);
                    this.wait();
                    return Pin::new(this).poll_frame(cx);
                }
            }
        };
        this.wait();
        Poll::Ready(Some(data.map(Frame::data).map_err(Status::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.end.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
