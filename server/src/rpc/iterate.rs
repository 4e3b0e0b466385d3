//! Iterate: packed entries from the queue of long work to the stream.

use std::collections::HashMap;
use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bytes::Bytes;
use pb::iterate_end::Reason;
use pb::iterate_response::Message;
use tonic::Status;

use super::answer::entry_bounds;
use super::map_convert::{cpu_mode, parts};
use super::names::KeyNames;
use super::outlet::{Closed, Eager, Outlet, Stream};
use super::status::invalid;
use super::typed::{ENTRY_BYTES, TypedEntries};
use super::{Shared, reference};
use crate::core::{
    BATCH_MAX, Chunk, CpuMode, Ended, Error, IterateRequest, Map, Parts, Position, Reader, Registry,
};
use crate::layer::Call;
use crate::ledger::{Account, CallerKey, Charge};
use crate::work::{STINT, Waiter};

/// What a message without entries takes.
const MESSAGE_BYTES: u64 = 1 << 10;

/// Entries of a message that says what they stand for, and what that takes for each: twice.
const NAMED_MAX: usize = 1024;
const NAME_BYTES: u64 = 1 << 10;

/// Checks the request and starts reading.
pub(super) fn start(
    shared: &Arc<Shared>,
    call: &Call,
    map: Arc<Map>,
    wire: pb::IterateRequest,
) -> Result<Stream<pb::IterateResponse>, Status> {
    let incarnation = shared.identity.incarnation_number;
    let account = call.account().clone();
    let key_names = KeyNames::of(shared, &map, wire.resolve.clone(), wire.resolve_declared)?;
    let (request, shape, references) =
        request(&map, wire, &key_names, (incarnation, shared.most()), &account)?;
    let reader = Reader::new(map, request)?;
    let (outlet, stream) = shared.outlet();
    let names = references.then(|| (shared.registry.clone(), HashMap::new()));
    let pass = Pass { reader, shape, names, key_names, incarnation, account, sent: 0 };
    tokio::spawn(run(shared.clone(), call.caller(), pass, outlet));
    Ok(stream)
}

/// What the entries of a message look like.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Packed,
    Typed {
        parts: Parts,
        cpu: CpuMode,
        /// Bytes of an entry, and of a message.
        entry: u64,
        most: u64,
    },
}

fn request(
    map: &Map,
    wire: pb::IterateRequest,
    names: &KeyNames,
    (incarnation, most): (u64, u64),
    account: &Account,
) -> Result<(IterateRequest, Shape, bool), Status> {
    let pb::IterateRequest {
        map: _,
        parts: halves,
        cpu,
        limit,
        resume_token,
        batch_entries,
        typed,
        wide_sums,
        references,
        resolve: _,
        resolve_declared: _,
    } = wire;
    let (parts, cpu) = (parts(halves)?, cpu_mode(cpu)?);
    let batch = batch_entries as usize;
    if batch > BATCH_MAX {
        let problem = format!("{batch} is too large, at most {BATCH_MAX} are allowed");
        return Err(invalid("batch_entries", problem));
    }
    if !typed && !wide_sums && parts != Parts::Keys {
        map.check_sum_is_one_value(cpu)?;
    }
    check_entry(map, cpu, most)?;
    let resume = if resume_token.is_empty() {
        None
    } else {
        Some(Position::from_token(&resume_token, map, incarnation)?)
    };
    let (shape, chunk) =
        if typed { typed_shape(map, parts, cpu, names, most)? } else { (Shape::Packed, None) };
    let references = references && parts != Parts::Keys && map.value_kind().is_some();
    let chunk = if references { Some(chunk.unwrap_or(NAMED_MAX).min(NAMED_MAX)) } else { chunk };
    let limit = (limit > 0).then_some(limit);
    let batch = (batch > 0).then_some(batch);
    let account = Some(account.clone());
    let request = IterateRequest { parts, cpu, limit, resume, batch, chunk, account };
    Ok((request, shape, references))
}

/// One entry must fit into a message, or there is nothing to read it for.
fn check_entry(map: &Map, cpu: CpuMode, most: u64) -> Result<(), Error> {
    let asked = (map.sys().key_len() + map.value_len(cpu)) as u64 + MESSAGE_BYTES;
    if asked <= most {
        return Ok(());
    }
    let what = format!("an entry of map {}", map.text());
    Err(Error::TooLarge { what, asked, limit: most })
}

