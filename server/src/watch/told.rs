//! What a watch hands over: messages as bytes, paid for until nobody holds them.

use bytes::Bytes;

use crate::ledger::{Charge, Exhausted};

use super::error::WatchError;

/// Messages that go out together. The memory counts as the watch's until the last part of the bytes
/// is dropped, be that behind a socket.
#[derive(Debug, Clone)]
pub struct Told(Bytes);

/// Bytes and what pays for them.
struct Held<T> {
    bytes: T,
    _charge: Charge,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// In the allocator and in the queues on the way, beside the bytes.
const BESIDE: usize = 256;

impl Told {
    /// Bytes that are paid for by a part of a charge for what making them took.
    pub(super) fn new<T>(bytes: T, charge: &mut Charge) -> Result<Self, WatchError>
    where
        T: AsRef<[u8]> + Send + 'static,
    {
        let cost = (bytes.as_ref().len() + BESIDE) as u64;
        let more = cost.saturating_sub(charge.bytes());
        charge.grow(more).map_err(|exhausted: Exhausted| WatchError::from(exhausted))?;
        let charge = charge.split(cost);
        Ok(Self(Bytes::from_owner(Held { bytes, _charge: charge })))
    }

    /// As [`Wire`](super::Wire) wrote them.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// As [`Wire`](super::Wire) wrote them.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}
