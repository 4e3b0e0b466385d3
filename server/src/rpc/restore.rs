//! The client stream of Restore: a header, then entries.
//!
//! While one message is written the next is received, and no third is taken in: a client that is
//! faster than the kernel waits. A client that goes away leaves what was written.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bpfgate_proto::v1 as pb;
use pb::restore_request::Message;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tonic::{Status, Streaming};

use super::Shared;
use super::batch::packed;
use super::map_convert::update_mode;
use super::names::KeyNames;
use super::status::invalid;
use crate::core::{CallError, Error, Locking, Packed, Writer};
use crate::layer::Call;
use crate::ledger::{Account, Charge};
use crate::work::{STINT, Waiter};

/// Why there are no more entries, though the client did not end its stream.
enum Broken {
    Refused(Error),
    /// As tonic has it: the connection broke, or what came is no message.
    Transport(Status),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Broken> for Status {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Refused(error) => error.into(),
            Broken::Transport(status) => status,
        }
    }
}

/// Writes all that the client sends.
pub(super) async fn receive(
    shared: &Shared,
    call: &Arc<Call>,
    mut stream: Streaming<pb::RestoreRequest>,
) -> Result<pb::RestoreResponse, Status> {
    let Some(Message::Header(header)) = next(shared, &mut stream).await?.flatten() else {
        return Err(invalid("header", "must be the first message"));
    };
    let pb::RestoreHeader { map, mode } = header;
    let map = shared.find_map(call, &map).await?;
    let writer = Writer::new(shared.registry.clone(), map, update_mode(mode)?, Locking::IfAny)?;
    let (sender, inbox) = channel(1);
    let names = KeyNames::of(shared, writer.map(), Vec::new(), true)?;
    let (most, account) = (shared.most(), call.account().clone());
    let pass = Pass { writer, inbox, at_hand: None, names, most, account };
    tokio::select! {
        written = write(shared, call, pass) => Ok(pb::RestoreResponse { applied: written? }),
        never = feed(shared, stream, sender) => match never {},
    }
}

/// The next message, within the limit of silence.
async fn next(
    shared: &Shared,
    stream: &mut Streaming<pb::RestoreRequest>,
) -> Result<Option<Option<Message>>, Broken> {
    let limits = shared.registry.limits();
    let message = tokio::select! {
        message = tokio::time::timeout(limits.stall_time(), stream.message()) => message,
        () = shared.stopping.cancelled() => return Err(Error::Stopping.into()),
    };
    match message {
        Ok(Ok(message)) => Ok(message.map(|request| request.message)),
        Ok(Err(status)) => Err(Broken::Transport(status)),
        Err(_) => Err(Error::from(CallError::Silent { seconds: limits.stall_seconds }).into()),
    }
}

/// Receives up to the stream's end. What is wrong with it is told in its turn, behind the entries
/// before it. Never done itself: the writer is.
async fn feed(
    shared: &Shared,
    mut stream: Streaming<pb::RestoreRequest>,
    sender: Sender<Result<pb::PackedEntries, Broken>>,
) -> Infallible {
    loop {
        let entries = match next(shared, &mut stream).await {
            Ok(None) => break,
            Ok(Some(Some(Message::Entries(entries)))) => Ok(entries),
            Ok(Some(Some(Message::Header(_)) | None)) => {
                let problem = "must be every message behind the header".to_owned();
                Err(Error::Invalid { field: "entries", problem }.into())
            }
            Err(broken) => Err(broken),
        };
        let last = entries.is_err();
        // Nobody takes it where the kernel refused an entry.
        if sender.send(entries).await.is_err() || last {
            break;
        }
    }
    drop(sender);
    std::future::pending().await
}

/// Entries on their way into a map.
struct Pass {
    writer: Writer,
    inbox: Receiver<Result<pb::PackedEntries, Broken>>,
    /// Those that are not written yet.
    at_hand: Option<(Packed, Charge)>,
    names: KeyNames,
    /// Bytes that typed entries may take.
    most: u64,
    account: Account,
}

/// How many entries were written, once all are.
async fn write(shared: &Shared, call: &Call, mut pass: Pass) -> Result<u64, Status> {
    loop {
        if pass.at_hand.is_none() {
            let Some(next) = pass.inbox.recv().await else { return Ok(pass.writer.applied()) };
            pass.accept(next)?;
        }
        let stint = shared.work.run(call.caller(), move |waiter| {
            let outcome = pass.stint(waiter);
            outcome.map(|()| pass)
        });
        pass = stint.await.map_err(super::lost)??;
    }
}

impl Pass {
    /// Writes without a change of thread as long as there is something to write.
    fn stint(&mut self, waiter: &Waiter) -> Result<(), Broken> {
        let begun = Instant::now();
        while let Some((entries, _)) = &mut self.at_hand {
            self.writer.write_slice(entries)?;
            if entries.is_empty() {
                self.at_hand = None;
                if let Ok(next) = self.inbox.try_recv() {
                    self.accept(next)?;
                }
            }
            if begun.elapsed() >= STINT || waiter.is_gone() {
                break;
            }
        }
        Ok(())
    }

    /// What was written before is told with what is wrong now.
    fn accept(&mut self, next: Result<pb::PackedEntries, Broken>) -> Result<(), Broken> {
        let packed = match next {
            Ok(entries) => {
                let (map, most) = (self.writer.map(), self.most);
                packed(map, entries, Vec::new(), &self.names, most, &self.account)
            }
            Err(Broken::Refused(error)) => Err(error),
            Err(broken) => return Err(broken),
        };
        self.at_hand = Some(packed.map_err(|error| self.writer.stopped(error))?);
        Ok(())
    }
}
