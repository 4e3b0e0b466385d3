//! Opening a socket in another network namespace, so that both ends of a link are one process.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `open` in the namespace that `ip netns` calls `name`, or in our own if there is none.
///
/// A socket stays in the namespace it was made in; only a thread that ends with it goes there.
pub(crate) fn within<T: Send>(
    name: Option<&str>,
    open: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let Some(name) = name else { return open() };
    let path = PathBuf::from("/run/netns").join(name);
    let namespace =
        File::open(&path).with_context(|| format!("could not open {}", path.display()))?;
    thread::scope(|scope| {
        scope
            .spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("could not enter network namespace {name}"))?;
                open()
            })
            .join()
            .expect("opening a socket does not panic")
    })
}