/// How many typed entries go into a message: names of fields and digits take many times the bytes
/// that they stand for. Fails for a map without the types.
fn typed_shape(
    map: &Map,
    parts: Parts,
    cpu: CpuMode,
    names: &KeyNames,
    most: u64,
) -> Result<(Shape, Option<usize>), Error> {
    /// Far below any limit of a message, and enough that messages cost nothing.
    const BYTES: u64 = 1 << 20;
    let mut bounds = entry_bounds(map, cpu, halves(parts))?;
    bounds.most = bounds.most.saturating_add(names.bytes());
    if bounds.least > most {
        let what = format!("a typed entry of map {}", map.text());
        return Err(Error::TooLarge { what, asked: bounds.least, limit: most });
    }
    let entries = BYTES.min(most / 8) / bounds.most.max(1);
    let entries = usize::try_from(entries).unwrap_or(usize::MAX).max(1);
    let shape = Shape::Typed { parts, cpu, entry: bounds.most.min(most), most };
    Ok((shape, Some(entries)))
}

/// Whether keys and values are wanted.
fn halves(parts: Parts) -> (bool, bool) {
    (parts != Parts::Values, parts != Parts::Keys)
}

/// Reads one chunk ahead of the client, no more: a slow one holds back the kernel reads.
async fn run(
    shared: Arc<Shared>,
    caller: CallerKey,
    pass: Pass,
    mut outlet: Outlet<pb::IterateResponse>,
) {
    // Closed: the client is gone or has its error already.
    let _ = send_all(&shared, caller, pass, &mut outlet).await;
}

async fn send_all(
    shared: &Shared,
    caller: CallerKey,
    mut pass: Pass,
    outlet: &mut Outlet<pb::IterateResponse>,
) -> Result<(), Closed> {
    let header = pb::IterateHeader {
        map_id: pass.reader.map().sys().info().id,
        key_stride: stride(pass.reader.key_stride()),
        value_stride: stride(pass.reader.value_stride()),
    };
    let account = pass.account.clone();
    send(outlet, &account, Message::Header(header)).await?;

    loop {
        let eager = outlet.eager();
        let stint = shared.work.run(caller, move |waiter| {
            let stopped = pass.stint(&eager, waiter)?;
            Ok::<_, Error>((pass, stopped))
        });
        let stint = tokio::select! {
            stint = stint => stint,
            // Nobody waits any more: the work notices between two batches.
            closed = outlet.over() => return Err(closed),
        };
        let stopped;
        (pass, stopped) = match stint {
            Ok(Ok(stint)) => stint,
            Ok(Err(error)) => return Err(outlet.fail(error)),
            Err(lost) => return Err(outlet.fail(super::lost(lost))),
        };
        match stopped {
            Stopped::Behind(chunk, charge) => outlet.send(chunk, charge).await?,
            Stopped::InTurn => {}
            Stopped::AtTheEnd => break,
        }
    }

    let Pass { reader, shape: _, names: _, key_names: _, incarnation, account: _, sent } = pass;
    let (reason, resume_token) = match reader.ended() {
        Some(Ended::Limit) => (Reason::Limit, reader.position().token(incarnation)),
        Some(Ended::Complete) | None => (Reason::Complete, Vec::new()),
    };
    let end =
        pb::IterateEnd { reason: reason.into(), entries: sent, resume_token: resume_token.into() };
    send(outlet, &account, Message::End(end)).await
}

/// Sends a message without entries.
async fn send(
    outlet: &mut Outlet<pb::IterateResponse>,
    account: &Account,
    message: Message,
) -> Result<(), Closed> {
    match account.charge(MESSAGE_BYTES) {
        Ok(charge) => outlet.send(self::message(message), charge).await,
        Err(exhausted) => Err(outlet.fail(Error::from(exhausted))),
    }
}

/// A pass over a map on its way to a client.
struct Pass {
    reader: Reader,
    shape: Shape,
    /// Where to find what values stand for, and what was found last; nothing if nobody asks.
    names: Option<(Arc<Registry>, HashMap<Bytes, pb::Reference>)>,
    key_names: KeyNames,
    incarnation: u64,
    account: Account,
    /// Entries sent.
    sent: u64,
}

