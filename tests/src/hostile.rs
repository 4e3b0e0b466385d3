//! Clients that mean no good: other users, windows that never open, requests that never end.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use bpfgate_client::CpuMode;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Version};
use tokio::task::JoinHandle;

use crate::Agent;

/// A user that has no business here.
pub const MALLORY: u32 = 4711;

/// Connects as another user, as the socket's other end sees it. Whoever may connect is the test's
/// choice: the socket is opened to all.
pub fn connect_as(socket: &Path, uid: u32) -> io::Result<UnixStream> {
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
    let socket = socket.to_owned();
    let connecting = thread::spawn(move || {
        // SAFETY: the raw call changes this thread's user alone, and the thread ends with it.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
        if changed != 0 {
            return Err(io::Error::last_os_error());
        }
        UnixStream::connect(socket)
    });
    connecting.join().expect("a thread that does not panic")
}

/// A connection that speaks HTTP/2 and nothing else.
pub struct Hostile {
    requests: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

/// A request whose end, and an answer whose begin, are the test's to wait for.
pub struct Sent {
    /// Goes on with the request; dropped, it resets the stream.
    pub body: SendStream<Bytes>,
    answer: ResponseFuture,
}

impl Hostile {
    /// Connects as a user, with windows of so many bytes for what the agent sends.
    pub async fn connect(agent: &Agent, uid: u32, window: u32) -> Self {
        let stream = connect_as(&agent.socket(), uid).expect("a connection");
        stream.set_nonblocking(true).expect("a socket that does not block");
        let stream = tokio::net::UnixStream::from_std(stream).expect("a socket");
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_max_send_streams(10_000);
        builder.max_concurrent_reset_streams(10_000);
        builder.initial_connection_window_size((1 << 31) - 1);
        let (requests, connection) = builder.handshake(stream).await.expect("HTTP/2");
        let connection = tokio::spawn(async move { drop(connection.await) });
        Self { requests, connection }
    }

    /// Begins a request, and sends these bytes of its body; with `end` they are all.
    pub async fn begin(&mut self, path: &str, body: Bytes, end: bool) -> Result<Sent, h2::Error> {
        let (answer, mut body_stream) = self.head(path, None).await?;
        if end || !body.is_empty() {
            body_stream.send_data(body, end)?;
        }
        Ok(Sent { body: body_stream, answer })
    }

    /// Begins a request that has this `grpc-timeout`.
    pub async fn begin_within(&mut self, path: &str, timeout: &str) -> Result<Sent, h2::Error> {
        let (answer, body) = self.head(path, Some(timeout)).await?;
        Ok(Sent { body, answer })
    }

    async fn head(
        &mut self,
        path: &str,
        timeout: Option<&str>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        let uri = format!("http://localhost{path}");
        let request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = match timeout {
            Some(timeout) => request.header("grpc-timeout", timeout),
            None => request,
        };
        let request = request.body(()).expect("a request");
        let mut ready = self.requests.clone().ready().await?;
        ready.send_request(request, false)
    }

    /// A whole request of one message.
    pub async fn call(&mut self, path: &str, message: &impl prost::Message) -> Sent {
        let sent = self.begin(path, framed(message), true).await;
        sent.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Whether the agent has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.connection.is_finished()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Sent {
    /// The head of the answer, with its body unread.
    pub async fn head(self) -> Result<(HeaderMap, RecvStream, SendStream<Bytes>), h2::Error> {
        let (head, body) = self.answer.await?.into_parts();
        Ok((head.headers, body, self.body))
    }

    /// How the agent ended the call: its gRPC code and message. Reads what comes before.
    pub async fn status(self) -> Result<(i32, String), h2::Error> {
        let (headers, mut body, _request) = self.head().await?;
        if headers.contains_key("grpc-status") {
            return Ok(status(&headers));
        }
        while let Some(data) = body.data().await {
            let data = data?;
            let _ = body.flow_control().release_capacity(data.len());
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        Ok(status(&trailers))
    }
}

fn status(headers: &HeaderMap) -> (i32, String) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    (text("grpc-status").parse().unwrap_or(-1), text("grpc-message").replace("%20", " "))
}

/// A message as gRPC frames it.
pub fn framed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut body = claimed(length);
    message.encode(&mut body).expect("room grows");
    body.freeze()
}

/// A frame's prefix alone, which claims so many bytes.
pub fn claimed(length: usize) -> BytesMut {
    let mut prefix = BytesMut::new();
    prefix.put_u8(0);
    prefix.put_u32(u32::try_from(length).expect("a length of gRPC's"));
    prefix
}

/// Bytes of anonymous memory that a process has.
pub fn anonymous_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kilobytes.expect("a size").trim().parse::<u64>().expect("a number") << 10
}

/// A client that does nothing wrong, beside those that do: its calls never fail, and none takes
/// over a second.
pub struct Good {
    stop: tokio::sync::watch::Sender<bool>,
    working: JoinHandle<u64>,
}

impl Good {
    /// Looks up key 0 of the map, lists maps and asks for the agent's health, over and over.
    pub async fn start(agent: &Agent, map: &str) -> Self {
        let client = agent.client().await;
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let map = map.to_owned();
        let working = tokio::spawn(async move {
            let mut calls = 0;
            while !*stopped.borrow() {
                let begun = Instant::now();
                let maps = client.maps();
                let value = maps.lookup(&map, 0_u32.to_ne_bytes(), CpuMode::default()).await;
                value.unwrap_or_else(|error| panic!("a good lookup: {error}"));
                client.agent().get().await.unwrap_or_else(|error| panic!("a good call: {error}"));
                let took = begun.elapsed();
                assert!(took < Duration::from_secs(1), "two good calls took {took:?}");
                calls += 2;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            calls
        });
        Self { stop, working }
    }

    /// Fails if one of its calls did, or took too long.
    pub async fn finish(self) {
        let _ = self.stop.send(true);
        let calls = self.working.await.expect("no good call fails");
        assert!(calls > 0, "it was at work");
    }
}
