//! MapService: convert, call, convert.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::v1::map_service_server::MapService;
use tonic::{Request, Response, Status};

use super::map_convert::{
    cpu_mode, create_map, map_filter, map_message, map_name, map_ref, update_mode,
};
use super::outlet::Stream;
use super::typed::{key_bytes, typed_value, value_bytes};
use super::{Shared, blocking, iterate, watch};
use crate::core::Map;

/// MapService on the agent's registry.
#[derive(Clone)]
pub(super) struct Maps(pub(super) Arc<Shared>);

impl Maps {
    /// A map by its reference. A name is found at once; others ask the kernel.
    async fn find(&self, reference: &str) -> Result<Arc<Map>, Status> {
        let reference = map_ref(reference)?;
        if let bpfgate_proto::name::MapRef::Name(_) = reference {
            return Ok(self.0.registry.map(&reference)?);
        }
        let registry = self.0.registry.clone();
        blocking(move || registry.map(&reference)).await
    }
}

#[tonic::async_trait]
impl MapService for Maps {
    type IterateStream = Stream<pb::IterateResponse>;
    type WatchCountersStream = Stream<pb::WatchCountersResponse>;

    async fn create_map(
        &self,
        request: Request<pb::CreateMapRequest>,
    ) -> Result<Response<pb::CreateMapResponse>, Status> {
        let create = create_map(request.into_inner())?;
        let registry = self.0.registry.clone();
        let map = blocking(move || registry.create_map(create)).await?;
        Ok(Response::new(pb::CreateMapResponse { map: Some(map_message(&map, true)) }))
    }

    async fn list_maps(
        &self,
        request: Request<pb::ListMapsRequest>,
    ) -> Result<Response<pb::ListMapsResponse>, Status> {
        let filter = map_filter(request.into_inner())?;
        let registry = self.0.registry.clone();
        // Each map's memory is read from procfs.
        let list =
            move || Ok(registry.maps(&filter).iter().map(|map| map_message(map, false)).collect());
        Ok(Response::new(pb::ListMapsResponse { maps: blocking(list).await? }))
    }

    async fn get_map(
        &self,
        request: Request<pb::GetMapRequest>,
    ) -> Result<Response<pb::GetMapResponse>, Status> {
        let map = self.find(&request.into_inner().map).await?;
        let map = blocking(move || Ok(map_message(&map, true))).await?;
        Ok(Response::new(pb::GetMapResponse { map: Some(map) }))
    }

    async fn delete_map(
        &self,
        request: Request<pb::DeleteMapRequest>,
    ) -> Result<Response<pb::DeleteMapResponse>, Status> {
        let name = map_name(&request.into_inner().map)?;
        let registry = self.0.registry.clone();
        blocking(move || registry.delete_map(&name)).await?;
        Ok(Response::new(pb::DeleteMapResponse {}))
    }

    async fn lookup(
        &self,
        request: Request<pb::LookupRequest>,
    ) -> Result<Response<pb::LookupResponse>, Status> {
        let pb::LookupRequest { map, key, cpu, typed, unlocked: _ } = request.into_inner();
        let cpu = cpu_mode(cpu)?;
        let map = self.find(&map).await?;
        let key = key_bytes(&map, key)?;
        let value = map.lookup(&key, cpu)?;
        let typed_value = typed.then(|| typed_value(&map, &value, cpu)).transpose()?;
        Ok(Response::new(pb::LookupResponse { value: value.into(), typed_value, reference: None }))
    }

    async fn update(
        &self,
        request: Request<pb::UpdateRequest>,
    ) -> Result<Response<pb::UpdateResponse>, Status> {
        let pb::UpdateRequest { map, key, value, mode, unlocked: _ } = request.into_inner();
        let mode = update_mode(mode)?;
        let map = self.find(&map).await?;
        let key = key_bytes(&map, key)?;
        let value = value_bytes(&map, value)?;
        map.update(&key, &value, mode)?;
        Ok(Response::new(pb::UpdateResponse {}))
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let pb::DeleteRequest { map, key } = request.into_inner();
        let map = self.find(&map).await?;
        let key = key_bytes(&map, key)?;
        map.delete(&key)?;
        Ok(Response::new(pb::DeleteResponse {}))
    }

    async fn iterate(
        &self,
        request: Request<pb::IterateRequest>,
    ) -> Result<Response<Self::IterateStream>, Status> {
        let request = request.into_inner();
        let map = self.find(&request.map).await?;
        let stream = iterate::start(&self.0, map, request)?;
        Ok(Response::new(stream))
    }

    async fn watch_counters(
        &self,
        request: Request<pb::WatchCountersRequest>,
    ) -> Result<Response<Self::WatchCountersStream>, Status> {
        let stream = watch::start(&self.0, request.into_inner())?;
        Ok(Response::new(stream))
    }
}
