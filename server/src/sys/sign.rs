//! The sign that a descriptor gives when there is something to read.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells when a descriptor becomes readable.
#[derive(Debug)]
pub struct Sign {
    fd: AsyncFd<OwnedFd>,
}

impl Sign {
    /// Of this descriptor, which may be closed meanwhile. To be called within a tokio runtime.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let own = fd.try_clone_to_owned()?;
        // SAFETY: the descriptor is our own, and nothing takes it out before it is deregistered.
        let fd = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) };
        Ok(Self { fd: fd.map_err(|error| error.into_parts().1)? })
    }

    /// Whether there was a sign since the last time; if there was none, the next wakes the task.
    /// Nothing more is said of what was there before.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outcome = Poll::Pending;
        // Until it is pending, because only then does it wake us.
        while let Poll::Ready(ready) = self.fd.poll_read_ready(context) {
            let mut ready = ready?;
            if ready.ready().is_read_closed() {
                // It hung up (its CPU went, say) and stays ready for ever: no sign of anything.
                break;
            }
            ready.clear_ready();
            outcome = Poll::Ready(Ok(()));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn each_write_is_one_sign_and_a_hangup_is_none() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let sign = Sign::of(reader.as_fd()).unwrap();
        let signed = async || {
            let signed = timeout(Duration::from_millis(100), poll_fn(|context| sign.poll(context)));
            signed.await.is_ok_and(|signed| signed.is_ok())
        };
        writer.write_all(b"1").unwrap();
        assert!(signed().await);
        assert!(!signed().await);
        writer.write_all(b"2").unwrap();
        assert!(signed().await);
        drop(writer);
        assert!(!signed().await);
        assert!(!signed().await);
    }
}
