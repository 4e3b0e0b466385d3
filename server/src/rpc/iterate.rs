//! Iterate: packed entries from the blocking pool to the stream.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use pb::iterate_end::Reason;
use pb::iterate_response::Message;
use tonic::Status;

use super::batch::{Size, most};
use super::map_convert::{cpu_mode, parts};
use super::outlet::{Closed, Eager, Outlet, Stream};
use super::status::invalid;
use super::stint::Stint;
use super::typed::typed_entry;
use super::{Shared, blocking};
use crate::core::{
    BATCH_MAX, Chunk, CpuMode, Ended, Error, IterateRequest, Map, Parts, Position, Reader,
};

/// Checks the request and starts reading.
pub(super) fn start(
    shared: &Arc<Shared>,
    map: Arc<Map>,
    wire: pb::IterateRequest,
) -> Result<Stream<pb::IterateResponse>, Status> {
    let incarnation = shared.identity.incarnation_number;
    let (request, shape) = request(&map, wire, incarnation, most(shared))?;
    let reader = Reader::new(map, request)?;
    let (outlet, stream) = shared.outlet()?;
    let pass = Pass { reader, shape, incarnation, sent: 0 };
    tokio::spawn(run(pass, outlet));
    Ok(stream)
}

/// What the entries of a message look like.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Packed,
    Typed { parts: Parts, cpu: CpuMode, most: u64 },
}

fn request(
    map: &Map,
    wire: pb::IterateRequest,
    incarnation: u64,
    most: u64,
) -> Result<(IterateRequest, Shape), Status> {
    let pb::IterateRequest {
        map: _,
        parts: halves,
        cpu,
        limit,
        resume_token,
        batch_entries,
        typed,
    } = wire;
    let (parts, cpu) = (parts(halves)?, cpu_mode(cpu)?);
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
    let (shape, chunk) = if typed {
        (Shape::Typed { parts, cpu, most }, Some(typed_chunk(map, parts, cpu, most)?))
    } else {
        (Shape::Packed, None)
    };
    let limit = (limit > 0).then_some(limit);
    let batch = (batch > 0).then_some(batch);
    Ok((IterateRequest { parts, cpu, limit, resume, batch, chunk }, shape))
}

/// How many typed entries go into a message: names of fields and digits take many times the bytes
/// that they stand for. Fails for a map without the types.
fn typed_chunk(map: &Map, parts: Parts, cpu: CpuMode, most: u64) -> Result<usize, Error> {
    /// Far below any limit of a message, and enough that messages cost nothing.
    const BYTES: u64 = 1 << 20;
    let (key, value) = (map.sys().key_len(), map.sys().value_len());
    let mut longest = key + value;
    for byte in [0, u8::MAX] {
        let (key, value) = (vec![byte; key], vec![byte; value]);
        let entry = halves(map, parts, cpu, &key, &value)?;
        longest = longest.max(prost::Message::encoded_len(&entry));
    }
    // Texts differ in length, so that some room is left.
    let entries = BYTES.min(most / 8) / longest.max(1) as u64;
    Ok(usize::try_from(entries).unwrap_or(usize::MAX).max(1))
}

fn halves(
    map: &Map,
    parts: Parts,
    cpu: CpuMode,
    key: &[u8],
    value: &[u8],
) -> Result<pb::TypedEntry, Error> {
    let key = (parts != Parts::Values).then_some(key);
    let value = (parts != Parts::Keys).then_some(value);
    typed_entry(map, key, value, cpu)
}

/// Reads one chunk ahead of the client, no more: a slow one holds back the kernel reads.
async fn run(pass: Pass, mut outlet: Outlet<pb::IterateResponse>) {
    // Closed: the client is gone or has its error already.
    let _ = send_all(pass, &mut outlet).await;
}

async fn send_all(mut pass: Pass, outlet: &mut Outlet<pb::IterateResponse>) -> Result<(), Closed> {
    let header = pb::IterateHeader {
        map_id: pass.reader.map().sys().info().id,
        key_stride: stride(pass.reader.key_stride()),
        value_stride: stride(pass.reader.value_stride()),
    };
    outlet.send(message(Message::Header(header))).await?;

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

    let Pass { reader, shape: _, incarnation, sent } = pass;
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
    shape: Shape,
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
            let chunk = message(Message::Entries(self.entries(chunk)?));
            if let Err(chunk) = eager.send(chunk) {
                return Ok(Stopped::Behind(chunk));
            }
        }
        Ok(Stopped::InTurn)
    }

    fn entries(&self, chunk: Chunk) -> Result<pb::PackedEntries, Error> {
        let typed_entries = match self.shape {
            Shape::Packed => Vec::new(),
            Shape::Typed { parts, cpu, most } => self.typed(&chunk, parts, cpu, most)?,
        };
        let Chunk { count, keys, values, position } = chunk;
        let typed = matches!(self.shape, Shape::Typed { .. });
        let (keys, values) = if typed { Default::default() } else { (keys, values) };
        Ok(pb::PackedEntries {
            count: u32::try_from(count).expect("a batch has at most BATCH_MAX entries"),
            keys,
            values,
            resume_token: position.token(self.incarnation).into(),
            typed_entries,
        })
    }

    fn typed(
        &self,
        chunk: &Chunk,
        parts: Parts,
        cpu: CpuMode,
        most: u64,
    ) -> Result<Vec<pb::TypedEntry>, Error> {
        let map = self.reader.map();
        let (key, value) = (self.reader.key_stride(), self.reader.value_stride());
        let mut size = Size::new(format!("the typed entries of map {}", map.text()), most);
        let entries = (0..chunk.count).map(|at| {
            let (key, value) = (nth(&chunk.keys, key, at), nth(&chunk.values, value, at));
            let entry = halves(map, parts, cpu, key, value)?;
            size.add(prost::Message::encoded_len(&entry))?;
            Ok(entry)
        });
        entries.collect()
    }
}

/// A half that is not read has no bytes.
fn nth(packed: &[u8], stride: usize, at: usize) -> &[u8] {
    &packed[at * stride..(at + 1) * stride]
}

fn message(message: Message) -> pb::IterateResponse {
    pb::IterateResponse { message: Some(message) }
}

fn stride(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
