//! Entries of a map, one at a time.

use bpfgate_proto::v1 as pb;
use tonic::Status;

use super::Shared;
use super::map_convert::{cpu_mode, update_mode};
use super::typed::{key_bytes, typed_value, value_bytes};

pub(super) async fn lookup(
    shared: &Shared,
    request: pb::LookupRequest,
) -> Result<pb::LookupResponse, Status> {
    let pb::LookupRequest { map, key, cpu, typed, unlocked: _ } = request;
    let cpu = cpu_mode(cpu)?;
    let map = shared.find_map(&map).await?;
    let key = key_bytes(&map, key)?;
    let value = map.lookup(&key, cpu)?;
    let typed_value = typed.then(|| typed_value(&map, &value, cpu)).transpose()?;
    Ok(pb::LookupResponse { value: value.into(), typed_value, reference: None })
}

pub(super) async fn update(
    shared: &Shared,
    request: pb::UpdateRequest,
) -> Result<pb::UpdateResponse, Status> {
    let pb::UpdateRequest { map, key, value, mode, unlocked: _ } = request;
    let mode = update_mode(mode)?;
    let map = shared.find_map(&map).await?;
    let key = key_bytes(&map, key)?;
    let value = value_bytes(&map, value)?;
    map.update(&key, &value, mode)?;
    Ok(pb::UpdateResponse {})
}

pub(super) async fn delete(
    shared: &Shared,
    request: pb::DeleteRequest,
) -> Result<pb::DeleteResponse, Status> {
    let pb::DeleteRequest { map, key } = request;
    let map = shared.find_map(&map).await?;
    let key = key_bytes(&map, key)?;
    map.delete(&key)?;
    Ok(pb::DeleteResponse {})
}
