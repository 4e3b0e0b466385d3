//! The body of a request, charged before it is anywhere but in the socket.
//!
//! tonic makes room for the length that a message's prefix claims as soon as it sees the prefix, so
//! that is held back until the message is whole. What came of it is charged as it comes, and what it
//! will take decoded before it is handed on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::call::Call;
use super::table::{Shape, Work};
use super::weight::{Decoded, Weights};
use crate::core::{CallError, Error};
use crate::ledger::Charge;

/// Whether the message is compressed, and its length.
const PREFIX: usize = 5;
/// Messages of a client's stream that are somewhere between the socket and the kernel, at most.
const MESSAGES_AT_ONCE: usize = 3;

/// The body of a request.
pub(super) struct Inbound<B> {
    body: B,
    call: Arc<Call>,
    decoded: Option<Decoded>,
    /// Bytes of one message.
    most: u64,
    /// What came of the message at hand, with its prefix.
    message: BytesMut,
    /// Of what is in `message`, beside that of the call.
    charged: u64,
    /// Charges of a stream's last messages.
    last: [Option<Charge>; MESSAGES_AT_ONCE],
    at: usize,
    over: bool,
}

impl<B> Inbound<B> {
    pub(super) fn new(body: B, call: Arc<Call>, weights: &'static Weights, most: u64) -> Self {
        let most = call.row().message_bytes(most);
        let decoded = weights.of(call.row().path);
        let (message, last) = Default::default();
        Self { body, call, decoded, most, message, charged: 0, last, at: 0, over: false }
    }

    /// The length that a prefix claims, if it is one that is taken.
    fn claimed(&self, prefix: &[u8]) -> Result<Option<usize>, Error> {
        let Some(&[_, a, b, c, d]) = prefix.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]);
        if u64::from(length) > self.most {
            let (bytes, limit) = (length.into(), self.most);
            return Err(CallError::MessageTooLarge { bytes, limit }.into());
        }
        Ok(Some(length as usize + PREFIX))
    }

    /// Charges for what a whole message takes decoded, for tonic's copy of it, and for so many
    /// bytes of it that were not charged yet.
    fn charge_decoded(&mut self, message: &[u8], new: usize) -> Result<(), Error> {
        let decoded = self.decoded.map_or(0, |decoded| decoded.bytes(&message[PREFIX..]));
        let bytes = decoded + (message.len() + new) as u64;
        self.call.hold(bytes)?;
        self.charged += bytes;
        if self.call.row().shape != Shape::Unary {
            // A stream's message is gone when so many others were handed on.
            self.last[self.at] = Some(self.call.part(self.charged));
            let at_once = if self.call.row().work == Work::Load { 1 } else { MESSAGES_AT_ONCE };
            self.at = (self.at + 1) % at_once;
        }
        self.charged = 0;
        Ok(())
    }

    /// The next message, if it is whole.
    fn whole(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(length) = self.claimed(&self.message)? else { return Ok(None) };
        if self.message.len() < length {
            return Ok(None);
        }
        let message = self.message.split_to(length).freeze();
        self.charge_decoded(&message, 0)?;
        Ok(Some(message))
    }

    /// Takes what came. Most messages come whole in one piece, and are not copied.
    fn take(&mut self, data: Bytes) -> Result<Option<Bytes>, Error> {
        if self.message.is_empty() && self.claimed(&data)? == Some(data.len()) {
            self.charge_decoded(&data, data.len())?;
            return Ok(Some(data));
        }
        let mut data = data;
        while data.has_remaining() {
            // No more room than the message needs, however much of it has come.
            let wanted = self.claimed(&self.message)?.unwrap_or(PREFIX);
            let missing = wanted.saturating_sub(self.message.len()).min(data.len());
            if missing == 0 {
                // Whole, and there is more behind it.
                break;
            }
            self.reserve(missing, wanted)?;
            self.message.extend_from_slice(&data[..missing]);
            data.advance(missing);
        }
        let message = self.whole()?;
        if data.has_remaining() {
            self.call.hold(data.len() as u64)?;
            self.charged += data.len() as u64;
            self.message.extend_from_slice(&data);
        }
        Ok(message)
    }

    fn reserve(&mut self, missing: usize, wanted: usize) -> Result<(), Error> {
        let needed = self.message.len() + missing;
        if needed > self.message.capacity() {
            let room = needed.max(self.message.capacity() * 2).min(wanted.max(needed));
            let more = (room - self.message.capacity()) as u64;
            self.call.hold(more)?;
            self.charged += more;
            let mut larger = BytesMut::with_capacity(room);
            larger.extend_from_slice(&self.message);
            self.message = larger;
        }
        Ok(())
    }

    fn end(&mut self) {
        self.over = true;
        self.call.set_whole();
    }
}

impl<B> Body for Inbound<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            match this.whole() {
                Ok(None) => {}
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            if this.over {
                return Poll::Ready(None);
            }
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    this.over = true;
                    return Poll::Ready(Some(Err(Status::from_error(error.into()))));
                }
                None => {
                    this.end();
                    if this.message.is_empty() {
                        return Poll::Ready(None);
                    }
                    let bytes = this.message.len() as u64;
                    this.message.clear();
                    return Poll::Ready(Some(Err(
                        Error::from(CallError::MessageCut { bytes }).into()
                    )));
                }
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            match this.take(data) {
                Ok(None) => {}
                Ok(Some(message)) => {
                    if this.body.is_end_stream() && this.message.is_empty() {
                        this.end();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(message))));
                }
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_empty() && (self.over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
