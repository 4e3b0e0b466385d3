//! The life of a map: made, found, described, frozen, pinned, forgotten.

use bpfgate_proto::v1 as pb;
use tonic::Status;

use super::map_convert::{create_map, map_filter, map_message, map_name, map_ref};
use super::{Shared, blocking};
use crate::core::PinPath;

pub(super) async fn create(
    shared: &Shared,
    request: pb::CreateMapRequest,
) -> Result<pb::CreateMapResponse, Status> {
    let account = shared.registry.no_callers_account();
    let create = create_map(request, shared.registry.limits(), account)?;
    let registry = shared.registry.clone();
    let map = blocking(move || registry.create_map(create)).await?;
    Ok(pb::CreateMapResponse { map: Some(map_message(&map, true)) })
}

pub(super) async fn list(
    shared: &Shared,
    request: pb::ListMapsRequest,
) -> Result<pb::ListMapsResponse, Status> {
    let filter = map_filter(request, shared.registry.limits())?;
    let registry = shared.registry.clone();
    // Each map's memory is read from procfs.
    let list =
        move || Ok(registry.maps(&filter).iter().map(|map| map_message(map, false)).collect());
    Ok(pb::ListMapsResponse { maps: blocking(list).await? })
}

pub(super) async fn get(
    shared: &Shared,
    request: pb::GetMapRequest,
) -> Result<pb::GetMapResponse, Status> {
    let map = shared.find_map(&request.map).await?;
    let map = blocking(move || Ok(map_message(&map, true))).await?;
    Ok(pb::GetMapResponse { map: Some(map) })
}

pub(super) async fn delete(
    shared: &Shared,
    request: pb::DeleteMapRequest,
) -> Result<pb::DeleteMapResponse, Status> {
    let name = map_name(&request.map)?;
    let registry = shared.registry.clone();
    blocking(move || registry.delete_map(&name)).await?;
    Ok(pb::DeleteMapResponse {})
}

pub(super) async fn freeze(
    shared: &Shared,
    request: pb::FreezeRequest,
) -> Result<pb::FreezeResponse, Status> {
    let map = shared.find_map(&request.map).await?;
    blocking(move || map.freeze()).await?;
    Ok(pb::FreezeResponse {})
}

pub(super) async fn pin(
    shared: &Shared,
    request: pb::PinRequest,
) -> Result<pb::PinResponse, Status> {
    let pb::PinRequest { map, path } = request;
    let reference = map_ref(&map)?;
    let path: PinPath = path.parse()?;
    let registry = shared.registry.clone();
    let whole = blocking(move || registry.pin(&reference, &path)).await?;
    Ok(pb::PinResponse { path: whole.to_string_lossy().into_owned() })
}

pub(super) async fn unpin(
    shared: &Shared,
    request: pb::UnpinRequest,
) -> Result<pb::UnpinResponse, Status> {
    let path: PinPath = request.path.parse()?;
    let registry = shared.registry.clone();
    blocking(move || registry.unpin(&path)).await?;
    Ok(pb::UnpinResponse {})
}
