//! What may be larger than a message, in pieces: a value, a verifier's log. All of it is charged as
//! long as there is a piece to send.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bytes::Bytes;
use pb::read_value_request::Key;
use tonic::Status;

use super::map_convert::locking;
use super::names::KeyNames;
use super::outlet::Stream;
use super::typed::{Given, is_typed, key_bytes};
use super::{Shared, reference};
use crate::core::{CpuMode, Error, Operation};
use crate::layer::Call;
use crate::ledger::Charge;

/// Bytes of a piece.
const PIECE: usize = 256 << 10;
/// What a piece takes beside its bytes, which are charged with all of them.
const FRAME: u64 = 64;

/// A value, read once.
pub(super) async fn value(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::ReadValueRequest,
) -> Result<Stream<pb::ReadValueResponse>, Status> {
    let pb::ReadValueRequest { map, key, unlocked, resolve } = request;
    let map = shared.find_map(call, &map).await?;
    map.check_operation(Operation::Lookup)?;
    let (cpu, locking) = (CpuMode::Each, locking(unlocked));
    let account = call.account();
    let charge = account.charge(map.sys().value_len() as u64).map_err(Error::from)?;
    let value = if let Some(Key::KeyReference(key)) = key {
        reference::lookup(shared, call, &map, key, cpu, locking).await?
    } else {
        let (key, mut held) = (Given::of(key), account.empty());
        let names = KeyNames::of_key(shared, &map, resolve, is_typed(key.as_ref()))?;
        let key = move |map: &_| key_bytes(map, key, names.as_ref(), &mut held);
        let work = move || map.lookup(&{ key }(&map)?, cpu, locking);
        shared.work(call, work).await?
    };
    let message = |data, size| pb::ReadValueResponse { data, size };
    Ok(send(shared, value.into(), charge, message))
}

/// A log that was kept, for the last time.
pub(super) fn verifier_log(
    shared: &Shared,
    request: &pb::ReadVerifierLogRequest,
) -> Result<Stream<pb::ReadVerifierLogResponse>, Status> {
    let (log, charge) = shared.registry.take_log(&request.log)?;
    let message = |text, size| pb::ReadVerifierLogResponse { text, size };
    Ok(send(shared, log.into(), charge, message))
}

fn send<M: Send + 'static>(
    shared: &Shared,
    mut all: Bytes,
    mut charge: Charge,
    message: fn(Bytes, u64) -> M,
) -> Stream<M> {
    let (mut outlet, stream) = shared.outlet();
    tokio::spawn(async move {
        let size = all.len() as u64;
        loop {
            let piece = all.split_to(all.len().min(PIECE));
            // The last piece takes what is left of the charge with it.
            let last = all.is_empty();
            let held = charge.split(if last { charge.bytes() } else { FRAME });
            // Closed: the client is gone or has its error already.
            if outlet.send(message(piece, size), held).await.is_err() || last {
                break;
            }
        }
    });
    stream
}