/// Why a stint stopped.
enum Stopped {
    /// The client has not taken the chunk before this one, or is gone.
    Behind(pb::IterateResponse, Charge),
    /// Others want to read as well.
    InTurn,
    /// There is no more.
    AtTheEnd,
}

impl Pass {
    /// Reads and sends without a change of thread as long as the client keeps up: handing every
    /// chunk from the queue to the runtime and back costs a fifth of the time of a pass.
    fn stint(
        &mut self,
        eager: &Eager<pb::IterateResponse>,
        waiter: &Waiter,
    ) -> Result<Stopped, Error> {
        let begun = std::time::Instant::now();
        while begun.elapsed() < STINT && !waiter.is_gone() && !eager.is_closed() {
            let Some(chunk) = self.reader.next_chunk()? else { return Ok(Stopped::AtTheEnd) };
            self.sent += chunk.count as u64;
            let (entries, charge) = self.entries(chunk)?;
            if let Err((chunk, charge)) = eager.send(message(Message::Entries(entries)), charge) {
                return Ok(Stopped::Behind(chunk, charge));
            }
        }
        Ok(Stopped::InTurn)
    }

    fn entries(&mut self, chunk: Chunk) -> Result<(pb::PackedEntries, Charge), Error> {
        let (references, names_charge) = self.references(&chunk)?;
        let mut typed_charge = self.account.empty();
        let typed_entries = match self.shape {
            Shape::Packed => Vec::new(),
            Shape::Typed { parts, cpu, entry, most } => {
                let bytes = (chunk.count as u64).saturating_mul(entry).min(most);
                typed_charge = self.account.charge(bytes + chunk.count as u64 * ENTRY_BYTES)?;
                self.typed(&chunk, parts, cpu, most)?
            }
        };
        let Chunk { count, keys, values, position, charge } = chunk;
        let typed = matches!(self.shape, Shape::Typed { .. });
        // Only the one or the other goes on.
        let (keys, values, mut charge) = if typed {
            (Bytes::new(), Bytes::new(), typed_charge)
        } else {
            (keys, values, charge.unwrap_or(typed_charge))
        };
        if let Some(names) = names_charge {
            charge.grow(names.bytes())?;
        }
        let entries = pb::PackedEntries {
            count: u32::try_from(count).expect("a batch has at most BATCH_MAX entries"),
            keys,
            values,
            resume_token: position.token(self.incarnation).into(),
            typed_entries,
            references,
        };
        Ok((entries, charge))
    }

    /// What the values of a chunk stand for, if that was asked for, and what telling it takes.
    fn references(&mut self, chunk: &Chunk) -> Result<(Vec<pb::Reference>, Option<Charge>), Error> {
        let Some((registry, known)) = &mut self.names else { return Ok((Vec::new(), None)) };
        let charge = self.account.charge(chunk.count as u64 * NAME_BYTES)?;
        // A name can come to mean something else: what was found holds for these entries.
        known.clear();
        let (map, stride) = (self.reader.map(), self.reader.value_stride());
        let name = |at| {
            let value = chunk.values.slice(at * stride..(at + 1) * stride);
            let find = || registry.referent(map, &value).map(reference::message);
            known.entry(value.clone()).or_insert_with(|| find().unwrap_or_default()).clone()
        };
        Ok(((0..chunk.count).map(name).collect(), Some(charge)))
    }

    fn typed(
        &self,
        chunk: &Chunk,
        parts: Parts,
        cpu: CpuMode,
        most: u64,
    ) -> Result<Vec<pb::TypedEntry>, Error> {
        let (keys, values) = halves(parts);
        let (key, value) = (self.reader.key_stride(), self.reader.value_stride());
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut entries = TypedEntries::new(self.reader.map(), cpu, most, &self.key_names);
        for at in 0..chunk.count {
            let key = keys.then(|| nth(&chunk.keys, key, at));
            entries.add(key, values.then(|| nth(&chunk.values, value, at)))?;
        }
        Ok(entries.finish((keys, values)))
    }
}

fn nth(packed: &[u8], stride: usize, at: usize) -> &[u8] {
    &packed[at * stride..(at + 1) * stride]
}

fn message(message: Message) -> pb::IterateResponse {
    pb::IterateResponse { message: Some(message) }
}

fn stride(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
