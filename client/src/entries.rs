//! A map's entries, as packed chunks. Nothing is copied behind the transport: keys and values are
//! slices of its buffers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bpfgate_proto::v1;
use bpfgate_proto::v1::iterate_response::Message;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tonic::Streaming;

use crate::batch::typed_entries;
use crate::counted::{Counted, Taken};
use crate::error::{Call, Error};
use crate::{CpuMode, EntryParts};

/// How [`crate::Maps::iterate`] reads. The default is all of it, as bytes, of a per-CPU map with a
/// value for each CPU.
#[derive(Debug, Clone, Default)]
pub struct IterateOptions {
    /// Keys, values or both.
    pub parts: EntryParts,
    /// What to do with per-CPU values.
    pub cpu: CpuMode,
    /// Stop after this many entries.
    pub limit: Option<u64>,
    /// Go on behind an earlier read of the same map: [`Chunk::resume_token`] or
    /// [`v1::IterateEnd::resume_token`].
    pub resume_token: Bytes,
    /// Entries in a chunk, 1 to 65,536; 0 leaves it to the agent.
    pub batch_entries: u32,
    /// Entries by the map's schema instead of bytes: [`Chunk::typed`].
    pub typed: bool,
    /// Take sums that are laid out as [`crate::Layout::sum`] has them, and not as one CPU's value.
    /// Without this such a map is refused, unless entries are typed.
    pub wide_sums: bool,
    /// In maps of references, what each value leads to beside the entries: [`Chunk::references`].
    pub references: bool,
}

impl IterateOptions {
    pub(crate) fn into_request(self, map: &str) -> v1::IterateRequest {
        let Self { parts, cpu, limit, resume_token, batch_entries, typed, wide_sums, references } =
            self;
        v1::IterateRequest {
            map: map.to_owned(),
            parts: parts.into(),
            cpu: cpu.into(),
            limit: limit.unwrap_or(0),
            resume_token,
            batch_entries,
            typed,
            wide_sums,
            references,
            // Of all calls alike: see `Maps::naming`.
            resolve: Vec::new(),
            resolve_declared: false,
        }
    }
}

/// A stream of [`Chunk`]s. It ends with an error unless everything that was asked for came.
#[derive(Debug)]
pub struct Entries {
    stream: Counted<v1::IterateResponse, v1::IterateEnd>,
    header: v1::IterateHeader,
    strides: Strides,
}

#[derive(Debug, Clone, Copy)]
struct Strides {
    key: usize,
    value: usize,
}

impl Entries {
    pub(crate) fn new(
        call: Call,
        stream: Streaming<v1::IterateResponse>,
        first: &v1::IterateResponse,
    ) -> Result<Self, Error> {
        let Some(Message::Header(header)) = first.message else {
            return Err(Error::protocol(call.rpc, "the first message is no header"));
        };
        let strides =
            Strides { key: header.key_stride as usize, value: header.value_stride as usize };
        Ok(Self { stream: Counted::new(call, stream, "entries"), header, strides })
    }

    /// The kernel's id of the map.
    pub fn map_id(&self) -> u32 {
        self.header.map_id
    }

    /// Bytes from key to key.
    pub fn key_stride(&self) -> usize {
        self.strides.key
    }

    /// Bytes from value to value: of every possible CPU with [`CpuMode::Each`].
    pub fn value_stride(&self) -> usize {
        self.strides.value
    }

    /// How it ended; `None` before the stream's end.
    pub fn end(&self) -> Option<&v1::IterateEnd> {
        self.stream.end()
    }

    /// The next chunk; `None` behind the last one.
    ///
    /// # Errors
    ///
    /// [`Error::CutOff`] if the stream ends before everything came, [`Error::Protocol`] if less
    /// came than it says, [`Error::Rpc`] where reading failed on the way: `RESOURCE_EXHAUSTED`
    /// (`UNREAD`) if nobody read for `stall_seconds`.
    pub async fn next_chunk(&mut self) -> Result<Option<Chunk>, Error> {
        self.next().await.transpose()
    }
}

