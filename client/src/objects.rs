//! Loaded ELF files: their programs and maps.

use std::collections::HashMap;

use bpfgate_proto::v1;
use bpfgate_proto::v1::load_object_request::Message;
use bpfgate_proto::v1::program_service_client::ProgramServiceClient;
use bytes::Bytes;
use futures_util::stream;

use crate::client::Client;
use crate::error::Error;
use crate::pieces::Pieces;

/// Bytes of one message of an upload: far below every message limit, large enough to be few.
const CHUNK: usize = 256 << 10;

/// Calls about objects.
#[derive(Debug, Clone)]
pub struct Objects {
    client: Client,
}

impl Objects {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Loads the built-in program that `header.builtin` names under `header.name`.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a built-in (`NO_SUCH_BUILTIN`) or a shared map that is not there,
    /// `ALREADY_EXISTS` (`NAME_TAKEN`), `INVALID_ARGUMENT` for a global or a map that the object
    /// does not have, `FAILED_PRECONDITION` where a map cannot be shared (`NOT_SHAREABLE`) or the
    /// host lacks something, `RESOURCE_EXHAUSTED` at a limit.
    pub async fn load_builtin(
        &self,
        header: v1::LoadObjectHeader,
    ) -> Result<v1::LoadObjectResponse, Error> {
        self.load(header, Bytes::new()).await
    }

    /// Uploads and loads an ELF file under `header.name`. A rejection by the verifier is
    /// [`Error::Rpc`] with its log.
    ///
    /// # Errors
    ///
    /// As [`Self::load_builtin`], and `INVALID_ARGUMENT` for what is no object (`BAD_OBJECT`), a
    /// section that is not known (`UNSUPPORTED_SECTION`) and a program that the verifier rejects
    /// (`VERIFIER_REJECTED`); `DEADLINE_EXCEEDED` if it takes too long.
    pub async fn load_bytes(
        &self,
        header: v1::LoadObjectHeader,
        elf: impl Into<Bytes>,
    ) -> Result<v1::LoadObjectResponse, Error> {
        self.load(header, elf.into()).await
    }

    /// All objects, in order of name, or those that have all of these labels.
    ///
    /// # Errors
    ///
    /// Those of any call: see [`Error`].
    pub async fn list(&self, labels: HashMap<String, String>) -> Result<Vec<v1::Object>, Error> {
        let call = self.client.call("ListObjects");
        let mut rpc = self.rpc();
        let request = call.request(v1::ListObjectsRequest { labels });
        Ok(call.answer(rpc.list_objects(request).await)?.objects)
    }

    /// One object by name.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` (`NO_SUCH_OBJECT`) if there is none of that name.
    pub async fn get(&self, name: &str) -> Result<v1::Object, Error> {
        let call = self.client.call("GetObject");
        let request = call.request(v1::GetObjectRequest { name: name.to_owned() });
        let answer = call.answer(self.rpc().get_object(request).await)?;
        call.part(answer.object, "object")
    }

    /// Detaches its programs and forgets its programs and maps, but for those that other objects
    /// share: these are another's now, and the answer says whose.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` (`NO_SUCH_OBJECT`) if there is none of that name.
    pub async fn unload(&self, name: &str) -> Result<Vec<v1::HandedOverMap>, Error> {
        let call = self.client.call("UnloadObject");
        let request = call.request(v1::UnloadObjectRequest { name: name.to_owned() });
        Ok(call.answer(self.rpc().unload_object(request).await)?.handed_over)
    }

    /// All that the verifier wrote of a program that it rejected, if
    /// [`v1::LoadObjectHeader::keep_log`] was set: up to 16 MiB, named by [`crate::RpcError::log`].
    /// Once, and within a minute.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` (`NO_SUCH_LOG`) if it was read or its minute is over; [`Error::CutOff`] if it
    /// ends early.
    pub async fn verifier_log(&self, log: &str) -> Result<String, Error> {
        let call = self.client.call("ReadVerifierLog");
        let request = call.request(v1::ReadVerifierLogRequest { log: log.to_owned() });
        let mut stream = call.answer(self.rpc().read_verifier_log(request).await)?;
        let mut pieces = Pieces::new(call);
        while !pieces.is_whole() {
            let piece = stream.message().await;
            pieces.add(piece.map(|piece| piece.map(|piece| (piece.text, piece.size))))?;
        }
        Ok(String::from_utf8_lossy(&pieces.into_bytes()).into_owned())
    }

    /// The programs that the agent owns, or all of the host.
    ///
    /// # Errors
    ///
    /// `FAILED_PRECONDITION` for all of the host where the agent lacks `CAP_SYS_ADMIN`.
    pub async fn programs(
        &self,
        request: v1::ListProgramsRequest,
    ) -> Result<v1::ListProgramsResponse, Error> {
        let call = self.client.call("ListPrograms");
        call.answer(self.rpc().list_programs(call.request(request)).await)
    }

    /// How often the programs of an object, or all of them, ran and for how long. `enable` has the
    /// agent turn the kernel's statistics on, until nobody has asked for them for a while:
    /// [`v1::GetProgramStatsResponse::lease`] says how long.
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` (`NO_SUCH_OBJECT`) if there is none of that name, `FAILED_PRECONDITION` where
    /// the agent may not turn the statistics on.
    pub async fn program_stats(
        &self,
        object: Option<&str>,
        enable: bool,
    ) -> Result<v1::GetProgramStatsResponse, Error> {
        let call = self.client.call("GetProgramStats");
        let object = object.unwrap_or_default().to_owned();
        let request = call.request(v1::GetProgramStatsRequest { object, enable });
        call.answer(self.rpc().get_program_stats(request).await)
    }

    async fn load(
        &self,
        header: v1::LoadObjectHeader,
        elf: Bytes,
    ) -> Result<v1::LoadObjectResponse, Error> {
        let call = self.client.call_within("LoadObject", self.client.options().load_timeout);
        let request = call.request(stream::iter(messages(header, elf)));
        call.answer(self.rpc().load_object(request).await)
    }

    fn rpc(&self) -> ProgramServiceClient<tonic::transport::Channel> {
        ProgramServiceClient::new(self.client.channel())
    }
}

/// The header, then the file in slices that share its memory.
fn messages(
    header: v1::LoadObjectHeader,
    mut elf: Bytes,
) -> impl Iterator<Item = v1::LoadObjectRequest> {
    let chunks = std::iter::from_fn(move || {
        let take = elf.len().min(CHUNK);
        (take > 0).then(|| Message::Chunk(elf.split_to(take)))
    });
    std::iter::once(Message::Header(header))
        .chain(chunks)
        .map(|message| v1::LoadObjectRequest { message: Some(message) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_the_header_and_every_byte_in_order() {
        let elf: Vec<u8> = (0..CHUNK + 3).map(|i| i.to_le_bytes()[0]).collect();
        let sent: Vec<_> = messages(v1::LoadObjectHeader::default(), elf.clone().into())
            .filter_map(|request| request.message)
            .collect();
        let [Message::Header(_), Message::Chunk(first), Message::Chunk(rest)] = &sent[..] else {
            panic!("{} messages", sent.len());
        };
        assert_eq!((first.len(), rest.len()), (CHUNK, 3));
        assert_eq!([&first[..], &rest[..]].concat(), elf);
    }
}
