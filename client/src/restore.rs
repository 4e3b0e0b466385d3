//! Any number of entries into a map, as a stream of batches.

use std::pin::Pin;
use std::task::{Context, Poll};

use bpfgate_proto::v1;
use bpfgate_proto::v1::restore_request::Message;
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::UpdateMode;
use crate::batch::EntryBatch;
use crate::error::{Call, Error};
use crate::maps::Maps;

/// Entries of one message: what the agent writes at once.
const ENTRIES: usize = 4096;
/// Bytes of one message, but never less than an entry: far below every message limit.
const BYTES: usize = 1 << 20;
/// Typed entries are far larger than their bytes.
const TYPED_ENTRIES: usize = 256;

type Answer = JoinHandle<Result<v1::RestoreResponse, Error>>;

impl Maps {
    /// Begins to write any number of entries, as [`Self::iterate`] reads them. What is wrong with
    /// the map itself is told by the first call of [`Restore`] that finds out.
    ///
    /// ```no_run
    /// # use bpfgate_client::{Client, Error, IterateOptions, UpdateMode};
    /// # async fn copy(client: &Client) -> Result<u64, Error> {
    /// let mut entries = client.maps().iterate("from", IterateOptions::default()).await?;
    /// let mut restore = client.maps().restore("to", UpdateMode::Any);
    /// while let Some(chunk) = entries.next_chunk().await? {
    ///     restore.send(chunk).await?;
    ///     eprintln!("{} entries", restore.sent());
    /// }
    /// restore.finish().await
    /// # }
    /// ```
    pub fn restore(&self, map: &str, mode: UpdateMode) -> Restore {
        let call = self.client.call("Restore");
        let header = v1::RestoreHeader { map: map.to_owned(), mode: mode.into() };
        let (mut rpc, answering) = (self.rpc(), call.clone());
        // No deadline: that would end the stream.
        Restore::new(call, header, |requests| async move {
            answering.answer(rpc.restore(requests).await)
        })
    }
}

/// A restore under way: made by [`crate::Maps::restore`], fed by [`Self::send`], ended by
/// [`Self::finish`]. If it is dropped before, some of what was sent is in the map.
///
/// An [`Error::Rpc`] tells with [`crate::RpcError::applied`] how many entries were written.
#[derive(Debug)]
#[must_use = "only `finish` tells whether the entries are in the kernel"]
pub struct Restore {
    call: Call,
    sender: Option<mpsc::Sender<v1::RestoreRequest>>,
    answer: Option<Answer>,
    sent: u64,
}

impl Restore {
    /// `open` makes the call with the requests that come.
    pub(crate) fn new<O, F>(call: Call, header: v1::RestoreHeader, open: O) -> Self
    where
        O: FnOnce(Requests) -> F,
        F: Future<Output = Result<v1::RestoreResponse, Error>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(2);
        let header = v1::RestoreRequest { message: Some(Message::Header(header)) };
        sender.try_send(header).expect("the channel is empty");
        let answer = tokio::spawn(open(Requests(receiver)));
        Self { call, sender: Some(sender), answer: Some(answer), sent: 0 }
    }

    /// Sends entries behind those before. Waits while the agent is behind with its writing.
    ///
    /// # Errors
    ///
    /// What the agent refused, if it did: of any entry sent before, as [`crate::Maps::update`],
    /// with [`crate::RpcError::applied`]. [`Error::TimedOut`] if it takes nothing for
    /// [`crate::Options::timeout`].
    pub async fn send(&mut self, entries: impl Into<EntryBatch>) -> Result<(), Error> {
        for part in parts(entries.into().entries) {
            let count = part.typed_entries.len().max(part.count as usize) as u64;
            self.send_message(Message::Entries(part)).await?;
            self.sent += count;
        }
        Ok(())
    }

    /// Entries sent so far, of which the last may not be written yet.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Waits until all that was sent is in the kernel: how many entries that is.
    ///
    /// # Errors
    ///
    /// As [`Self::send`]; [`Error::Protocol`] if another number was written than sent.
    pub async fn finish(mut self) -> Result<u64, Error> {
        self.sender = None;
        let Some(answer) = &mut self.answer else { return Err(self.over()) };
        let answer = tokio::time::timeout(self.call.timeout, answer).await;
        let applied = answer.map_err(|_| self.call.timed_out())?.map_err(|_| self.over())??.applied;
        if applied == self.sent {
            return Ok(applied);
        }
        let what = format!("{applied} entries were written, but {} were sent", self.sent);
        Err(Error::protocol(self.call.rpc, what))
    }

    async fn send_message(&mut self, message: Message) -> Result<(), Error> {
        let (Some(sender), Some(answer)) = (&self.sender, &mut self.answer) else {
            return Err(self.over());
        };
        let request = v1::RestoreRequest { message: Some(message) };
        let answer = tokio::select! {
            biased;
            // The agent has its last word before the end: a refusal.
            answer = &mut *answer => answer,
            sent = tokio::time::timeout(self.call.timeout, sender.send(request)) => match sent {
                Ok(Ok(())) => return Ok(()),
                Err(_) => return Err(self.call.timed_out()),
                // Nobody takes requests any more: the answer tells why.
                Ok(Err(_)) => answer.await,
            },
        };
        self.answer = None;
        match answer {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Err(Error::protocol(self.call.rpc, "it came before the last entry")),
            Err(_) => Err(self.over()),
        }
    }

    fn over(&self) -> Error {
        Error::CutOff { rpc: self.call.rpc }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(answer) = &self.answer {
            answer.abort();
        }
    }
}

