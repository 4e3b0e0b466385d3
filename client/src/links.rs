//! Where programs are attached.

use bpfgate_proto::v1;
use bpfgate_proto::v1::program_service_client::ProgramServiceClient;

use crate::client::Client;
use crate::error::Error;

/// Calls about attachments.
#[derive(Debug, Clone)]
pub struct Links {
    client: Client,
}

impl Links {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Attaches `OBJECT/PROGRAM`; without a target to where its section's name says, as libbpf
    /// does. The link lasts until it is detached, its object unloaded or the agent gone.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a program, interface, tracepoint, function or path that is not there,
    /// `INVALID_ARGUMENT` for a target that does not fit the program's type, `FAILED_PRECONDITION`
    /// where the agent lacks a capability, `RESOURCE_EXHAUSTED` at `max_links`.
    pub async fn attach(
        &self,
        program: &str,
        target: Option<v1::attach_target::Target>,
    ) -> Result<v1::Link, Error> {
        let call = self.client.call("Attach");
        let target = target.map(|target| v1::AttachTarget { target: Some(target) });
        let request = v1::AttachRequest { program: program.to_owned(), target };
        let mut rpc = ProgramServiceClient::new(self.client.channel());
        let answer = call.answer(rpc.attach(call.request(request)).await)?;
        call.part(answer.link, "link")
    }

    /// Ends an attachment, by [`v1::Link::id`].
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` (`NO_SUCH_LINK`) if there is none of that number.
    pub async fn detach(&self, link: u64) -> Result<(), Error> {
        let call = self.client.call("Detach");
        let mut rpc = ProgramServiceClient::new(self.client.channel());
        call.answer(rpc.detach(call.request(v1::DetachRequest { link })).await)?;
        Ok(())
    }

    /// All links, or those of one object, in order of id.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` (`BAD_NAME`) for a name that cannot be.
    pub async fn list(&self, object: Option<&str>) -> Result<Vec<v1::Link>, Error> {
        let call = self.client.call("ListLinks");
        let object = object.unwrap_or_default().to_owned();
        let mut rpc = ProgramServiceClient::new(self.client.channel());
        let request = call.request(v1::ListLinksRequest { object });
        Ok(call.answer(rpc.list_links(request).await)?.links)
    }
}
