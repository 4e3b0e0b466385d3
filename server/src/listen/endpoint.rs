//! `unix:PATH` and `tcp:ADDRESS`, parsed once.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Endpoint {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A loopback address.
    Tcp(SocketAddr),
}

/// Why that is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Neither of the two.
    #[error("{0:?} is no endpoint: write unix:/absolute/path or tcp:127.0.0.1:PORT")]
    Form(String),
    /// Anybody on the network could load programs.
    #[error(
        "{0} is not a loopback address: without TLS the agent listens on 127.0.0.0/8 and [::1] only"
    )]
    NotLoopback(SocketAddr),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let form = || EndpointError::Form(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(form()) };
        }
        let address = text.strip_prefix("tcp:").ok_or_else(form)?;
        let address: SocketAddr = address.parse().map_err(|_| form())?;
        if address.ip().is_loopback() {
            Ok(Self::Tcp(address))
        } else {
            Err(EndpointError::NotLoopback(address))
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_goes_without_tls() {
        for good in ["unix:/run/x.sock", "tcp:127.0.0.1:7000", "tcp:[::1]:0"] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }
        for (bad, word) in [
            ("tcp:0.0.0.0:7000", "loopback"),
            ("tcp:192.0.2.1:1", "loopback"),
            ("unix:relative", "absolute"),
            ("tcp:localhost:1", "tcp:127.0.0.1:PORT"),
            ("http://x", "unix:/absolute/path"),
        ] {
            let said = bad.parse::<Endpoint>().unwrap_err().to_string();
            assert!(said.contains(word), "{bad}: {said}");
        }
    }
}
