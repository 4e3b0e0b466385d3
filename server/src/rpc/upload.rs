//! The client stream of LoadObject: a header, then the file.

use bpfgate_proto::v1 as pb;
use bytes::Bytes;
use pb::load_object_request::Message;
use sha2::{Digest as _, Sha256};
use tonic::{Status, Streaming};

use super::convert::{labels_from, map_counters};
use super::map_convert::check_list;
use super::program_convert::{global, object_name, shared_maps};
use super::status::invalid;
use crate::core::{CallError, Error, Limits, LoadRequest, Source};
use crate::ledger::{Account, Charge};

/// What the room for a file grows by, in bytes.
const STEP: usize = 1 << 20;

/// Takes in an object, up to the limits of size and time. Nothing is kept of one that stalls.
pub(super) async fn receive(
    stream: Streaming<pb::LoadObjectRequest>,
    limits: &Limits,
    account: Account,
) -> Result<LoadRequest, Status> {
    let time = limits.upload_time();
    let received = tokio::time::timeout(time, receive_all(stream, limits, account)).await;
    received.map_err(|_| Error::from(CallError::SlowUpload { seconds: time.as_secs() }))?
}

async fn receive_all(
    mut stream: Streaming<pb::LoadObjectRequest>,
    limits: &Limits,
    account: Account,
) -> Result<LoadRequest, Status> {
    let first = stream.message().await?.and_then(|first| first.message);
    let Some(Message::Header(header)) = first else {
        return Err(invalid("header", "must be the first message"));
    };
    let pb::LoadObjectHeader {
        name,
        builtin,
        globals,
        shared_maps: shared,
        labels,
        counters,
        sha256,
        keep_log,
    } = header;
    // All that can be refused is, before the file is taken in.
    let name = object_name(&name)?;
    let globals =
        globals.into_iter().map(|(name, value)| global(name, value)).collect::<Result<_, _>>()?;
    let shared = shared_maps(shared)?;
    let labels = labels_from(labels)?;
    for specs in counters.values() {
        check_list("counters", specs.specs.len(), limits)?;
    }
    let counters = map_counters(counters)?;
    if !sha256.is_empty() && sha256.len() != 32 {
        return Err(invalid("sha256", format!("has {} bytes, it must have 32", sha256.len())));
    }

    let source = if builtin.is_empty() {
        let (elf, charge) = file(&mut stream, limits, &account).await?;
        let digest: [u8; 32] = Sha256::digest(&elf).into();
        check_digest(&digest, &sha256)?;
        Source::Upload { elf, sha256: digest, charge }
    } else {
        if stream.message().await?.is_some() {
            return Err(invalid(
                "builtin",
                "a built-in is loaded without a file: send the header only",
            ));
        }
        Source::Builtin(builtin)
    };
    Ok(LoadRequest { name, source, globals, shared, labels, counters, keep_log, account })
}

async fn file(
    stream: &mut Streaming<pb::LoadObjectRequest>,
    limits: &Limits,
    account: &Account,
) -> Result<(Bytes, Charge), Status> {
    let limit = limits.max_object_bytes;
    let mut charge = account.empty();
    let mut elf = Vec::new();
    while let Some(part) = stream.message().await? {
        let Some(Message::Chunk(chunk)) = part.message else {
            return Err(invalid("chunk", "must be every message behind the header"));
        };
        let asked = elf.len() as u64 + chunk.len() as u64;
        if asked > limit {
            return Err(Error::ObjectTooLarge { asked, limit }.into());
        }
        if elf.capacity() - elf.len() < chunk.len() {
            // Memory of this size is moved by the kernel, not copied: it is not there twice.
            let more = chunk.len().max(STEP);
            charge.grow(more as u64).map_err(Error::from)?;
            elf.reserve_exact(more);
        }
        elf.extend_from_slice(&chunk);
    }
    Ok((elf.into(), charge))
}

fn check_digest(got: &[u8; 32], want: &[u8]) -> Result<(), Error> {
    if want.is_empty() || got == want {
        return Ok(());
    }
    Err(Error::Digest { got: hex(got), want: hex(want) })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
