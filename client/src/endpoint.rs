//! Where an agent listens, parsed once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tonic::transport::Uri;

/// Longest path of a Unix socket: `sockaddr_un.sun_path` less its NUL.
const SOCKET_PATH_MAX: usize = 107;

/// Where an agent listens: `unix:PATH` or `http://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP without TLS. Agents offer it on loopback addresses only.
    Tcp {
        /// A name or an address, an IPv6 one without its brackets.
        host: String,
        /// From 1.
        port: u16,
    },
}

/// Why an endpoint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// `https://`.
    #[error("endpoint {0:?} asks for TLS, which is not there yet; use unix:PATH or http://")]
    Tls(String),
    /// A path without `unix:`.
    #[error("endpoint {0:?} is a bare path; write unix:{0}")]
    BarePath(String),
    /// Neither `unix:` nor `http://`.
    #[error("endpoint {0:?} is neither unix:PATH nor http://HOST:PORT")]
    UnknownScheme(String),
    /// `unix:` and nothing behind it.
    #[error("endpoint {0:?} names no socket; write unix:PATH")]
    NoPath(String),
    /// The kernel has no room for such a path.
    #[error("socket path {path:?} has {len} bytes, at most {SOCKET_PATH_MAX} are possible")]
    PathTooLong {
        /// The path.
        path: String,
        /// Its length in bytes.
        len: usize,
    },
    /// `http://` without a host and a port, or with more than these.
    #[error("endpoint {0:?} must be http://HOST:PORT and nothing more")]
    NotHostPort(String),
}

impl Endpoint {
    /// The Unix socket at that path.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(path.into())
    }

    /// Whether another host may be at the other end, with another byte order.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// The HTTP/2 authority and scheme for requests to it.
    pub(crate) fn uri(&self) -> String {
        match self {
            // No host name means anything on a Unix socket.
            Self::Unix(_) => "http://localhost".to_owned(),
            Self::Tcp { .. } => self.to_string(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let owned = || text.to_owned();
        if let Some(rest) = text.strip_prefix("unix:") {
            // `unix:///run/x` is how gRPC writes an absolute path.
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() {
                return Err(EndpointError::NoPath(owned()));
            }
            if path.len() > SOCKET_PATH_MAX {
                return Err(EndpointError::PathTooLong { path: path.into(), len: path.len() });
            }
            return Ok(Self::Unix(Path::new(path).to_owned()));
        }
        if text.starts_with("https:") {
            return Err(EndpointError::Tls(owned()));
        }
        if !text.starts_with("http://") {
            let bare_path = text.starts_with(['/', '.']);
            return Err(if bare_path {
                EndpointError::BarePath(owned())
            } else {
                EndpointError::UnknownScheme(owned())
            });
        }
        parse_http(text).ok_or_else(|| EndpointError::NotHostPort(owned()))
    }
}

fn parse_http(text: &str) -> Option<Endpoint> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let port = authority.port_u16().filter(|&port| port > 0)?;
    let plain = matches!(uri.path_and_query().map_or("/", |p| p.as_str()), "" | "/");
    let clean = plain && !host.is_empty() && !authority.as_str().contains('@');
    clean.then(|| Endpoint::Tcp { host: host.to_owned(), port })
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_survive_the_round_trip() {
        for text in ["unix:/run/a.sock", "unix:a.sock", "http://127.0.0.1:9", "http://[::1]:9"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("unix:///a/b".parse::<Endpoint>().unwrap(), Endpoint::unix("/a/b"));
        assert_eq!("http://h:1/".parse::<Endpoint>().unwrap().to_string(), "http://h:1");
    }

    #[test]
    fn bad_endpoints_say_what_to_write() {
        for (text, part) in [
            ("", "neither unix:PATH nor http://"),
            ("/run/a.sock", "write unix:/run/a.sock"),
            ("localhost:9", "neither"),
            ("ftp://h:9", "neither"),
            ("unix:", "names no socket"),
            ("https://h:9", "TLS"),
            ("http://h", "HOST:PORT"),
            ("http://h:0", "HOST:PORT"),
            ("http://h:99999", "HOST:PORT"),
            ("http://:9", "HOST:PORT"),
            ("http://h:9/x", "nothing more"),
            ("http://u@h:9", "nothing more"),
        ] {
            let said = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(said.contains(part), "{text:?}: {said}");
        }
        let long = format!("unix:/{}", "x".repeat(200));
        assert!(long.parse::<Endpoint>().unwrap_err().to_string().contains("at most 107"));
    }
}
