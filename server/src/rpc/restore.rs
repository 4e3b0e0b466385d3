//! The client stream of Restore: a header, then entries.
//!
//! While the blocking pool writes one message the next is received, and no third is taken in: a
//! client that is faster than the kernel waits. A client that goes away leaves what was written.

use std::convert::Infallible;

use bpfgate_proto::v1 as pb;
use pb::restore_request::Message;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tonic::{Status, Streaming};

use super::batch::{most, packed};
use super::map_convert::update_mode;
use super::status::invalid;
use super::stint::Stint;
use super::{Shared, blocking, upload};
use crate::core::{Error, Limits, Locking, Packed, Writer};

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
    mut stream: Streaming<pb::RestoreRequest>,
) -> Result<pb::RestoreResponse, Status> {
    // It counts as a stream until it ends.
    let _permit = shared.stream_permit()?;
    let Some(Message::Header(header)) = next(shared, &mut stream).await?.flatten() else {
        return Err(invalid("header", "must be the first message"));
    };
    let pb::RestoreHeader { map, mode } = header;
    let writer = Writer::new(shared.find_map(&map).await?, update_mode(mode)?, Locking::IfAny)?;
    let (sender, inbox) = channel(1);
    let pass = Pass { writer, inbox, at_hand: None, most: most(shared) };
    tokio::select! {
        written = write(pass) => Ok(pb::RestoreResponse { applied: written? }),
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
        Ok(Err(status)) => Err(broken(status, limits)),
        Err(_) => Err(Error::Silent { seconds: limits.stall_seconds }.into()),
    }
}

fn broken(status: Status, limits: &Limits) -> Broken {
    upload::too_large(&status, limits).map_or(Broken::Transport(status), Broken::Refused)
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
    at_hand: Option<Packed>,
    /// Bytes that typed entries may take.
    most: u64,
}

/// How many entries were written, once all are.
async fn write(mut pass: Pass) -> Result<u64, Status> {
    loop {
        if pass.at_hand.is_none() {
            let Some(next) = pass.inbox.recv().await else { return Ok(pass.writer.applied()) };
            pass.accept(next)?;
        }
        pass = blocking(move || {
            let outcome = pass.stint();
            Ok(outcome.map(|()| pass))
        })
        .await??;
    }
}

impl Pass {
    /// Writes without a change of thread as long as there is something to write.
    fn stint(&mut self) -> Result<(), Broken> {
        let stint = Stint::begin();
        while let Some(entries) = &mut self.at_hand {
            self.writer.write_slice(entries)?;
            if entries.is_empty() {
                self.at_hand = None;
                if let Ok(next) = self.inbox.try_recv() {
                    self.accept(next)?;
                }
            }
            if stint.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// What was written before is told with what is wrong now.
    fn accept(&mut self, next: Result<pb::PackedEntries, Broken>) -> Result<(), Broken> {
        let packed = match next {
            Ok(entries) => packed(self.writer.map(), entries, Vec::new(), self.most),
            Err(Broken::Refused(error)) => Err(error),
            Err(broken) => return Err(broken),
        };
        self.at_hand = Some(packed.map_err(|error| self.writer.stopped(error))?);
        Ok(())
    }
}
