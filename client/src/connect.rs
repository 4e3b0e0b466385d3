//! Opens the connections, and says why one could not be opened.

use std::error::Error as StdError;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use bpfgate_proto::DEFAULT_ENDPOINT;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Uri};
use tower::service_fn;

use crate::client::Options;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::group;

/// Bytes of one stream that the agent may send ahead of the reader. With HTTP/2's 64 KiB a dump
/// spends its time waiting for window updates.
const CALLS_WINDOW: u32 = 4 << 20;
/// The same for a watch. The agent notices that nobody reads when this is full, and has old totals
/// give way to newer ones only then.
const WATCHES_WINDOW: u32 = 128 << 10;
/// Bytes of all streams of a connection: the most that HTTP/2 has, so that a stream which nobody
/// reads holds up no other. It is a promise to take them in, not memory. h2 also derives from it
/// how many small frames may wait unread before it takes the agent for an attacker and closes the
/// connection; less would end a few hundred idle watches.
const CONNECTION_WINDOW: u32 = i32::MAX.cast_unsigned();
/// A 64 KiB chunk of entries goes in one frame instead of four.
const MAX_FRAME: u32 = 256 << 10;
/// A verifier log comes in the trailers; hyper allows 16 KiB unless told.
const MAX_HEADERS: u32 = 1 << 20;
/// A watch can be silent for an hour: pings tell a quiet agent from a dead host.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(20);

/// Why no connection to an agent could be opened.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct ConnectError {
    /// Where it was tried.
    pub endpoint: Endpoint,
    /// What was wrong.
    pub problem: ConnectProblem,
    /// What the operating system said.
    pub source: io::Error,
}

/// What was wrong with the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectProblem {
    /// There is no file at the socket's path.
    NoSocket,
    /// There is a file, but it is no socket.
    NotASocket,
    /// The caller may not write to the socket, or not search a directory above it.
    PermissionDenied,
    /// Nobody listens on that socket or port.
    Refused,
    /// No answer within [`Options::connect_timeout`].
    TimedOut,
    /// The host's name leads nowhere.
    UnknownHost,
    /// Anything else; the source tells.
    Other,
}

impl ConnectError {
    fn new(endpoint: &Endpoint, source: io::Error) -> Self {
        let problem = match (endpoint, source.kind()) {
            (Endpoint::Unix(_), io::ErrorKind::NotFound) => ConnectProblem::NoSocket,
            (Endpoint::Unix(path), io::ErrorKind::ConnectionRefused) if !is_socket(path) => {
                ConnectProblem::NotASocket
            }
            (_, io::ErrorKind::PermissionDenied) => ConnectProblem::PermissionDenied,
            (_, io::ErrorKind::ConnectionRefused) => ConnectProblem::Refused,
            (_, io::ErrorKind::TimedOut) => ConnectProblem::TimedOut,
            // The resolver's failures have no error number.
            (Endpoint::Tcp { .. }, _) if source.raw_os_error().is_none() => {
                ConnectProblem::UnknownHost
            }
            _ => ConnectProblem::Other,
        };
        Self { endpoint: endpoint.clone(), problem, source }
    }

    fn text(&self) -> String {
        let endpoint = &self.endpoint;
        let start = match endpoint {
            _ if endpoint.to_string() == DEFAULT_ENDPOINT => {
                "start one with `sudo bpfgated`".to_owned()
            }
            Endpoint::Unix(_) => format!("start one with `sudo bpfgated --listen {endpoint}`"),
            Endpoint::Tcp { host, port } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                format!("start one with `bpfgated --listen tcp:{host}:{port}`")
            }
        };
        match (self.problem, endpoint) {
            (ConnectProblem::NoSocket, _) => format!(
                "no agent at {endpoint}: there is no such socket; {start} or give the endpoint \
                 of a running one"
            ),
            (ConnectProblem::NotASocket, _) => {
                format!("no agent at {endpoint}: that file is no socket; check the path")
            }
            (ConnectProblem::PermissionDenied, Endpoint::Unix(path)) => {
                format!("may not open {endpoint}: {}", group::advice(path))
            }
            (ConnectProblem::PermissionDenied, Endpoint::Tcp { .. }) => {
                format!("may not connect to {endpoint}: check any firewall on the way")
            }
            (ConnectProblem::Refused, Endpoint::Unix(_)) => format!(
                "no agent at {endpoint}: the socket is left over from one that is gone; {start}"
            ),
            (ConnectProblem::Refused, Endpoint::Tcp { .. }) => format!(
                "no agent at {endpoint}: nothing listens there; {start} or give the endpoint of \
                 a running one"
            ),
            (ConnectProblem::TimedOut, _) => format!(
                "{endpoint} did not answer the connection in time; check the address and any \
                 firewall on the way"
            ),
            (ConnectProblem::UnknownHost, _) => {
                format!("no agent at {endpoint}: the host is not known; check its name")
            }
            (ConnectProblem::Other, _) => format!("could not connect to {endpoint}"),
        }
    }
}

