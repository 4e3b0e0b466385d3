//! Long work on the blocking pool, in stints: between two of them others have their turn.

use std::time::{Duration, Instant};

use tonic::Status;

use super::blocking;
use crate::core::Error;

/// How long a piece of work keeps a thread of the blocking pool.
const LONGEST: Duration = Duration::from_millis(50);

/// A stay on a thread of the blocking pool.
pub(super) struct Stint {
    begun: Instant,
}

impl Stint {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    /// Whether it is others' turn.
    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() >= LONGEST
    }
}

/// Takes steps until one says that the work is done. Where nobody waits for it any more the work
/// ends with its stint.
pub(super) async fn in_stints<W: Send + 'static>(
    mut work: W,
    step: fn(&mut W) -> Result<bool, Error>,
) -> Result<W, Status> {
    loop {
        let stint = blocking(move || {
            let stint = Stint::begin();
            let mut done = false;
            while !done && !stint.is_over() {
                done = step(&mut work)?;
            }
            Ok((work, done))
        });
        let done;
        (work, done) = stint.await?;
        if done {
            return Ok(work);
        }
    }
}
