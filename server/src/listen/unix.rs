//! The Unix socket: mode 0660, never in place of a living one, gone when the agent is.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{Gid, Mode};
use tokio::net::UnixListener;

use super::connection::Socket;
use crate::policy::Peer;

/// A bound socket. Its file goes when this is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl UnixSocket {
    /// Binds. A socket file that nobody listens on any more is replaced; anything else in the
    /// way is an error.
    pub fn bind(path: &Path, group: Option<u32>) -> anyhow::Result<Self> {
        let shown = path.display();
        remove_stale(path)?;
        // Nobody gets in before the group is set. The process has one thread that makes files.
        let before = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(before);
        let listener = bound.with_context(|| format!("could not listen on unix:{shown}"))?;

        let metadata = std::fs::symlink_metadata(path)
            .with_context(|| format!("could not look at {shown}"))?;
        let socket =
            Self { listener, path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) };
        if let Some(group) = group {
            rustix::fs::chown(path, None, Some(Gid::from_raw(group)))
                .with_context(|| format!("could not give {shown} to group {group}"))?;
        }
        rustix::fs::chmod(path, Mode::from_raw_mode(0o660))
            .with_context(|| format!("could not set the mode of {shown}"))?;
        Ok(socket)
    }

    pub(super) async fn accept(&self) -> io::Result<(Socket, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let credentials = stream.peer_cred()?;
        let peer = Peer::Unix { uid: credentials.uid(), gid: credentials.gid() };
        Ok((Socket::Unix(stream), peer))
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Whatever took its place is not ours to remove.
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("could not look at {shown}")),
    };
    if !metadata.file_type().is_socket() {
        bail!("{shown} is in the way and is no socket");
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => bail!("somebody listens on {shown} already"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
                .with_context(|| format!("could not remove the stale socket {shown}"))
        }
        Err(error) => {
            Err(error).with_context(|| format!("could not tell whether {shown} is in use"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = UnixSocket::bind(&path, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert!(UnixSocket::bind(&path, None).unwrap_err().to_string().contains("already"));
        drop(socket);
        assert!(!path.exists());

        std::fs::write(&path, "data").unwrap();
        assert!(UnixSocket::bind(&path, None).unwrap_err().to_string().contains("no socket"));
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }
}