/// What a restore sends.
pub(crate) struct Requests(mpsc::Receiver<v1::RestoreRequest>);

impl Stream for Requests {
    type Item = v1::RestoreRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// Entries cut into messages that share their memory.
fn parts(mut entries: v1::PackedEntries) -> impl Iterator<Item = v1::PackedEntries> {
    if !entries.typed_entries.is_empty() {
        entries.count = 0;
    }
    let count = entries.count as usize;
    let stride = |bytes: &Bytes| bytes.len().checked_div(count).unwrap_or(0);
    let (key, value) = (stride(&entries.keys), stride(&entries.values));
    // What does not divide is left to the agent to refuse.
    let odd = key * count != entries.keys.len() || value * count != entries.values.len();
    let most = ENTRIES.min((BYTES / (key + value).max(1)).max(1));
    std::iter::from_fn(move || {
        if !entries.typed_entries.is_empty() {
            let rest = entries.typed_entries.len().min(TYPED_ENTRIES);
            let references = entries.references.len().min(rest);
            let references = entries.references.drain(..references).collect();
            let typed_entries = entries.typed_entries.drain(..rest).collect();
            return Some(v1::PackedEntries { typed_entries, references, ..Default::default() });
        }
        if entries.count == 0 && entries.keys.is_empty() && entries.values.is_empty() {
            return None;
        }
        if odd {
            return Some(std::mem::take(&mut entries));
        }
        let take = most.min(entries.count as usize);
        let count = u32::try_from(take).expect("at most what there was");
        entries.count -= count;
        let (keys, values) =
            (entries.keys.split_to(take * key), entries.values.split_to(take * value));
        let references = entries.references.len().min(take);
        let references = entries.references.drain(..references).collect();
        Some(v1::PackedEntries { count, keys, values, references, ..Default::default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_batch_goes_as_several_messages() {
        let keys: Vec<u8> = (0..10_000_u32).flat_map(u32::to_ne_bytes).collect();
        let batch = EntryBatch::packed(10_000, keys.clone(), vec![7; 20_000]);
        let parts: Vec<_> = parts(batch.entries).collect();
        assert_eq!(parts.iter().map(|part| part.count).collect::<Vec<_>>(), [4096, 4096, 1808]);
        let together: Vec<u8> = parts.iter().flat_map(|part| part.keys.to_vec()).collect();
        assert_eq!(together, keys);
        assert!(parts.iter().all(|part| part.values.len() == part.count as usize * 2));
    }

    #[test]
    fn large_entries_go_few_at_a_time_and_odd_ones_as_they_are() {
        let large = EntryBatch::packed(2, vec![0; 8], vec![0; 2 << 20]);
        assert_eq!(parts(large.entries).count(), 2);
        let odd = EntryBatch::packed(2, vec![0; 7], vec![0; 16]);
        assert_eq!(parts(odd.clone().entries).collect::<Vec<_>>(), [odd.entries]);
        assert_eq!(parts(EntryBatch::default().entries).count(), 0);
        let one = serde_json::Value::from(1);
        let typed = EntryBatch::typed((0..300).map(|_| (one.clone(), one.clone())));
        // As Iterate gives them: counted as well.
        let typed = v1::PackedEntries { count: 300, ..typed.entries };
        let lens: Vec<_> = parts(typed).map(|part| part.typed_entries.len()).collect();
        assert_eq!(lens, [256, 44]);
    }
}
