//! Messages to bytes and back, off the async threads where they are large.
//!
//! tonic encodes and decodes where the connection is served. A message of many megabytes takes
//! milliseconds, in which nobody else there is served; the runtime is told of these, and gives its
//! other tasks to another thread meanwhile.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use tokio::runtime::{Handle, RuntimeFlavor};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Messages up to here are quickly encoded and decoded.
const SHORT: usize = 64 << 10;

/// The codec of all services of the package.
#[derive(Debug, Clone, Copy)]
pub struct MessageCodec<T, U>(PhantomData<(T, U)>);

/// Encodes.
#[derive(Debug, Clone, Copy)]
pub struct MessageEncoder<T>(PhantomData<T>);

/// Decodes.
#[derive(Debug, Clone, Copy)]
pub struct MessageDecoder<U>(PhantomData<U>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for MessageCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = MessageEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> MessageEncoder<T> {
        MessageEncoder(PhantomData)
    }

    fn decoder(&mut self) -> MessageDecoder<U> {
        MessageDecoder(PhantomData)
    }
}

impl<T: Message> Encoder for MessageEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let length = item.encoded_len();
        buffer.reserve(length);
        aside(length, || item.encode_raw(buffer));
        Ok(())
    }
}

impl<U: Message + Default> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        decode(buffer).map(Some)
    }
}

/// Decodes a message. One that is none is its sender's mistake.
pub fn decode<U: Message + Default>(buffer: &mut DecodeBuf<'_>) -> Result<U, Status> {
    let decoded = aside(buffer.remaining(), || U::decode(buffer));
    decoded.map_err(|error| Status::invalid_argument(format!("the message is malformed: {error}")))
}

/// Runs what handles so many bytes, and has the runtime's other tasks go on meanwhile.
fn aside<R>(bytes: usize, work: impl FnOnce() -> R) -> R {
    let many = |handle: Handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes > SHORT && Handle::try_current().is_ok_and(many) {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}
