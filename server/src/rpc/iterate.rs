//! Iterate: packed entries from the blocking pool to the stream.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use pb::iterate_end::Reason;
use pb::iterate_response::Message;
use tonic::Status;

use super::map_convert::{cpu_mode, parts};
use super::outlet::{Closed, Eager, Outlet, Stream};
use super::status::invalid;
use super::stint::Stint;
use super::{Shared, blocking};
use crate::core::{BATCH_MAX, Chunk, Ended, Error, IterateRequest, Map, Position, Reader};

/// Checks the request and starts reading.
pub(super) fn start(
    shared: &Arc<Shared>,
    map: Arc<Map>,
    wire: pb::IterateRequest,
) -> Result<Stream<pb::IterateResponse>, Status> {
    let incarnation = shared.identity.incarnation_number;
    let request = request(&map, wire, incarnation)?;
    let reader = Reader::new(map, request)?;
    let (outlet, stream) = shared.outlet()?;
    tokio::spawn(run(reader, outlet, incarnation));
    Ok(stream)
}

fn request(
    map: &Map,
    wire: pb::IterateRequest,
    incarnation: u64,
) -> Result<IterateRequest, Status> {
    let pb::IterateRequest {
        map: _,
        parts: halves,
        cpu,
        limit,
        resume_token,
        batch_entries,
        typed,
    } = wire;
    if typed {
        return Err(invalid("typed", "is not there yet: ask for bytes"));
    }
    let batch = batch_entries as usize;
    if batch > BATCH_MAX {
        let problem = format!("{batch} is too large, at most {BATCH_MAX} are allowed");
        return Err(invalid("batch_entries", problem));
    }
    let resume = if resume_token.is_empty() {
        None
    } else {
        Some(Position::from_token(&resume_token, map, incarnation)?)
    };
    Ok(IterateRequest {
        parts: parts(halves)?,
        cpu: cpu_mode(cpu)?,
        limit: (limit > 0).then_some(limit),
        resume,
        batch: (batch > 0).then_some(batch),
    })
}

/// Reads one chunk ahead of the client, no more: a slow one holds back the kernel reads.
async fn run(reader: Reader, mut outlet: Outlet<pb::IterateResponse>, incarnation: u64) {
    // Closed: the client is gone or has its error already.
    let _ = send_all(reader, &mut outlet, incarnation).await;
}

async fn send_all(
    reader: Reader,
    outlet: &mut Outlet<pb::IterateResponse>,
    incarnation: u64,
) -> Result<(), Closed> {
    let header = pb::IterateHeader {
        map_id: reader.map().sys().info().id,
        key_stride: stride(reader.key_stride()),
        value_stride: stride(reader.value_stride()),
    };
    outlet.send(message(Message::Header(header))).await?;

    let mut pass = Pass { reader, incarnation, sent: 0 };
    loop {
        let eager = outlet.eager();
        let stint = blocking(move || {
            let stopped = pass.stint(&eager)?;
            Ok((pass, stopped))
        });
        let stopped;
        (pass, stopped) = match stint.await {
            Ok(stint) => stint,
            Err(status) => return Err(outlet.fail(status)),
        };
        match stopped {
            Stopped::Behind(chunk) => outlet.send(chunk).await?,
            Stopped::InTurn => {}
            Stopped::AtTheEnd => break,
        }
    }

    let Pass { reader, incarnation, sent } = pass;
    let (reason, resume_token) = match reader.ended() {
        Some(Ended::Limit) => (Reason::Limit, reader.position().token(incarnation)),
        Some(Ended::Complete) | None => (Reason::Complete, Vec::new()),
    };
    let end =
        pb::IterateEnd { reason: reason.into(), entries: sent, resume_token: resume_token.into() };
    outlet.send(message(Message::End(end))).await
}

/// A pass over a map on its way to a client.
struct Pass {
    reader: Reader,
    incarnation: u64,
    /// Entries sent.
    sent: u64,
}

/// Why a stint on the blocking pool stopped.
enum Stopped {
    /// The client has not taken the chunk before this one, or is gone.
    Behind(pb::IterateResponse),
    /// Others want to read as well.
    InTurn,
    /// There is no more.
    AtTheEnd,
}

impl Pass {
    /// Reads and sends without a change of thread as long as the client keeps up: handing every
    /// chunk from the pool to the runtime and back costs a fifth of the time of a pass.
    fn stint(&mut self, eager: &Eager<pb::IterateResponse>) -> Result<Stopped, Error> {
        let stint = Stint::begin();
        while !stint.is_over() {
            let Some(chunk) = self.reader.next_chunk()? else { return Ok(Stopped::AtTheEnd) };
            self.sent += chunk.count as u64;
            let chunk = message(Message::Entries(entries(chunk, self.incarnation)));
            if let Err(chunk) = eager.send(chunk) {
                return Ok(Stopped::Behind(chunk));
            }
        }
        Ok(Stopped::InTurn)
    }
}

fn entries(chunk: Chunk, incarnation: u64) -> pb::PackedEntries {
    let Chunk { count, keys, values, position } = chunk;
    pb::PackedEntries {
        count: u32::try_from(count).expect("a batch has at most BATCH_MAX entries"),
        keys,
        values,
        resume_token: position.token(incarnation).into(),
        typed_entries: Vec::new(),
    }
}

fn message(message: Message) -> pb::IterateResponse {
    pb::IterateResponse { message: Some(message) }
}

fn stride(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
