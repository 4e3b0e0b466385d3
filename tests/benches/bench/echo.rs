//! The bare tonic server that Lookup is compared with, in a process of its own.
//!
//! It answers Lookup's path with Lookup's messages of the same sizes, and does nothing else: what
//! a service in tonic costs before it has any work. All its settings are tonic's own.

use std::convert::Infallible;
use std::env;
use std::future::{Ready, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bpfgate_client::v1;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::agent::until;
use crate::process::Process;

/// First argument of the process.
pub(crate) const ROLE: &str = "echo-server";

/// A running echo server.
pub(crate) struct Echo {
    pub(crate) channel: Channel,
    pub(crate) process: Process,
    _directory: TempDir,
}

impl Echo {
    pub(crate) async fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("bpfgate-bench.").tempdir()?;
        let socket = directory.path().join("echo.sock");
        let mut command = Command::new(env::current_exe()?);
        let process = Process::start(command.arg(ROLE).arg(&socket))?;
        let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()))?;
        let channel = until(async || endpoint.connect().await).await?;
        Ok(Self { channel, process, _directory: directory })
    }
}

/// The process itself: serves on the socket named by the second argument until it is killed.
pub(crate) fn main() -> Result<()> {
    let socket: PathBuf = env::args_os().nth(2).context("no path for the socket")?.into();
    tokio::runtime::Runtime::new()?.block_on(async {
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket)?);
        Ok(Server::builder().add_service(Lookup).serve_with_incoming(incoming).await?)
    })
}

/// The value of every key. tonic's generated code for a service of one unary RPC is just this.
#[derive(Clone)]
struct Lookup;

impl NamedService for Lookup {
    const NAME: &'static str = "bpfgate.v1.MapService";
}

impl Service<http::Request<Body>> for Lookup {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(Self, request).await) })
    }
}

impl UnaryService<v1::LookupRequest> for Lookup {
    type Response = v1::LookupResponse;
    type Future = Ready<Result<Response<v1::LookupResponse>, Status>>;

    fn call(&mut self, request: Request<v1::LookupRequest>) -> Self::Future {
        use v1::lookup_request::Key;
        ready(match request.into_inner().key {
            Some(Key::RawKey(value)) => {
                Ok(Response::new(v1::LookupResponse { value, ..Default::default() }))
            }
            _ => Err(Status::invalid_argument("give raw_key")),
        })
    }
}