fn is_socket(path: &Path) -> bool {
    // If it cannot be looked at, take it for what it should be.
    path.metadata().map_or(true, |meta| meta.file_type().is_socket())
}

/// The two connections of a client. One would do, but windows are the same for all streams of a
/// connection, and what is right for a dump is not for a watch.
#[derive(Debug, Clone)]
pub(crate) struct Channels {
    /// For everything else.
    pub(crate) calls: Channel,
    /// For streams that go on for ever and may be read late. Opened with the first of them.
    pub(crate) watches: Channel,
}

impl Channels {
    /// Connects, with everything set that a stream of a million entries wants.
    pub(crate) async fn open(endpoint: &Endpoint, options: &Options) -> Result<Self, Error> {
        let limit = options.connect_timeout;
        let to = endpoint.clone();
        let opened = match endpoint.clone() {
            Endpoint::Unix(path) => {
                Self::over(endpoint, move || {
                    within(limit, to.clone(), UnixStream::connect(path.clone()))
                })
                .await
            }
            Endpoint::Tcp { host, port } => {
                Self::over(endpoint, move || {
                    within(limit, to.clone(), open_tcp(host.clone(), port))
                })
                .await
            }
        };
        opened.map_err(|error| {
            connector_failure(&error).map_or_else(
                || Error::NotAnAgent { endpoint: endpoint.clone(), said: innermost(&error) },
                Error::from,
            )
        })
    }

    async fn over<S, F>(
        endpoint: &Endpoint,
        open: impl Fn() -> F + Clone + Send + Sync + 'static,
    ) -> Result<Self, tonic::transport::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Result<TokioIo<S>, ConnectError>> + Send + 'static,
    {
        let again = open.clone();
        let calls = settings(endpoint, CALLS_WINDOW)
            .connect_with_connector(service_fn(move |_: Uri| open()))
            .await?;
        let watches = settings(endpoint, WATCHES_WINDOW)
            .connect_with_connector_lazy(service_fn(move |_: Uri| again()));
        Ok(Self { calls, watches })
    }
}

fn settings(endpoint: &Endpoint, stream_window: u32) -> tonic::transport::Endpoint {
    tonic::transport::Endpoint::from_shared(endpoint.uri())
        .expect("an endpoint's URI is valid: it was made from parsed parts")
        .user_agent(concat!("bpfgate-client/", env!("CARGO_PKG_VERSION")))
        .expect("the user agent is ASCII")
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .http2_max_header_list_size(MAX_HEADERS)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
}

async fn open_tcp(host: String, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // A request is one small packet: it must not wait for the last one's acknowledgement.
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn within<S>(
    limit: Duration,
    to: Endpoint,
    open: impl Future<Output = io::Result<S>>,
) -> Result<TokioIo<S>, ConnectError> {
    let opened = tokio::time::timeout(limit, open).await;
    opened
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map(TokioIo::new)
        .map_err(|source| ConnectError::new(&to, source))
}

/// Our connector's error, where that is what a transport error was made from.
pub(crate) fn connector_failure(error: &(dyn StdError + 'static)) -> Option<ConnectError> {
    let ConnectError { endpoint, problem, source } = chain(error).find_map(|e| e.downcast_ref())?;
    // An io::Error cannot be cloned; its number, or else its kind and text, say the same.
    let source = match source.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(source.kind(), source.to_string()),
    };
    Some(ConnectError { endpoint: endpoint.clone(), problem: *problem, source })
}

/// An error and what caused it, outermost first.
pub(crate) fn chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

/// What is at the bottom of it.
pub(crate) fn innermost(error: &(dyn StdError + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}
