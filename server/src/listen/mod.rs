//! Where clients come in: sockets, made safely, and connections, taken in with bounds.

mod accept;
mod connection;
mod endpoint;
mod runtime_dir;
mod unix;

pub use accept::serve_listeners;
pub use connection::Connection;
pub use endpoint::Endpoint;
pub use runtime_dir::RuntimeDir;

use std::io;
use std::net::SocketAddr;

use crate::policy::Peer;

/// A socket that clients can connect to.
#[derive(Debug)]
pub enum Listener {
    /// Gone from the file system when it is dropped.
    Unix(unix::UnixSocket),
    /// On a loopback address.
    Tcp(tokio::net::TcpListener),
}

impl Listener {
    /// Starts to listen.
    pub async fn bind(endpoint: &Endpoint, group: Option<u32>) -> anyhow::Result<Self> {
        match endpoint {
            Endpoint::Unix(path) => Ok(Self::Unix(unix::UnixSocket::bind(path, group)?)),
            Endpoint::Tcp(address) => Ok(Self::Tcp(bind_tcp(*address).await?)),
        }
    }

    async fn accept(&self) -> io::Result<(connection::Socket, Peer)> {
        match self {
            Self::Unix(listener) => listener.accept().await,
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((connection::Socket::Tcp(stream), Peer::Tcp(address)))
            }
        }
    }
}

async fn bind_tcp(address: SocketAddr) -> anyhow::Result<tokio::net::TcpListener> {
    use anyhow::Context as _;
    tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("could not listen on tcp:{address}"))
}
