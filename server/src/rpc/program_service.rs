//! ProgramService: convert, call, convert.

use std::sync::Arc;

use bpfgate_proto::name::ProgramName;
use bpfgate_proto::v1 as pb;
use bpfgate_proto::v1::program_service_server::ProgramService;
use tonic::{Request, Response, Status, Streaming};

use super::convert::labels_from;
use super::outlet::Stream;
use super::program_convert::{
    handed_over, link_message, object_message, object_name, stats_message, target_from,
};
use super::{Shared, inventory, open, pieces, upload};
use crate::core::{Error, stats_sysctl};

/// ProgramService on the agent's registry.
#[derive(Clone)]
pub(super) struct Programs(pub(super) Arc<Shared>);

#[tonic::async_trait]
impl ProgramService for Programs {
    type ReadVerifierLogStream = Stream<pb::ReadVerifierLogResponse>;

    async fn load_object(
        &self,
        request: Request<Streaming<pb::LoadObjectRequest>>,
    ) -> Result<Response<pb::LoadObjectResponse>, Status> {
        let shared = &self.0;
        let (call, stream) = open(request);
        let registry = &shared.registry;
        let account = call.account().caller();
        let request = upload::receive(stream, registry.limits(), account).await?;
        // Not before the object is here: who only begins to send one stands in nobody's way.
        let place = registry.load_place()?;
        let (object, warnings) = registry.load(&shared.parser, request, place).await?;
        let object = Some(object_message(&object));
        Ok(Response::new(pb::LoadObjectResponse { object, warnings }))
    }

    async fn read_verifier_log(
        &self,
        request: Request<pb::ReadVerifierLogRequest>,
    ) -> Result<Response<Self::ReadVerifierLogStream>, Status> {
        let (_, request) = open(request);
        Ok(Response::new(pieces::verifier_log(&self.0, &request)?))
    }

    async fn list_objects(
        &self,
        request: Request<pb::ListObjectsRequest>,
    ) -> Result<Response<pb::ListObjectsResponse>, Status> {
        let (call, request) = open(request);
        let labels = labels_from(request.labels)?;
        let registry = self.0.registry.clone();
        let list = move || {
            let objects = registry.objects(&labels);
            Ok(objects.iter().map(|object| object_message(object)).collect())
        };
        let objects = self.0.work(&call, list).await?;
        Ok(Response::new(pb::ListObjectsResponse { objects }))
    }

    async fn get_object(
        &self,
        request: Request<pb::GetObjectRequest>,
    ) -> Result<Response<pb::GetObjectResponse>, Status> {
        let (call, request) = open(request);
        let name = object_name(&request.name)?;
        let registry = self.0.registry.clone();
        let get = move || Ok(object_message(&*registry.object(&name)?));
        let object = self.0.work(&call, get).await?;
        Ok(Response::new(pb::GetObjectResponse { object: Some(object) }))
    }

    async fn unload_object(
        &self,
        request: Request<pb::UnloadObjectRequest>,
    ) -> Result<Response<pb::UnloadObjectResponse>, Status> {
        let (call, request) = open(request);
        let name = object_name(&request.name)?;
        let registry = self.0.registry.clone();
        let handed = self.0.work(&call, move || registry.unload(&name)).await?;
        let handed_over = handed.into_iter().map(handed_over).collect();
        Ok(Response::new(pb::UnloadObjectResponse { handed_over }))
    }

    async fn attach(
        &self,
        request: Request<pb::AttachRequest>,
    ) -> Result<Response<pb::AttachResponse>, Status> {
        let (call, request) = open(request);
        let pb::AttachRequest { program, target } = request;
        let program = program.parse::<ProgramName>().map_err(Error::from)?;
        let target = target.map(target_from).transpose()?;
        let registry = self.0.registry.clone();
        let link = self.0.work(&call, move || registry.attach(&program, target)).await?;
        Ok(Response::new(pb::AttachResponse { link: Some(link_message(&link)) }))
    }

    async fn detach(
        &self,
        request: Request<pb::DetachRequest>,
    ) -> Result<Response<pb::DetachResponse>, Status> {
        let (call, request) = open(request);
        let id = request.link;
        let registry = self.0.registry.clone();
        self.0.work(&call, move || registry.detach(id)).await?;
        Ok(Response::new(pb::DetachResponse {}))
    }

    async fn list_links(
        &self,
        request: Request<pb::ListLinksRequest>,
    ) -> Result<Response<pb::ListLinksResponse>, Status> {
        let (call, request) = open(request);
        let object = request.object;
        let object = if object.is_empty() { None } else { Some(object_name(&object)?) };
        let registry = self.0.registry.clone();
        let list = move || {
            let links = registry.links(object.as_ref());
            Ok(links.iter().map(|link| link_message(link)).collect())
        };
        let links = self.0.work(&call, list).await?;
        Ok(Response::new(pb::ListLinksResponse { links }))
    }

    async fn list_programs(
        &self,
        request: Request<pb::ListProgramsRequest>,
    ) -> Result<Response<pb::ListProgramsResponse>, Status> {
        let (call, request) = open(request);
        Ok(Response::new(inventory::programs(&self.0, &call, request).await?))
    }

    async fn get_program_stats(
        &self,
        request: Request<pb::GetProgramStatsRequest>,
    ) -> Result<Response<pb::GetProgramStatsResponse>, Status> {
        let (call, request) = open(request);
        let pb::GetProgramStatsRequest { object, enable } = request;
        let object = if object.is_empty() { None } else { Some(object_name(&object)?) };
        let shared = self.0.clone();
        let stats = self.0.work(&call, move || {
            // Who names an object that is not there turns nothing on.
            let mut programs = shared.registry.program_stats(object.as_ref())?;
            if enable {
                shared.stats.renew()?;
                programs = shared.registry.program_stats(object.as_ref())?;
            }
            Ok(stats_message(&programs, shared.stats.left(), stats_sysctl()))
        });
        Ok(Response::new(stats.await?))
    }
}
