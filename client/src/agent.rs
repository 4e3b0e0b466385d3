//! The agent itself.

use bpfgate_proto::v1;
use bpfgate_proto::v1::agent_service_client::AgentServiceClient;

use crate::client::Client;
use crate::error::Error;

/// Calls about the agent and the caller.
#[derive(Debug, Clone)]
pub struct Agent {
    client: Client,
}

impl Agent {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Its version, kernel, byte order, limits and built-in programs.
    ///
    /// # Errors
    ///
    /// Those of any call: see [`Error`].
    pub async fn get(&self) -> Result<v1::GetAgentResponse, Error> {
        let call = self.client.call("GetAgent");
        let mut rpc = AgentServiceClient::new(self.client.channel());
        call.answer(rpc.get_agent(call.request(v1::GetAgentRequest {})).await)
    }

    /// Who it takes the caller for.
    ///
    /// # Errors
    ///
    /// Those of any call: see [`Error`].
    pub async fn whoami(&self) -> Result<v1::WhoAmIResponse, Error> {
        let call = self.client.call("WhoAmI");
        let mut rpc = AgentServiceClient::new(self.client.channel());
        call.answer(rpc.who_am_i(call.request(v1::WhoAmIRequest {})).await)
    }
}
