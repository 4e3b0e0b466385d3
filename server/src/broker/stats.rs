//! The kernel's statistics of programs.

use std::os::fd::OwnedFd;

use super::Error;
use crate::sys;

/// Turns run counts and times on for every program of the host, until the descriptor is closed.
pub fn enable_stats() -> Result<OwnedFd, Error> {
    sys::enable_stats().map_err(Error::EnableStats)
}
