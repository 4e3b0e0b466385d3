//! A map's entries as Rust types.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt as _};

use super::{Plain, one, other_size};
use crate::entries::{Chunk, Entries};
use crate::error::Error;

const RPC: &str = "Iterate";

/// A stream of keys and values. It ends with an error unless every entry came.
#[derive(Debug)]
pub struct TypedEntries<K, V> {
    entries: Entries,
    chunk: Option<Chunk>,
    /// The next entry of the chunk.
    at: usize,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Plain, V: Plain> TypedEntries<K, V> {
    pub(super) fn new(entries: Entries) -> Result<Self, Error> {
        if entries.key_stride() != size_of::<K>() {
            return Err(other_size::<K>(RPC, entries.key_stride()));
        }
        if entries.value_stride() != size_of::<V>() {
            return Err(other_size::<V>(RPC, entries.value_stride()));
        }
        Ok(Self { entries, chunk: None, at: 0, types: PhantomData })
    }

    /// The next entry; `None` behind the last one.
    ///
    /// # Errors
    ///
    /// As [`crate::Entries::next_chunk`].
    pub async fn next_entry(&mut self) -> Result<Option<(K, V)>, Error> {
        self.next().await.transpose()
    }

    /// The next entry of the chunk at hand.
    fn ready(&mut self) -> Option<Result<(K, V), Error>> {
        let chunk = self.chunk.as_ref().filter(|chunk| self.at < chunk.len())?;
        let (key, value) = chunk.entry(self.at);
        self.at += 1;
        Some(one(RPC, key).and_then(|key| Ok((key, one(RPC, value)?))))
    }
}

impl<K: Plain, V: Plain> Stream for TypedEntries<K, V> {
    type Item = Result<(K, V), Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(entry) = self.ready() {
                return Poll::Ready(Some(entry));
            }
            match ready!(self.entries.poll_next_unpin(cx)).transpose() {
                Ok(Some(chunk)) => {
                    self.chunk = Some(chunk);
                    self.at = 0;
                }
                Ok(None) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}
