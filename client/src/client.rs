//! The connection and the handles made from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::agent::Agent;
use crate::connect::Channels;
use crate::endpoint::Endpoint;
use crate::error::{Call, Error};
use crate::links::Links;
use crate::maps::Maps;
use crate::objects::Objects;

/// How patient the client is, and how large an answer it takes.
#[derive(Debug, Clone)]
pub struct Options {
    /// For opening the connection. 5 s by default.
    pub connect_timeout: Duration,
    /// For one answer, or a stream's first message. 10 s by default. The agent is told, so that it
    /// can give up too.
    pub timeout: Duration,
    /// For `load`: the verifier may need long. 2 min by default.
    pub load_timeout: Duration,
    /// Bytes of the largest message to take. 64 MiB by default.
    pub max_message_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            load_timeout: Duration::from_mins(2),
            max_message_bytes: 64 << 20,
        }
    }
}

/// A connection to an agent, and a second one once it watches counters. Clones share them, and
/// what is lost is opened again with the next call.
#[derive(Debug, Clone)]
pub struct Client {
    channels: Channels,
    endpoint: Endpoint,
    options: Options,
    /// Whether the peer ever answered as an agent does.
    answered: Arc<AtomicBool>,
}

impl Client {
    /// Connects to the endpoint in `BPFGATE_ENDPOINT`, or else to [`DEFAULT_ENDPOINT`], as the
    /// command line does.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] for what is none, [`Error::Connect`] where no agent is.
    ///
    /// [`DEFAULT_ENDPOINT`]: crate::DEFAULT_ENDPOINT
    pub async fn from_env() -> Result<Self, Error> {
        let endpoint = std::env::var("BPFGATE_ENDPOINT");
        Self::connect(endpoint.as_deref().unwrap_or(crate::DEFAULT_ENDPOINT)).await
    }

    /// Connects to `unix:PATH` or `http://HOST:PORT`.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] for what is no endpoint, [`Error::Connect`] where no agent is.
    pub async fn connect(endpoint: &str) -> Result<Self, Error> {
        Self::connect_with(endpoint.parse()?, Options::default()).await
    }

    /// Connects with other timeouts and limits.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] where no agent is, within [`Options::connect_timeout`].
    pub async fn connect_with(endpoint: Endpoint, options: Options) -> Result<Self, Error> {
        let channels = Channels::open(&endpoint, &options).await?;
        Ok(Self { channels, endpoint, options, answered: Arc::default() })
    }

    /// Where the agent is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Maps: their life, their entries, their counters.
    pub fn maps(&self) -> Maps {
        Maps::new(self.clone())
    }

    /// Loaded ELF files.
    pub fn objects(&self) -> Objects {
        Objects::new(self.clone())
    }

    /// Where programs are attached.
    pub fn links(&self) -> Links {
        Links::new(self.clone())
    }

    /// The agent itself.
    pub fn agent(&self) -> Agent {
        Agent::new(self.clone())
    }

    /// The channel below, for services that this crate does not wrap: health, reflection.
    pub fn channel(&self) -> Channel {
        self.channels.calls.clone()
    }

    /// For streams that may be read late.
    pub(crate) fn watch_channel(&self) -> Channel {
        self.channels.watches.clone()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn call(&self, rpc: &'static str) -> Call {
        self.call_within(rpc, self.options.timeout)
    }

    pub(crate) fn call_within(&self, rpc: &'static str, timeout: Duration) -> Call {
        let (endpoint, answered) = (self.endpoint.clone(), self.answered.clone());
        Call { endpoint, rpc, timeout, answered }
    }
}

impl Call {
    /// The request with its deadline.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    pub(crate) fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, Error> {
        let answer = answer.map_err(|status| self.error(status))?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(answer.into_inner())
    }

    /// A server stream and its first message, both within the call's time. The request itself has
    /// no deadline: that would end the stream.
    pub(crate) async fn open<T>(
        &self,
        answer: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
    ) -> Result<(Streaming<T>, T), Error> {
        let opened = tokio::time::timeout(self.timeout, async {
            let mut stream = self.answer(answer.await)?;
            let first = stream.message().await.map_err(|status| self.error(status))?;
            Ok((stream, first.ok_or(Error::CutOff { rpc: self.rpc })?))
        });
        opened.await.unwrap_or_else(|_| Err(self.timed_out()))
    }

    /// A part of an answer that the API promises.
    pub(crate) fn part<T>(&self, part: Option<T>, name: &str) -> Result<T, Error> {
        part.ok_or_else(|| Error::protocol(self.rpc, format!("it has no {name}")))
    }
}
