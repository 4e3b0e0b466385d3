//! MapService: which function answers which call.

use std::sync::Arc;

use bpfgate_proto::v1 as pb;
use bpfgate_proto::v1::map_service_server::MapService;
use tonic::{Request, Response, Status, Streaming};

use super::outlet::Stream;
use super::{Shared, batch, entries, events, iterate, map_life, open, pieces, restore};

/// MapService on the agent's registry.
#[derive(Clone)]
pub(super) struct Maps(pub(super) Arc<Shared>);

fn reply<T>(answer: Result<T, Status>) -> Result<Response<T>, Status> {
    answer.map(Response::new)
}

#[tonic::async_trait]
impl MapService for Maps {
    type ReadValueStream = Stream<pb::ReadValueResponse>;
    type IterateStream = Stream<pb::IterateResponse>;
    type WatchCountersStream = Stream<pb::WatchCountersResponse>;
    type WatchEventsStream = Stream<pb::WatchEventsResponse>;

    async fn create_map(
        &self,
        request: Request<pb::CreateMapRequest>,
    ) -> Result<Response<pb::CreateMapResponse>, Status> {
        let (call, request) = open(request);
        reply(map_life::create(&self.0, &call, request).await)
    }

    async fn list_maps(
        &self,
        request: Request<pb::ListMapsRequest>,
    ) -> Result<Response<pb::ListMapsResponse>, Status> {
        let (call, request) = open(request);
        reply(map_life::list(&self.0, &call, request).await)
    }

    async fn get_map(
        &self,
        request: Request<pb::GetMapRequest>,
    ) -> Result<Response<pb::GetMapResponse>, Status> {
        let (call, request) = open(request);
        reply(map_life::get(&self.0, &call, request).await)
    }

    async fn delete_map(
        &self,
        request: Request<pb::DeleteMapRequest>,
    ) -> Result<Response<pb::DeleteMapResponse>, Status> {
        let (call, request) = open(request);
        reply(map_life::delete(&self.0, &call, request).await)
    }

    async fn lookup(
        &self,
        request: Request<pb::LookupRequest>,
    ) -> Result<Response<pb::LookupResponse>, Status> {
        let (call, request) = open(request);
        reply(entries::lookup(&self.0, &call, request).await)
    }

    async fn read_value(
        &self,
        request: Request<pb::ReadValueRequest>,
    ) -> Result<Response<Self::ReadValueStream>, Status> {
        let (call, request) = open(request);
        reply(pieces::value(&self.0, &call, request).await)
    }

    async fn update(
        &self,
        request: Request<pb::UpdateRequest>,
    ) -> Result<Response<pb::UpdateResponse>, Status> {
        let (call, request) = open(request);
        reply(entries::update(&self.0, &call, request).await)
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteRequest>,
    ) -> Result<Response<pb::DeleteResponse>, Status> {
        let (call, request) = open(request);
        reply(entries::delete(&self.0, &call, request).await)
    }

    async fn lookup_and_delete(
        &self,
        request: Request<pb::LookupAndDeleteRequest>,
    ) -> Result<Response<pb::LookupAndDeleteResponse>, Status> {
        let (call, request) = open(request);
        reply(entries::lookup_and_delete(&self.0, &call, request).await)
    }

    async fn push(
        &self,
        request: Request<pb::PushRequest>,
    ) -> Result<Response<pb::PushResponse>, Status> {
        let (call, request) = open(request);
        reply(entries::push(&self.0, &call, request).await)
    }

    async fn pop(
        &self,
        request: Request<pb::PopRequest>,
    ) -> Result<Response<pb::PopResponse>, Status> {
        let (call, request) = open(request);
        reply(entries::pop(&self.0, &call, request).await)
    }

    async fn peek(
        &self,
        request: Request<pb::PeekRequest>,
    ) -> Result<Response<pb::PeekResponse>, Status> {
        let (call, request) = open(request);
        reply(entries::peek(&self.0, &call, request).await)
    }

    async fn freeze(
        &self,
        request: Request<pb::FreezeRequest>,
    ) -> Result<Response<pb::FreezeResponse>, Status> {
        let (call, request) = open(request);
        reply(map_life::freeze(&self.0, &call, request).await)
    }

    async fn pin(
        &self,
        request: Request<pb::PinRequest>,
    ) -> Result<Response<pb::PinResponse>, Status> {
        let (call, request) = open(request);
        reply(map_life::pin(&self.0, &call, request).await)
    }

    async fn unpin(
        &self,
        request: Request<pb::UnpinRequest>,
    ) -> Result<Response<pb::UnpinResponse>, Status> {
        let (call, request) = open(request);
        reply(map_life::unpin(&self.0, &call, request).await)
    }

    async fn lookup_batch(
        &self,
        request: Request<pb::LookupBatchRequest>,
    ) -> Result<Response<pb::LookupBatchResponse>, Status> {
        let (call, request) = open(request);
        reply(batch::lookup(&self.0, &call, request).await)
    }

    async fn update_batch(
        &self,
        request: Request<pb::UpdateBatchRequest>,
    ) -> Result<Response<pb::UpdateBatchResponse>, Status> {
        let (call, request) = open(request);
        reply(batch::update(&self.0, &call, request).await)
    }

    async fn delete_batch(
        &self,
        request: Request<pb::DeleteBatchRequest>,
    ) -> Result<Response<pb::DeleteBatchResponse>, Status> {
        let (call, request) = open(request);
        reply(batch::delete(&self.0, &call, request).await)
    }

    async fn restore(
        &self,
        request: Request<Streaming<pb::RestoreRequest>>,
    ) -> Result<Response<pb::RestoreResponse>, Status> {
        let (call, request) = open(request);
        reply(restore::receive(&self.0, &call, request).await)
    }

    async fn iterate(
        &self,
        request: Request<pb::IterateRequest>,
    ) -> Result<Response<Self::IterateStream>, Status> {
        let (call, request) = open(request);
        let map = self.0.find_map(&call, &request.map).await?;
        reply(iterate::start(&self.0, &call, map, request))
    }

    async fn watch_counters(
        &self,
        _: Request<pb::WatchCountersRequest>,
    ) -> Result<Response<Self::WatchCountersStream>, Status> {
        Err(Status::internal("`WithWatch` answers this call"))
    }

    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let (call, request) = open(request);
        reply(events::start(&self.0, &call, request).await)
    }
}
