//! One connection: who is at the other end, and how long it may stay silent at first.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};

use crate::ledger::{Account, Charge, Seat};
use crate::policy::Peer;

/// What a client says first: 24 bytes of HTTP/2's preface, and a frame's head of nine.
const PREFACE_BYTES: usize = 24 + 9;
/// How long a client gets to take the last answers in and close its end.
const LINGER: Duration = Duration::from_secs(1);

/// The stream below.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection that counts against the limits as long as it lives.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    peer: Peer,
    account: Account,
    /// Until the preface was there: a client that never says it would stay for ever.
    preface: Option<Preface>,
    /// Since our end was closed.
    linger: Option<Pin<Box<Sleep>>>,
    _paid: (Seat, Charge),
}

/// A client that has not said its first words yet.
#[derive(Debug)]
struct Preface {
    deadline: Pin<Box<Sleep>>,
    /// Bytes that are missing.
    missing: usize,
}

impl Connection {
    pub(super) fn new(
        socket: Socket,
        peer: Peer,
        account: Account,
        preface: Duration,
        paid: (Seat, Charge),
    ) -> Self {
        let deadline = Box::pin(sleep(preface));
        let preface = Some(Preface { deadline, missing: PREFACE_BYTES });
        Self { socket, peer, account, preface, linger: None, _paid: paid }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Whom it is charged to.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = match &mut this.socket {
            Socket::Unix(stream) => pin!(stream).poll_read(cx, buf),
            Socket::Tcp(stream) => pin!(stream).poll_read(cx, buf),
        };
        match read {
            Poll::Ready(read) => {
                let came = buf.filled().len() - before;
                if let Some(preface) = &mut this.preface {
                    preface.missing = preface.missing.saturating_sub(came);
                    if preface.missing == 0 {
                        this.preface = None;
                    }
                }
                Poll::Ready(read)
            }
            Poll::Pending => {
                let late = this.preface.as_mut().map(|it| it.deadline.as_mut().poll(cx));
                match late {
                    Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    Some(Poll::Pending) | None => Poll::Pending,
                }
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Unix(stream) => pin!(stream).poll_write(cx, buf),
            Socket::Tcp(stream) => pin!(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Unix(stream) => pin!(stream).poll_write_vectored(cx, bufs),
            Socket::Tcp(stream) => pin!(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Unix(stream) => pin!(stream).poll_flush(cx),
            Socket::Tcp(stream) => pin!(stream).poll_flush(cx),
        }
    }

    /// Closes our end, and the socket when the client has closed its own. A client that still
    /// writes when the socket is gone gets EPIPE, and then drops what it has not read yet: the
    /// reason why its streams ended among it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(match &mut this.socket {
                Socket::Unix(stream) => pin!(stream).poll_shutdown(cx),
                Socket::Tcp(stream) => pin!(stream).poll_shutdown(cx),
            })?;
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        while linger.as_mut().poll(cx).is_pending() {
            let mut scratch = [0; 1024];
            let mut scratch = ReadBuf::new(&mut scratch);
            let read = match &mut this.socket {
                Socket::Unix(stream) => pin!(stream).poll_read(cx, &mut scratch),
                Socket::Tcp(stream) => pin!(stream).poll_read(cx, &mut scratch),
            };
            if ready!(read).is_err() || scratch.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
