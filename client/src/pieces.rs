//! What is larger than a message, put together again.

use bytes::Bytes;
use tonic::Status;

use crate::error::{Call, Error};

/// Pieces, each with the size of the whole.
#[derive(Debug)]
pub(crate) struct Pieces {
    call: Call,
    bytes: Vec<u8>,
    size: Option<u64>,
}

impl Pieces {
    pub(crate) fn new(call: Call) -> Self {
        Self { call, bytes: Vec::new(), size: None }
    }

    /// Nothing more is to come.
    pub(crate) fn is_whole(&self) -> bool {
        self.size == Some(self.bytes.len() as u64)
    }

    /// The next piece, or the stream's end.
    pub(crate) fn add(&mut self, next: Result<Option<(Bytes, u64)>, Status>) -> Result<(), Error> {
        let rpc = self.call.rpc;
        let (piece, size) = match next {
            Ok(Some(next)) => next,
            Ok(None) => return Err(Error::CutOff { rpc }),
            Err(status) => return Err(self.call.error(status)),
        };
        self.bytes.extend_from_slice(&piece);
        if *self.size.get_or_insert(size) != size || self.bytes.len() as u64 > size {
            let got = self.bytes.len();
            return Err(Error::protocol(rpc, format!("{got} of {size} bytes came")));
        }
        Ok(())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
