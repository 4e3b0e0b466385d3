//! What can go wrong with a call, told apart by what the caller can do about it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tonic::{Code, Status};

use crate::connect::{ConnectError, ConnectProblem, chain, connector_failure, innermost};
use crate::endpoint::{Endpoint, EndpointError};
use crate::rpc_error::RpcError;

/// Why a call failed.
///
/// Any call can find no agent ([`Self::Connect`], [`Self::NotAnAgent`]), lose it ([`Self::Lost`]), wait
/// for too long ([`Self::TimedOut`]), or be refused ([`Self::Rpc`]) with `RESOURCE_EXHAUSTED` where the
/// caller's share of memory, connections, requests or streams is taken, and with `UNAVAILABLE` by an
/// agent that stops. The functions' own sections name the codes that are theirs, and the word of
/// [`RpcError::reason`] where that tells more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The endpoint cannot be parsed.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// No connection to the agent.
    #[error(transparent)]
    Connect(Box<ConnectError>),
    /// Something listens there, but it is no bpfgate agent.
    #[error("what listens at {endpoint} is no bpfgate agent: {said}; check the endpoint")]
    NotAnAgent {
        /// Where it is.
        endpoint: Endpoint,
        /// What it did.
        said: String,
    },
    /// The connection broke during the call. Whether a write took place is not known.
    #[error("the connection to {endpoint} broke during {rpc} ({said}); is the agent still up?")]
    Lost {
        /// Where the agent was.
        endpoint: Endpoint,
        /// The call.
        rpc: &'static str,
        /// What the transport said.
        said: String,
    },
    /// No answer in time. Whether a write took place is not known.
    #[error("the agent at {endpoint} did not answer {rpc} within {after:?}")]
    TimedOut {
        /// Where the agent is.
        endpoint: Endpoint,
        /// The call.
        rpc: &'static str,
        /// How long it was given: [`crate::Options::timeout`].
        after: Duration,
    },
    /// The agent refused the call.
    #[error(transparent)]
    Rpc(Box<RpcError>),
    /// A stream ended without its last message, so part of it is missing.
    #[error("the agent ended {rpc} early: what came is not all there is")]
    CutOff {
        /// The call.
        rpc: &'static str,
    },
    /// The map's type has no way to be rid of its entries.
    #[error("map {map} is a {map_type}, which cannot be cleared{instead}")]
    NotClearable {
        /// As it was asked for.
        map: String,
        /// As bpftool names it.
        map_type: String,
        /// What to do instead; may be empty.
        instead: &'static str,
    },
    /// The agent broke the API's contract.
    #[error("the agent's answer to {rpc} makes no sense: {what}")]
    Protocol {
        /// The call.
        rpc: &'static str,
        /// What was wrong with it.
        what: String,
    },
}

impl Error {
    /// The agent's answer, where it refused the call.
    pub fn as_rpc(&self) -> Option<&RpcError> {
        match self {
            Self::Rpc(error) => Some(error),
            _ => None,
        }
    }

    /// The gRPC code of a refusal.
    pub fn code(&self) -> Option<Code> {
        self.as_rpc().map(|error| error.code)
    }

    /// Whether the same call may succeed later although nobody changes anything about it: the agent
    /// may be started again, a connection may be lost, a limit may be reached for the moment. A
    /// request that is wrong or not permitted stays so.
    pub fn may_heal(&self) -> bool {
        match self {
            // An agent that starts makes its socket first and opens it to others then.
            Self::Connect(error) => error.problem != ConnectProblem::NotASocket,
            Self::Lost { .. } | Self::TimedOut { .. } | Self::CutOff { .. } => true,
            Self::Endpoint(_)
            | Self::NotAnAgent { .. }
            | Self::NotClearable { .. }
            | Self::Protocol { .. } => false,
            Self::Rpc(error) => match error.code {
                Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::Cancelled
                | Code::Internal
                | Code::Unknown
                | Code::DataLoss => true,
                Code::Ok
                | Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented => false,
            },
        }
    }

    pub(crate) fn protocol(rpc: &'static str, what: impl Into<String>) -> Self {
        Self::Protocol { rpc, what: what.into() }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Box::new(error))
    }
}

/// One call, as errors about it name it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) endpoint: Endpoint,
    pub(crate) rpc: &'static str,
    pub(crate) timeout: Duration,
    /// Whether the peer ever answered as an agent does; shared by all calls of a client.
    pub(crate) answered: Arc<AtomicBool>,
}

impl Call {
    /// The one place where a status becomes an error.
    pub(crate) fn error(&self, status: Status) -> Error {
        use std::error::Error as _;
        let (endpoint, rpc) = (self.endpoint.clone(), self.rpc);
        let Some(source) = status.source() else { return self.refusal(status) };
        // A status with a source was made on this side of the connection.
        if chain(source).any(<dyn std::error::Error>::is::<tonic::TimeoutExpired>) {
            return self.timed_out();
        }
        if let Some(error) = connector_failure(source) {
            return error.into();
        }
        let said = innermost(source);
        if self.answered.load(Ordering::Relaxed) {
            Error::Lost { endpoint, rpc, said }
        } else {
            let said = if chain(source).any(is_hang_up) {
                format!("{said}, unless it is one whose max_connections are taken")
            } else {
                said
            };
            Error::NotAnAgent { endpoint, said }
        }
    }

    pub(crate) fn timed_out(&self) -> Error {
        Error::TimedOut { endpoint: self.endpoint.clone(), rpc: self.rpc, after: self.timeout }
    }

    /// What came from the other end.
    fn refusal(&self, status: Status) -> Error {
        let stranger = |said| Error::NotAnAgent { endpoint: self.endpoint.clone(), said };
        // tonic's own words for an HTTP answer without a gRPC status.
        if status.message().starts_with("grpc-status header missing") {
            return stranger("it speaks HTTP/2 but not gRPC".to_owned());
        }
        // A router's answer for a service or method that it does not have. An agent's own
        // refusals have a text.
        if status.code() == Code::Unimplemented && status.message().is_empty() {
            return stranger(format!("it speaks gRPC but has no {}", self.rpc));
        }
        self.answered.store(true, Ordering::Relaxed);
        Error::Rpc(Box::new(RpcError::new(self.rpc, status)))
    }
}

/// Whether the other end closed the connection without a word. Who finds it out depends on when it
/// did: whoever writes, whoever reads, or the request that still waits for either.
fn is_hang_up(cause: &(dyn std::error::Error + 'static)) -> bool {
    let closed = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    let io = cause.downcast_ref::<io::Error>();
    let hyper = cause.downcast_ref::<hyper::Error>();
    io.is_some_and(|error| closed.contains(&error.kind()))
        || hyper.is_some_and(|error| {
            error.is_canceled() || error.is_closed() || error.is_incomplete_message()
        })
}
