//! The life of a map: made, found, described, frozen, pinned, forgotten.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::value::Type;
use tonic::Status;

use super::inventory::{self, LISTED_BYTES};
use super::map_convert::{create_map, map_filter, map_message, map_name, map_ref};
use super::{Shared, fits};
use crate::core::Map;
use crate::layer::Call;

pub(super) async fn create(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::CreateMapRequest,
) -> Result<pb::CreateMapResponse, Status> {
    let account = call.account().caller();
    let create = create_map(request, shared.registry.limits(), account)?;
    let registry = shared.registry.clone();
    let map = shared.work(call, move || registry.create_map(create)).await?;
    Ok(pb::CreateMapResponse { map: Some(map_message(&map, true)) })
}

pub(super) async fn list(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::ListMapsRequest,
) -> Result<pb::ListMapsResponse, Status> {
    let all = request.all;
    let filter = map_filter(request, shared.registry.limits())?;
    if all {
        return inventory::maps(shared, call, filter).await;
    }
    let (registry, held, most) = (shared.registry.clone(), call.clone(), shared.most());
    // Each map's memory is read from procfs.
    let list = move || {
        let maps = registry.maps(&filter);
        held.hold(maps.len() as u64 * LISTED_BYTES)?;
        let maps = maps.iter().map(|map| map_message(map, false)).collect();
        let list = pb::ListMapsResponse { maps, holders_hidden: String::new() };
        fits("the list of maps", list, most)
    };
    shared.work(call, list).await
}

pub(super) async fn get(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::GetMapRequest,
) -> Result<pb::GetMapResponse, Status> {
    let map = shared.find_map(call, &request.map).await?;
    let (held, most) = (call.clone(), shared.most());
    let get = move || {
        // Its types as messages, and encoded.
        held.hold(2 * types_bytes(&map) + LISTED_BYTES)?;
        fits("the map", pb::GetMapResponse { map: Some(map_message(&map, true)) }, most)
    };
    shared.work(call, get).await
}

/// Bytes of the types that a whole map is told with.
fn types_bytes(map: &Map) -> u64 {
    let about = map.about();
    let schema = about.schema.iter().flat_map(|schema| [&schema.key, &schema.value]);
    let types = schema.flatten().chain(about.records.own.as_deref());
    types.map(Type::memory).fold(0, u64::saturating_add)
}

pub(super) async fn delete(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::DeleteMapRequest,
) -> Result<pb::DeleteMapResponse, Status> {
    let name = map_name(&request.map)?;
    let registry = shared.registry.clone();
    shared.work(call, move || registry.delete_map(&name)).await?;
    Ok(pb::DeleteMapResponse {})
}

pub(super) async fn freeze(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::FreezeRequest,
) -> Result<pb::FreezeResponse, Status> {
    let map = shared.find_map(call, &request.map).await?;
    shared.work(call, move || map.freeze()).await?;
    Ok(pb::FreezeResponse {})
}

pub(super) async fn pin(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::PinRequest,
) -> Result<pb::PinResponse, Status> {
    let pb::PinRequest { map, path } = request;
    let reference = map_ref(&map)?;
    let registry = shared.registry.clone();
    let path = registry.pin_path(&path)?;
    let whole = shared.work(call, move || registry.pin(&reference, &path)).await?;
    Ok(pb::PinResponse { path: whole.to_string_lossy().into_owned() })
}

pub(super) async fn unpin(
    shared: &Shared,
    call: &Arc<Call>,
    request: pb::UnpinRequest,
) -> Result<pb::UnpinResponse, Status> {
    let registry = shared.registry.clone();
    let path = registry.pin_path(&request.path)?;
    shared.work(call, move || registry.unpin(&path)).await?;
    Ok(pb::UnpinResponse {})
}