impl Stream for Entries {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let strides = self.strides;
        self.stream.poll(cx, |message| {
            Ok(match message.message {
                Some(Message::Entries(packed)) => {
                    let chunk = Chunk::new(packed, strides)?;
                    let count = chunk.len() as u64;
                    Taken::Item(chunk, count)
                }
                Some(Message::End(end)) => {
                    let count = end.entries;
                    Taken::End(end, count)
                }
                Some(Message::Header(_)) => Taken::Header,
                None => Taken::Unknown,
            })
        })
    }
}

/// Some of a map's entries.
#[derive(Debug, Clone)]
pub struct Chunk {
    packed: v1::PackedEntries,
    strides: Strides,
}

impl Chunk {
    fn new(packed: v1::PackedEntries, strides: Strides) -> Result<Self, String> {
        let count = packed.count as usize;
        for (what, bytes, stride) in
            [("keys", &packed.keys, strides.key), ("values", &packed.values, strides.value)]
        {
            // A half that was not asked for is empty.
            if !bytes.is_empty() && Some(bytes.len()) != count.checked_mul(stride) {
                let len = bytes.len();
                return Err(format!("{count} entries with {len} bytes of {what} at {stride} each"));
            }
        }
        let typed = packed.typed_entries.len();
        if typed > 0 && typed != count {
            return Err(format!("{count} entries with {typed} typed ones"));
        }
        let references = packed.references.len();
        if references > 0 && references != count {
            return Err(format!("{count} entries with {references} references"));
        }
        Ok(Self { packed, strides })
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.packed.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packed.count == 0
    }

    /// All keys back to back. Empty if they were not asked for.
    pub fn packed_keys(&self) -> &Bytes {
        &self.packed.keys
    }

    /// All values back to back. Empty if they were not asked for.
    pub fn packed_values(&self) -> &Bytes {
        &self.packed.values
    }

    /// Key and value of each entry by the map's schema; a half that was not asked for is null.
    /// Nothing unless [`IterateOptions::typed`] was set.
    pub fn typed(&self) -> impl Iterator<Item = (serde_json::Value, serde_json::Value)> {
        typed_entries(&self.packed.typed_entries)
    }

    /// What each value leads to, empty where the kernel does not tell. Nothing unless
    /// [`IterateOptions::references`] was set, and in maps of plain values.
    pub fn references(&self) -> &[v1::Reference] {
        &self.packed.references
    }

    pub(crate) fn into_packed(self) -> v1::PackedEntries {
        self.packed
    }

    /// Goes on behind these entries.
    pub fn resume_token(&self) -> &Bytes {
        &self.packed.resume_token
    }

    /// Key and value of each entry; a half that was not asked for is empty.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        (0..self.len()).map(|at| self.entry(at))
    }

    /// Key and value of one entry; panics behind the last.
    pub(crate) fn entry(&self, at: usize) -> (&[u8], &[u8]) {
        (
            slice(&self.packed.keys, self.strides.key, at),
            slice(&self.packed.values, self.strides.value, at),
        )
    }
}

fn slice(packed: &[u8], stride: usize, at: usize) -> &[u8] {
    if packed.is_empty() { packed } else { &packed[at * stride..(at + 1) * stride] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDES: Strides = Strides { key: 2, value: 3 };

    fn packed(count: u32, keys: &'static [u8], values: &'static [u8]) -> v1::PackedEntries {
        let (keys, values) = (Bytes::from_static(keys), Bytes::from_static(values));
        v1::PackedEntries { count, keys, values, ..v1::PackedEntries::default() }
    }

    #[test]
    fn entries_are_slices_at_their_strides() {
        let chunk = Chunk::new(packed(2, b"aabb", b"AAABBB"), STRIDES).unwrap();
        let entries: Vec<_> = chunk.iter().collect();
        assert_eq!(entries, [(&b"aa"[..], &b"AAA"[..]), (b"bb", b"BBB")]);
        let keys = Chunk::new(packed(2, b"aabb", b""), STRIDES).unwrap();
        assert_eq!(keys.iter().last().unwrap(), (&b"bb"[..], &b""[..]));
    }

    #[test]
    fn a_chunk_of_the_wrong_length_is_refused() {
        for wrong in [packed(2, b"aab", b"AAABBB"), packed(1, b"aa", b"AAAA")] {
            assert!(Chunk::new(wrong, STRIDES).is_err());
        }
        assert!(Chunk::new(packed(0, b"", b""), STRIDES).unwrap().is_empty());
    }
}
